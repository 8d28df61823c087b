"""A finished dataset → a copy at any address that fsspec knows (s3://, gs://, hf://, file://), `_SUCCESS` last.

The dataset itself is made in a folder: a lock, journals and renames are what an object store lacks. A copy is
whole where its `_SUCCESS` is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from synthgen.errors import RecipeError, SinkError
from synthgen.folder import MANIFEST, OURS, SUCCESS


def local_folder(place: str) -> str:
    """The folder that `place` names: itself, or what a file:// address stands for.

    Raises:
        ValueError: it is an address elsewhere.
    """
    if "://" not in place:
        return place
    parts = urlsplit(place)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise ValueError(
            "datasets are made in a folder; give one (a mounted bucket can seldom lock or rename), and add "
            f"--copy-to {place} to have the finished dataset copied there"
        )
    return unquote(parts.path)


class Destination:
    """An address that datasets can be copied to."""

    def __init__(self, url: str) -> None:
        """Find the file system behind the address; nothing is written.

        Raises:
            RecipeError: fsspec does not know it, or lacks the package for it.
        """
        import fsspec

        self.url = url
        try:
            found: tuple[Any, str] = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise RecipeError(
                f"--copy-to {url}: {' '.join(str(error).split())}; expected an address that fsspec knows, "
                "with its package installed (s3fs for s3://, gcsfs for gs://)"
            ) from error
        self._fs, path = found
        self._path = path.rstrip("/")

    def copy(self, out: Path) -> int:
        """Copy the finished dataset in `out`; returns the number of files, 0 if it was there already.

        Raises:
            RecipeError: the address holds shards of another dataset.
            SinkError: it cannot be written; the dataset in `out` is whole.
        """
        names = _names(out)
        try:
            if self._has(out):
                return 0
            self._make_room(names)
            places = [f"{self._path}/{name}" for name in names]
            self._fs.put([str(out / name) for name in names], places)
            for name in (MANIFEST, SUCCESS):
                self._fs.put_file(str(out / name), f"{self._path}/{name}")
        except (RecipeError, KeyboardInterrupt):
            raise
        except Exception as error:  # every store raises its own
            raise SinkError(
                f"{self.url}: cannot copy: {type(error).__name__}: {' '.join(str(error).split())[:300]}; "
                f"the dataset is whole in {out}; run the same command again to copy it"
            ) from error
        return len(names) + 2

    def _has(self, out: Path) -> bool:
        manifest = f"{self._path}/{MANIFEST}"
        if not self._fs.exists(f"{self._path}/{SUCCESS}") or not self._fs.exists(manifest):
            return False
        return bool(self._fs.cat_file(manifest) == (out / MANIFEST).read_bytes())

    def _make_room(self, names: list[str]) -> None:
        """Take a `_SUCCESS` away while the copy is not whole; refuse to mix two datasets."""
        self._fs.makedirs(f"{self._path}/rejects", exist_ok=True)
        found = {str(place).rpartition("/")[2] for place in self._fs.ls(self._path, detail=False)}
        if strange := sorted(name for name in found if name.endswith(".parquet") and name not in names):
            raise RecipeError(
                f"--copy-to {self.url}: holds {strange[0]}, which is no file of this dataset; choose an empty place"
            )
        if SUCCESS in found:
            self._fs.rm_file(f"{self._path}/{SUCCESS}")


def _names(out: Path) -> list[str]:
    """What belongs to a dataset, but for its manifest and `_SUCCESS`, relative to its folder."""
    parts = [*out.glob("part-*.parquet"), *out.glob("rejects/part-*.parquet")]
    others = [out / name for name in OURS if name not in (MANIFEST, SUCCESS)]
    return sorted(str(path.relative_to(out)) for path in [*parts, *others] if path.is_file())
