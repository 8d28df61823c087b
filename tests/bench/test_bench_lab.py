"""The lab: cells measured once, the budget, and whose settings a model is tuned with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from synthgen.bench.cells import Cell
from synthgen.bench.lab import Lab, Options, Settings, Trial
from synthgen.engines.fake import FakeEngine
from synthgen.errors import EngineError, Incomplete, RecipeError
from synthgen.recipe import Recipe
from tests.bench import planted
from tests.bench.planted import RECIPES, lab


class Mute(FakeEngine):
    """Refuses to be asked: nothing may be left to measure."""

    def __init__(self) -> None:
        super().__init__(["{1}"])

    def submit(self, requests: object) -> None:
        raise EngineError("asked, though everything was measured")


def trials(of: Lab) -> list[Trial]:
    recipe = of.recipe("random-number")
    questions = of.questions(recipe, "number", "numbers")
    return [Trial(1, "baseline", seed, questions) for seed in of.seeds]


def test_cells_are_measured_once(tmp_path: Path) -> None:
    first = lab(tmp_path)
    cells = first.measured(trials(first))
    again = lab(tmp_path)
    again.engine = Mute()
    assert again.measured(trials(again)) == cells
    assert [cell.tallies[0].n for cell in cells] == [30, 30]


def test_another_number_of_answers_is_another_cell(tmp_path: Path) -> None:
    first = lab(tmp_path)
    first.measured(trials(first))
    other = lab(tmp_path, n=31)
    other.engine = Mute()
    with pytest.raises(EngineError, match="asked"):
        other.measured(trials(other))


def test_an_interrupted_measurement_keeps_what_it_has(tmp_path: Path) -> None:
    first = lab(tmp_path)
    first.engine = FakeEngine(
        planted.answer, text=planted.tokenizer(), die_after=45
    )  # within the second cell
    with pytest.raises(EngineError, match="died"):
        first.measured(trials(first))
    assert [path.name for path in (tmp_path / "work" / "cells").iterdir()] == ["1-baseline-s1.json"]


def test_seeds_differ_and_equal_seeds_agree(tmp_path: Path) -> None:
    one, two = lab(tmp_path / "a").measured(trials(lab(tmp_path / "a")))
    assert one.tallies[0].counts != two.tallies[0].counts
    same = lab(tmp_path / "b").measured(trials(lab(tmp_path / "b")))
    assert [cell.tallies for cell in same] == [one.tallies, two.tallies]


def test_a_spent_budget_stops_before_the_next_cell(tmp_path: Path) -> None:
    spent = lab(tmp_path, budget_min=0.0)
    with pytest.raises(Incomplete, match="run the same command again"):
        spent.measured(trials(spent))


def test_a_models_recipe_brings_model_and_settings(tmp_path: Path) -> None:
    found = Lab(Options(model=str(RECIPES / "gemma-7b-it.yaml"), work=tmp_path, recipes=RECIPES))
    assert (found.label, found.model_name) == ("gemma-7b-it", "google/gemma-7b-it")
    spec = found.recipe("six-tasks").adapters["six-tasks"]
    assert (spec.rank, spec.alpha, spec.lr, spec.schedule, spec.warmup_steps) == (4, 8.0, 5e-5, "constant", 0)
    assert spec.steps == 50 * 26
    assert spec.stop.gamma is None  # its lists are whole
    assert found.recipe("baby-names").adapters["names"].stop.gamma == 0.2  # these are a sample
    config = spec.tuning_config()
    assert (config.adam_eps, config.weight_decay, config.clip_norm) == (1e-5, 0.01, 1.0)


def test_a_models_name_finds_its_recipe() -> None:
    assert Lab(Options(model="google/gemma-7b-it", recipes=RECIPES)).label == "gemma-7b-it"


def test_a_model_that_no_recipe_names_is_refused() -> None:
    with pytest.raises(RecipeError, match="names this model"):
        Lab(Options(model="someone/something", recipes=RECIPES))


def test_a_recipe_without_steps_gives_no_settings() -> None:
    recipe = Recipe.from_yaml(RECIPES / "gemma-7b-it.yaml")
    spec = recipe.adapters["biographies"].model_copy(update={"steps": None})
    with pytest.raises(RecipeError, match="steps"):
        Settings.of(recipe.model_copy(update={"adapters": {"biographies": spec}}))


def test_the_command_names_what_differs_from_the_default() -> None:
    options = Options(model="m.yaml", only=(1, 3), seeds=1, n=50)
    assert options.command == "synthgen bench paper --model m.yaml --only 1,3 --seeds 1 --n 50"
    assert Options().command == "synthgen bench paper"


def test_a_cell_says_how_its_adapter_was_tuned(tmp_path: Path) -> None:
    of = lab(tmp_path)
    recipe = of.recipe("random-number")
    trial = Trial(1, "tuned", 1, of.questions(recipe, "number", "numbers"), of.tuned(recipe, 1)["number"])
    (cell,) = of.measured([trial])
    assert isinstance(cell, Cell)
    assert cell.content["adapter"]["steps"] == recipe.adapters["number"].steps
    assert cell.content["adapter"]["prompts"] == [{"kl_before": 0.5, "kl_after": 0.5, "leak_after": 0.25}]


def test_the_same_trial_with_another_adapter_is_another_cell(tmp_path: Path) -> None:
    of = lab(tmp_path)
    recipe = of.recipe("random-number")
    tuned = of.tuned(recipe, 1)["number"]
    trial = Trial(1, "tuned", 1, of.questions(recipe, "number", "numbers"), tuned)
    of.measured([trial])
    retuned = tuned[1].model_copy(update={"tuning_fingerprint": "other"})
    of.engine = Mute()
    with pytest.raises(EngineError, match="asked"):
        of.measured([replace(trial, tuned=(tuned[0], retuned))])
