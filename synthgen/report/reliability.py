"""The run's own figures, as the report shows them: attempts, rejects, engine, adapters.

`RunFacts.from_mapping` takes what the manifest holds; every key is optional, and a key it does not know is
kept under `details`, so that any table can be reported with as much or as little as is known of its making.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

from synthgen.errors import SynthgenError
from synthgen.quota import is_quota


@dataclass(frozen=True)
class Exact:
    """An adapter's distance to its target, computed on the token trie without sampling, in nats."""

    kl: float
    leak: float | None = None
    shape: float | None = None
    fields: Mapping[str, float] = field(default_factory=dict)  # KL by field, chain rule


@dataclass(frozen=True)
class AdapterFacts:
    """What tuning did to one adapter."""

    name: str
    before: Exact | None = None
    after: Exact | None = None
    share: float | None = None  # of the records
    steps: int | None = None
    stopped_by: str | None = None
    details: Mapping[str, object] = field(default_factory=dict)
    curve: tuple[tuple[float, float, float | None, float | None], ...] = ()  # step, loss, optimum, KL

    @classmethod
    def from_mapping(cls, name: str, raw: Mapping[str, object]) -> AdapterFacts:
        """Read one entry of `adapters`: before/after {kl, leak, shape, fields}, share, steps, stopped_by, curve."""
        steps, stopped_by = raw.get("steps"), raw.get("stopped_by")
        known = {"name", "before", "after", "share", "steps", "stopped_by", "curve"}
        raw_curve = raw.get("curve")
        curve = raw_curve if isinstance(raw_curve, list | tuple) else ()
        return cls(
            name,
            _exact(raw.get("before"), f"adapter {name}, before"),
            _exact(raw.get("after"), f"adapter {name}, after"),
            _number(raw.get("share"), f"adapter {name}, share"),
            None if steps is None else int(str(steps)),
            None if stopped_by is None else str(stopped_by),
            {k: v for k, v in raw.items() if k not in known and isinstance(v, str | int | float | bool)},
            tuple(_step(entry, f"adapter {name}, curve") for entry in curve),
        )


@dataclass(frozen=True)
class AdapterAttempts:
    """What became of one adapter's attempts."""

    name: str
    attempted: int
    accepted: int
    reasons: Mapping[str, int]  # rejections by reason

    @property
    def n_full(self) -> int:
        """Sound answers that only a quota refused."""
        return sum(n for reason, n in self.reasons.items() if is_quota(reason))

    @property
    def reject_rate(self) -> float:
        """Share of the attempts that were at fault: that gave no record, and not for a quota's sake."""
        return 1 - (self.accepted + self.n_full) / self.attempted if self.attempted else 0.0


@dataclass(frozen=True)
class ValueRejects:
    """How often attempts were rejected in which the model had written one value."""

    value: str
    attempted: int
    rejected: int
    interval: tuple[float, float]  # of the reject rate, 95 % (Wilson 1927)
    p_value: float  # that the field's other values are rejected as often: Fisher's exact test, Holm-adjusted

    @property
    def reject_rate(self) -> float:
        """Share of the attempts."""
        return self.rejected / self.attempted

    @property
    def is_biased(self) -> bool:
        """Whether noise alone does not explain the rate, all values of all fields considered."""
        return self.p_value < 0.05


@dataclass(frozen=True)
class FieldRejects:
    """Rejection value by value, over the attempts whose text shows one of the field's values."""

    field: str
    attempted: int
    rejected: int
    n_unknown: int  # rejected attempts that show no value of the field: cut off, garbled, outside its values
    values: tuple[ValueRejects, ...]

    @property
    def moved(self) -> float:
        """TV distance between the shares among the accepted and among all these attempts: what rejection did."""
        accepted = self.attempted - self.rejected
        if not accepted:
            return 0.0
        return 0.5 * sum(
            abs((v.attempted - v.rejected) / accepted - v.attempted / self.attempted) for v in self.values
        )

    @property
    def biased(self) -> tuple[ValueRejects, ...]:
        """Values rejected more or less often than the others beyond noise, the surest first."""
        return tuple(sorted((v for v in self.values if v.is_biased), key=lambda v: (v.p_value, v.value)))


@dataclass(frozen=True)
class RejectFacts:
    """Rejected attempts by adapter and by value, and how often records had to be tried again.

    Values are judged by faults alone: an answer that only a quota refused is a sound attempt there.
    """

    adapters: tuple[AdapterAttempts, ...]
    fields: tuple[FieldRejects, ...]
    n_refilled: int  # records that took more than one attempt
    most_attempts: int  # that any record took
    quota: Mapping[str, int] = field(default_factory=dict)  # sound answers refused by each field's quota

    def check(self) -> None:
        """Raise SynthgenError for counts that cannot be."""
        for adapter in self.adapters:
            if adapter.attempted != adapter.accepted + sum(adapter.reasons.values()):
                raise SynthgenError(
                    f"adapter {adapter.name}: attempted {adapter.attempted} is not accepted {adapter.accepted} + "
                    f"rejected {sum(adapter.reasons.values())}; an attempt was lost or counted twice"
                )
        n_rejected = sum(sum(adapter.reasons.values()) - adapter.n_full for adapter in self.adapters)
        for entry in self.fields:
            if entry.rejected + entry.n_unknown != n_rejected:
                raise SynthgenError(
                    f"{entry.field}: {entry.rejected} rejections by value and {entry.n_unknown} unknown are not "
                    f"the {n_rejected} rejections of all adapters, those for a quota left out"
                )


@dataclass(frozen=True)
class RunFacts:
    """How the records came about; whatever is unknown is None or empty."""

    title: str | None = None
    recipe: str | None = None
    schema: str | None = None
    model: str | None = None
    license: str | None = None
    engine: str | None = None
    seed: int | None = None
    attempted: int | None = None
    accepted: int | None = None
    rejected: int | None = None
    rejects: Mapping[str, int] = field(default_factory=dict)  # rejected attempts by reason
    parse_rate: float | None = None
    parse_rate_before: float | None = None  # of the untuned model, same prompt
    elapsed_s: float | None = None
    records_per_s: float | None = None
    tokens: int | None = None  # generated, rejected attempts included
    prompt_tokens: float | None = None  # that an attempt is given, on average
    other_spelling: float | None = None  # of `n_spelled` accepted answers, not in the tokenizer's own tokens
    n_spelled: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    adapters: tuple[AdapterFacts, ...] = ()
    rejection: RejectFacts | None = None  # None: nothing was rejected, or nothing is known of it
    details: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def from_mapping(cls, raw: Mapping[str, object]) -> RunFacts:
        """Read the run's figures and check that they can be.

        Raises:
            SynthgenError: attempts are not accepted plus rejected, the reasons do not add up to the rejected,
                a share lies outside 0 to 1, or an adapter's KL is not leak plus shape.
        """
        texts = {
            k: str(raw[k])
            for k in ("title", "recipe", "schema", "model", "license")
            if raw.get(k) is not None
        }
        whole = {
            k: int(str(raw[k]))
            for k in ("seed", "attempted", "accepted", "rejected", "tokens", "n_spelled")
            if raw.get(k) is not None
        }
        rates = (
            "parse_rate", "parse_rate_before", "elapsed_s", "records_per_s", "prompt_tokens", "other_spelling",
        )  # fmt: skip
        facts = cls(
            **texts,  # type: ignore[arg-type]
            **whole,  # type: ignore[arg-type]
            **{k: _number(raw.get(k), k) for k in rates},  # type: ignore[arg-type]
            engine=_engine(raw.get("engine")),
            rejects={str(k): int(str(v)) for k, v in _mapping(raw.get("rejects")).items()},
            versions={str(k): str(v) for k, v in _mapping(raw.get("versions")).items()},
            fingerprints={str(k): str(v) for k, v in _mapping(raw.get("fingerprints")).items()},
            adapters=tuple(AdapterFacts.from_mapping(n, r) for n, r in _named(raw.get("adapters"))),
            rejection=_rejection(raw.get("rejection")),
            details={
                **{str(k): v for k, v in _mapping(raw.get("details")).items()},
                **{k: v for k, v in raw.items() if k not in {f.name for f in fields(cls)} and v is not None},
            },
        )
        facts.check()
        return facts

    def check(self) -> None:
        """Raise SynthgenError for figures that cannot be."""
        if None not in (self.attempted, self.accepted, self.rejected):
            assert self.attempted is not None and self.accepted is not None and self.rejected is not None
            if self.attempted != self.accepted + self.rejected:
                raise SynthgenError(
                    f"run: attempted {self.attempted} is not accepted {self.accepted} + rejected "
                    f"{self.rejected}; an attempt was lost or counted twice"
                )
        if self.rejected is not None and self.rejects and sum(self.rejects.values()) != self.rejected:
            raise SynthgenError(
                f"run: rejects by reason add up to {sum(self.rejects.values())}, rejected is "
                f"{self.rejected}; every rejection has exactly one reason"
            )
        if self.rejection is not None:
            self.rejection.check()
        for name in ("parse_rate", "parse_rate_before", "other_spelling"):
            rate = getattr(self, name)
            if rate is not None and not 0 <= rate <= 1:
                raise SynthgenError(f"run: {name} is {rate:g}; a share lies between 0 and 1")
        for adapter in self.adapters:
            for when in (adapter.before, adapter.after):
                if when is None or when.leak is None or when.shape is None:
                    continue
                if not math.isclose(when.kl, when.leak + when.shape, rel_tol=1e-3, abs_tol=1e-3):
                    raise SynthgenError(
                        f"adapter {adapter.name}: KL {when.kl:.4f} is not leak {when.leak:.4f} + "
                        f"shape {when.shape:.4f}; the three figures do not belong together"
                    )


def _engine(raw: object) -> str | None:
    if isinstance(raw, Mapping):
        device = f" on {raw['device']}" if raw.get("device") else ""
        return f"{raw.get('name', 'unknown')} {raw.get('version', '')}".strip() + device
    return None if raw is None else str(raw)


def _rejection(raw: object) -> RejectFacts | None:
    """Facts of this run, or what report.json holds of them."""
    if raw is None or isinstance(raw, RejectFacts):
        return raw
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(RejectFacts).validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        raise SynthgenError(f"run: rejection: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _exact(raw: object, where: str) -> Exact | None:
    if not isinstance(raw, Mapping) or raw.get("kl") is None:
        return None
    by_field = {str(k): _number(v, f"{where}, KL of {k}") for k, v in _mapping(raw.get("fields")).items()}
    return Exact(
        kl=_number(raw["kl"], f"{where}, kl") or 0.0,
        leak=_number(raw.get("leak"), f"{where}, leak"),
        shape=_number(raw.get("shape"), f"{where}, shape"),
        fields={k: v for k, v in by_field.items() if v is not None},
    )


def _number(raw: object, where: str) -> float | None:
    if raw is None:
        return None
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw):
        raise SynthgenError(f"{where}: expected a finite number, found {raw!r}")
    return float(raw)


def _step(raw: object, where: str) -> tuple[float, float, float | None, float | None]:
    """[step, loss, optimum, kl], of which the last two may be missing or null."""
    if not isinstance(raw, list | tuple) or not 2 <= len(raw) <= 4:
        raise SynthgenError(f"{where}: expected [step, loss, optimum, kl], found {raw!r}")
    step, loss, optimum, kl = (_number(value, where) for value in [*raw, None, None][:4])
    if step is None or loss is None:
        raise SynthgenError(f"{where}: a step without number or loss: {raw!r}")
    return step, loss, optimum, kl


def _mapping(raw: object) -> Mapping[object, object]:
    return raw if isinstance(raw, Mapping) else {}


def _named(raw: object) -> Iterable[tuple[str, Mapping[str, object]]]:
    """Adapters as {name: entry} or as [entry with "name"]."""
    if isinstance(raw, Mapping):
        return [(str(name), entry) for name, entry in raw.items() if isinstance(entry, Mapping)]
    if isinstance(raw, list | tuple):
        return [(str(entry.get("name", "adapter")), entry) for entry in raw if isinstance(entry, Mapping)]
    return []
