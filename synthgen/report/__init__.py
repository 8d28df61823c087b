"""The report: facts computed from what was written, drawn for terminal, browser, dataset card and machines.

Light at import; what computes and draws is imported when it is called.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synthgen.report.figures import Facts
    from synthgen.report.sidebyside import SideBySide
    from synthgen.schema import RecordSchema
    from synthgen.together import Together

__all__ = ["compare_tables", "summarise", "write_comparison", "write_reports"]


def summarise(
    paths: Path | str | Sequence[Path | str],
    schema: RecordSchema | None = None,
    reference: Mapping[str, Mapping[str, float]] | None = None,
    *,
    reference_draws: Mapping[str, int] | None = None,
    together: Together | None = None,
    run: Mapping[str, object] | None = None,
    seed: int = 0,
) -> Facts:
    """Measure tables on disk: any Parquet, CSV or JSONL, or a dataset folder of ours.

    In a single dataset folder `base.parquet` is the before. What was tuned on, and without `run` or `reference`
    the run's figures and the declared distributions, come from what lies beside the data (see `beside`).

    Raises:
        RecipeError: no table at a path, or a schema or reference that does not fit it.
        SynthgenError: no rows, or figures that cannot be.
    """
    import polars as pl

    from synthgen.report.beside import Beside, read_beside
    from synthgen.report.facts import compute, field_infos
    from synthgen.report.tables import BASE_TABLE, load_table

    given = [Path(p) for p in ([paths] if isinstance(paths, Path | str) else paths)]
    folder = given[0] if len(given) == 1 and given[0].is_dir() else None
    base = folder / BASE_TABLE if folder else None
    known = read_beside(folder) if folder else Beside()
    if reference is None:
        reference, reference_draws, together = known.reference, known.draws, known.together
    return compute(
        load_table(given),
        fields=None if schema is None else field_infos(schema),
        reference=reference,
        reference_draws=reference_draws,
        before=pl.read_parquet(base) if base and base.exists() else None,
        run=_earlier_run(folder) if run is None and folder else run,
        together=together,
        seen=known.seen,
        seed=seed,
    )


def compare_tables(
    paths: Sequence[Path | str],
    schema: RecordSchema | None = None,
    reference: Mapping[str, Mapping[str, float]] | None = None,
    *,
    reference_draws: Mapping[str, int] | None = None,
    seed: int = 0,
) -> SideBySide:
    """Measure two or more inputs, each a table of its own: files, or folders of shards.

    Without `reference` the declared distributions come from the first folder that holds them.

    Raises:
        RecipeError, SynthgenError: as `summarise`, for any of them.
    """
    from synthgen.report.beside import read_beside
    from synthgen.report.facts import field_infos
    from synthgen.report.sidebyside import side_by_side
    from synthgen.report.tables import load_table

    given = [Path(p) for p in paths]
    if reference is None:
        found = (read_beside(path if path.is_dir() else path.parent) for path in given)
        known = next((beside for beside in found if beside.reference), None)
        reference, reference_draws = (known.reference, known.draws) if known else ({}, {})
    infos = None if schema is None else field_infos(schema)
    tables = dict(zip(_names(given), map(load_table, given), strict=True))
    return side_by_side(tables, infos, reference, reference_draws, seed)


def _names(paths: Sequence[Path]) -> list[str]:
    """Short names that tell the inputs apart: the last part of each path, or all of it where two are equal."""
    last = [path.resolve().name for path in paths]
    if len(set(last)) == len(last):
        return last
    whole = [str(path) for path in paths]
    return [f"{name} ({i})" if whole.count(name) > 1 else name for i, name in enumerate(whole, start=1)]


def write_reports(facts: Facts, out: Path) -> list[Path]:
    """Write report.json, report.html and the dataset card README.md into a folder, each atomically.

    What the report needs to be made again is written beside them (see `beside`). A README.md that synthgen did not write is left alone, and missing from the list returned.

    Raises:
        SinkError: the folder cannot be written.
    """
    from synthgen.errors import SinkError
    from synthgen.report import card, html
    from synthgen.report.beside import write_beside

    texts = {
        "report.json": json.dumps(facts.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "report.html": html.render(facts),
    }
    if card.may_replace(out / "README.md"):
        texts["README.md"] = card.render(facts)
    written = [_write(out / name, text) for name, text in texts.items()]
    try:
        write_beside(facts, out)
    except OSError as error:
        raise SinkError(f"{out}: cannot be written ({error.strerror}); choose another folder") from error
    return written


def write_comparison(comparison: SideBySide, out: Path) -> list[Path]:
    """Write report.json and report.html of several tables into a folder, each atomically.

    Raises:
        SinkError: the folder cannot be written.
    """
    from synthgen.report import html

    plain = json.dumps(comparison.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    texts = {"report.json": plain, "report.html": html.render_side_by_side(comparison)}
    return [_write(out / name, text) for name, text in texts.items()]


def _write(path: Path, text: str) -> Path:
    """Write a text as the sink writes everything: temporary name, sync, rename."""
    from synthgen.files import write_text, writing

    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return path


def _earlier_run(folder: Path) -> dict[str, object]:
    """The run's figures in the folder's last report; nothing if there is none."""
    try:
        found = json.loads((folder / "report.json").read_text(encoding="utf-8")).get("run")
    except (OSError, ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}
