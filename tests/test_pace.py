"""How a tuning run goes on: rates, looks, budgets and rounds."""

from __future__ import annotations

import pytest

from synthgen.errors import RecipeError
from synthgen.pace import Pace, learning_rate
from synthgen.tuning_config import TuningConfig


def walk(
    config: TuningConfig, tokens: int = 100, seconds: float = 1.0
) -> tuple[list[float], list[int], Pace]:
    """The rates and the looks of a whole round, each step of so many tokens and seconds."""
    pace, rates, looks = Pace(config), [], []
    while not pace.is_over:
        rates.append(pace.rate)
        pace.advance(tokens * (pace.steps + 1), seconds * (pace.steps + 1))
        if pace.is_look:
            looks.append(pace.steps)
    return rates, looks, pace


def test_steps_alone_go_as_published() -> None:
    config = TuningConfig(lr=1.0, steps=10, warmup_steps=2)
    rates, looks, pace = walk(config)
    assert rates == pytest.approx([learning_rate(config, step) for step in range(1, 11)])
    assert rates == pytest.approx([0.5, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    assert looks == [3, 6, 9, 10]
    assert (pace.n_steps, pace.spent_first) == (10, "steps")
    assert walk(TuningConfig(steps=10, look_every=4))[1] == [4, 8, 10]


@pytest.mark.parametrize(("budget", "first"), [({"tokens": 2000}, "tokens"), ({"seconds": 20.0}, "seconds")])
def test_a_budget_ends_a_run_and_its_rate(budget: dict[str, float], first: str) -> None:
    config = TuningConfig(lr=1.0, steps=10**9, warmup_steps=0, **budget)  # type: ignore[arg-type]
    rates, looks, pace = walk(config)
    assert rates == pytest.approx([1 - i / 20 for i in range(20)])
    assert looks == [5, 10, 15, 20]
    assert (pace.n_steps, pace.spent_first) == (20, first)


def test_what_runs_out_first_ends_the_run() -> None:
    config = TuningConfig(steps=8, tokens=2000)
    assert walk(config)[2].spent_first == "steps"
    assert walk(config, tokens=900)[2].steps == 3


def test_what_is_foretold_of_a_budget_comes_true() -> None:
    pace = Pace(TuningConfig(steps=10**9, tokens=4000))
    pace.advance(100, 1.0)
    assert pace.n_steps == 40


def test_a_further_round_is_half_as_long_at_half_the_rate() -> None:
    config = TuningConfig(lr=1.0, steps=10, warmup_steps=0, tolerance=0.1)
    _, _, pace = walk(config)
    pace.begin_round()
    rates = []
    while not pace.is_over:
        rates.append(pace.rate)
        pace.advance(0, 0.0)
    assert rates == pytest.approx([0.5 * (1 - i / 5) for i in range(5)])
    assert (pace.round, pace.steps, pace.n_steps) == (2, 15, 15)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "sft", "kl": 0.1, "anchor": "none"}, "stop.kl needs the exact loss of method lora"),
        ({"method": "sft", "tolerance": 0.1, "anchor": "none"}, "stop.tolerance needs the exact loss"),
        ({"method": "sft"}, "without an anchor; write anchor: none"),
        ({"batch_size": 8}, "batch_size is of method sft"),
        ({"tolerance": 0.1, "patience": 2}, "so does stop.patience; keep one of them"),
        ({"tolerance": 0.1, "tokens": 2}, "so does stop.tokens; keep one of them"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        TuningConfig(**settings)  # type: ignore[arg-type]


def test_settings_that_say_nothing_are_no_part_of_what_decides_an_adapter() -> None:
    plain = TuningConfig().settings()
    assert not {"method", "batch_size", "tolerance", "tokens", "seconds"} & plain.keys()
    said = TuningConfig(method="sft", anchor="none", batch_size=8, seconds=3.0).settings()
    assert (said["method"], said["batch_size"], said["seconds"]) == ("sft", 8, 3.0)
    assert TuningConfig(tolerance={"sex": 0.1}).settings()["tolerance"] == {"sex": 0.1}
