"""The dataset folder: whose it is, what its manifest says, and what a killed run left in it. Below the sink."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from synthgen.errors import RecipeError, SinkError
from synthgen.files import TEMPORARY, cannot_write, write_json
from synthgen.plan import Plan

MANIFEST = "_manifest.json"
SUCCESS = "_SUCCESS"
BASE_TABLE = "base.parquet"
LOCK = ".lock"
JOURNALS = ".work"
MOST_NAMED = 5  # differences that a refusal lists
OURS = (
    SUCCESS, MANIFEST, BASE_TABLE, "report.json", "report.html", "README.md",
    "_target.json", "_together.parquet", "_tuned.parquet",
)  # fmt: skip


def read_manifest(out: Path) -> dict[str, Any] | None:
    """What an earlier run wrote about the folder; None if there is no manifest.

    Raises:
        SinkError: it is damaged.
    """
    path = out / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        keys = ("file", "bytes", "sha256", "missing", "counts")
        manifest["identity"]["n"], manifest["starts"][0]
        for entry in manifest["shards"].values():
            [entry[key] for key in keys]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        found = " ".join(str(error).split())
        raise SinkError(
            f"{path}: damaged, or not synthgen's ({type(error).__name__}: {found}); "
            "put back a copy, choose another --out, or pass --overwrite to make the dataset anew"
        ) from None
    return manifest


def new_manifest(
    out: Path,
    identity: Mapping[str, object],
    origin: Mapping[str, object],
    plan: Plan,
    extend: bool = False,
) -> dict[str, Any]:
    """Begin a dataset in a folder that holds none, and return its manifest.

    Raises:
        RecipeError: there is nothing to extend, or the folder holds other people's tables.
        OSError: it cannot be written.
    """
    if extend:
        raise RecipeError(f"{out}: holds no dataset to extend; leave out --extend to begin one")
    if any(out.glob("*.parquet")):
        raise RecipeError(f"{out}: holds Parquet files that are not synthgen's; choose an empty folder")
    remove_folder(out / JOURNALS)  # without a manifest nobody knows whose completions they are
    manifest: dict[str, Any] = {
        "identity": dict(identity),
        "origin": dict(origin),
        "starts": list(plan.starts),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "shards": {},
    }
    write_json(out / MANIFEST, manifest)
    return manifest


def temporaries(out: Path) -> Iterator[Path]:
    """Where a killed run may have left a file half written: our own names only."""
    for name in OURS:
        yield out / TEMPORARY.format(name)
    for folder in (out, out / "rejects"):
        yield from folder.glob(TEMPORARY.format("part-*.parquet"))


def lock(out: Path) -> IO[str]:
    """Make the folder if need be and take its lock, which lasts until the file is closed or the process ends.

    Raises:
        RecipeError: the path is no folder.
        SinkError: another run holds it, or it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / LOCK).open("w")
    except (FileExistsError, NotADirectoryError):
        raise RecipeError(
            f"{out}: is a file or lies below one; expected a folder; choose another --out"
        ) from None
    except OSError as error:
        raise cannot_write(out, error) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if not isinstance(error, BlockingIOError):
            raise cannot_write(out / LOCK, error) from error
        raise SinkError(
            f"{out}: another synthgen run is writing here; wait for it or choose another --out"
        ) from None
    return file


def check_lock(out: Path, held: IO[str]) -> None:
    """Refuse to go on in a folder that is not the one whose lock is held.

    Raises:
        SinkError: it was removed, moved or replaced.
    """
    try:
        is_ours = os.path.samestat(os.fstat(held.fileno()), (out / LOCK).stat())
    except OSError:
        is_ours = False
    if not is_ours:
        raise SinkError(
            f"{out}: removed or replaced while the run was going on; "
            "put it back or run the same command again to begin anew"
        )


def clear(out: Path) -> None:
    """Remove what an earlier run of ours wrote, the manifest last; refuse a folder that is not ours.

    README.md stays: it may be the user's, and a card of ours is replaced with the report.

    Raises:
        RecipeError: the folder holds other people's files.
        OSError: something cannot be removed; the same call goes on.
    """
    if not (out / MANIFEST).exists():
        ours = {LOCK, *(path.name for path in temporaries(out))}
        if any(path.name not in ours for path in out.iterdir()):
            raise RecipeError(
                f"{out}: --overwrite replaces a synthgen dataset, and this folder holds none; choose another"
            )
        return
    mine = [out / name for name in OURS if name not in (MANIFEST, "README.md")]
    for path in (*mine, *out.glob("part-*.parquet"), *temporaries(out)):
        path.unlink(missing_ok=True)
    remove_folder(out / "rejects")
    remove_folder(out / JOURNALS)
    (out / MANIFEST).unlink()


def remove_folder(path: Path) -> None:
    """Remove a folder of ours and all it holds, if it is there.

    Raises:
        OSError: it cannot be removed.
    """
    with suppress(FileNotFoundError):
        shutil.rmtree(path)


def check_identity(
    out: Path, manifest: Mapping[str, Any], wanted: Mapping[str, object], origin: Mapping[str, object]
) -> None:
    """Refuse to mix two datasets.

    Raises:
        RecipeError: naming what of the recipe differs, as far as it is known, else every fingerprint that does.
    """
    found = manifest["identity"]
    differing = {key: (found.get(key), value) for key, value in wanted.items() if found.get(key) != value}
    if differing:
        named = list(_changes(manifest.get("origin") or origin, origin)) if "recipe" in differing else []
        named = named or [f"{key} {old!r} → {new!r}" for key, (old, new) in sorted(differing.items())]
        changes = ", ".join(named[:MOST_NAMED]) + (
            f" and {len(named) - MOST_NAMED} more" if named[MOST_NAMED:] else ""
        )
        raise RecipeError(
            f"{out}: holds a dataset made otherwise ({changes}); "
            "choose another --out, or pass --overwrite to replace it"
        )


def _changes(old: object, new: object, place: str = "") -> Iterator[str]:
    """What differs between two recipes' facts, leaf by leaf: `generate.temperature 1.0 → 0.9`."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _changes(old.get(key), new.get(key), f"{place}.{key}" if place else str(key))
    elif old != new:
        texts = [json.dumps(value, ensure_ascii=False) for value in (old, new)]
        is_long = max(map(len, texts)) > 60  # a hash, a table, a wording
        yield f"{place} changed" if is_long else f"{place} {texts[0]} → {texts[1]}"


def planned(out: Path, there: Plan, n: int, extend: bool, n_to_do: int) -> Plan:
    """The plan to follow in a folder that holds a dataset of plan `there`, when `n` records are asked for.

    An extension that was begun is gone on with, or found done, with and without `extend`.

    Raises:
        RecipeError: the sizes differ and `extend` does not say so, or it asks for what cannot be.
    """
    if n == there.n and (not extend or len(there.starts) > 1):
        return there
    if not extend:
        more = f"pass --extend to add {n - there.n:,}, " if n > there.n else ""
        raise RecipeError(
            f"{out}: holds a dataset of another size (n {there.n} → {n}); "
            f"{more}choose another --out, or pass --overwrite to replace it"
        )
    if n <= there.n:
        raise RecipeError(
            f"{out}: holds {there.n:,} records already; --extend needs a larger --n, found {n:,}; "
            "choose one, or leave out --extend"
        )
    if n_to_do:
        raise RecipeError(
            f"{out}: {n_to_do:,} of its {there.n_shards:,} shards are not finished; "
            f"finish them first with --n {there.n} and without --extend"
        )
    return there.extended(n)
