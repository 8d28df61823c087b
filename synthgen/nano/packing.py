"""Training rows: whole documents packed into fixed shapes, each prompt written once for all its answers.

Stands between `corpus` and `training`. A document is a prompt followed by its answers; every answer sees the
prompt and itself only, and its positions go on from the prompt's end, so the model reads exactly what it
would read from one answer alone (a test holds the logits equal). The idea is prefix sharing: three answers
cost one prompt.

Batch `i` of a stage is a pure function of (seed, stage, i): a resumed run sees what the first run would have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from synthgen.nano.tokenizer import Encoder

if TYPE_CHECKING:
    from synthgen.nano.corpus import Example, Stage

    class ExampleSource(Protocol):
        """`corpus.examples`, or a toy of its kind in tests."""

        def __call__(
            self,
            rng: np.random.Generator,
            stage: Stage,
            answers_per_prompt: int = 3,
            pieces: tuple[str, ...] = (),
        ) -> Iterator[Example]:
            """An endless stream of a stage's examples."""
            ...


IGNORE = -100
HELD_OUT = 1_000_003  # a stream number that no training batch has
_PATIENCE = 12  # documents that fit nowhere before a batch is called full


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of one batch: `rows` rows of `length` tokens, at most `targets` predicted tokens."""

    rows: int = 32
    length: int = 256  # longer rows spend more time on attention than they save in padding

    @property
    def tokens(self) -> int:
        """Slots in a batch, B·T."""
        return self.rows * self.length

    @property
    def targets(self) -> int:
        """M; answers are seldom more than 0.65 of the slots, so that few predictions are wasted."""
        return self.tokens * 11 // 16


class Batch(NamedTuple):
    """One packed batch; B rows, T tokens a row, M predictions.

    `branch` is 0 in a prompt and 1..k in its answers. Prediction m reads the hidden state at flat position
    `source[m]` of B·T and should give `target[m]`; unused ones have target -100. A prompt's last position is
    the source of every answer's first token.
    """

    ids: Tensor  # (B, T) int64
    positions: Tensor  # (B, T) int64
    document: Tensor  # (B, T) int32, 0 where padded
    branch: Tensor  # (B, T) int32
    source: Tensor  # (M,) int64
    target: Tensor  # (M,) int64
    kind: Tensor  # (M,) int64, a number per document given by the caller

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        return Batch(*(tensor.to(device) for tensor in self))


def attention_mask(document: Tensor, branch: Tensor) -> Tensor:
    """Who may look at whom: (B, 1, T, T), true = attend."""
    length = document.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=document.device).tril()
    same_document = document[:, :, None] == document[:, None, :]
    shared = (branch[:, None, :] == 0) | (branch[:, :, None] == branch[:, None, :])
    return (causal & same_document & shared)[:, None]


class Packer:
    """Fills one batch: each document into the tightest row that takes it, with as many answers as fit."""

    def __init__(self, encoder: Encoder, shape: Shape) -> None:
        self.encoder, self.shape = encoder, shape
        size = (shape.rows, shape.length)
        self.ids = np.full(size, encoder.pad, np.int64)
        self.positions = np.zeros(size, np.int64)
        self.document = np.zeros(size, np.int32)
        self.branch = np.zeros(size, np.int32)
        self.source = np.zeros(shape.targets, np.int64)
        self.target = np.full(shape.targets, IGNORE, np.int64)
        self.kind = np.zeros(shape.targets, np.int64)
        self.used = np.zeros(shape.rows, np.int64)
        self.n_targets = 0
        self.n_documents = 0

    def add(self, example: Example, kind: int = 0) -> bool:
        """Place `example`; false if not even one of its answers fits."""
        prompt = self.encoder.prompt_ids(example.prompt)
        answers = [self.encoder.answer_ids(answer) for answer in example.answers]
        while answers:
            n_targets = sum(map(len, answers))
            left = self.shape.length - self.used - (len(prompt) + n_targets)
            row = int(np.where(left >= 0, left, self.shape.length).argmin())
            if left[row] >= 0 and self.n_targets + n_targets <= self.shape.targets:
                self._write(row, prompt, answers, kind)
                return True
            answers.pop()
        return False

    def _write(self, row: int, prompt: list[int], answers: list[list[int]], kind: int) -> None:
        start = at = int(self.used[row])
        self.n_documents += 1
        last_of_prompt = row * self.shape.length + start + len(prompt) - 1
        for branch, ids in enumerate([prompt, *answers]):
            end = at + len(ids)
            first_position = len(prompt) if branch else 0
            self.ids[row, at:end] = ids
            self.positions[row, at:end] = np.arange(first_position, first_position + len(ids))
            self.document[row, at:end] = self.n_documents
            self.branch[row, at:end] = branch
            if branch:
                here = slice(self.n_targets, self.n_targets + len(ids))
                self.source[here] = row * self.shape.length + np.arange(at - 1, end - 1)
                self.source[self.n_targets] = last_of_prompt
                self.target[here] = ids
                self.kind[here] = kind
                self.n_targets += len(ids)
            at = end
        self.used[row] = at

    def batch(self) -> Batch:
        """What has been added so far."""
        arrays = (self.ids, self.positions, self.document, self.branch, self.source, self.target, self.kind)
        return Batch(*(torch.from_numpy(array) for array in arrays))


def _rng(seed: int, stage: Stage, stream: int) -> np.random.Generator:
    return np.random.default_rng(
        [seed, {"broad": 1, "collapsed": 2, "lists": 3, "copying": 4}[stage], stream]
    )


class PackedBatches(Dataset[Batch]):
    """Training batches by number, for a `DataLoader` in another process."""

    def __init__(
        self, source: ExampleSource, encoder: Encoder, shape: Shape, seed: int, stage: Stage, n: int
    ) -> None:
        self.source, self.encoder, self.shape = source, encoder, shape
        self.seed, self.stage, self.n = seed, stage, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Batch:
        packer, misses = Packer(self.encoder, self.shape), 0
        for example in self.source(_rng(self.seed, self.stage, index), self.stage, 3):
            misses += not packer.add(example)
            if misses >= _PATIENCE:
                break
        return packer.batch()


def held_out_examples(
    source: ExampleSource, seed: int, stage: Stage, per_kind: int = 8, n_drawn: int = 3000
) -> dict[str, list[Example]]:
    """The first `per_kind` examples of every kind among `n_drawn`, kinds in alphabetical order."""
    kinds: dict[str, list[Example]] = {}
    for _, example in zip(range(n_drawn), source(_rng(seed, stage, HELD_OUT), stage, 3), strict=False):
        kept = kinds.setdefault(example.kind, [])
        if len(kept) < per_kind:
            kept.append(example)
    return dict(sorted(kinds.items()))


def held_out_batches(kinds: dict[str, list[Example]], encoder: Encoder, shape: Shape) -> list[Batch]:
    """All held-out examples in batches; `Batch.kind` numbers the kinds in their order."""
    packers = [Packer(encoder, shape)]
    for number, examples in enumerate(kinds.values()):
        for example in examples:
            if not packers[-1].add(example, number):
                packers.append(Packer(encoder, shape))
                packers[-1].add(example, number)
    return [packer.batch() for packer in packers]
