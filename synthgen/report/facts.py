"""Tables → Facts: every figure of the report is computed here, once, from what was written.

Sits after the sink: it reads the finished Parquet (or any table), so it also runs alone. The untuned model's
sample is small, so coverage and entropy are compared at the smaller of the two sizes.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from synthgen import stats
from synthgen.errors import RecipeError
from synthgen.intervals import coverage_interval, entropy_interval, fewest_values
from synthgen.report.charts import chart
from synthgen.report.comparison import MAX_TARGET_VALUES, Target, compare, read_targets
from synthgen.report.duplicates import duplicate_rate
from synthgen.report.figures import EqualN, Facts, FieldFacts, FieldInfo, Kind, Sample, TextFigures, TopValue
from synthgen.report.joint import joint
from synthgen.report.novelty import novelty, seen_records
from synthgen.report.pairs import pair_targets
from synthgen.report.places import places
from synthgen.report.reliability import RunFacts
from synthgen.report.tables import Tally, load_table, n_rows, tally, text_lengths
from synthgen.report.texts import text_figures
from synthgen.seen import Seen
from synthgen.together import Together

if TYPE_CHECKING:
    from synthgen.schema import RecordSchema

__all__ = ["MAX_TARGET_VALUES", "Facts", "FieldFacts", "FieldInfo", "Kind", "Seen"]
__all__ += ["compute", "field_infos", "load_facts", "load_table"]

TEXT_CHARS = 40  # strings longer than this on average are text, not values
_SIZES = [digit * 10**power for power in range(1, 9) for digit in (1, 2, 5)]
_MAX_PLACES = 100_000  # distinct values of a column that is looked up on the map


def compute(
    after: pl.DataFrame | pl.LazyFrame,
    *,
    fields: Sequence[FieldInfo] | None = None,
    reference: Mapping[str, Mapping[str, float]] | None = None,
    reference_draws: Mapping[str, int] | None = None,
    before: pl.DataFrame | None = None,
    run: Mapping[str, object] | None = None,
    together: Together | None = None,
    seen: Sequence[Seen] = (),
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
        together: the declared joint distribution of fields with few values, spelled as in `reference`.
        seen: the tuples that the model was tuned on, for what is new and what was memorised.
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
    targets = read_targets(infos, reference or {}, reference_draws or {}, skipped)
    base = None if before is None or before.height == 0 else before.lazy()
    n_before = None if base is None or before is None else before.height
    text_names = [info.name for info in infos if info.kind == "text"]
    texts = text_figures(table, base, text_names, n, n_before, lengths, seed)
    measured = []
    for info in infos:
        has_before = base is not None and before is not None and info.name in before.columns
        tallies = tally(table, info.name), tally(base, info.name) if has_before and base is not None else None
        measured.append(_field(info, *tallies, targets.get(info.name), texts.get(info.name), seen, seed))
    shared = [info for info in infos if before is not None and info.name in before.columns]
    facts = Facts(
        n_records=n,
        n_before=n_before,
        fields=tuple(sorted(measured, key=_worst_first)),
        run=RunFacts.from_mapping(run or {}),
        seed=seed,
        skipped=skipped,
        joint=joint(table, infos, n, np.random.default_rng([seed, 2])),
        pairs=pair_targets(table, before, infos, n, together, np.random.default_rng([seed, 3])),
        seen_records=seen_records(table, infos, n, seen),
        seen_before=None if base is None else seen_records(base, shared, n_before or 0, seen),
        duplicate_rate=duplicate_rate(table, [info.name for info in infos if not info.derived], n),
        reference={name: dict(declared) for name, declared in (reference or {}).items()},
        reference_draws=dict(reference_draws or {}),
        together=together,
        seen=tuple(seen),
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


def _field(
    info: FieldInfo,
    after: Tally,
    before: Tally | None,
    target: Target | str | None,
    texts: tuple[TextFigures, TextFigures | None] | None,
    seen: Sequence[Seen],
    seed: int,
) -> FieldFacts:
    rng = np.random.default_rng([seed, zlib.crc32(info.name.encode())])
    declared = target if isinstance(target, Target) else None
    return FieldFacts(
        info=info,
        after=_sample(after, texts[0] if texts else None),
        before=None if before is None else _sample(before, texts[1] if texts else None),
        at_equal_n=None if before is None else _equal_n(before, after),
        target=None if declared is None else compare(after, info, declared, rng),
        target_before=None if declared is None or before is None else compare(before, info, declared, rng),
        no_target=target if isinstance(target, str) else None,
        chart=chart(info, after, before, None if declared is None else declared.probabilities, rng),
        novelty=novelty(after, info, seen, rng),
        novelty_before=None if before is None else novelty(before, info, seen, rng),
        places=places(after.by_text()) if _may_be_places(info, after) else None,
    )


def _may_be_places(info: FieldInfo, column: Tally) -> bool:
    return info.kind in ("open", "closed") and 1 < column.coverage <= _MAX_PLACES


def _sample(column: Tally, text: TextFigures | None) -> Sample:
    counts, n = column.spectrum(), column.n
    entropy = stats.entropy_chao_wang_jost(counts)
    sizes = [m for m in _SIZES if m <= n]
    return Sample(
        n=n,
        n_missing=column.n_missing,
        coverage=column.coverage,
        entropy_plugin=stats.entropy_plugin(counts),
        entropy_miller_madow=stats.entropy_miller_madow(counts),
        entropy_chao_wang_jost=entropy,
        entropy_interval=entropy_interval(counts),
        perplexity=stats.perplexity(entropy),
        sample_coverage=stats.good_turing_coverage(counts),
        sample_coverage_interval=coverage_interval(counts),
        chao1=stats.chao1(counts),
        fewest_values=fewest_values(counts),
        rarefied=dict(zip(map(str, sizes), stats.coverage_curve(counts, sizes), strict=True)),
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


def _worst_first(entry: FieldFacts) -> tuple[int, float]:
    """Largest excess over the floor first; fields without a target follow, the most concentrated first."""
    if entry.target is not None:
        return 0, -entry.target.excess
    return 1, -entry.after.top[0].share
