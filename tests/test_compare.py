"""Every way side by side: the rivals of a recipe, their figures, and the page."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from synthgen import Recipe
from synthgen.cli import main
from synthgen.compare import compare
from synthgen.compare_page import markdown
from synthgen.engines.fake import FakeEngine
from synthgen.engines.protocol import Request
from synthgen.errors import Incomplete, RecipeError
from synthgen.recipe import AdapterSpec, StopSpec
from synthgen.rivals import OTHER, SFT_TIME, SFT_TOKENS, Rival, at_equal_cost, chosen, other_adapter, rivals
from synthgen.tokenizers import load_tokenizer
from tests.tiny import tiny_model_folder

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    content = {
        "schema": "schemas/die.py:Die",
        "model": str(tiny_model_folder(tmp_path_factory.mktemp("model"))),
        "seed": 3,
        "target": {"targets": {"value": "uniform"}},
        "generate": {"mix": {"base": 1.0}},
    }
    return Recipe.from_mapping(content, base=ROOT)


def seven_or_so(request: Request, rng: np.random.Generator) -> str:
    """A die that knows one number, unless its answer is opened for it."""
    return "" if request.prefix_ids else f"{{{7 if rng.random() < 0.8 else rng.integers(1, 11)}}}"


def fake(recipe: Recipe) -> FakeEngine:
    return FakeEngine(seven_or_so, text=load_tokenizer(recipe.model))


def only(recipe: Recipe, *names: str) -> tuple[Rival, ...]:
    return chosen(rivals(recipe), names)


def test_a_value_drawn_outside_is_within_noise_where_the_model_is_far_off(
    recipe: Recipe, tmp_path: Path
) -> None:
    ways = only(recipe, "base", "prefill")
    base, prefill = compare(ways, 1000, tmp_path, engine=fake(recipe))
    far, near = base.fields["value"], prefill.fields["value"]
    assert far.tv is not None and far.tv_floor is not None and far.tv > 0.5 > 5 * far.tv_floor
    assert near.tv is not None and near.tv_floor is not None and near.tv <= 1.3 * near.tv_floor
    assert base.n == prefill.n == 1000 and base.tuning_s is None
    assert base.prompt_tokens is not None and prefill.prompt_tokens is not None
    assert prefill.prompt_tokens > base.prompt_tokens  # what is forced is read, not written
    assert {path.name for path in tmp_path.iterdir()} == {"base", "prefill", "compare.json", "compare.md"}


def test_what_is_finished_is_not_made_again(recipe: Recipe, tmp_path: Path) -> None:
    first = compare(only(recipe, "base"), 200, tmp_path, engine=fake(recipe))
    again = compare(only(recipe, "base"), 200, tmp_path, engine=FakeEngine(seven_or_so, die_after=0))
    assert again == first


@pytest.mark.parametrize("name", ["verbalised", "in-prompt"])
def test_a_prompt_that_the_model_does_not_follow_is_a_line_that_says_so(
    recipe: Recipe, tmp_path: Path, name: str
) -> None:
    deaf = FakeEngine(lambda request, rng: "I would rather not.")
    (outcome,) = compare(only(recipe, name), 300, tmp_path, engine=deaf)
    assert outcome.parse_rate == 0 and outcome.attempted == 64 and not outcome.fields
    assert "0 of 64 answers were valid" in outcome.note
    assert "0 of 64 answers were valid" in (tmp_path / "compare.md").read_text()


def test_a_way_that_is_refused_is_a_line_with_the_reason(recipe: Recipe, tmp_path: Path) -> None:
    (typical,) = compare(only(recipe, "typical"), 200, tmp_path, engine="vllm")
    assert "typical" in typical.note and not typical.fields


def test_a_signal_ends_the_comparison_and_the_same_command_goes_on(recipe: Recipe, tmp_path: Path) -> None:
    def answer(request: Request, rng: np.random.Generator) -> str:
        if request.id == 150:
            os.kill(os.getpid(), signal.SIGTERM)
        return seven_or_so(request, rng)

    told = FakeEngine(answer, text=load_tokenizer(recipe.model), capacity=16)
    with pytest.raises(Incomplete, match="stopped; "):
        compare(only(recipe, "base", "prefill"), 400, tmp_path, engine=told)
    assert not (tmp_path / "prefill").exists() and not (tmp_path / "compare.md").exists()
    base, _ = compare(only(recipe, "base", "prefill"), 400, tmp_path, engine=fake(recipe))
    assert base.n == 400


def test_a_way_whose_tuning_makes_nothing_better_is_a_line_with_the_reason(
    recipe: Recipe, tmp_path: Path
) -> None:
    still = AdapterSpec(targets={"value": "uniform"}, steps=1, lr=1e-30, stop=StopSpec(tolerance=0.001))
    tuned = recipe.model_copy(update={"adapters": {"own": still}, "tuned_dir": tmp_path / "adapters"})
    base, own = compare(only(tuned, "base", "tuned"), 200, tmp_path / "out", engine=fake(tuned))
    assert base.n == 200 and not base.note
    assert "no adapter to keep" in own.note and not own.fields


def test_a_way_refused_by_its_recipe_is_a_line_though_its_adapter_is_ready(
    recipe: Recipe, tmp_path: Path
) -> None:
    own = {
        "targets": "schemas/biography.py:balanced_tuples",
        "fields": ["name", "gender", "born", "birthplace"],
        "steps": 1,
        "anchor": "none",
    }
    content = {
        "schema": "schemas/biography.py:Biography",
        "model": recipe.model,
        "tuned_dir": str(tmp_path / "adapters"),
        "adapters": {"own": own},
    }
    (exact,) = compare(
        only(Recipe.from_mapping(content, base=ROOT), "tuned-exact"),
        200,
        tmp_path / "out",
        engine=fake(recipe),
    )
    assert "'name' is open" in exact.note and not exact.fields


def test_tuned_ways_need_an_adapter_and_bring_their_rivals(recipe: Recipe) -> None:
    assert "tuned" not in [way.name for way in rivals(recipe)]
    tuned = Recipe.from_yaml(ROOT / "recipes" / "bios.yaml")
    other = other_adapter(Recipe.from_yaml(ROOT / "recipes" / "diffuse.yaml"))
    ways = {way.name: way for way in rivals(tuned, other)}
    assert {SFT_TOKENS, SFT_TIME, "other-tasks", "tuned", "tuned-quota", "tuned-exact", "soft-prompt"} <= set(
        ways
    )
    assert list(ways["base"].recipe.adapters) == [] and list(ways[SFT_TIME].recipe.adapters) == [SFT_TIME]
    by_tokens = at_equal_cost(ways[SFT_TOKENS], 5000, 60.0).recipe.adapters[SFT_TOKENS]
    assert by_tokens.method == "sft" and by_tokens.stop.tokens == 5000 and by_tokens.steps is None
    assert at_equal_cost(ways[SFT_TIME], 5000, 60.0).recipe.adapters[SFT_TIME].stop.seconds == 60
    assert at_equal_cost(ways["tuned"], 5000, 60.0) is ways["tuned"]
    assert list(ways["other-tasks"].recipe.adapters) == [OTHER]
    assert len({repr(way.recipe.target) for way in ways.values()}) == 1  # one target for all
    assert ways["tuned-quota"].recipe.generate.balance_fields == ["gender"]
    assert not ways["tuned-quota"].independent and ways["tuned"].independent


def test_without_a_declared_distribution_there_is_nothing_to_compare_with(recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match=r"declares no distribution.*write `target`"):
        rivals(recipe.model_copy(update={"target": None}))


def test_an_unknown_way_is_a_wrong_command() -> None:
    result = CliRunner().invoke(main, ["compare", str(ROOT / "recipes/die.yaml"), "--only", "base,magic"])
    assert result.exit_code == 2 and "--only magic: no such rival" in result.output
    listed = CliRunner().invoke(main, ["compare", str(ROOT / "recipes/die.yaml"), "--only", "help"])
    assert listed.exit_code == 0 and "prefill" in listed.output


def test_json_and_page_hold_every_way(recipe: Recipe, tmp_path: Path) -> None:
    outcomes = compare(only(recipe, "base", "prefill"), 200, tmp_path, engine=fake(recipe))
    content = json.loads((tmp_path / "compare.json").read_text())
    assert [way["name"] for way in content["ways"]] == ["base", "prefill"] and content["n"] == 200
    page = markdown(outcomes, 200, "made here")
    assert all(outcome.label in page for outcome in outcomes)
