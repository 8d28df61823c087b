"""Recipes: what is read, what is refused and with which words, and what changes a fingerprint."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from synthgen import yaml_lines
from synthgen.errors import RecipeError
from synthgen.recipe import Recipe
from synthgen.summary import plan_summary
from synthgen.targets import N_REFERENCE, Reference

ROOT = Path(__file__).parent.parent
WRONG = sorted((Path(__file__).parent / "wrong_recipes").glob("*.yaml"))
SHIPPED = sorted((ROOT / "recipes").glob("*.yaml"))
DIE: dict[str, object] = {
    "schema": "schemas/die.py:Die",
    "adapters": {"die": {"targets": {"value": {"1": 1.0, "2": 3.0}}}},
}
BIOS = ["name", "gender", "born", "birthplace"]


def expected_line(path: Path) -> str:
    """What a wrong recipe must be answered: its first line says so."""
    return path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")


def problems(content: dict[str, object]) -> tuple[str, ...]:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_mapping(content, ROOT)
    return caught.value.problems


def write(folder: Path, text: str) -> Path:
    path = folder / "r.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_a_wrong_recipe_is_answered_by_one_line(path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_yaml(path)
    assert caught.value.problems == (f"{path}:{expected_line(path)}",)


def test_there_are_at_least_ten_wrong_recipes() -> None:
    assert len(WRONG) >= 10


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_recipe_is_right_and_draws_its_targets(path: Path) -> None:
    recipe = Recipe.from_yaml(path)
    plan = plan_summary(recipe, 100)
    assert f"synthgen recipe recipes/{path.name}" in recipe.source
    assert all(row.prompts for row in plan.adapters if row.source == "tuned")
    assert all(prompt.samples for row in plan.adapters for prompt in row.prompts)
    assert sum(row.share for row in plan.adapters) == pytest.approx(1)


def test_every_problem_is_reported_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        f"""schema: {ROOT}/schemas/biography.py:Biography
sed: 3
adapters:
  biographies:
    targets: {ROOT}/schemas/biography.py:balanced_tuples
    fields: [name, gendre]
    rank: -1
generate: {{mix: {{biographies: 1, other: 2}}, top_p: 1.5}}
gates: {{gender: {{tv: 7}}, parse_rate: high}}
""",
    )
    with pytest.raises(RecipeError) as caught:
        Recipe.from_yaml(path)
    assert [line.removeprefix(f"{path}:").split(": ")[:2] for line in caught.value.problems] == [
        ["2", "unknown key 'sed'; did you mean 'seed'?"],
        ["6", "adapters.biographies.fields"],
        ["7", "adapters.biographies.rank"],
        ["8", "generate.mix.other"],
        ["8", "generate.top_p"],
        ["9", "gates.gender.tv"],
        ["9", "gates.parse_rate"],
    ]


def test_paths_are_taken_from_the_folder_of_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = Recipe.from_yaml(ROOT / "recipes" / "bios.yaml")
    assert recipe.schema_ref == f"{ROOT}/schemas/biography.py:Biography"
    assert recipe.adapters["biographies"].targets == f"{ROOT}/schemas/biography.py:balanced_tuples"
    assert recipe.out_dir == ROOT / "data" / "bios"
    assert recipe.adapters_dir == ROOT / "adapters" / "local"
    assert recipe.model == "nano"
    assert (recipe.name, recipe.base) == ("bios", ROOT / "recipes")


def test_defaults_stand_beside_the_recipe(tmp_path: Path) -> None:
    recipe = Recipe.from_yaml(write(tmp_path, f"schema: {ROOT}/schemas/die.py:Die\n"))
    assert recipe.out_dir == tmp_path / "data" / "r"
    assert recipe.adapters_dir == tmp_path / "adapters"
    assert recipe.mix == (("base", 1.0),)


def test_shares_are_normalised_in_the_order_of_the_recipe() -> None:
    recipe = Recipe.from_mapping(DIE | {"generate": {"mix": {"die": 1, "base": 3}}}, ROOT)
    assert recipe.mix == (("die", 0.25), ("base", 0.75))
    assert recipe.generate.mix == {"die": 0.25, "base": 0.75}


def test_several_adapters_need_a_mix() -> None:
    targets = {"targets": {"value": {"1": 1.0}}}
    (line,) = problems(DIE | {"adapters": {"a": targets, "b": targets}})
    assert line == (
        "recipe: generate.mix: missing; expected a share for each of a, b (base is the untuned model)"
    )


def test_the_tuned_fields_are_those_named_or_the_targets_own() -> None:
    marginals = {"seniority": {"junior": 1, "lead": 1}, "contract": {"contract": 1}}
    content = {"schema": "schemas/job.py:Job", "adapters": {"j": {"targets": marginals}}}
    recipe = Recipe.from_mapping(content, ROOT)
    assert recipe.adapters["j"].fields is None
    assert recipe.targets_of("j").fields == ("seniority", "contract")
    named = Recipe.from_mapping(
        content | {"adapters": {"j": {"targets": marginals, "fields": list(marginals)}}}, ROOT
    )
    assert named.targets_of("j").fields == ("seniority", "contract")


LOADED: dict[str, object] = {"targets": {"value": {"1": 1, "2": 3}}}
WEEKDAY: dict[str, object] = {"schema": "schemas/questions.py:Weekday", "targets": {"day": "uniform"}}


def tuned_on(*prompts: dict[str, object], **settings: object) -> dict[str, object]:
    """A recipe for dice with one adapter, which may serve any prompt."""
    return DIE | {"adapters": {"many": {"scope": "any", "prompts": list(prompts)} | settings}}


def test_one_prompt_with_targets_is_short_for_a_list_of_one() -> None:
    short: dict[str, object] = {"targets": {"value": {"1": 1, "2": 3}}, "fields": ["value"]}
    recipes = [
        Recipe.from_mapping(DIE | {"adapters": {"die": spec}}, ROOT) for spec in (short, {"prompts": [short]})
    ]
    assert recipes[0].adapters["die"].tasks == recipes[1].adapters["die"].tasks
    assert recipes[0].fingerprint == recipes[1].fingerprint
    assert recipes[0].reference() == recipes[1].reference() == Reference({"value": {"1": 0.25, "2": 0.75}})


def test_a_target_declares_the_distribution_of_the_record_whoever_makes_it() -> None:
    fair = {"targets": {"value": {"1": 1, "2": 1}}}
    recipe = Recipe.from_mapping(DIE | {"target": fair}, ROOT)
    assert recipe.reference() == Reference({"value": {"1": 0.5, "2": 0.5}})
    untuned = Recipe.from_mapping({"schema": "schemas/die.py:Die", "target": fair}, ROOT)
    assert untuned.mix == (("base", 1.0),) and untuned.reference() == recipe.reference()
    balanced = Recipe.from_mapping(DIE | {"generate": {"mix": {"base": 1}, "balance": "prefill"}}, ROOT)
    assert balanced.reference() == Reference(
        {"value": {"1": 0.25, "2": 0.75}}
    )  # the adapter's, which it draws from


def test_a_target_may_declare_any_fields_of_the_record() -> None:
    job: dict[str, object] = {"schema": "schemas/job.py:Job"}
    some = {"remote": {"yes": 1, "no": 3}, "contract": {"contract": 1}}
    recipe = Recipe.from_mapping(job | {"target": {"targets": some}}, ROOT)
    source = recipe.declared()
    assert source is not None and source.fields == ("contract", "remote")
    assert recipe.reference().shares == {"contract": {"contract": 1.0}, "remote": {"yes": 0.25, "no": 0.75}}
    turned = {"targets": "schemas/job.py:balanced_jobs", "fields": ["remote", "title"]}
    with pytest.raises(RecipeError, match=r"target.targets: .* found 3 values; expected 2: remote, title"):
        Recipe.from_mapping(job | {"target": turned}, ROOT)


def test_a_fingerprint_covers_the_target_and_the_remedies_and_stays_without_them() -> None:
    plain = Recipe.from_mapping(DIE, ROOT)
    assert "target" not in plain.facts
    assert set(plain.facts["generate"]) == {  # type: ignore[call-overload]
        "mix", "temperature", "top_p", "top_k", "max_tokens", "adapter_column",
    }  # fmt: skip
    target: dict[str, object] = {"target": {"targets": {"value": {"1": 1}}}}
    changed = [
        plain,
        *(
            Recipe.from_mapping(DIE | more, ROOT)
            for more in (target, {"target": {"targets": {"value": {"2": 1}}}})
        ),
        *(
            Recipe.from_mapping(DIE | target | {"generate": ways}, ROOT)
            for ways in (
                {"balance": "prefill"},
                {"balance": "exact"},
                {"balance": "prefill", "balance_fields": ["value"]},
                {"min_p": 0.1},
                {"typical_p": 0.9},
            )
        ),
    ]
    assert len({recipe.fingerprint for recipe in changed}) == len(changed)
    spelled_out = {"min_p": 0.0, "typical_p": 1.0, "balance": "none", "ask": "plain"}
    assert Recipe.from_mapping(DIE | {"generate": spelled_out}, ROOT).fingerprint == plain.fingerprint


def test_a_gate_may_stand_on_the_target() -> None:
    gated = {"target": {"targets": {"value": "uniform"}}, "gates": {"value": {"tv": 0.1}}}
    recipe = Recipe.from_mapping({"schema": "schemas/die.py:Die"} | gated, ROOT)
    assert recipe.gates == {"value": {"tv": 0.1}}


def test_a_plan_shows_what_is_done_beside_tuning() -> None:
    ways = {"balance": "in-prompt", "balance_fields": ["value"], "ask": "varied", "min_p": 0.1}
    content = {"schema": "schemas/die.py:Die", "target": {"targets": {"value": "uniform"}}, "generate": ways}
    plan = plan_summary(Recipe.from_mapping(content, ROOT), 10)
    assert plan.remedies == ("balance value: in-prompt", "ask: varied", "min_p 0.1")
    assert "Choose every value at random" in plan.prompt


def test_only_the_recipes_own_prompt_declares_its_distribution() -> None:
    recipe = Recipe.from_mapping(tuned_on(LOADED, WEEKDAY), ROOT)
    assert recipe.reference() == Reference({"value": {"1": 0.25, "2": 0.75}})
    assert recipe.targets_of("many", 1).fields == ("day",)
    others = tuned_on(LOADED | {"prompt": {"text": "A number? {value}"}}, WEEKDAY)
    assert Recipe.from_mapping(others, ROOT).reference() == Reference({})


def test_a_prompts_paths_are_taken_from_the_folder_of_the_recipe(tmp_path: Path) -> None:
    prompts = "[{schema: s/q.py:Q, targets: t/t.csv}, {targets: 's/q.py:f'}]"
    path = write(tmp_path, f"schema: {ROOT}/schemas/die.py:Die\nadapters: {{a: {{prompts: {prompts}}}}}\n")
    with pytest.raises(RecipeError) as caught:
        Recipe.from_yaml(path)
    assert [f"looked for {tmp_path}/s/q.py" in line for line in caught.value.problems] == [True, True]


def test_every_fault_of_a_list_of_prompts_is_found_with_its_line(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        f"""schema: {ROOT}/schemas/die.py:Die
adapters:
  many:
    prompts:
      - die.csv
      - {{targets: {{value: uniform}}, weight: -1}}
      - {{schema: {ROOT}/schemas/questions.py:Weekday, targets: {{day: {{Moonday: 1}}}}}}
      - {{prompt: {{text: a, instruction: b}}, targets: {{value: uniform}}}}
      - {{schema: {ROOT}/schemas/questions.py:Fruit}}
      - {{targets: {{valu: uniform}}}}
    fields: [value]
""",
    )
    with pytest.raises(RecipeError) as caught:
        Recipe.from_yaml(path)
    assert [line.removeprefix(f"{path}:").split(": ")[:2] for line in caught.value.problems] == [
        ["5", "adapters.many.prompts"],
        ["6", "adapters.many.prompts.weight"],
        ["7", "adapters.many.prompts.targets.day.Moonday"],
        ["8", "adapters.many.prompts.prompt.text"],
        ["9", "adapters.many.prompts"],
        ["10", "adapters.many.prompts"],
        ["10", "adapters.many.prompts.targets.valu"],
        ["11", "adapters.many.fields"],
    ]


def test_a_fingerprint_covers_every_prompt_but_not_what_the_adapter_may_serve() -> None:
    recipes = [
        tuned_on(LOADED, WEEKDAY),
        tuned_on(LOADED),
        tuned_on(LOADED, WEEKDAY | {"weight": 2}),
        tuned_on(LOADED, WEEKDAY | {"n_targets": 9}),
        tuned_on(LOADED, WEEKDAY | {"prompt": {"text": "A day? {day}"}}),
        tuned_on(LOADED, WEEKDAY | {"targets": {"day": {"Monday": 1}}}),
        tuned_on(LOADED, WEEKDAY, prompts_per_step=2),
    ]
    found = [Recipe.from_mapping(content, ROOT).fingerprint for content in recipes]
    assert len(set(found)) == len(recipes)
    assert Recipe.from_mapping(tuned_on(LOADED, WEEKDAY, scope="record"), ROOT).fingerprint == found[0]


def test_a_plan_shows_every_prompt_and_its_share_of_the_loss() -> None:
    recipe = Recipe.from_mapping(tuned_on(LOADED, WEEKDAY | {"weight": 3}), ROOT)
    (row,) = plan_summary(recipe, 10).adapters
    assert (row.source, row.scope, row.share) == ("tuned", "any", 1.0)
    found = [(prompt.schema, prompt.fields, prompt.share) for prompt in row.prompts]
    assert found == [("Die", ("value",), 0.25), ("Weekday", ("day",), 0.75)]
    assert row.prompts[0].message is None and str(row.prompts[1].message).startswith(
        "Generate a random weekday"
    )


def test_a_distance_is_gated_only_where_the_whole_mix_declares_the_field() -> None:
    gates = {"value": {"tv": 0.1}}
    (line,) = problems(DIE | {"generate": {"mix": {"die": 1, "base": 1}}, "gates": gates})
    assert line.startswith("recipe: gates.value.tv: 'base', in the mix, declares no distribution of 'value'")
    (line,) = problems(tuned_on(WEEKDAY) | {"gates": gates})
    assert line.startswith("recipe: gates.value.tv: no adapter declares a distribution of 'value'")
    assert Recipe.from_mapping(tuned_on(LOADED, WEEKDAY) | {"gates": gates}, ROOT).gates == gates


def test_the_declared_distribution_of_a_mixture_is_the_mixture() -> None:
    adapters = {"low": {"targets": {"value": {"1": 1}}}, "any": {"targets": {"value": {"range": [1, 4]}}}}
    recipe = Recipe.from_mapping(
        DIE | {"adapters": adapters, "generate": {"mix": {"low": 1, "any": 1}}}, ROOT
    )
    assert recipe.reference().shares["value"] == pytest.approx(
        {"1": 0.625, "2": 0.125, "3": 0.125, "4": 0.125}
    )
    with_base = DIE | {"generate": {"mix": {"die": 1, "base": 1}}}
    assert Recipe.from_mapping(with_base, ROOT).reference() == Reference({})


def test_the_declared_distribution_of_marginals_is_exact() -> None:
    assert Recipe.from_mapping(DIE, ROOT).reference() == Reference({"value": {"1": 0.25, "2": 0.75}})


def test_a_declared_distribution_says_on_how_many_draws_it_rests(tmp_path: Path) -> None:
    """Half of the records by a function of n draws, half exact: as noisy as 4 n draws of the mixture."""
    function = "def rolls(rng, n):\n    return [(int(value),) for value in rng.integers(1, 11, n)]\n"
    (tmp_path / "rolls.py").write_text(function)
    adapters = {"drawn": {"targets": f"{tmp_path}/rolls.py:rolls"}, "exact": {"targets": {"value": {"1": 1}}}}
    for mix, draws in (({"drawn": 1}, N_REFERENCE), ({"drawn": 1, "exact": 1}, 4 * N_REFERENCE)):
        content = DIE | {"adapters": adapters, "generate": {"mix": mix}}
        reference = Recipe.from_mapping(content, ROOT).reference()
        assert reference.draws == {"value": draws}
        assert len(reference.shares["value"]) == 10
    content = DIE | {"adapters": adapters, "generate": {"mix": {"exact": 1}}}
    assert Recipe.from_mapping(content, ROOT).reference() == Reference({"value": {"1": 1.0}})


def test_the_tuner_gets_what_the_recipe_says_and_its_own_defaults_else() -> None:
    spec = {"targets": {"value": {"1": 1.0}}, "lr": 1e-3, "stop": {"steps": 9, "gamma": 0.2}}
    config = (
        Recipe.from_mapping(DIE | {"adapters": {"die": spec}}, ROOT).adapters["die"].tuning_config(seed=3)
    )
    assert (config.lr, config.steps, config.gamma, config.seed, config.rank) == (1e-3, 9, 0.2, 3, 4)
    assert config.anchor == type(config)().anchor


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"stop": {"gamma": 0.2}, "fresh": True}, "adapters.die.stop.gamma"),
        ({"stop": {"steps": 4}, "steps": 5}, "adapters.die.stop.steps"),
        ({"closed": {"value": {"1": 1.0}}}, "adapters.die.closed"),
        ({"targets": {"value": {"11": 1.0}}}, "adapters.die.targets.value.11"),
        ({"targets": {"value": {"1": -1.0}}}, "adapters.die.targets.value.1"),
        ({"targets": {"value": {}}}, "adapters.die.targets"),
        ({"targets": {}}, "adapters.die.targets"),
        ({"targets": {"valeu": {"1": 1.0}}}, "adapters.die.targets.valeu"),
        ({"targets": "schemas/die.py:nothing_here"}, "adapters.die.targets"),
        ({"targets": "nowhere.csv"}, "adapters.die.targets"),
        ({"targets": 7}, "adapters.die.targets"),
        ({"rank": True}, "adapters.die.rank"),
        ({"lr": float("nan")}, "adapters.die.lr"),
        ({"anchor": "ful"}, "adapters.die.anchor"),
    ],
)
def test_a_wrong_adapter_is_refused_by_key(change: dict[str, object], key: str) -> None:
    spec = {"targets": {"value": {"1": 1.0}}} | change
    found = problems(DIE | {"adapters": {"die": spec}})
    assert len(found) == 1
    assert found[0].startswith(f"recipe: {key}")


@pytest.mark.parametrize("name", ["base", "../up", "a b", ""])
def test_an_adapters_name_must_be_safe_as_a_folder(name: str) -> None:
    found = problems(DIE | {"adapters": {name: {"targets": {"value": {"1": 1.0}}}}})
    assert any("is no adapter's name" in line for line in found)


def test_a_ready_adapter_must_be_one(tmp_path: Path) -> None:
    (line,) = problems(DIE | {"adapters": {"old": {"use": str(tmp_path / "none")}}})
    assert line.startswith("recipe: adapters.old.use: ") and "no such folder" in line
    (tmp_path / "adapter_config.json").write_text("{}")
    (line,) = problems(DIE | {"adapters": {"old": {"use": str(tmp_path)}}})
    assert "no manifest.json" in line


@pytest.mark.parametrize("model", ["./none", "/none/at/all", "../x"])
def test_a_model_that_looks_like_a_folder_must_be_there(model: str) -> None:
    (line,) = problems(DIE | {"model": model})
    assert line.startswith("recipe: model: ") and "no such folder" in line


def test_a_model_id_is_left_alone() -> None:
    assert Recipe.from_mapping(DIE | {"model": "org/model-1.5b"}, ROOT).model == "org/model-1.5b"


def test_instruction_and_text_exclude_each_other() -> None:
    (line,) = problems(DIE | {"prompt": {"text": "a", "instruction": "b"}})
    assert line.startswith("recipe: prompt.text: ")


def test_a_problem_is_one_line_whatever_the_keys_hold(tmp_path: Path) -> None:
    path = write(tmp_path, f'schema: {ROOT}/schemas/die.py:Die\n"a\\nb\\e[31m": 1\n')
    with pytest.raises(RecipeError) as caught:
        Recipe.from_yaml(path)
    (line,) = caught.value.problems
    assert line.isprintable()
    assert "a\\nb\\x1b[31m" in line


@pytest.mark.parametrize(
    ("gates", "is_right"),
    [
        ({"value": {"coverage": 9, "entropy": 2.0, "tv": 0.1, "js": 0.1, "kl": 3}, "parse_rate": 1}, True),
        ({"parse_rate": True}, False),
        ({"parse_rate": {"tv": 0.1}}, False),
        ({"parse_rate": 1.01}, False),
        ({"value": {"tv": -0.1}}, False),
        ({"value": {"js": 0.7}}, False),
        ({"value": {"tv": float("inf")}}, False),
        ({"value": 0.1}, False),
    ],
)
def test_gates_have_known_measures_in_their_range(gates: dict[str, object], is_right: bool) -> None:
    if is_right:
        assert Recipe.from_mapping(DIE | {"gates": gates}, ROOT).gates == gates
    else:
        (line,) = problems(DIE | {"gates": gates})
        assert line.startswith("recipe: gates.")


def test_a_missing_file_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such file; `synthgen init` writes"):
        Recipe.from_yaml(tmp_path / "none.yaml")


# ---- fingerprint ----


def test_the_fingerprint_ignores_where_the_data_goes_and_what_it_is_held_against() -> None:
    recipe = Recipe.from_mapping(DIE, ROOT)
    changes: tuple[dict[str, object], ...] = (
        {"export": {"dir": "/elsewhere"}},
        {"gates": {"parse_rate": 0.5}},
        {"generate": {"engine": "fake", "max_attempts": 9}},
        {"tuned_dir": "/elsewhere"},
    )
    for change in changes:
        assert Recipe.from_mapping(DIE | change, ROOT).fingerprint == recipe.fingerprint


def test_the_fingerprint_changes_with_what_decides_the_data() -> None:
    changes: tuple[dict[str, object], ...] = (
        {},
        {"seed": 1},
        {"model": "org/other"},
        {"schema": "schemas/patient.py:Patient", "adapters": {}},
        {"prompt": {"text": "Roll."}},
        {"generate": {"temperature": 0.7}},
        {"generate": {"mix": {"base": 1.0}}},
        {"adapters": {"die": {"targets": {"value": {"1": 1.0, "2": 2.0}}}}},
        {"export": {"rows_per_shard": 10}},
    )
    fingerprints = [Recipe.from_mapping(DIE | change, ROOT).fingerprint for change in changes]
    assert len(set(fingerprints)) == len(changes)


def test_the_fingerprint_follows_the_content_of_files_not_their_place(tmp_path: Path) -> None:
    def fingerprint(folder: str, schema: str) -> str:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "die.py").write_text(schema)
        return Recipe.from_yaml(write(tmp_path / folder, "schema: die.py:Die\n")).fingerprint

    text = (ROOT / "schemas" / "die.py").read_text()
    assert fingerprint("a", text) == fingerprint("b", text) != fingerprint("c", text + "\n# changed\n")


# ---- YAML ----


def test_scalars_follow_yaml_1_2() -> None:
    document = yaml_lines.parse("[no, on, 1e-3, 2024-05-01, 1:30, true, ~, 'x', 010, .5]")
    assert document.value == ["no", "on", 0.001, "2024-05-01", "1:30", True, None, "x", 10, 0.5]
    assert not document.problems


def test_lines_are_kept_for_keys_and_items() -> None:
    document = yaml_lines.parse("a:\n  - 1\n  - 2\nb: {c: 3}\n")
    assert [document.line(path) for path in [("a",), ("a", 1), ("b", "c"), ("b", "missing")]] == [1, 3, 4, 4]


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [echo]",
        "a: !mine x",
        "a: &a [*a]",
        "[" * 50_000,
        "? [1, 2]\n: 3",
        "a: 1\na: 2",
        "a: 1\n---\nb: 2",
        "\ta: 1",
        "a: \x00",
        "a: *nowhere",
        "a: " + "x" * 1_100_000,
    ],
    ids=range(11),
)
def test_what_no_recipe_needs_is_refused(text: str) -> None:
    assert len(yaml_lines.parse(text).problems) >= 1


def test_an_alias_bomb_is_refused_quickly() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]\n" for i in range(12))
    started = time.perf_counter()
    (problem,) = yaml_lines.parse(bomb).problems
    assert "aliases" in problem.text
    assert time.perf_counter() - started < 5
