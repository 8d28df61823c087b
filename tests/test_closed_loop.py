"""Tuning until every declared field is within its tolerance, or stops improving; figures are exact, not sampled."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from pydantic import BaseModel

from synthgen.adapters import load_manifest
from synthgen.errors import RecipeError
from synthgen.prompt import build_prompt
from synthgen.recipe import Recipe
from synthgen.schema import RecordSchema
from synthgen.stopping import MOST_EMPHASIS, Judge, Look
from synthgen.targets import MarginalsSource
from synthgen.tokenizers import load_tokenizer
from synthgen.trie import FieldFigures, Figures
from synthgen.tuning import _Run, tune
from synthgen.tuning_config import TuningConfig, TuningTask
from synthgen.tuning_tasks import PreparedTask
from tests.tiny import sharp_model_folder, tiny_model_folder

SCHEMAS = Path(__file__).resolve().parent.parent / "schemas"


class Pair(BaseModel):
    first: Literal["a", "b", "c"]
    second: Literal["x", "y"]
    text: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("tiny"))


def a_task(folder: Path) -> TuningTask:
    schema, tokenizer = RecordSchema.from_model(Pair), load_tokenizer(folder)
    forms: dict[str, object] = {"first": {"a": 2, "b": 1, "c": 1}, "second": "uniform"}
    return TuningTask(build_prompt(schema, tokenizer), MarginalsSource(forms, schema, None, {}), tokenizer)


def looks(*fields: dict[str, float], loss: float = 1.0) -> tuple[Look, ...]:
    """A look at each prompt, whose declared fields have these distances."""
    return tuple(
        Look(
            Figures(
                loss,
                1.0,
                None,
                None,
                None,
                False,
                {n: FieldFigures(1, 1, 0, 0, 0, tv) for n, tv in of.items()},
            ),
            None,
            None,
        )
        for of in fields
    )


def judge(tolerance: object, *before: dict[str, float], **more: Any) -> tuple[Judge, torch.Tensor]:
    weight = torch.zeros(1)
    config = TuningConfig(tolerance=tolerance, **more)  # type: ignore[arg-type]
    return Judge(config, looks(*before), [weight], [1 / len(before)] * len(before)), weight


def test_it_stops_when_every_field_of_every_prompt_is_inside() -> None:
    found, _ = judge(0.1, {"a": 0.8, "b": 0.5}, {"c": 0.5})
    assert found.looked(10, looks({"a": 0.05, "b": 0.12}, {"c": 0.01})) is None
    assert found.looked(20, looks({"a": 0.05, "b": 0.09}, {"c": 0.2})) is None
    assert found.looked(30, looks({"a": 0.1, "b": 0.09}, {"c": 0.02})) == "tolerance"


def test_fields_may_have_their_own_tolerance_and_others_none() -> None:
    found, _ = judge({"a": 0.01, "c": 0.3}, {"a": 0.8, "b": 0.5, "c": 0.5})
    assert found.looked(10, looks({"a": 0.02, "b": 0.9, "c": 0.3})) is None
    assert found.looked(20, looks({"a": 0.01, "b": 0.9, "c": 0.3})) == "tolerance"


def test_fields_that_lag_count_more_and_not_without_bound() -> None:
    found, _ = judge(0.1, {"a": 0.8, "b": 0.5})
    assert found.emphasis(looks({"a": 0.05, "b": 0.25})) == [{"b": pytest.approx(2.5)}]
    assert found.emphasis(looks({"a": 0.9, "b": 0.25}))[0]["a"] == MOST_EMPHASIS
    assert found.emphasis(looks({"a": 0.1, "b": 0.02})) == [{}]


def test_a_round_without_a_gain_is_the_last() -> None:
    found, _ = judge(0.1, {"a": 0.8})
    assert found.looked(10, looks({"a": 0.4})) is None
    assert found.round_over(1) is None
    assert found.looked(20, looks({"a": 0.2})) is None
    assert found.round_over(2) is None
    assert found.looked(30, looks({"a": 0.19})) is None
    assert found.round_over(3) == "plateau"


def test_rounds_have_an_end() -> None:
    found, _ = judge(0.001, {"a": 0.8})
    for number in range(1, 5):
        found.looked(number, looks({"a": 0.5**number}))
        assert found.round_over(number) is None
    found.looked(5, looks({"a": 0.01}))
    assert found.round_over(5) == "steps"


def test_the_nearest_weights_are_kept() -> None:
    found, weight = judge(0.1, {"a": 0.8, "b": 0.3})
    for step, distances in enumerate(({"a": 0.3, "b": 0.2}, {"a": 0.1, "b": 0.5}), start=1):
        weight += 1
        assert found.looked(step, looks(distances)) is None
    assert found.restore("plateau", 2) == 1
    assert weight.item() == 1


def test_without_a_tolerance_a_run_has_one_round() -> None:
    found, _ = judge(None, {"a": 0.8})
    assert found.looked(10, looks({"a": 0.0})) is None
    assert found.round_over(1) == "steps"
    assert found.emphasis(looks({"a": 0.8})) == [{}]


@pytest.mark.parametrize(
    ("tolerance", "message"),
    [({"b": 0.1}, "'b' has no declared distribution"), (0.1, "no field has a declared distribution")],
)
def test_what_is_not_declared_has_no_tolerance(tolerance: object, message: str) -> None:
    with pytest.raises(RecipeError, match=f"stop.tolerance: {message}"):
        judge(tolerance, {} if isinstance(tolerance, float) else {"a": 0.1})


def test_emphasis_changes_the_gradient_and_not_the_figures(folder: Path) -> None:
    from synthgen.lora import add_lora, load_model

    config = TuningConfig(health_samples=0, anchor="none")
    found: list[tuple[Figures, torch.Tensor]] = []
    for emphasis in ({}, {"second": 3.0}, {"first": 2.0, "second": 2.0}):
        run = _Run(add_lora(load_model(str(folder), config), config), [a_task(folder)], config)
        run.emphasise([emphasis])
        figures = run.backward_targets(run.prompts[0])
        found.append((figures, torch.cat([p.grad.flatten() for p in run.parameters if p.grad is not None])))
    plain, second, double = found
    assert plain[0] == second[0] == double[0]
    assert torch.allclose(double[1], 2 * plain[1], rtol=1e-4, atol=1e-7)
    assert (second[1] - plain[1]).norm() > 0.1 * plain[1].norm()


def test_emphasis_leaves_the_optimum_where_it_is(folder: Path) -> None:
    prepared = PreparedTask(0, a_task(folder), "", 1.0, TuningConfig())
    trie = prepared.trie()
    prepared.emphasis = {"second": 3.0}
    weighted = prepared.emphasised(trie)
    at = trie.fields.index("second")
    assert weighted.mass[trie.field == at] == pytest.approx(3 * trie.mass[trie.field == at])
    inside = np.flatnonzero((trie.field == at) & (trie.parent >= 0) & (trie.field[trie.parent] == at))
    assert len(inside)  # below a prefix the weighted masses give the same best probabilities
    above = trie.parent[inside] + 1
    assert weighted.mass[inside] / weighted.outflow[above] == pytest.approx(
        trie.mass[inside] / trie.outflow[above]
    )


def test_a_model_is_tuned_until_it_is_inside(tmp_path: Path) -> None:
    folder = sharp_model_folder(tmp_path / "m", [f"{{{a}}}\n{{{b}}}\n{{" for a in "abc" for b in "xy"])
    config = TuningConfig(lr=1e-2, steps=60, tolerance=0.1, health_samples=0, anchor="none", rank=8)
    result = tune(str(folder), [a_task(folder)], config, tmp_path / "loop")
    before, after = (
        {n: f.tv for n, f in figures[0].fields.items()} for figures in (result.before, result.after)
    )
    assert all(tv is not None and tv > 0.2 for tv in before.values())
    assert result.stopped_by == "tolerance" and all(tv is not None and tv <= 0.1 for tv in after.values())
    assert load_manifest(tmp_path / "loop").result["rounds"] == result.rounds
    assert load_manifest(tmp_path / "loop").settings["tolerance"] == 0.1


def test_a_model_that_cannot_get_there_stops_on_a_plateau_with_its_best_weights(
    folder: Path, tmp_path: Path
) -> None:
    config = TuningConfig(lr=1e-5, steps=4, tolerance=0.001, health_samples=0, anchor="none")
    result = tune(str(folder), [a_task(folder)], config, tmp_path / "stuck")
    assert result.stopped_by == "plateau" and result.rounds == 1 and result.steps == 4


def test_a_recipe_asks_for_a_tolerance(tmp_path: Path) -> None:
    def stop(**ways: object) -> Recipe:
        spec = {"targets": {"value": "uniform"}, "stop": ways}
        return Recipe.from_mapping({"schema": f"{SCHEMAS}/die.py:Die", "adapters": {"a": spec}}, tmp_path)

    assert stop(tolerance=0.02).adapters["a"].tuning_config().tolerance == 0.02
    assert stop(tolerance={"value": 0.02}).adapters["a"].tuning_config().tolerance == {"value": 0.02}
    assert stop(tolerance=0.02).fingerprint != stop().fingerprint
    wrong: list[tuple[dict[str, object], str]] = [
        ({"tolerance": 2}, "tolerance: found 2; expected a number under 1"),
        ({"tolerance": "small"}, "tolerance: found 'small'; expected a total variation such as 0.02"),
        (
            {"tolerance": {"valu": 0.1}},
            "tolerance.valu: 'valu' is no field that is tuned; did you mean 'value'?",
        ),
        ({"tolerance": {"value": -1}}, "tolerance.value: found -1; expected a number above 0"),
        (
            {"tolerance": 0.1, "patience": 2},
            "patience: stands beside `tolerance`, which decides how long to go on",
        ),
    ]
    for ways, line in wrong:
        with pytest.raises(RecipeError) as caught:
            stop(**ways)
        assert len(caught.value.problems) == 1
        assert caught.value.problems[0].startswith(f"recipe: adapters.a.stop.{line}")
