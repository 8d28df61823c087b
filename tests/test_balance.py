"""Values drawn for every record: from the declared distribution, and exactly from a model's own over a finite set."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from pydantic import BaseModel, Field

from synthgen.balance import BLOCK, LARGEST_SUPPORT, Draws, Restricted, score_support, support_of
from synthgen.engines.fake import FakeEngine
from synthgen.errors import RecipeError
from synthgen.schema import RecordSchema
from synthgen.target_source import TargetSource
from synthgen.targets import FunctionSource, load_targets

Size = Literal["small", "large"]
Colour = Literal["red", "green", "blue"]


class Parcel(BaseModel):
    """A parcel."""

    size: Size
    colour: Colour
    owner: str
    grams: int = Field(ge=0)


SCHEMA = RecordSchema.from_model(Parcel)
N = 10 * BLOCK
SHARES = {"red": 0.5, "green": 0.3, "blue": 0.2}


def marginals(**forms: object) -> TargetSource:
    return load_targets(forms, SCHEMA, None, {}, Path())


def evenly(rng: np.random.Generator, n: int) -> Iterator[tuple[str, str]]:
    """As many small as large, whatever the generator: the first half is small."""
    return iter([("small" if i < n / 2 else "large", "red") for i in range(n)])


def freely(rng: np.random.Generator, n: int) -> Iterator[tuple[str, str, str]]:
    """An owner of its own in every tuple."""
    return iter([("small", "red", f"owner {number}") for number in rng.integers(10**9, size=n)])


def function(which: object, **closed: object) -> FunctionSource:
    return FunctionSource("here", which, SCHEMA, None, closed)  # type: ignore[arg-type]


def tv(counts: Counter[str], shares: dict[str, float]) -> float:
    n = counts.total()
    return 0.5 * sum(abs(counts[key] / n - share) for key, share in shares.items())


def floor(shares: dict[str, float], n: int) -> float:
    """What 999 of 1,000 samples of n independent draws stay below, simulated."""
    rng, masses = np.random.default_rng(0), np.array(list(shares.values()))
    drawn = rng.multinomial(n, masses, size=4000) / n
    return float(np.quantile(0.5 * np.abs(drawn - masses).sum(1), 0.999))


def test_marginals_of_the_draws_lie_within_the_floor() -> None:
    draws = Draws(marginals(size="uniform", colour=SHARES), ("colour",), seed=7)
    assert tv(Counter(draws(i)[0] for i in range(N)), SHARES) < floor(SHARES, N)


def test_a_draw_depends_on_seed_and_record_alone() -> None:
    source = marginals(size="uniform", colour=SHARES)
    forwards, backwards = (Draws(source, source.fields, seed=7) for _ in range(2))
    expected = [forwards(i) for i in range(1500)]
    assert [backwards(i) for i in reversed(range(1500))] == expected[::-1]
    other = Draws(source, source.fields, seed=8)
    assert [other(i) for i in range(1500)] != expected
    assert len({tuple(expected[i : i + 20]) for i in range(0, 1500, 20)}) == 75  # no stretch comes twice


def test_fields_come_in_the_order_asked_for() -> None:
    source = marginals(size={"large": 1}, colour={"blue": 1})
    assert Draws(source, ("colour", "size"), 0)(3) == ("blue", "large")
    assert Draws(source, ("size",), 0)(3) == ("large",)


def test_a_function_that_balances_a_call_is_dealt_out_in_random_order() -> None:
    draws = Draws(function(evenly), ("size",), seed=1)
    firsts = Counter(draws(i * BLOCK)[0] for i in range(200))
    assert 60 < firsts["small"] < 140  # 5.6 standard errors: one false alarm in 10⁷
    assert Counter(draws(i)[0] for i in range(BLOCK)) == {"small": BLOCK // 2, "large": BLOCK // 2}


def test_a_function_gives_every_record_a_tuple_of_its_own() -> None:
    draws = Draws(function(freely), ("owner",), seed=1)
    assert len({draws(i) for i in range(2 * BLOCK)}) == 2 * BLOCK


def test_a_table_is_drawn_by_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "parcels.csv"
    path.write_text("size,colour,weight\nsmall,red,3\nlarge,blue,1\n", encoding="utf-8")
    draws = Draws(load_targets(str(path), SCHEMA, None, {}, tmp_path), ("size",), seed=2)
    shares = {"small": 0.75, "large": 0.25}
    assert tv(Counter(draws(i)[0] for i in range(N)), shares) < floor(shares, N)


def test_the_support_is_what_may_be() -> None:
    both = marginals(size="uniform", colour={"red": 1, "blue": 2})
    assert support_of(both, ("size",)) == (("small",), ("large",))
    assert len(support_of(both, ("size", "colour"))) == 4
    table = marginals(
        size="uniform", colour={"given": "size", "small": {"red": 1}, "large": {"blue": 1, "red": 1}}
    )
    assert set(support_of(table, ("size", "colour"))) == {
        ("small", "red"),
        ("large", "red"),
        ("large", "blue"),
    }
    assert set(support_of(table, ("colour",))) == {("red",), ("blue",)}


def test_the_support_of_a_function_is_what_is_declared_of_it() -> None:
    source = function(evenly, size={"small": 0.5, "large": 0.5})
    assert support_of(source, ("size",)) == (("small",), ("large",))
    assert len(support_of(source, ("size", "colour"))) == 6  # colour is closed by its type
    with pytest.raises(RecipeError, match="'owner' is open"):
        support_of(function(freely), ("size", "colour", "owner"))


def test_a_support_too_large_to_score_is_refused() -> None:
    wide = marginals(size="uniform", colour="uniform", owner={f"o{i}": 1 for i in range(700)})
    assert len(support_of(wide, ("size", "owner"))) == 1400
    with pytest.raises(RecipeError, match=rf"there are 4,200; expected {LARGEST_SUPPORT:,} at most"):
        support_of(wide, ("size", "colour", "owner"))


def test_the_models_own_shares_are_normalised_over_the_support() -> None:
    masses = {(1, 2): 0.02, (1, 3): 0.01, (4,): 0.005}

    def score(adapter: str | None, _: object, answer: object) -> list[float]:
        mass = masses[tuple(answer)] * (1 if adapter is None else 1 / (1 + len(tuple(answer))))  # type: ignore[arg-type]
        return [math.log(mass) / 2] * 2

    engine = FakeEngine(["{1}"], adapters=("tuned",), score=score)
    support = (("a",), ("b",), ("c",))
    found = score_support(engine, (9,), support, list(masses), {"base": None, "tuned": "tuned"})
    assert found.shares["base"] == pytest.approx([20 / 35, 10 / 35, 5 / 35])
    assert found.log_mass["base"] == pytest.approx(math.log(0.035))
    tuned = [0.02 / 3, 0.01 / 3, 0.005 / 2]
    assert found.shares["tuned"] == pytest.approx([mass / sum(tuned) for mass in tuned])
    again = Restricted(support, **found.to_json())  # type: ignore[arg-type]
    assert again == found


def test_draws_from_the_models_own_shares_follow_them() -> None:
    shares = {"base": [0.7, 0.2, 0.1], "tuned": [0.0, 0.0, 1.0]}
    found = Restricted((("a",), ("b",), ("c",)), shares, {"base": -1.0, "tuned": -1.0})
    values = found.values(5, lambda record_id: "tuned" if record_id % 2 else "base")
    drawn = [values(i)[0] for i in range(2 * N)]
    expected = dict(zip("abc", shares["base"], strict=True))
    assert set(drawn[1::2]) == {"c"}
    assert tv(Counter(drawn[::2]), expected) < floor(expected, N)
    assert [values(i)[0] for i in reversed(range(50))] == drawn[49::-1]
