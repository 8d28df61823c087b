"""A remedy → what every attempt of a run is asked: its prompt, and the tokens that its answer begins with.

Stands between `balance` and `styles`, which say what to ask, and the runners, which ask it. Prompts go through the
model's chat template, and openings are tokenised together with the prompt and the brace that follows, as the
answers that an adapter is tuned on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache

from synthgen import braces
from synthgen.balance import Draws, Restricted, Texts, Values, score_support, support_of
from synthgen.engines.protocol import Completion, Engine
from synthgen.plan import BASE
from synthgen.prompt import Prompt, Tokenizer, build_prompt
from synthgen.remedy import FORCED, Remedy
from synthgen.runners.local import Admit, Asked, Work
from synthgen.schema import RecordSchema
from synthgen.styles import MOST_AVOIDED, reader, worded
from synthgen.target_source import TargetSource
from synthgen.target_trie import AnswerTokens
from synthgen.validation import Record, Rejection

AVOIDING_AT_ONCE = 8  # attempts in flight that do not know each other's values
_OPENINGS = 4096  # kept, where few values occur


def asked(
    work: Work, remedy: Remedy, prompt: Prompt, tokenizer: Tokenizer, values: Values | None = None
) -> Work:
    """The same work, asked as a remedy says; `values` are those of its fields, by record id.

    Raises:
        RecipeError: the tokenizer would join a prompt's end with the answer's beginning.
    """
    if remedy.is_plain:
        return work
    read = reader(remedy.ask, len(work.schema.fields), remedy.seed)
    if remedy.ask != "avoid":
        return replace(work, ask=_Asker(work.schema, remedy, prompt, tokenizer, values), read=read)
    earlier = Earlier(work.schema)
    ask = _Asker(work.schema, remedy, prompt, tokenizer, values, earlier)
    return replace(work, ask=ask, read=read, admit=earlier.watching(work.admit), at_once=AVOIDING_AT_ONCE)


def drawn(remedy: Remedy, source: TargetSource | None) -> Values | None:
    """The values that are drawn from the declared distribution; None where none are."""
    if remedy.balance not in ("prefill", "in-prompt"):
        return None
    assert source is not None
    return Draws(source, remedy.fields, remedy.seed)


def restricted(
    engine: Engine,
    remedy: Remedy,
    source: TargetSource,
    schema: RecordSchema,
    prompt: Prompt,
    tokenizer: Tokenizer,
    adapters: Iterable[str],
    kept: Mapping[str, object] | None = None,
) -> Restricted:
    """For `balance: exact`: every value tuple scored once per adapter of the mix, by an idle engine.

    `kept` is what `Restricted.to_json` gave in an earlier run, which is not scored again.
    """
    support = support_of(source, remedy.fields)
    if kept is not None:
        shares, log_mass = kept["shares"], kept["log_mass"]
        assert isinstance(shares, dict) and isinstance(log_mass, dict)
        return Restricted(support, shares, log_mass)
    tokens = AnswerTokens(_prompt(schema, tokenizer, worded(prompt.user, remedy.ask)), tokenizer)
    openings = [_opening(tokens, schema, texts) for texts in support]
    served = {name: None if name == BASE else name for name in adapters}
    return score_support(engine, tokens.prompt.ids, support, openings, served)


class Earlier:
    """The values that the last accepted records had in one field, latest last: the first open one."""

    def __init__(self, schema: RecordSchema, most: int = MOST_AVOIDED) -> None:
        self.field = next((field for field in schema.fields if not field.is_closed), schema.fields[0])
        self._most = most
        self._texts: dict[str, None] = {}

    @property
    def texts(self) -> tuple[str, ...]:
        """Distinct values, `most` at most."""
        return tuple(self._texts)

    def watching(self, admit: Admit) -> Admit:
        """The same `admit`, noting what it admits."""

        def look(record: Record, completion: Completion) -> Record | Rejection:
            outcome = admit(record, completion)
            if isinstance(outcome, Record):
                self.add(outcome)
            return outcome

        return look

    def add(self, record: Record) -> None:
        """Note a record's value."""
        try:
            text = braces.render_value(self.field, record.values[self.field.name])
        except ValueError:  # the user's model turned it into what could not be written
            return
        self._texts.pop(text, None)
        self._texts[text] = None
        if len(self._texts) > self._most:
            del self._texts[next(iter(self._texts))]


class _Asker:
    """(record id, attempt) → what is asked."""

    def __init__(
        self,
        schema: RecordSchema,
        remedy: Remedy,
        prompt: Prompt,
        tokenizer: Tokenizer,
        values: Values | None,
        earlier: Earlier | None = None,
    ) -> None:
        self._schema, self._remedy, self._user, self._tokenizer = schema, remedy, prompt.user, tokenizer
        self._values, self._earlier = values, earlier
        self._labels = [schema.field(name).label for name in remedy.fields]
        self._same: AnswerTokens | None = None  # with the prompt of all records, where they share one
        if earlier is None and remedy.balance != "in-prompt":
            self._same = AnswerTokens(self._worded(()), tokenizer)
        self._opening_of = lru_cache(maxsize=_OPENINGS)(self._opening)

    def __call__(self, record_id: int, _attempt: int) -> Asked:
        values = () if self._values is None else self._values(record_id)
        if self._remedy.balance not in FORCED:
            return Asked(self._worded(values).ids if self._same is None else self._same.prompt.ids)
        if self._same is not None:
            return Asked(self._same.prompt.ids, self._opening_of(values))
        tokens = AnswerTokens(self._worded(()), self._tokenizer)
        return Asked(tokens.prompt.ids, _forced(tokens, self._schema, values))

    def _opening(self, values: Texts) -> tuple[int, ...]:
        assert self._same is not None
        return _forced(self._same, self._schema, values)

    def _worded(self, values: Texts) -> Prompt:
        stated = list(zip(self._labels, values, strict=True)) if values else []
        avoided = () if self._earlier is None else self._earlier.texts
        return _prompt(self._schema, self._tokenizer, worded(self._user, self._remedy.ask, stated, avoided))


def _prompt(schema: RecordSchema, tokenizer: Tokenizer, user: str) -> Prompt:
    return build_prompt(schema, tokenizer, text=user)


def _opening(tokens: AnswerTokens, schema: RecordSchema, values: Texts) -> tuple[int, ...]:
    """Token ids up to the one that closes the last value; of a whole record, the stop token too."""
    whole = len(values) == len(schema.fields)
    return tuple(tokens.leading(braces.join(values), len(values), whole)[0])


def _forced(tokens: AnswerTokens, schema: RecordSchema, values: Texts) -> tuple[int, ...]:
    """The same without a stop token, which only the model may write."""
    ids = _opening(tokens, schema, values)
    return ids[:-1] if len(values) == len(schema.fields) else ids
