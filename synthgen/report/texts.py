"""Text columns → figures of length and repetition, before and after from the same number of records.

The means are over all records; everything else is over a random sample, as it depends on its size.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from synthgen import stats
from synthgen.report.figures import TextFigures, TopValue
from synthgen.report.tables import sample_rows, text_lengths

SAMPLE = 1_000
NEAR = 0.8  # Jaccard similarity from which two texts are near-duplicates
_N_LONG, _N_OPENING = 5, 3
_ROWS = 100  # texts compared with all others at a time


def text_figures(
    table: pl.LazyFrame,
    base: pl.LazyFrame | None,
    names: Sequence[str],
    n: int,
    n_before: int | None,
    lengths: Mapping[str, tuple[float, float]],
    seed: int,
) -> dict[str, tuple[TextFigures, TextFigures | None]]:
    """After and before of each text column, each over the same number of records."""
    m = min(n, SAMPLE, n_before or n)
    rng = np.random.default_rng([seed, 1])
    new = {c: _figures(texts, lengths[c], m) for c, texts in sample_rows(table, names, n, m, rng).items()}
    if base is None or n_before is None:
        return {c: (f, None) for c, f in new.items()}
    shared = [c for c in names if c in base.collect_schema()]
    means = text_lengths(base, shared)
    old = {c: _figures(t, means[c], m) for c, t in sample_rows(base, shared, n_before, m, rng).items()}
    return {c: (f, old.get(c)) for c, f in new.items()}


def _figures(texts: Sequence[str], means: tuple[float, float], n: int) -> TextFigures:
    openings = Counter(" ".join(text.split()[:_N_OPENING]) for text in texts)
    first = sorted(openings.items(), key=lambda pair: (-pair[1], pair[0]))[:3]
    return TextFigures(
        n,
        *means,
        distinct_1=stats.distinct_n(texts, 1),
        distinct_2=stats.distinct_n(texts, 2),
        compression=compression(texts),
        repeated_5grams=repeated_ngrams(texts, _N_LONG),
        near_duplicates=near_duplicates(texts),
        openings=tuple(TopValue(words, count, count / len(texts)) for words, count in first),
    )


def compression(texts: Sequence[str]) -> float:
    """UTF-8 bytes per byte after zlib (level 9), all texts in one stream; high where texts repeat; 0 if empty."""
    raw = "\n".join(texts).encode()
    return len(raw) / len(zlib.compress(raw, 9)) if raw else 0.0


def repeated_ngrams(texts: Sequence[str], n: int) -> float:
    """Share of sequences of n whitespace tokens that also stand in another text; 0 without any."""
    found = [list(zip(*(text.split()[i:] for i in range(n)), strict=False)) for text in texts]
    in_texts = Counter(chain.from_iterable(map(set, found)))
    total = sum(map(len, found))
    return sum(in_texts[gram] > 1 for grams in found for gram in grams) / total if total else 0.0


def near_duplicates(texts: Sequence[str], limit: float = NEAR) -> float:
    """Share of texts whose sets of 5-character shingles are at least `limit` alike (Jaccard) to another's."""
    if len(texts) < 2:
        return 0.0
    return float((nearest(texts, texts, own=True) >= limit).mean())


def nearest(texts: Sequence[str], others: Sequence[str], own: bool = False) -> npt.NDArray[np.float64]:
    """Jaccard similarity of each text to the most alike of the others, exact.

    `own`: the texts are the first of the others, and no text is compared with itself.
    """
    ids: dict[str, int] = {}
    x, y = _incidence(texts, ids), _incidence(others, ids)
    x.resize((len(texts), len(ids)))
    y.resize((len(others), len(ids)))
    n_y = y.sum(axis=1)
    best = np.zeros(len(texts))
    for start in range(0, len(texts), _ROWS):
        part = x[start : start + _ROWS]
        shared = (part @ y.T).toarray()
        alike = shared / np.maximum(part.sum(axis=1)[:, None] + n_y[None, :] - shared, 1)
        if own:
            rows = np.arange(len(alike))
            alike[rows, start + rows] = 0.0
        best[start : start + _ROWS] = alike.max(axis=1)
    return best


def _incidence(texts: Sequence[str], ids: dict[str, int]) -> csr_array:
    rows = [{ids.setdefault(s, len(ids)) for s in stats.shingles(text)} for text in texts]
    indptr = np.cumsum([0, *map(len, rows)])
    indices = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=int(indptr[-1]))
    return csr_array((np.ones(len(indices)), indices, indptr), shape=(len(texts), max(1, len(ids))))
