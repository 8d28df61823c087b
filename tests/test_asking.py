"""Remedies from end to end: what every attempt is asked, and that the same ids get the same values again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from synthgen import Recipe
from synthgen.adapters import AdapterManifest
from synthgen.asking import AVOIDING_AT_ONCE, asked, drawn, restricted
from synthgen.balance import Draws, Restricted
from synthgen.engines.fake import Answer, FakeEngine, answers_by_hints
from synthgen.engines.protocol import Engine, Request, Sampling
from synthgen.errors import AdapterError, EngineError, RecipeError
from synthgen.job import Job, prepare, ready_adapters
from synthgen.models import model_fingerprint
from synthgen.plan import BASE, Plan
from synthgen.progress import SilentProgress
from synthgen.prompt import Tokenizer, answer_ids
from synthgen.recipe import AdapterSpec, UniqueSpec
from synthgen.remedy import Remedy
from synthgen.run import iterate, preview, run_recipe
from synthgen.runners import RayCluster
from synthgen.runners.local import Work
from synthgen.schema import text_of
from synthgen.styles import MOST_AVOIDED, N_CANDIDATES
from synthgen.tokenizers import load_tokenizer
from synthgen.tuning_config import Scope
from tests.tiny import tiny_model_folder

ROOT = Path(__file__).parent.parent
LEADING = ("seniority", "contract", "remote")
TARGETS: dict[str, object] = {
    "seniority": {"junior": 5, "mid-level": 3, "senior": 1, "lead": 1},
    "contract": "uniform",
    "remote": {"yes": 1, "no": 3},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def tokenizer(model: Path) -> Tokenizer:
    return load_tokenizer(model)


@pytest.fixture
def job_posts(model: Path) -> Callable[..., Recipe]:
    """A recipe for job postings whose first three fields are declared; keywords are `generate`'s."""

    def make(n_attempts: int = 30, **generate: object) -> Recipe:
        content: dict[str, object] = {
            "schema": "schemas/job.py:Job",
            "model": str(model),
            "seed": 3,
            "target": {"targets": TARGETS},
            "generate": {"mix": {"base": 1.0}, "max_attempts": n_attempts, **generate},
            "export": {"rows_per_shard": 100},
        }
        return Recipe.from_mapping(content, base=ROOT)

    return make


class Watched(FakeEngine):
    """Keeps every request."""

    def __init__(
        self, answer: Answer | Sequence[str], tokenizer: Tokenizer, capacity: int = 64, **more: object
    ) -> None:
        super().__init__(answer, text=tokenizer, capacity=capacity, **more)  # type: ignore[arg-type]
        self.seen: list[Request] = []
        self.most_waiting = 0
        self.n_scored = 0

    def submit(self, requests: Sequence[Request]) -> None:
        super().submit(requests)
        self.seen += requests
        self.most_waiting = max(self.most_waiting, len(self._queue))

    def score(
        self, prompt_ids: Sequence[int], answers: Sequence[Sequence[int]], adapter: str | None = None
    ) -> list[list[float]]:
        self.n_scored += len(answers)
        return super().score(prompt_ids, answers, adapter)


def careless(tokenizer: Tokenizer, rate: float = 0.3) -> Answer:
    """Answers of the right shape, of which some are cut off."""
    whole = answers_by_hints(tokenizer)
    return lambda request, rng: "{" if rng.random() < rate else whole(request, rng)


def values_of(frame: pl.DataFrame, names: Sequence[str] = LEADING) -> list[tuple[str, ...]]:
    return [tuple(text_of(value) for value in row) for row in frame.select(names).iter_rows()]


def expected(recipe: Recipe, n: int, names: Sequence[str] = LEADING) -> list[tuple[str, ...]]:
    source = recipe.declared()
    assert source is not None
    draws = Draws(source, names, recipe.seed)
    return [draws(i) for i in range(n)]


def prompt_text(tokenizer: Tokenizer, request: Request) -> str:
    return tokenizer.decode(request.prompt_ids)


class TestPrefill:
    def test_drawn_values_stand_in_the_records_and_in_every_rejected_attempt(
        self, job_posts: Callable[..., Recipe], tokenizer: Tokenizer, tmp_path: Path
    ) -> None:
        recipe = job_posts(balance="prefill")
        run = run_recipe(
            recipe, 300, tmp_path, engine=FakeEngine(careless(tokenizer), text=tokenizer), n_before=10
        )
        drawn_values = expected(recipe, 300)
        assert values_of(run.to_polars()) == drawn_values
        rejected = run.rejections()
        assert rejected.height > 50
        for record_id, text in rejected.select("_id", "text").iter_rows():
            opening = "\n".join(f"{{{value}}}" for value in drawn_values[record_id])
            assert text.startswith(opening)
        assert run.report.run.details["balance"] == "prefill"
        assert run.report.run.details["balanced"] == ", ".join(LEADING)
        assert run.report.run.details["independent_draws"] is True
        card = (tmp_path / "README.md").read_text(encoding="utf-8")
        assert "drawn outside the model" in card and "LoRA" not in card

    def test_a_resumed_and_an_extended_run_have_the_values_of_one_made_at_once(
        self, job_posts: Callable[..., Recipe], tokenizer: Tokenizer, tmp_path: Path
    ) -> None:
        recipe = job_posts(balance="prefill")
        with pytest.raises(EngineError, match="died after"):
            engine = FakeEngine(careless(tokenizer), text=tokenizer, die_after=150, capacity=16)
            run_recipe(recipe, 200, tmp_path, engine=engine, n_before=10)
        run_recipe(recipe, 200, tmp_path, engine=FakeEngine(careless(tokenizer), text=tokenizer), n_before=10)
        more = FakeEngine(careless(tokenizer), text=tokenizer)
        run = run_recipe(recipe, 320, tmp_path, engine=more, n_before=10, extend=True)
        assert values_of(run.to_polars()) == expected(recipe, 320)
        assert [record.id for batch in iterate(recipe, 20, engine=more) for record in batch]
        records = {record.id: record for batch in iterate(recipe, 20, engine=more) for record in batch}
        found = [tuple(text_of(records[i].values[name]) for name in LEADING) for i in range(20)]
        assert found == expected(recipe, 20)

    def test_the_opening_is_tokenised_as_the_whole_answer_is(
        self, job_posts: Callable[..., Recipe], tokenizer: Tokenizer, tmp_path: Path
    ) -> None:
        recipe = job_posts(balance="prefill")
        engine = Watched(answers_by_hints(tokenizer), tokenizer)
        run = run_recipe(recipe, 50, tmp_path, engine=engine, n_before=10)
        prompt = prepare(recipe).prompt
        asked_for = {request.id: request for request in engine.seen if request.prefix_ids}
        assert len(asked_for) == 50
        for row in run.to_polars().iter_rows(named=True):
            request = asked_for[row["_id"]]
            names = recipe.record_schema().names
            answer = "\n".join(f"{{{text_of(row[name])}}}" for name in names)
            whole = answer_ids(prompt, tokenizer, answer, closed=False)
            assert request.prompt_ids == prompt.ids
            assert whole[: len(request.prefix_ids)] == request.prefix_ids
            assert tokenizer.decode(request.prefix_ids).count("}") == 3

    def test_the_sample_of_the_untuned_model_and_its_preview_are_asked_plainly(
        self, job_posts: Callable[..., Recipe], tokenizer: Tokenizer, tmp_path: Path
    ) -> None:
        recipe = job_posts(balance="in-prompt", ask="varied")
        engine = Watched(answers_by_hints(tokenizer), tokenizer)
        run_recipe(recipe, 20, tmp_path, engine=engine, n_before=30)
        plain = prepare(recipe).prompt.ids
        assert all(request.prompt_ids == plain for request in engine.seen[:30])
        assert not any(request.prompt_ids == plain for request in engine.seen[30:])
        untuned = Watched(answers_by_hints(tokenizer), tokenizer)
        preview(recipe, 5, engine=untuned, base=True)
        assert {request.prompt_ids for request in untuned.seen} == {plain}

    def test_some_of_the_declared_fields(
        self, job_posts: Callable[..., Recipe], tokenizer: Tokenizer
    ) -> None:
        recipe = job_posts(balance="prefill", balance_fields=["seniority"])
        engine = Watched(answers_by_hints(tokenizer), tokenizer)
        records = [record for batch in iterate(recipe, 40, engine=engine) for record in batch]
        assert [(record.values["seniority"],) for record in sorted(records, key=lambda r: r.id)] == expected(
            recipe, 40, ("seniority",)
        )
        assert len({record.values["contract"] for record in records}) == 4

    def test_a_whole_record_leaves_the_stop_token_to_the_model(
        self, model: Path, tokenizer: Tokenizer
    ) -> None:
        content = {
            "schema": "schemas/die.py:Die",
            "model": str(model),
            "target": {"targets": {"value": "uniform"}},
            "generate": {"balance": "prefill"},
        }
        recipe = Recipe.from_mapping(content, base=ROOT)
        engine = Watched(lambda request, rng: "", tokenizer)
        records = [record for batch in iterate(recipe, 30, engine=engine) for record in batch]
        assert {record.id: str(record.values["value"]) for record in records} == {
            i: values[0] for i, values in enumerate(expected(recipe, 30, ("value",)))
        }
        stops = set(tokenizer.stop_ids)
        assert not any(stops & set(request.prefix_ids) for request in engine.seen)

    def test_a_table_without_its_fields_named_is_refused_by_the_run(
        self, job_posts: Callable[..., Recipe], model: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "t.csv").write_text("contract\ncontract\n", encoding="utf-8")
        content = {
            "schema": f"{ROOT}/schemas/job.py:Job",
            "model": str(model),
            "target": {"targets": "t.csv", "fields": ["contract"]},
            "generate": {"balance": "prefill"},
        }
        recipe = Recipe.from_mapping(content, base=tmp_path)
        with pytest.raises(
            RecipeError, match=r"recipe: generate.balance: prefill forces .* behind 'seniority'"
        ):
            run_recipe(recipe, 10, tmp_path / "data")


class TestInPrompt:
    def test_every_record_has_a_prompt_of_its_own_the_same_when_tried_again(
        self, job_posts: Callable[..., Recipe], tokenizer: Tokenizer, tmp_path: Path
    ) -> None:
        recipe = job_posts(balance="in-prompt", balance_fields=["remote", "contract"])
        engine = Watched(careless(tokenizer), tokenizer)
        run = run_recipe(recipe, 60, tmp_path, engine=engine, n_before=10)
        assert run.rejections().height > 5
        wanted = expected(recipe, 60, ("contract", "remote"))
        plain = prompt_text(tokenizer, Request(0, prepare(recipe).prompt.ids, None, 0))
        for request in engine.seen[10:]:
            contract, remote = wanted[request.id]
            text = prompt_text(tokenizer, request)
            assert f"Use these values:\nContract type: {contract}\nRemote: {remote}" in text
            assert text.startswith(plain.partition("{Summary")[0]) and not request.prefix_ids
        assert len({request.prompt_ids for request in engine.seen[10:]}) == len(set(wanted)) > 4


class TestExact:
    @pytest.mark.parametrize("schema", ["job", "die"])
    def test_shares_are_those_of_brute_force(
        self, schema: str, job_posts: Callable[..., Recipe], model: Path, tokenizer: Tokenizer
    ) -> None:
        from transformers import AutoModelForCausalLM

        from synthgen.engines.transformers import TransformersEngine

        content: dict[str, object] = {
            "schema": "schemas/die.py:Die",
            "model": str(model),
            "target": {"targets": {"value": {"range": [1, 10]}}},
            "generate": {"balance": "exact"},
        }
        recipe = job_posts(balance="exact") if schema == "job" else Recipe.from_mapping(content, base=ROOT)
        job = prepare(recipe)
        found = exact(job, TransformersEngine(model))
        whole = len(job.remedy.fields) == len(job.schema.fields)
        network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        logs = [log_mass(network, job, tokenizer, values, whole) for values in found.support]
        masses = np.exp(logs)
        assert len(masses) == (32 if schema == "job" else 10)
        assert found.log_mass["base"] == pytest.approx(np.log(masses.sum()), abs=1e-4)
        np.testing.assert_allclose(found.shares["base"], masses / masses.sum(), rtol=1e-3)
        draw = found.values(1, lambda _: "base")
        n = 20_000
        counts = Counter(draw(i) for i in range(n))
        shares = masses / masses.sum()
        noise = 0.5 * np.sqrt(2 * shares * (1 - shares) / (np.pi * n)).sum()  # E TV of n draws
        tv = 0.5 * sum(abs(counts[v] / n - p) for v, p in zip(found.support, shares, strict=True))
        assert tv < 2 * noise
        assert max(shares) > 2 / len(shares)  # the model is far from uniform, and so are its draws

    def test_a_run_forces_the_drawn_tuples_and_scores_once(
        self, job_posts: Callable[..., Recipe], tokenizer: Tokenizer, tmp_path: Path
    ) -> None:
        recipe = job_posts(balance="exact", balance_fields=["seniority", "contract"])

        def score(_: str | None, _prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
            text = tokenizer.decode(answer)
            return [-2.0 if "{lead}" in text else -20.0] + [0.0] * (len(answer) - 1)

        engine = Watched(careless(tokenizer), tokenizer, score=score, die_after=100)
        with pytest.raises(EngineError, match="died after"):
            run_recipe(recipe, 120, tmp_path, engine=engine, n_before=10)
        assert engine.n_scored == 16
        again = Watched(careless(tokenizer), tokenizer, score=score)
        run = run_recipe(recipe, 120, tmp_path, engine=again, n_before=10)
        assert again.n_scored == 0
        manifest = json.loads((tmp_path / "_manifest.json").read_text(encoding="utf-8"))
        kept = manifest["exact"]
        assert kept["log_mass"]["base"] == pytest.approx(np.log(4 * np.exp(-2) + 12 * np.exp(-20)))
        assert set(run.to_polars()["seniority"]) == {"lead"}
        assert len(set(run.to_polars()["contract"])) == 4
        assert run.report.run.details["mass on the declared values"] == {
            "base": pytest.approx(0.5413, abs=1e-4)
        }
        grown = run_recipe(recipe, 150, tmp_path, engine=again, n_before=10, extend=True)
        assert again.n_scored == 0 and grown.to_polars().height == 150


class TestAsk:
    def test_verbalised_answers_give_one_record_each_and_the_untuned_sample_stays_plain(
        self, job_posts: Callable[..., Recipe], tokenizer: Tokenizer, tmp_path: Path
    ) -> None:
        whole = answers_by_hints(tokenizer)

        def answer(request: Request, rng: np.random.Generator) -> str:
            if "Probability: p" not in prompt_text(tokenizer, request):
                return whole(request, rng)
            n = N_CANDIDATES if rng.random() < 0.8 else 3
            return "\n".join(f"Probability: 0.{i + 1}\n{whole(request, rng)}" for i in range(n))

        long = Sampling(max_tokens=2000)
        engine = Watched(answer, tokenizer, sampling=long)
        run = run_recipe(job_posts(ask="verbalised"), 60, tmp_path, engine=engine, n_before=20)
        assert set(run.rejections()["reason"]) == {"missing_candidate"}
        assert run.report.run.parse_rate_before == 1
        half = tmp_path / "half"
        with pytest.raises(EngineError, match="died after"):
            dying = Watched(answer, tokenizer, die_after=60, capacity=8, sampling=long)
            run_recipe(job_posts(ask="verbalised"), 60, half, engine=dying, n_before=20)
        again = run_recipe(
            job_posts(ask="verbalised"),
            60,
            half,
            engine=Watched(answer, tokenizer, sampling=long),
            n_before=20,
        )
        assert again.to_polars().equals(run.to_polars())

    def test_unique_records_of_another_form_are_recollected(
        self, job_posts: Callable[..., Recipe], tokenizer: Tokenizer, tmp_path: Path
    ) -> None:
        whole = answers_by_hints(tokenizer)

        def answer(request: Request, rng: np.random.Generator) -> str:
            seed = "Seed: abcdefgh12\n" if "Seed: " in prompt_text(tokenizer, request) else ""
            return seed + whole(request, rng)

        recipe = job_posts(ask="seed-string").model_copy(update={"unique": job_unique()})
        with pytest.raises(EngineError, match="died after"):
            dying = Watched(answer, tokenizer, die_after=60, capacity=8)
            run_recipe(recipe, 60, tmp_path, engine=dying, n_before=20)
        run = run_recipe(recipe, 60, tmp_path, engine=Watched(answer, tokenizer), n_before=20)
        assert run.to_polars()["salary"].n_unique() == 60

    def test_avoided_values_are_the_last_ones_and_few_attempts_are_blind_to_each_other(
        self, job_posts: Callable[..., Recipe], tokenizer: Tokenizer, tmp_path: Path
    ) -> None:
        def answer(request: Request, rng: np.random.Generator) -> str:
            lines = [
                f"{{{text}}}"
                for text in ("lead", "contract", "yes", f"title {request.id}", "c", "l", "10000", "s")
            ]
            return "\n".join(lines)

        engine = Watched(answer, tokenizer)
        run = run_recipe(job_posts(ask="avoid"), 100, tmp_path, engine=engine, n_before=10)
        assert run.report.run.details["independent_draws"] is False
        generated = engine.seen[10:]
        known = [prompt_text(tokenizer, request).count("title ") for request in generated]
        assert known[:AVOIDING_AT_ONCE] == [0] * AVOIDING_AT_ONCE
        assert max(known) == MOST_AVOIDED and known[-1] == MOST_AVOIDED
        assert known == sorted(known)
        last = prompt_text(tokenizer, generated[-1])
        assert f"title {generated[-1].id - AVOIDING_AT_ONCE}" in last and "title 3;" not in last

    def test_an_adapter_that_fits_one_prompt_is_not_asked_another(
        self, job_posts: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = prepare(job_posts(ask="varied"))
        adapted = job.recipe.model_copy(update={"adapters": {"ready": ready_made()}})
        generate = adapted.generate.model_copy(update={"mix": {"ready": 1.0}})
        adapted = adapted.model_copy(update={"generate": generate})
        manifest = manifest_of(job, scope="record")
        monkeypatch.setattr("synthgen.job.load_manifest", lambda folder: manifest)
        with pytest.raises(
            AdapterError, match=r"this run's prompt is reworded \(ask: varied\); .*scope: any"
        ):
            ready_adapters(replace(job, recipe=adapted), SilentProgress())
        plain = replace(job, recipe=adapted, remedy=Remedy())
        assert set(ready_adapters(plain, SilentProgress())) == {"ready"}


@pytest.mark.parametrize("ways", [{"balance": "exact"}, {"ask": "avoid"}], ids=str)
def test_what_one_process_alone_can_do_is_refused_on_ray(
    ways: dict[str, object], job_posts: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthgen.runners.find_spec", lambda name: object())
    (key,) = ways
    with pytest.raises(RecipeError, match=rf"recipe: generate.{key}: .* use the local runner"):
        RayCluster().check(job_posts(**ways), None)


def test_a_plain_recipe_leaves_the_work_as_it_is(job_posts: Callable[..., Recipe]) -> None:
    job = prepare(job_posts())
    work = Work(Plan(5, 0, ((BASE, 1.0),), 5), job.schema, job.prompt.ids, 1)
    assert job.remedy.is_plain and not job.remedy.details
    assert asked(work, job.remedy, job.prompt, job.tokenizer, drawn(job.remedy, None)) is work


def exact(job: Job, engine: Engine) -> Restricted:
    """What `balance: exact` draws from, for the untuned model."""
    source = job.recipe.declared()
    assert source is not None
    return restricted(engine, job.remedy, source, job.schema, job.prompt, job.tokenizer, [BASE])


def log_mass(network: Any, job: Job, tokenizer: Tokenizer, values: Sequence[str], whole: bool) -> float:
    """log pθ of an answer's opening by one plain forward pass; up to the token that closes the last value."""
    answer = "\n".join(f"{{{value}}}" for value in values)
    ids = tokenizer.encode(job.prompt.chat + answer + ("" if whole else "\n{"))
    n = len(job.prompt.ids)
    if whole:
        ids.append(tokenizer.stop_ids[0])
    else:
        while tokenizer.decode(ids[n:-1]).count("}") == len(values):
            ids.pop()
    with torch.no_grad():
        logs = network(torch.tensor([ids])).logits[0].log_softmax(-1)
    return float(sum(logs[i - 1, ids[i]] for i in range(n, len(ids))))


def job_unique() -> tuple[UniqueSpec, ...]:
    return (UniqueSpec(fields=["salary"]),)


def ready_made() -> AdapterSpec:
    return AdapterSpec(use="somewhere")


def manifest_of(job: Job, scope: Scope) -> AdapterManifest:
    """An adapter for this job's model, tuned on its plain prompt."""
    prompt = {
        "label": "Job", "text": job.prompt.user, "prompt": job.prompt.fingerprint, "schema_fingerprint": "", "targets": "",
        "fields": ["seniority"], "n_targets": 1, "share": 1.0, "before": {}, "after": {},
    }  # fmt: skip
    made: dict[str, object] = {
        "name": "ready", "scope": scope, "model": job.model, "model_fingerprint": model_fingerprint(job.model), "rank": 4,
        "alpha": 8.0, "modules": [], "prompts": [prompt], "tuning_fingerprint": "", "settings": {}, "result": {},
        "weights_sha256": "", "synthgen": "", "libraries": {},
    }  # fmt: skip
    return AdapterManifest.model_validate(made)
