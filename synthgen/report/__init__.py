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

__all__ = ["TARGET", "compare_tables", "declared_in", "summarise", "write_comparison", "write_reports"]

TARGET = "_target.json"  # the declared distributions, kept beside report.json so that it can be made again


def summarise(
    paths: Path | str | Sequence[Path | str],
    schema: RecordSchema | None = None,
    reference: Mapping[str, Mapping[str, float]] | None = None,
    *,
    reference_draws: Mapping[str, int] | None = None,
    run: Mapping[str, object] | None = None,
    seed: int = 0,
) -> Facts:
    """Measure tables on disk: any Parquet, CSV or JSONL, or a dataset folder of ours.

    In a single dataset folder `base.parquet` is the before, and without `run` or `reference` the run's figures
    come from the folder's last report.json and the declared distributions from its _target.json.

    Raises:
        RecipeError: no table at a path, or a schema or reference that does not fit it.
        SynthgenError: no rows, or figures that cannot be.
    """
    import polars as pl

    from synthgen.report.facts import compute, field_infos
    from synthgen.report.tables import BASE_TABLE, load_table

    given = [Path(p) for p in ([paths] if isinstance(paths, Path | str) else paths)]
    folder = given[0] if len(given) == 1 and given[0].is_dir() else None
    base = folder / BASE_TABLE if folder else None
    if folder and reference is None:
        reference, reference_draws = declared_in(folder)
    return compute(
        load_table(given),
        fields=None if schema is None else field_infos(schema),
        reference=reference,
        reference_draws=reference_draws,
        before=pl.read_parquet(base) if base and base.exists() else None,
        run=_earlier_run(folder) if run is None and folder else run,
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
    from synthgen.report.facts import field_infos
    from synthgen.report.sidebyside import side_by_side
    from synthgen.report.tables import load_table

    given = [Path(p) for p in paths]
    if reference is None:
        found = (declared_in(path if path.is_dir() else path.parent) for path in given)
        reference, reference_draws = next((pair for pair in found if pair[0]), ({}, {}))
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


def declared_in(folder: Path) -> tuple[dict[str, dict[str, float]], dict[str, int]]:
    """The declared distributions beside a dataset, and the draws behind those that are estimates."""
    file = folder / TARGET
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        declared = {str(k): {str(v): float(p) for v, p in d["values"].items()} for k, d in raw.items()}
        return declared, {str(k): int(d["draws"]) for k, d in raw.items() if d["draws"] is not None}
    except FileNotFoundError:
        return {}, {}
    except (ValueError, KeyError, TypeError, AttributeError):
        from synthgen.errors import RecipeError

        raise RecipeError(
            f"{file}: expected {{field: {{draws, values}}}}; remove it, or give --recipe"
        ) from None


def write_reports(facts: Facts, out: Path) -> list[Path]:
    """Write report.json, report.html, the dataset card README.md and _target.json into a folder, each atomically.

    A README.md that synthgen did not write is left alone, and missing from the list returned.

    Raises:
        SinkError: the folder cannot be written.
    """
    from synthgen.report import card, html

    texts = {
        "report.json": json.dumps(facts.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "report.html": html.render(facts),
    }
    if card.may_replace(out / "README.md"):
        texts["README.md"] = card.render(facts)
    if facts.reference:
        declared = {
            name: {"draws": facts.reference_draws.get(name), "values": values}
            for name, values in facts.reference.items()
        }
        _write(out / TARGET, json.dumps(declared, ensure_ascii=False) + "\n")
    return [_write(out / name, text) for name, text in texts.items()]


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
    from synthgen.errors import SinkError
    from synthgen.sink import void, write_atomically

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda temporary: void(temporary.write_text(text, encoding="utf-8")))
    except OSError as error:
        raise SinkError(f"{path}: cannot be written ({error.strerror}); choose another folder") from error
    return path


def _earlier_run(folder: Path) -> dict[str, object]:
    """The run's figures in the folder's last report; nothing if there is none."""
    try:
        found = json.loads((folder / "report.json").read_text(encoding="utf-8")).get("run")
    except (OSError, ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}
