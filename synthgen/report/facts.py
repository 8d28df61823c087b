"""Tables → Facts: every figure of the report is computed here, once, from what was written.

Sits after the sink: it reads the finished Parquet (or any table), so it also runs alone. The untuned model's
sample is small, so coverage and entropy are compared at the smaller of the two sizes.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from synthgen import stats
from synthgen.errors import RecipeError
from synthgen.report.charts import chart
from synthgen.report.figures import (
    Distance,
    EqualN,
    Facts,
    FieldFacts,
    FieldInfo,
    Kind,
    Sample,
    TargetFacts,
    TextFigures,
    TopValue,
)
from synthgen.report.reliability import RunFacts
from synthgen.report.tables import (
    NO_VALUE,
    Tally,
    canonical_number,
    load_table,
    n_rows,
    sample_rows,
    tally,
    text_lengths,
)

if TYPE_CHECKING:
    from synthgen.schema import RecordSchema

__all__ = ["Facts", "FieldFacts", "FieldInfo", "Kind", "compute", "field_infos", "load_facts", "load_table"]

MAX_TARGET_VALUES = 20_000  # a floor over more is slow to simulate and says little
TEXT_CHARS = 40  # strings longer than this on average are text, not values
_STANDARD_SIZES = (100, 1_000, 10_000, 100_000)
_TEXT_SAMPLE = 1_000


@dataclass(frozen=True)
class _Target:
    """A declared distribution, cleaned: positive probabilities that add up to 1."""

    probabilities: dict[str, float]
    n_reference: int | None
    n_tested: int  # fields with a target, for the family's limit


def compute(
    after: pl.DataFrame | pl.LazyFrame,
    *,
    fields: Sequence[FieldInfo] | None = None,
    reference: Mapping[str, Mapping[str, float]] | None = None,
    reference_draws: Mapping[str, int] | None = None,
    before: pl.DataFrame | None = None,
    run: Mapping[str, object] | None = None,
    seed: int = 0,
) -> Facts:
    """Measure a table.

    Args:
        after: the dataset.
        fields: what to report, declared and derived; None takes every column whose name has no leading `_`
            and guesses its kind from its type.
        reference: declared distribution by field, value text → probability. Text is as on the wire: yes/no,
            ISO dates, `none` for a missing value; numbers match in any spelling.
        reference_draws: draws behind a reference that is itself an estimate; the others are exact.
        before: a sample of the untuned model with the same columns.
        run: how the records came about; see `RunFacts.from_mapping`.
        seed: of the simulated floors, bootstraps and text samples; the same seed gives the same facts.

    Raises:
        RecipeError: a field or reference names no column, or a reference is no distribution.
        SynthgenError: the table is empty, or a figure cannot be (see `Facts.check`).
    """
    table = after.lazy()
    n = n_rows(table)
    infos, skipped = _infos(table, fields)
    lengths = text_lengths(table, [i.name for i in infos if i.kind in ("open", "text")])
    infos = [_as_text_field(info, lengths) for info in infos]
    targets = _targets(infos, reference or {}, reference_draws or {}, skipped)
    base = None if before is None or before.height == 0 else before.lazy()
    n_before = None if base is None or before is None else before.height
    texts = _text_figures(table, base, infos, n, n_before, lengths, seed)
    measured = []
    for info in infos:
        has_before = base is not None and before is not None and info.name in before.columns
        tallies = tally(table, info.name), tally(base, info.name) if has_before and base is not None else None
        measured.append(_field(info, *tallies, targets.get(info.name), texts.get(info.name), seed))
    facts = Facts(
        n_records=n,
        n_before=n_before,
        fields=tuple(sorted(measured, key=_worst_first)),
        run=RunFacts.from_mapping(run or {}),
        seed=seed,
        skipped=skipped,
    )
    facts.check()
    return facts


def field_infos(schema: RecordSchema) -> tuple[FieldInfo, ...]:
    """What a record schema says of its columns, declared fields first."""

    def kind(name: str, finite: bool) -> Kind:
        if name in ("int", "float", "decimal"):
            return "number"
        if name in ("date", "datetime"):
            return "date"
        return "closed" if finite or name == "bool" else "open"

    return tuple(
        FieldInfo(spec.name, spec.label, kind(spec.kind, spec.support is not None), derived)
        for specs, derived in ((schema.fields, False), (schema.derived, True))
        for spec in specs
    )


def load_facts(path: Path) -> Facts:
    """Read report.json, or the one in a dataset folder."""
    file = path / "report.json" if path.is_dir() else path
    try:
        return Facts.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise RecipeError(f"{file}: no report here; make one with 'synthgen report {path}'") from None


# ── what is measured ──────────────────────────────────────────────────────────────────────────────


def _infos(table: pl.LazyFrame, fields: Sequence[FieldInfo] | None) -> tuple[list[FieldInfo], dict[str, str]]:
    """Fields to report, and the columns that cannot be, with the reason."""
    columns = table.collect_schema()
    if fields is not None:
        missing = [f.name for f in fields if f.name not in columns]
        if missing:
            raise RecipeError(f"the table has no column {missing[0]!r}; it has {', '.join(columns.names())}")
        wanted = {f.name: f for f in fields}
    else:
        wanted = {name: _guess(name, dtype) for name, dtype in columns.items() if not name.startswith("_")}
    skipped = {n: f"type {columns[n]} holds no single value" for n in wanted if not _is_countable(columns[n])}
    infos = [info for name, info in wanted.items() if name not in skipped]
    if not infos:
        raise RecipeError(
            f"the table has no column to report on; it has {', '.join(columns.names()) or 'none'}"
        )
    return infos, skipped


def _is_countable(dtype: pl.DataType) -> bool:
    return not (dtype.is_nested() or dtype in (pl.Binary, pl.Object))


def _guess(name: str, dtype: pl.DataType) -> FieldInfo:
    kind: Kind = "open"
    if dtype.is_numeric():
        kind = "number"
    elif dtype.is_temporal():
        kind = "date"
    elif dtype in (pl.Boolean, pl.Categorical, pl.Enum):
        kind = "closed"
    return FieldInfo(name, name.replace("_", " ").strip().capitalize() or name, kind)


def _as_text_field(info: FieldInfo, lengths: Mapping[str, tuple[float, float]]) -> FieldInfo:
    is_long = info.kind == "open" and lengths[info.name][0] > TEXT_CHARS
    return FieldInfo(info.name, info.label, "text", info.derived) if is_long else info


def _targets(
    infos: Sequence[FieldInfo],
    reference: Mapping[str, Mapping[str, float]],
    draws: Mapping[str, int],
    skipped: Mapping[str, str],
) -> dict[str, _Target | str]:
    """The declared distribution of each field, or why it is not compared."""
    kinds = {info.name: info.kind for info in infos}
    targets: dict[str, _Target | str] = {}
    for name, declared in reference.items():
        if name not in kinds:
            if name in skipped:
                continue
            raise RecipeError(f"reference: {name!r} is no field of the table; it has {', '.join(kinds)}")
        total = sum(declared.values())
        if not declared or min(declared.values()) < 0 or abs(total - 1) > 1e-6:
            raise RecipeError(
                f"reference: {name}: expected probabilities that add up to 1, found a sum of {total:g}"
            )
        if len(declared) > MAX_TARGET_VALUES:
            targets[name] = (
                f"the target has {len(declared):,} values; distances are computed up to {MAX_TARGET_VALUES:,}"
            )
            continue
        spelled: dict[str, float] = {}
        for text, p in declared.items():
            if p > 0:
                key = canonical_number(text) if kinds[name] == "number" else text
                spelled[key] = spelled.get(key, 0.0) + p / total
        targets[name] = _Target(spelled, draws.get(name), len(reference))
    return targets


def _field(
    info: FieldInfo,
    after: Tally,
    before: Tally | None,
    target: _Target | str | None,
    texts: tuple[TextFigures, TextFigures | None] | None,
    seed: int,
) -> FieldFacts:
    rng = np.random.default_rng([seed, zlib.crc32(info.name.encode())])
    declared = target if isinstance(target, _Target) else None
    return FieldFacts(
        info=info,
        after=_sample(after, rng, texts[0] if texts else None),
        before=None if before is None else _sample(before, rng, texts[1] if texts else None),
        at_equal_n=None if before is None else _equal_n(before, after),
        target=None if declared is None else _compare(after, info, declared, rng),
        target_before=None if declared is None or before is None else _compare(before, info, declared, rng),
        no_target=target if isinstance(target, str) else None,
        chart=chart(info, after, before, None if declared is None else declared.probabilities, rng),
    )


def _sample(column: Tally, rng: np.random.Generator, text: TextFigures | None) -> Sample:
    counts, n = column.spectrum(), column.n
    n_boot = int(np.clip(1_000_000 // column.coverage, 60, 200))
    entropy = stats.entropy_chao_wang_jost(counts)
    return Sample(
        n=n,
        n_missing=column.n_missing,
        coverage=column.coverage,
        entropy_plugin=stats.entropy_plugin(counts),
        entropy_miller_madow=stats.entropy_miller_madow(counts),
        entropy_chao_wang_jost=entropy,
        entropy_interval=stats.bootstrap_interval(counts, stats.entropy_chao_wang_jost, rng, n_boot),
        perplexity=stats.perplexity(entropy),
        sample_coverage=stats.good_turing_coverage(counts),
        chao1=stats.chao1(counts),
        rarefied={str(m): stats.coverage_rarefied(counts, m) for m in _STANDARD_SIZES if m <= n},
        top=tuple(TopValue(value, count, count / n) for value, count in column.top(5)),
        text=text,
    )


def _equal_n(before: Tally, after: Tally) -> EqualN:
    m, old, new = min(before.n, after.n), before.spectrum(), after.spectrum()
    return EqualN(
        n=m,
        coverage_before=stats.coverage_rarefied(old, m),
        coverage_after=stats.coverage_rarefied(new, m),
        entropy_before=stats.entropy_rarefied(old, m),
        entropy_after=stats.entropy_rarefied(new, m),
    )


def _compare(column: Tally, info: FieldInfo, target: _Target, rng: np.random.Generator) -> TargetFacts:
    counts = column.by_text()
    if info.kind == "number":
        spelled: dict[str, int] = {}
        for text, count in counts.items():
            spelled[canonical_number(text)] = spelled.get(canonical_number(text), 0) + count
        counts = spelled
    n, values = column.n, list(target.probabilities)
    p = np.array([*target.probabilities.values(), 0.0])
    inside = np.array([counts.get(value, 0) for value in values])
    shares = np.array([*inside, n - inside.sum()]) / n  # the last cell: everything outside the support
    n_sims = max(int(np.clip(2_000_000 // len(values), 200, 2000)), 20 * target.n_tested)
    floors = stats.simulate_floors(p, n, rng, n_sims, target.n_reference)
    level = 1 - 0.05 / target.n_tested

    def distance(value: float, floor: stats.Floor) -> Distance:
        finite = value if np.isfinite(value) else None
        return Distance(finite, floor.mean, floor.quantile(0.95), floor.quantile(level))

    return TargetFacts(
        k=len(values),
        n_reference=target.n_reference,
        tv=distance(stats.tv(shares, p), floors.tv),
        js=distance(stats.js(shares, p), floors.js),
        kl=distance(stats.kl(shares, p), floors.kl),
        wasserstein=_wasserstein(counts, target.probabilities) if info.kind in ("number", "date") else None,
        share_outside=float(shares[-1]),
        n_unseen=int((inside == 0).sum()),
    )


def _wasserstein(counts: Mapping[str, int], target: Mapping[str, float]) -> float | None:
    """Distance in the unit of the values, days for dates; None if a value has no place on a scale."""
    texts = sorted({*counts, *target} - {NO_VALUE})
    try:
        places = [_place(text) for text in texts]
    except ValueError:
        return None
    p: npt.NDArray[np.float64] = np.array([float(counts.get(t, 0)) for t in texts])
    q = np.array([target.get(t, 0.0) for t in texts])
    if p.sum() == 0 or q.sum() == 0:
        return None
    return stats.wasserstein(places, p / p.sum(), q / q.sum())


def _place(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return moment.toordinal() + (moment.hour * 60 + moment.minute) / 1440


def _text_figures(
    table: pl.LazyFrame,
    base: pl.LazyFrame | None,
    infos: Sequence[FieldInfo],
    n: int,
    n_before: int | None,
    lengths: Mapping[str, tuple[float, float]],
    seed: int,
) -> dict[str, tuple[TextFigures, TextFigures | None]]:
    """After and before, each over the same number of records."""
    names = [info.name for info in infos if info.kind == "text"]
    m = min(n, _TEXT_SAMPLE, n_before or n)
    rng = np.random.default_rng([seed, 1])

    def figures(
        rows: Mapping[str, list[str]], means: Mapping[str, tuple[float, float]]
    ) -> dict[str, TextFigures]:
        return {
            c: TextFigures(m, *means[c], stats.distinct_1(texts), stats.distinct_n(texts, 2))
            for c, texts in rows.items()
        }

    new = figures(sample_rows(table, names, n, m, rng), lengths)
    if base is None or n_before is None:
        return {c: (f, None) for c, f in new.items()}
    shared = [c for c in names if c in base.collect_schema()]
    old = figures(sample_rows(base, shared, n_before, m, rng), text_lengths(base, shared))
    return {c: (f, old.get(c)) for c, f in new.items()}


def _worst_first(entry: FieldFacts) -> tuple[int, float]:
    """Largest excess over the floor first; fields without a target follow, the most concentrated first."""
    if entry.target is not None:
        return 0, -entry.target.excess
    return 1, -entry.after.top[0].share
