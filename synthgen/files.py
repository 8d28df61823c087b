"""Files that are whole or not there: written under a temporary name, synced, renamed. Below the sink and the report."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from synthgen.errors import SinkError

TEMPORARY = ".{}.tmp"  # what a file is called until it is whole

_REMEDIES = {
    errno.ENOSPC: "make room, then run the same command again to go on",
    errno.EDQUOT: "make room, then run the same command again to go on",
    errno.EROFS: "make the folder writable or choose another --out, then run the same command again",
    errno.EACCES: "make the folder writable or choose another --out, then run the same command again",
    errno.EPERM: "make the folder writable or choose another --out, then run the same command again",
    errno.ENOENT: "it was removed while the run was going on; run the same command again to make what is missing",
}
_REMEDY = "mend the disk or choose another --out, then run the same command again to go on"


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Call `write` on a temporary name beside `path`, sync the file, rename it, sync the folder.

    Raises:
        OSError: nothing was changed, and no temporary file is left.
    """
    temporary = path.with_name(TEMPORARY.format(path.name))
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Write a text atomically, as UTF-8."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write pretty JSON atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """What fails on the disk inside becomes one line about `place`.

    Raises:
        SinkError: place, what the system said, remedy.
    """
    try:
        yield
    except OSError as error:
        raise cannot_write(place, error) from error


def cannot_write(place: Path, error: OSError) -> SinkError:
    """The line for a file or folder that cannot be written."""
    found = error.strerror or " ".join(str(error).split())
    return SinkError(f"{place}: cannot write: {found}; {_REMEDIES.get(error.errno or 0, _REMEDY)}")
