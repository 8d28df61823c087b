"""Records and rejections → a dataset folder: Parquet shards, rejects, manifest, `_SUCCESS`.

What is finished is final: a shard is written under a temporary name, synced and renamed. What is not finished
is not lost: every completion is first appended to the shard's journal (`.work/`), synced every few seconds,
and replayed when the same command runs again. `_SUCCESS` comes last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl

from synthgen.engines.protocol import Completion
from synthgen.errors import RecipeError, SinkError
from synthgen.files import cannot_write, sha256, write_json, write_text, writing
from synthgen.folder import (
    BASE_TABLE,
    JOURNALS,
    MANIFEST,
    SUCCESS,
    check_identity,
    check_lock,
    clear,
    lock,
    new_manifest,
    planned,
    read_manifest,
    remove_folder,
    temporaries,
)
from synthgen.parquet import ShardEntry, file_metadata, is_intact, write_table
from synthgen.plan import Plan
from synthgen.schema import RecordSchema
from synthgen.shard import Counts, Shard, journal_path
from synthgen.validation import Record, Rejection

KEPT = (
    "created",
    "origin",
    "shards",
    "before",
    "base_sha256",
    "exact",
)  # what an extension leaves in the manifest


class Sink:
    """A dataset folder that belongs to one plan; a context manager that holds the folder's lock."""

    def __init__(
        self,
        out: Path,
        plan: Plan,
        schema: RecordSchema,
        identity: Mapping[str, object],
        *,
        origin: Mapping[str, object] | None = None,
        adapter_column: bool = True,
        overwrite: bool = False,
        extend: bool = False,
    ) -> None:
        """Open or create the folder.

        Args:
            plan: what the folder shall hold. The attribute `plan` is the one to follow: of a dataset that was
                extended it has the same records in more segments.
            identity: fingerprints (recipe, schema, model, adapters …) that must be equal for a run to go on.
            origin: what the identity's fingerprint `recipe` is made of, so that a refusal can name what changed.
            extend: add records to a finished dataset of fewer, leaving its shards as they are.

        Raises:
            RecipeError: the folder holds a dataset of another identity or size, or other people's files; or both
                `overwrite` and `extend` are asked for.
            SinkError: it cannot be written, its manifest is damaged, or another run holds it.
        """
        if overwrite and extend:
            raise RecipeError(f"{out}: --extend and --overwrite exclude each other; choose one")
        self.out, self.schema, self.adapter_column = out, schema, adapter_column
        self.plan = plan
        self.identity: dict[str, object] = {**identity, "plan": plan.fingerprint}
        self.origin: dict[str, object] = json.loads(json.dumps(origin or {}))  # as it is read back
        self.metadata = file_metadata(schema, self.identity)  # of every shard, also one written elsewhere
        self._final = Counts()  # of the shards that are final
        self._open: dict[int, Shard] = {}
        self._latest: Shard | None = (
            None  # the open one written to last, where the next outcome mostly belongs
        )
        self._done: set[int] = set()
        self._n_damaged = 0
        self._lock = lock(out)
        try:
            with writing(out):
                if overwrite:
                    clear(out)
                self.manifest = self._load_or_create(extend)
                self._sweep()
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except SinkError:
            if error is None:
                raise

    @property
    def is_complete(self) -> bool:
        """Whether every shard is written and the run was declared a success."""
        return (self.out / SUCCESS).exists() and not self.shards_to_do()

    @property
    def counts(self) -> Counts:
        """What happened to every attempt so far, of final shards and of open ones."""
        total = Counts()
        for part in (self._final, *(shard.counts for shard in self._open.values())):
            total.merge(part.to_json())
        return total

    @property
    def n_missing(self) -> int:
        """Records of the plan that are not in the dataset or its journals yet."""
        return self.plan.n - self.counts.accepted

    @property
    def n_damaged(self) -> int:
        """Journal lines of an earlier run that could not be read back; their records are made again."""
        return self._n_damaged + sum(shard.n_damaged for shard in self._open.values())

    def shards_to_do(self) -> list[int]:
        """Numbers of the shards that are not final yet."""
        return [number for number in range(self.plan.n_shards) if number not in self._done]

    def shard(self, number: int) -> Shard:
        """The open shard of that number; `replay` it first when the run begins."""
        if number not in self._open:
            journal = journal_path(self.out, number)
            self._open[number] = Shard(self.plan.ids(number), journal, self.schema, self.adapter_column)
        return self._open[number]

    def write(self, completion: Completion, outcome: Record | Rejection, *, journal: bool = True) -> None:
        """Take one outcome; a shard that is full is committed at once.

        Raises:
            SinkError: the disk is full or the folder not writable; what was synced stays.
        """
        shard = self._latest
        if shard is None or outcome.id not in shard.ids:
            shard = self._latest = self.shard(self.plan.shard_of(outcome.id))
        if journal:
            if not shard.is_journalling:
                check_lock(self.out, self._lock)
            try:
                shard.journal(completion, outcome.attempt, outcome.adapter)
            except OSError as error:
                raise cannot_write(self.out, error) from error
        shard.add(outcome)
        if shard.is_full:
            self._commit(self.plan.shard_of(outcome.id))

    def adopt(self, number: int, entry: ShardEntry) -> None:
        """Take a shard that another process wrote into the folder with `Shard.write`; final if it lacks no record.

        Raises:
            SinkError: the file is not what the entry says, or the manifest cannot be written.
        """
        if entry["first_id"] != self.plan.ids(number).start or not is_intact(self.out, entry):
            raise SinkError(
                f"{self.out / entry['file']}: not the shard {number} that a worker wrote; "
                "run the same command again to make it again"
            )
        self._record(number, entry)
        self._final.merge(entry["counts"])
        if entry["missing"] == 0:
            self._done.add(number)
            with writing(self.out):
                journal_path(self.out, number).unlink(missing_ok=True)

    def sync(self) -> None:
        """Put every journal on disk.

        Raises:
            SinkError: they cannot be written, or the folder is no longer the one that was locked.
        """
        check_lock(self.out, self._lock)
        for shard in self._open.values():
            shard.sync()

    def write_unfinished(self) -> None:
        """Write the shards that lack records too, marked as such; their journals stay, so a later run goes on.

        Raises:
            SinkError: they cannot be written.
        """
        for number in sorted(self._open):
            self._commit(number)

    @property
    def has_before(self) -> bool:
        """Whether the sample of the untuned model is there, as it was written."""
        path = self.out / BASE_TABLE
        with writing(path):
            return path.exists() and sha256(path) == self.manifest.get("base_sha256")

    def write_before(self, frame: pl.DataFrame, counts: Counts) -> None:
        """Write `base.parquet`, the sample of the untuned model, and its counts.

        Raises:
            SinkError: it cannot be written.
        """
        path = self.out / BASE_TABLE
        with writing(path):
            write_table(frame, path)
            self.update({"before": counts.to_json(), "base_sha256": sha256(path)})

    def verify(self) -> None:
        """Compare every final shard with the manifest, byte for byte, before anything is said about the dataset.

        Raises:
            SinkError: a shard was removed or changed since it was written.
        """
        check_lock(self.out, self._lock)
        for number in sorted(self._done):
            entry = self.manifest["shards"][str(number)]
            if not is_intact(self.out, entry):
                raise SinkError(
                    f"{self.out / entry['file']}: removed or changed while the run was going on; "
                    "run the same command again to make it again"
                )

    def succeed(self, summary: Mapping[str, object]) -> None:
        """Write the run's summary into the manifest, then `_SUCCESS`; nothing may follow.

        Raises:
            SinkError: they cannot be written, or a shard is gone.
        """
        self.verify()
        self.update({"run": dict(summary)})
        with writing(self.out):
            write_text(self.out / SUCCESS, "")
            remove_folder(self.out / JOURNALS)

    def fail(self, summary: Mapping[str, object]) -> None:
        """Write the summary of a run that its gates refused; the data stays, without `_SUCCESS`.

        Raises:
            SinkError: it cannot be written.
        """
        with writing(self.out):
            (self.out / SUCCESS).unlink(missing_ok=True)
        self.update({"run": dict(summary)})

    def update(self, parts: Mapping[str, object]) -> None:
        """Add entries to the manifest and write it.

        Raises:
            SinkError: it cannot be written.
        """
        self.manifest |= parts
        with writing(self.out):
            write_json(self.out / MANIFEST, self.manifest)

    def close(self) -> None:
        """Sync and close all journals and give the lock back.

        Raises:
            SinkError: the last lines of a journal cannot be written; all else is closed.
        """
        errors = []
        for shard in self._open.values():
            try:
                shard.close()
            except SinkError as error:
                errors.append(error)
        for shard in self._open.values():
            self._final.merge(shard.counts.to_json())
        self._open.clear()
        self._latest = None
        self._lock.close()
        if errors:
            raise errors[0]

    def _commit(self, number: int) -> None:
        shard = self._open[number]
        check_lock(self.out, self._lock)
        self._record(number, shard.write(self.out, number, self.metadata))
        if shard.is_full:
            self._done.add(number)
            self._n_damaged += shard.n_damaged
            self._final.merge(shard.counts.to_json())
            self._latest = None
            del self._open[number]
            shard.close(forget=True)

    def _record(self, number: int, entry: ShardEntry) -> None:
        self.manifest["shards"][str(number)] = entry
        self.update({})

    def _load_or_create(self, extend: bool) -> dict[str, Any]:
        """The manifest; sets the plan, the shards that are final, and their counts."""
        manifest, wanted = read_manifest(self.out), self.plan
        if manifest is None:
            self.identity["n"] = wanted.n
            return new_manifest(self.out, self.identity, self.origin, wanted, extend)
        check_identity(self.out, manifest, self.identity, self.origin)
        there = int(manifest["identity"]["n"])
        self.plan = replace(wanted, n=there, starts=tuple(manifest["starts"]))
        self._find_shards(manifest)
        self.plan = planned(self.out, self.plan, wanted.n, extend, len(self.shards_to_do()))
        self.identity["n"] = self.plan.n
        if self.plan.n != there:
            kept = {key: manifest[key] for key in KEPT if key in manifest}
            manifest = {"identity": self.identity, "starts": list(self.plan.starts), **kept}
            write_json(self.out / MANIFEST, manifest)
        return manifest

    def _find_shards(self, manifest: Mapping[str, Any]) -> None:
        for number, entry in manifest["shards"].items():
            if entry["missing"] == 0 and is_intact(self.out, entry):
                self._done.add(int(number))
                self._final.merge(entry["counts"])

    def _sweep(self) -> None:
        """Remove what a killed run left half done, and the `_SUCCESS` of a dataset that lacks something."""
        for path in temporaries(self.out):
            path.unlink(missing_ok=True)
        if self.shards_to_do():
            (self.out / SUCCESS).unlink(missing_ok=True)
        elif self.is_complete:
            remove_folder(self.out / JOURNALS)
