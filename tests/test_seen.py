"""Tuples of tuning on disk: what is written is read, and what is something else is refused."""

from pathlib import Path

import polars as pl
import pytest

from synthgen.errors import RecipeError
from synthgen.seen import Seen, fields_of, read_seen, write_seen

NAMES = Seen(("name", "year"), {("Ann", "1980"): 3, ("Bob", "1999"): 1})
DICE = Seen(("value",), {("6",): 40})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_seen(tmp_path / "targets.parquet", {"a1": NAMES, "b2": DICE})
    assert read_seen(tmp_path / "targets.parquet") == {"a1": NAMES, "b2": DICE}
    assert read_seen(tmp_path / "none.parquet") == {}


def test_values_and_fields() -> None:
    assert NAMES.values("name") == {"Ann", "Bob"}
    assert NAMES.values("value") == frozenset()
    assert fields_of([NAMES, DICE, NAMES]) == ("name", "year", "value")


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "t.parquet")
    (tmp_path / "u.parquet").write_bytes(b"text")
    for name in ("t.parquet", "u.parquet"):
        with pytest.raises(RecipeError, match=rf"{name}: expected the target tuples"):
            read_seen(tmp_path / name)
