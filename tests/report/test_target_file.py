"""A file of declared shares: read into the report's reference, or refused with file, line, finding and remedy."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from synthgen.cli import main
from synthgen.errors import RecipeError
from synthgen.report.target_file import read_target_file
from synthgen.schema import RecordSchema, load_model

ROOT = Path(__file__).parents[2]


def written(folder: Path, text: str) -> Path:
    path = folder / "shares.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_weights_ranges_and_json_become_probabilities(tmp_path: Path) -> None:
    found = read_target_file(written(tmp_path, "sex: {F: 3, M: 1}\nborn: {range: [1999, 2002]}\n"))
    assert found == {"sex": {"F": 0.75, "M": 0.25}, "born": {str(year): 0.25 for year in range(1999, 2003)}}
    assert read_target_file(written(tmp_path, '{"full name": {"A B": 1}}')) == {"full name": {"A B": 1.0}}


def test_a_schema_decides_what_its_fields_may_hold(tmp_path: Path) -> None:
    schema = RecordSchema.from_model(load_model("schemas/biography.py:Biography", ROOT))
    found = read_target_file(
        written(tmp_path, "gender: uniform\nbirth_year: {range: [2000, 2001]}\n"), schema
    )
    assert found["gender"] == pytest.approx(dict.fromkeys(("Female", "Male", "Non-binary"), 1 / 3))
    assert found["birth_year"] == {"2000": 0.5, "2001": 0.5}
    with pytest.raises(RecipeError, match=r"shares\.yaml:1: gender: .*Feminine"):
        read_target_file(written(tmp_path, "gender: {Feminine: 1}\n"), schema)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: {x: -1}\nb: {range: [3]}\n", [":1: a: 'x' has the weight -1", ":2: b: found range: [3]"]),
        ("a: hello\n", [":1: a: found 'hello'; expected `uniform`"]),
        ("a: uniform\n", [":1: a: `uniform` needs finitely many values"]),
        ("", [":1: expected a field per key"]),
        ("- a\n", [":1: expected a field per key"]),
        ("a: {x: 1\n", ["no YAML"]),
    ],
)
def test_faults_have_their_line(tmp_path: Path, text: str, found: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        read_target_file(written(tmp_path, text))
    assert len(caught.value.problems) == len(found)
    for problem, part in zip(caught.value.problems, found, strict=True):
        assert part in problem and "shares.yaml" in problem


def test_a_table_without_a_recipe_is_compared(tmp_path: Path) -> None:
    pl.DataFrame({"sex": ["F"] * 70 + ["M"] * 30}).write_csv(tmp_path / "people.csv")
    shares = written(tmp_path, "sex: {F: 0.5, M: 0.5}\n")
    result = CliRunner().invoke(
        main, ["report", str(tmp_path / "people.csv"), "--target", str(shares), "--json"]
    )
    assert result.exit_code == 0
    (field,) = json.loads(result.output.splitlines()[-1])["fields"]
    assert field["target"]["tv"]["value"] == pytest.approx(0.2)
    missing = CliRunner().invoke(main, ["report", str(tmp_path / "people.csv"), "--target", "nowhere.yaml"])
    assert missing.exit_code == 2 and "nowhere.yaml: cannot be read" in missing.output
    other = CliRunner().invoke(
        main, ["report", str(tmp_path / "people.csv"), "--target", str(written(tmp_path, "age: {a: 1}\n"))]
    )
    assert other.exit_code == 2 and "'age' is no field of the table; it has sex" in other.output
