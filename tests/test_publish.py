"""Copies of a dataset: whole, last to be called a success, and never mixed with another's files."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from synthgen.cli import main
from synthgen.errors import RecipeError, SinkError
from synthgen.publish import Destination, local_folder

NAMES = ["README.md", "_SUCCESS", "_manifest.json", "part-00000.parquet", "rejects/part-00000.parquet"]


def dataset(out: Path, manifest: str = "{}") -> Path:
    (out / "rejects").mkdir(parents=True)
    (out / ".work").mkdir()
    for name in (*NAMES, ".lock", ".work/shard-00000.journal", "notes.txt"):
        (out / name).write_text(f"{out.name} {name}")
    (out / "_manifest.json").write_text(manifest)
    return out


def found(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_copy_holds_the_dataset_and_nothing_else(tmp_path: Path) -> None:
    out, copy = dataset(tmp_path / "out"), tmp_path / "deep" / "copy"
    assert Destination(f"file://{copy}").copy(out) == len(NAMES)
    assert found(copy) == NAMES
    assert all((copy / name).read_bytes() == (out / name).read_bytes() for name in NAMES)


def test_a_copy_that_is_there_is_not_made_again_and_a_changed_one_is(tmp_path: Path) -> None:
    out = dataset(tmp_path / "out")
    there = Destination("memory://bucket/data")
    assert there.copy(out) == len(NAMES)
    assert there.copy(out) == 0
    (out / "_manifest.json").write_text('{"n": 2}')
    assert there.copy(out) == len(NAMES)


def test_success_comes_last_and_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, copy = dataset(tmp_path / "out"), tmp_path / "copy"
    there = Destination(f"file://{copy}")
    there.copy(out)
    (out / "_manifest.json").write_text('{"n": 2}')

    def broken(*_: object, **__: object) -> None:
        raise ConnectionError("the line is cut")

    monkeypatch.setattr(there._fs, "put", broken)
    with pytest.raises(
        SinkError, match=r"cannot copy: ConnectionError: the line is cut; the dataset is whole in"
    ):
        there.copy(out)
    assert "_SUCCESS" not in found(copy)


def test_two_datasets_are_never_mixed(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "part-00007.parquet").write_text("another's")
    with pytest.raises(RecipeError, match=r"holds part-00007\.parquet, which is no file of this dataset"):
        Destination(f"file://{copy}").copy(dataset(tmp_path / "out"))
    assert found(copy) == ["part-00007.parquet"]


@pytest.mark.parametrize("url", ["nowhere://bucket/x", "s3://bucket/x"])
def test_an_address_that_cannot_be_reached_is_refused_before_the_run(url: str) -> None:
    if url.startswith("s3") and __import__("importlib.util").util.find_spec("s3fs"):
        pytest.skip("s3fs is installed here")
    with pytest.raises(RecipeError, match=r"--copy-to .*expected an address that fsspec knows"):
        Destination(url)


def test_out_is_a_folder_also_as_a_file_address(tmp_path: Path) -> None:
    assert local_folder("data/bios") == "data/bios"
    assert local_folder("file:///mnt/data%20sets/bios") == "/mnt/data sets/bios"
    recipe = tmp_path / "r.yaml"
    recipe.write_text("schema: x.py:X\nexport: {dir: s3://bucket/x}\n")
    result = CliRunner().invoke(main, ["recipe", str(recipe), "--n", "5", "--out", "s3://bucket/x"])
    assert result.exit_code == 2
    assert result.output.startswith("--out s3://bucket/x: datasets are made in a folder")
    assert "--copy-to s3://bucket/x" in result.output and result.output.count("\n") == 1
    result = CliRunner().invoke(main, ["check", str(recipe)])
    assert result.exit_code == 2
    assert f"{recipe}:2: export.dir: found 's3://bucket/x'; datasets are made in a folder" in result.output
