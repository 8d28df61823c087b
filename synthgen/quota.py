"""Valid record → the same record, or a Rejection because its places are taken. For `balance: quota` in a recipe.

Stands between validation and uniqueness. A value of share p has n·p places among n records. Of one field these are
whole numbers by largest remainder (Hamilton). Of several fields at once a value may have one record more or less than
n·p: the last records need values that are rare together, and this leaves a way to many of them. Either way each
share is met to within 1/n, and TV to at most k/2n, at the price of rows that are not independent. And no value may run
far ahead of the others, or the last places would all be of values that are rare together. What it costs is measured by
bench/quota.py.

An answer whose places are taken is no fault of the model: it uses up none of its record's attempts (of which as many
faults in a row are allowed), but counts against a number that is allowed to the whole run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from synthgen import braces
from synthgen.apportionment import Places
from synthgen.engines.protocol import Completion
from synthgen.errors import RecipeError
from synthgen.schema import RecordSchema, text_of
from synthgen.validation import Read, Record, Rejection, Validator

if TYPE_CHECKING:
    from synthgen.recipe import Recipe
    from synthgen.sink import Sink
    from synthgen.target_source import Reference

Admit = Callable[[Record, Completion], Record | Rejection]

QUOTA = "quota:"  # how the reasons of these rejections begin
LEAST_N = 1000  # a smaller dataset may have as many answers refused as one of this size
LOOK_EVERY = 500  # answers between two looks at whether what is lacking can still be had
SURE = 3.0  # standard deviations by which a value's rate may be higher than seen
BAND = 0.2  # how far ahead a record's values may be, summed over the fields, in units of their shares
_NAMED = 3  # values that a message names


class Quotas:
    """The places of a run's balanced fields, and who took them."""

    def __init__(
        self, shares: Mapping[str, Mapping[str, float]], schema: RecordSchema, n: int, max_attempts: int
    ) -> None:
        """`shares`: field → value text → share; without any, everything is admitted."""
        self.n, self.n_left, self.n_refused = n, n, 0
        self.n_refused_most = most_refused(n, max_attempts)
        self.is_hopeless = False  # whether what is lacking cannot be had within that
        self._schema = schema
        self._places = [Places(name, of, n, loose=len(shares) > 1) for name, of in shares.items()]
        self._n_seen = 0
        # record id → its last attempt in a journal, and whether that has a place
        self._last: dict[int, tuple[int, bool]] = {}

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields whose shares are kept."""
        return tuple(places.name for places in self._places)

    def admitting(self, then: Admit) -> Admit:
        """An admit hook that asks `then` for what has a place; what it refuses takes none."""
        if not self._places:
            return then

        def admit(record: Record, completion: Completion) -> Record | Rejection:
            last, fits = self._last.get(record.id, (-1, False))
            if record.attempt == last and fits:
                return self._kept(record, completion, then)
            if record.attempt <= last:
                return self._refused_before(record, completion, then if record.attempt < last else None)
            texts = self._texts(record.values)
            self._see(texts)
            if finding := self._finding(texts):
                return self._refuse(record, completion, *finding)
            outcome = then(record, completion)
            if isinstance(outcome, Record):
                self._take(texts)
            return outcome

        return admit

    def recollect(self, sink: Sink, read: Read | None = None) -> None:
        """Take in all that earlier runs accepted: final shards first, then journals; before any other rule does.

        `read` is what reads the answers of the run (see validation.py).
        """
        import polars as pl

        from synthgen.parquet import shard_name
        from synthgen.shard import Shard, journal_path

        if not self._places:
            return
        self.n_refused = sum(n for reason, n in sink.counts.reasons.items() if is_quota(reason))
        to_do = sink.shards_to_do()
        for number in sorted(set(range(sink.plan.n_shards)) - set(to_do)):
            self.remember(pl.read_parquet(sink.out / shard_name(number), columns=list(self.fields)).to_dict())
        for places in self._places:
            places.relax(self.n_left)
        for number in to_do:
            shard = Shard(sink.plan.ids(number), journal_path(sink.out, number), self._schema)
            self.recall(shard.replay(), read)

    def remember(self, columns: Mapping[str, Iterable[object]]) -> None:
        """Take in records that are final, by field."""
        n = 0
        for places in self._places:
            counted = Counter(columns[places.name])
            n = sum(counted.values())
            for value, times in counted.items():
                places.take(self._text(places.name, value), times)
        self.n_left -= n

    def recall(self, journal: Iterable[tuple[Completion, int, str]], read: Read | None = None) -> None:
        """Take in a shard that was not finished, as (completion, attempt, adapter).

        An attempt that another one followed was refused then. Of the last ones of each record all that fit are kept.
        """
        entries = list(journal)
        last = {completion.id: attempt for completion, attempt, _ in entries}
        validate = Validator(self._schema, read)
        for completion, attempt, adapter in entries:
            if attempt < last[completion.id]:
                continue
            outcome = validate(completion, attempt, adapter)
            fits = False
            if isinstance(outcome, Record):
                texts = self._texts(outcome.values)
                fits = self._finding(texts, ahead=False) is None
                if fits:
                    self._take(texts)
            self._last[completion.id] = attempt, fits

    def keeps(self, record: Record) -> bool:
        """Whether a journal's record has its place; for the rules that recollect after this one."""
        last, fits = self._last.get(record.id, (-1, True))
        return record.attempt > last or (record.attempt == last and fits)

    def exhausted(self) -> str:
        """What is lacking, where that was why the run ended; else empty."""
        if not self.is_hopeless:
            return ""
        said = [
            f"{places.name} lacks {lacking:,} of {places.least[text]:,} {text!r} "
            f"({places.seen[text]:,} of {self._n_seen:,} answers)"
            for places in self._places
            for text, lacking in places.lacking()[:_NAMED]
        ]
        if not said:
            said = [f"{self.n_left:,} records are lacking, and few answers hold values that have places left"]
        together = ", and values that are lacking seldom come together" if len(said) > 1 else ""
        return (
            f"quotas cannot be filled: {'; '.join(said)}{together}; {self.n_refused:,} answers had their places taken "
            f"and at most {self.n_refused_most:,} may: tune the model nearer to the target, raise max_attempts, or "
            "name fewer fields in balance_fields"
        )

    def _kept(self, record: Record, completion: Completion, then: Admit) -> Record | Rejection:
        """The outcome of a journal's attempt that has its place already."""
        outcome = then(record, completion)
        if isinstance(outcome, Rejection):
            self._take(self._texts(record.values), -1)
        return outcome

    def _refused_before(self, record: Record, completion: Completion, then: Admit | None) -> Rejection:
        """The rejection of a journal's attempt, for its places or by `then`."""
        if finding := self._finding(self._texts(record.values)):
            return self._refuse(record, completion, *finding)
        outcome = record if then is None else then(record, completion)
        if isinstance(outcome, Rejection):
            return outcome
        return self._refuse(record, completion, self.fields[0], "had no place before the run was interrupted")

    def _finding(self, texts: Mapping[str, str], ahead: bool = True) -> tuple[str, str] | None:
        """The field in which a record has no place, and why; None if it has one in each.

        Looking `ahead` a record is refused as well if its values are ahead of the others, all fields taken together,
        or if it would take a place that needs none of it and that a rarer value of another field may need. This keeps
        the last places from being all of values that are rare together.
        """
        spare = [places for places in self._places if not places.needs(texts[places.name])]
        for places in spare:
            name, text = places.name, texts[places.name]
            if text not in places.most:
                return name, f"{name} {text!r} has no declared share"
            if not places.has_room(text):
                return name, f"{name} {text!r} has its {places.taken[text]:,} of {self.n:,} records"
            if self.n_left - 1 - places.n_lacking < (self._kept_for_others(places, spare) if ahead else 0):
                return name, f"{name} {text!r} would take a place that other values may need"
        if ahead and len(spare) < len(self._places):
            lags = {places.name: places.lag(texts[places.name], self.n_left) for places in self._places}
            if sum(lags.values()) < -BAND:
                name = min(lags, key=lambda name: lags[name])
                return name, f"{name} {texts[name]!r} is ahead of its share for now"
        return None

    def _kept_for_others(self, places: Places, spare: Sequence[Places]) -> float:
        """Spare places of one field that the values which others lack are likely to need, the record being taken."""
        others = [
            (other.n_lacking - (other not in spare)) * (1 - other.open_share)
            for other in self._places
            if other is not places
        ]
        return max(others, default=0.0)

    def _see(self, texts: Mapping[str, str]) -> None:
        self._n_seen += 1
        for places in self._places:
            places.seen[texts[places.name]] += 1
        if self._n_seen % LOOK_EVERY == 0:
            self.is_hopeless |= self._is_out_of_reach()

    def _is_out_of_reach(self) -> bool:
        """Whether some value, given as often as can be believed, would still take more answers than are allowed."""
        allowed = self.n_refused_most - self.n_refused + self.n_left
        for places in self._places:
            for text, lacking in places.lacking():
                seen = places.seen[text]
                most = (seen + SURE**2 / 2 + SURE * math.sqrt(seen + SURE**2 / 4)) / self._n_seen
                if lacking > most * allowed:
                    return True
        return False

    def _refuse(self, record: Record, completion: Completion, field: str, detail: str) -> Rejection:
        self.n_refused += 1
        self.is_hopeless |= self.n_refused >= self.n_refused_most
        text, n_tokens = completion.text, record.n_tokens
        reason = f"{QUOTA}{field}"
        return Rejection(record.id, record.attempt, record.adapter, "quota", reason, detail, text, n_tokens)

    def _take(self, texts: Mapping[str, str], n: int = 1) -> None:
        for places in self._places:
            places.take(texts[places.name], n)
        self.n_left -= n

    def _texts(self, values: Mapping[str, object]) -> dict[str, str]:
        return {places.name: self._text(places.name, values[places.name]) for places in self._places}

    def _text(self, name: str, value: object) -> str:
        """The text of a value, the same for a record in memory and for its row in Parquet."""
        if name not in self._schema.names:
            return text_of(value)
        try:
            return braces.render_value(self._schema.field(name), value)
        except ValueError:  # what the model wrote in other characters than a target may have
            return text_of(value)


def most_refused(n: int, max_attempts: int) -> int:
    """How many answers of a whole run may be refused because their places are taken."""
    return max_attempts * max(n, LEAST_N)


def is_quota(reason: str) -> bool:
    """Whether a rejection's reason says that the record itself was right, but its places taken."""
    return reason.startswith(QUOTA)


def quota_shares(recipe: Recipe) -> dict[str, dict[str, float]]:
    """The shares that a recipe's records are to keep, by field and value text; empty unless it balances by quota.

    Without `balance_fields`, of all fields that have declared shares, but for derived ones that follow from another.

    Raises:
        RecipeError: a field has no declared finite distribution, or follows from another; in one line.
    """
    if recipe.generate.balance != "quota":
        return {}
    reference, wanted = recipe.reference(), recipe.generate.balance_fields
    shares, place = reference.shares, f"{recipe.path or 'recipe'}: generate"
    for name in wanted or ():
        if name not in shares:
            some = f"those that have: {', '.join(shares)}" if shares else "declare one (`target`)"
            raise RecipeError(
                f"{place}.balance_fields: {name!r} has no declared distribution of finitely many values; {some}"
            )
    if not shares:
        raise RecipeError(
            f"{place}.balance: quota needs a field with a declared distribution of finitely many values, and there is "
            "none; declare one (`target`, marginals, `closed`)"
        )
    names = tuple(wanted or shares)
    implied = _implied(reference, names, [field.name for field in recipe.record_schema().derived])
    for name, by in implied.items():
        if wanted:
            raise RecipeError(
                f"{place}.balance_fields: {name!r} follows from {by!r}, and their quotas would block each other; "
                "name one of them"
            )
    return {name: dict(shares[name]) for name in names if name not in implied}


def _implied(reference: Reference, names: Sequence[str], derived: Sequence[str]) -> dict[str, str]:
    """Derived fields whose value follows from that of another of the fields, and which that is."""
    found: dict[str, str] = {}
    for name in derived if reference.together is not None else ():
        for by in names:
            if name not in names or name == by or by in found:
                continue
            assert reference.together is not None
            pairs = reference.together.of([by, name])
            if len(pairs) == len({value for value, _ in pairs}):
                found[name] = by
                break
    return found
