"""Made-up biographies for the report's tests: an untuned model's collapse, and data true to its target."""

from datetime import date, timedelta
from itertools import product

import numpy as np
import polars as pl

from synthgen.report.figures import Facts, FieldInfo
from synthgen.seen import Seen
from synthgen.together import Together

GENDERS = ("Female", "Male", "Non-binary")
GENDER_TARGET = {"Female": 0.475, "Male": 0.475, "Non-binary": 0.05}
YEARS = range(1925, 2006)
YEAR_TARGET = {str(year): 1 / 81 for year in YEARS}
REFERENCE = {"gender": GENDER_TARGET, "birth_year": YEAR_TARGET}
FIELDS = (
    FieldInfo("name", "Name", "open"),
    FieldInfo("gender", "Gender", "closed"),
    FieldInfo("born", "Birth date", "date"),
    FieldInfo("birthplace", "Birth place", "open"),
    FieldInfo("profession", "Profession", "open"),
    FieldInfo("accomplishments", "Accomplishments", "open"),
    FieldInfo("first_name", "First name", "open", derived=True),
    FieldInfo("birth_year", "Birth year", "number", derived=True),
)
RUN: dict[str, object] = {
    "title": "bios",
    "recipe": "recipes/bios.yaml",
    "schema": "Biography",
    "model": "nano",
    "engine": {"name": "fake", "version": "1", "device": "cpu"},
    "seed": 7,
    "attempted": 4_120,
    "accepted": 4_000,
    "rejected": 120,
    "rejects": {"missing_field": 80, "invalid:born": 30, "truncated": 10},
    "parse_rate": 4_000 / 4_120,
    "parse_rate_before": 0.981,
    "elapsed_s": 312.4,
    "records_per_s": 12.8,
    "tokens": 204_800,
    "other_spelling": 0.013,
    "n_spelled": 1_000,
    "versions": {"synthgen": "0.1.0"},
    "fingerprints": {"recipe": "3d0c1a2b4e5f6a7b"},
    "adapters": {
        "biographies": {
            "before": {"kl": 11.2, "leak": 6.1, "shape": 5.1, "fields": {"gender": 1.31, "born": 3.2}},
            "after": {"kl": 0.62, "leak": 0.4, "shape": 0.22, "fields": {"gender": 0.004, "born": 0.11}},
            "steps": 120,
            "stopped_by": "gamma",
        }
    },
}

_OPENINGS = ("She led", "He founded", "They rebuilt", "She wrote", "He restored", "They mapped", "She taught")
_OBJECTS = ("the city library", "a free clinic", "the old bridge", "a school of design", "the coast railway")
_ENDS = (
    "and won a national prize.",
    "with forty volunteers.",
    "after the flood of 1999.",
    "in three countries.",
)


def before(n: int = 1_000, seed: int = 1) -> pl.DataFrame:
    """Collapsed, as published: 97 % female, 76 % born in 1985, one first name in four."""
    rng = np.random.default_rng(seed)
    years = np.where(rng.random(n) < 0.76, 1985, rng.integers(1975, 1998, n))
    return _table(rng, n, [0.966, 0.017, 0.017], years, _zipf(60, 1.6), 12, n_texts=2)


def after(n: int = 4_000, seed: int = 2) -> pl.DataFrame:
    """Balanced: drawn from the target itself."""
    rng = np.random.default_rng(seed)
    years = rng.integers(YEARS.start, YEARS.stop, n)
    return _table(rng, n, list(GENDER_TARGET.values()), years, _zipf(1_200, 0.4), 140)


def shifted(n: int = 10_000, seed: int = 3, points: float = 0.03) -> pl.DataFrame:
    """As `after`, with `points` of the women made men."""
    rng = np.random.default_rng(seed)
    gender = [0.475 - points, 0.475 + points, 0.05]
    return _table(rng, n, gender, rng.integers(1925, 2006, n), _zipf(1_200, 0.4), 140)


def together() -> Together:
    """Gender and birth year as declared, each independent of the other."""
    cells = product(GENDER_TARGET.items(), YEAR_TARGET.items())
    return Together(("gender", "birth_year"), {(g, y): p * q for (g, p), (y, q) in cells})


def seen() -> Seen:
    """Two hundred tuples that the model was tuned on; the first ten are in `after()`."""
    rows = after().select("name", "gender").rows()[:10]
    return Seen(
        ("name", "gender"), dict.fromkeys([*rows, *((f"New Name{i}", "Male") for i in range(190))], 3)
    )


def facts(data: pl.DataFrame | None = None) -> Facts:
    from synthgen.report.facts import compute

    return compute(
        after() if data is None else data,
        fields=FIELDS,
        reference=REFERENCE,
        before=before(),
        run=RUN if data is None else {},
        together=together(),
        seen=[seen()],
        seed=7,
    )


def _zipf(k: int, s: float) -> np.ndarray:
    p = np.arange(1, k + 1, dtype=float) ** -s
    p /= p.sum()
    return p


def _table(
    rng: np.random.Generator,
    n: int,
    gender: list[float],
    years: np.ndarray,
    names: np.ndarray,
    n_jobs: int,
    n_texts: int = 7,
) -> pl.DataFrame:
    first = ["Evelyn", "Amelia", "Oliver", "Noor", *(f"Name{i}" for i in range(4, len(names)))]
    chosen = rng.choice(len(names), n, p=names)
    jobs = rng.choice(n_jobs, n, p=_zipf(n_jobs, 1.0))
    days = [
        date(int(y), 1, 1) + timedelta(days=int(d))
        for y, d in zip(years, rng.integers(0, 365, n), strict=True)
    ]
    texts = [
        f"{rng.choice(_OPENINGS[:n_texts])} {rng.choice(_OBJECTS)} {rng.choice(_ENDS)}" for _ in range(n)
    ]
    return pl.DataFrame(
        {
            "_id": np.arange(n),
            "name": [
                f"{first[i]} Carter{j % 97}" for i, j in zip(chosen, rng.integers(0, 5_000, n), strict=True)
            ],
            "gender": rng.choice(GENDERS, n, p=gender),
            "born": days,
            "birthplace": [f"City{i}, Country{i % 40}" for i in rng.choice(len(names), n, p=names)],
            "profession": [f"Engineer {j}" if j else "Software engineer" for j in jobs],
            "accomplishments": texts,
            "first_name": [first[i] for i in chosen],
            "birth_year": years,
            "_adapter": ["biographies"] * n,
        }
    )
