"""What lies beside a dataset, so that its report can be made again without recipe or adapters.

`_target.json` holds the declared distributions, `_together.parquet` how fields of few values go together, and
`_tuned.parquet` the tuples that the model was tuned on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from synthgen.errors import RecipeError
from synthgen.report.figures import Facts
from synthgen.seen import Seen, read_seen, write_seen
from synthgen.together import Together

TARGET, TOGETHER, TUNED = "_target.json", "_together.parquet", "_tuned.parquet"
_SHARE, _DRAWS = "_share", "_draws"


@dataclass(frozen=True)
class Beside:
    """Everything of it that there is."""

    reference: dict[str, dict[str, float]] = field(default_factory=dict)
    draws: dict[str, int] = field(default_factory=dict)
    together: Together | None = None
    seen: tuple[Seen, ...] = ()


def read_beside(folder: Path) -> Beside:
    """What lies in a dataset's folder.

    Raises:
        RecipeError: a file is not what its name says.
    """
    seen = tuple(read_seen(folder / TUNED).values())
    return Beside(*_read_target(folder / TARGET), _read_together(folder / TOGETHER), seen)


def write_beside(facts: Facts, folder: Path) -> None:
    """Write what the facts were computed with, each file atomically; what is not known is left as it lies.

    Raises:
        OSError: the folder cannot be written.
    """
    from synthgen.files import write_text

    if facts.reference:
        declared = {
            name: {"draws": facts.reference_draws.get(name), "values": values}
            for name, values in facts.reference.items()
        }
        write_text(folder / TARGET, json.dumps(declared, ensure_ascii=False) + "\n")
    if facts.together is not None:
        _write_together(folder / TOGETHER, facts.together)
    if facts.seen:
        write_seen(folder / TUNED, {str(i): seen for i, seen in enumerate(facts.seen)})


def _read_target(file: Path) -> tuple[dict[str, dict[str, float]], dict[str, int]]:
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        declared = {str(k): {str(v): float(p) for v, p in d["values"].items()} for k, d in raw.items()}
        return declared, {str(k): int(d["draws"]) for k, d in raw.items() if d["draws"] is not None}
    except FileNotFoundError:
        return {}, {}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RecipeError(
            f"{file}: expected {{field: {{draws, values}}}}; remove it, or give --recipe"
        ) from None


def _read_together(file: Path) -> Together | None:
    if not file.exists():
        return None
    import polars as pl

    try:
        table = pl.read_parquet(file)
        fields = tuple(name for name in table.columns if name not in (_SHARE, _DRAWS))
        rows = zip(*(table[name].cast(pl.String).to_list() for name in fields), strict=True)
        shares = dict(zip(rows, table[_SHARE].cast(pl.Float64).to_list(), strict=True))
        return Together(fields, shares, table[_DRAWS].cast(pl.Int64).to_list()[0])
    except (pl.exceptions.PolarsError, IndexError) as error:
        first = str(error).splitlines()[0]
        raise RecipeError(
            f"{file}: expected a column per field, {_SHARE} and {_DRAWS} ({first}); remove it, or give --recipe"
        ) from None


def _write_together(file: Path, together: Together) -> None:
    import polars as pl

    from synthgen.files import write_atomically

    columns = list(zip(*together.shares, strict=True))
    table = pl.DataFrame(
        {
            **{name: list(texts) for name, texts in zip(together.fields, columns, strict=True)},
            _SHARE: list(together.shares.values()),
        }
    ).with_columns(pl.lit(together.draws, dtype=pl.Int64).alias(_DRAWS))
    write_atomically(file, lambda temporary: table.write_parquet(temporary, compression="zstd"))
