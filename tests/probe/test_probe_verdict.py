"""Samplers whose behaviour is known, asked through an engine: each gets the verdict that it deserves."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import pytest

from synthgen.probe import samplers, thresholds
from synthgen.probe.advice import MEANS, ORDER, PROTOCOL, TEMPERATURE
from synthgen.probe.compute import list_figures
from synthgen.probe.facts import ListFigures, ProbeFacts
from synthgen.probe.figures import Estimate
from synthgen.probe.questions import questions
from synthgen.probe.run import Settings, Subject, probe, reference_points
from synthgen.probe.samplers import Law
from synthgen.probe.tasks import Floats, Task, battery
from synthgen.probe.verdict import judge, label_of
from tests.probe.scripted import ByteTokenizer, by_law

SETTINGS = Settings(n_draws=24, n_lists=1, n_wordings=3, seed=4)
FLAT = ("flat/5/words", "flat/10/digits")


def flattened(task: Task, history: list[int], n: int) -> Floats:
    """An exact sampler at twice the temperature."""
    weights = np.sqrt(task.target)
    return np.asarray(weights / weights.sum())


@cache
def probed(law: Law, tasks: tuple[str, ...] = (), leak: float = 0.0) -> ProbeFacts:
    asked = questions(battery(tasks), SETTINGS.n_draws, SETTINGS.n_wordings, ByteTokenizer())
    engine = by_law(law, asked, SETTINGS.n_draws, leak)
    return probe(engine, Subject("scripted", "", ByteTokenizer()), asked, SETTINGS)


@pytest.mark.parametrize(
    ("law", "label", "pattern"),
    [
        (samplers.exact, "E-like", "samples"),
        (samplers.point_mass, "between", "collapsed"),
        (samplers.balancer, "D-like", "balances"),
        (samplers.drifter, "between", "drifts"),
        (samplers.deck, "between", "balances"),
        (samplers.repeater, "between", "sticks"),
        (samplers.uniform, "between", "own distribution"),
    ],
)
def test_a_known_sampler_gets_its_verdict(law: Law, label: str, pattern: str) -> None:
    facts = probed(law)
    assert (facts.verdict.label, facts.verdict.pattern) == (label, pattern)


def test_an_exact_sampler_stands_at_the_origin() -> None:
    facts = probed(samplers.exact)
    assert facts.lists.alignment.value == pytest.approx(0)
    assert facts.lists.alignment.high == pytest.approx(0)
    assert facts.lists.variability.value == pytest.approx(0)
    assert facts.lists.result.state == "within noise"
    assert facts.lists.own_share == 1.0
    assert facts.lists.endings == {"complete": 18}
    assert facts.singles.alignment.value == pytest.approx(0)
    assert facts.singles.answered_share == 1.0
    assert facts.verdict.others == ()


def test_a_balancer_that_never_repeats_is_d_like_with_a_result_closer_than_chance() -> None:
    facts = probed(samplers.balancer, FLAT)
    assert (facts.verdict.label, facts.verdict.pattern) == ("D-like", "balances")
    assert facts.lists.result.value < facts.lists.result.floor_low
    assert facts.lists.autocorrelation is not None and facts.lists.autocorrelation.value < -0.1
    assert facts.lists.sharpness.value < thresholds.SHARP
    strip = facts.tasks[0].strip
    assert len(set(strip.draws[:5])) >= 4  # 98 % on the value whose turn it is


def test_a_point_mass_on_a_flat_task_is_as_far_off_as_can_be() -> None:
    facts = probed(samplers.point_mass, FLAT)
    assert facts.lists.alignment.value == pytest.approx((0.8 + 0.9) / 2)
    assert facts.lists.variability.value == 0.0
    assert facts.lists.autocorrelation is None
    assert facts.lists.entropies.token == 0.0
    assert facts.lists.result.state == "off"


def test_a_drifting_sampler_differs_between_the_halves_of_its_lists() -> None:
    facts = probed(samplers.drifter)
    assert facts.lists.drift.value > thresholds.DRIFTS
    assert facts.lists.variability.value < thresholds.STABLE
    assert facts.lists.runs is not None
    assert facts.lists.runs.z < -5


def test_intervals_that_reach_over_a_border_are_told() -> None:
    figures = probed(samplers.exact).lists
    sure, unsure = Estimate(0.1, 0.05, 0.14), Estimate(0.1, 0.0, 0.3)
    assert judge(_with(figures, sure, Estimate(0.05, 0.0, 0.09))).others == ()
    assert judge(_with(figures, unsure, Estimate(0.05, 0.0, 0.3))).others == ("between", "D-like")


def _with(figures: ListFigures, alignment: Estimate, variability: Estimate) -> ListFigures:
    from dataclasses import replace

    return replace(figures, alignment=alignment, variability=variability)


# ---- reference points and thresholds ----


def test_the_reference_points_are_simulated_on_the_same_tasks() -> None:
    points = {point.name: point for point in reference_points(battery(FLAT), 24, np.random.default_rng(0))}
    assert (points["exact"].alignment, points["exact"].variability) == (0.0, 0.0)
    assert points["uniform"].alignment == pytest.approx(0.0, abs=1e-12)  # which is exact, on flat tasks
    assert points["one value"].alignment == pytest.approx(0.85)
    assert points["balancer"].verdict == "D-like"


def test_the_thresholds_stand_where_their_reasons_say() -> None:
    points = {point.name: point for point in reference_points(battery(), 32, np.random.default_rng(0))}
    assert points["jitter ½"].alignment == pytest.approx(0.14, abs=0.01)
    assert points["uniform"].alignment == pytest.approx(0.30, abs=0.005)
    assert points["jitter ¼"].variability == pytest.approx(thresholds.STABLE, abs=0.01)
    assert points["jitter 1"].alignment == pytest.approx(0.27, abs=0.01)
    assert points["jitter ½"].variability == pytest.approx(thresholds.UNSTABLE, abs=0.01)
    assert points["deck"].variability == pytest.approx(0.07, abs=0.01)
    assert points["deck"].drift == pytest.approx(0.2, abs=0.03)
    assert points["jitter 1"].drift == pytest.approx(0.1, abs=0.03)
    verdicts = {name: point.verdict for name, point in points.items()}
    assert verdicts == {
        "exact": "E-like",
        "jitter ¼": "E-like",
        "jitter ½": "between",
        "jitter 1": "D-like",
        "uniform": "between",
        "one value": "between",
        "deck": "between",
        "balancer": "D-like",
        "drifter": "between",
        "repeater": "between",
    }


@pytest.mark.parametrize(
    ("alignment", "variability", "label"),
    [
        (0.15, 0.10, "E-like"),
        (0.16, 0.10, "between"),
        (0.15, 0.11, "between"),
        (0.25, 0.20, "D-like"),
        (0.9, 0.0, "between"),
        (0.24, 0.4, "between"),
    ],
)
def test_the_regions_of_the_plane(alignment: float, variability: float, label: str) -> None:
    assert label_of(alignment, variability) == label


def test_every_law_is_a_distribution_after_any_history() -> None:
    rng = np.random.default_rng(7)
    for task in battery():
        for sampler in samplers.SAMPLERS:
            for _ in range(3):
                drawn = samplers.simulate(sampler.law, task, 20, rng)
                assert drawn.shares.min() >= 0
                assert np.allclose(drawn.shares.sum(axis=1), 1)
        assert list_figures([samplers.simulate(samplers.exact, task, 20, rng)], rng).alignment.value == 0.0


# ---- advice ----


def advice(facts: ProbeFacts) -> dict[str, str]:
    return {piece.topic: f"{piece.text} [{piece.figure}]" for piece in facts.advice}


def test_an_exact_sampler_is_advised_to_be_left_alone() -> None:
    found = advice(probed(samplers.exact))
    assert found[MEANS].startswith("Stating a distribution in the prompt works")
    assert found[PROTOCOL].startswith("Either protocol serves")
    assert found[TEMPERATURE].startswith("Leave it at 1")
    assert ORDER not in found


def test_a_balancer_is_advised_lists_but_no_single_draws() -> None:
    found = advice(probed(samplers.balancer, FLAT))
    assert "prefill" in found[MEANS]
    assert found[PROTOCOL].startswith("Long lists come out right where single draws do not")
    assert "they change less often" in found[ORDER]  # it goes through the values in their stated order
    assert "autocorrelation -0." in found[ORDER]  # and does not repeat them


def test_a_flattened_sampler_is_advised_a_lower_temperature() -> None:
    facts = probed(flattened)
    assert facts.singles.temperature.value == pytest.approx(0.5, rel=0.1)
    assert advice(facts)[TEMPERATURE].startswith("Set it lower: P_token is too flat.")


def test_mass_outside_is_advised_upon_with_its_figure() -> None:
    facts = probed(samplers.exact, FLAT, leak=0.3)
    assert facts.lists.outside.value == pytest.approx(0.3)
    assert "mass outside: single draws 30 %, lists 30 %" in advice(facts)["form"]
    assert facts.verdict.label == "E-like"  # inside the support it samples


def test_every_piece_of_advice_holds_a_figure() -> None:
    for law in (samplers.exact, samplers.balancer, samplers.drifter, partial(samplers.jitter, scale=1.0)):
        for piece in probed(law).advice:
            assert any(letter.isdigit() for letter in piece.figure), piece
