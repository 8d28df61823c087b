"""Tables in the loss: exact KL and loss of conditional targets against brute force on a tiny model, and tuned jointly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from peft import PeftModel
from pydantic import BaseModel
from transformers import AutoModelForCausalLM

from synthgen.errors import RecipeError
from synthgen.packing import node_log_probs
from synthgen.prompt import build_prompt
from synthgen.schema import RecordSchema
from synthgen.target_trie import AnswerTokens, build_trie
from synthgen.targets import MarginalsSource, TargetSet
from synthgen.tokenizers import load_tokenizer
from synthgen.tuning import tune
from synthgen.tuning_config import TuningConfig, TuningTask
from synthgen.tuning_tasks import PreparedTask
from tests.tiny import sharp_model_folder, tiny_model_folder

FORMS: dict[str, object] = {
    "gender": {"Female": 0.6, "Male": 0.4},
    "job": {
        "given": "gender",
        "Female": {"Nurse": 3, "Engineer": 1},
        "Male": {"Nurse": 1, "Engineer": 2, "Pilot": 1},
    },
    "tool": {
        "given": "job",
        "Nurse": {"pen": 1, "saw": 3},
        "Engineer": {"saw": 1},
        "Pilot": {"map": 1, "pen": 1},
    },
}
JOBS = {"given": "gender", "Female": {"Nurse": 3, "Engineer": 1}, "Male": {"Nurse": 1, "Engineer": 3}}


class Staff(BaseModel):
    gender: Literal["Female", "Male"]
    job: Literal["Nurse", "Engineer", "Pilot"]
    tool: str
    text: str


SCHEMA = RecordSchema.from_model(Staff)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def a_task(folder: Path, forms: Mapping[str, object] = FORMS) -> TuningTask:
    tokenizer = load_tokenizer(folder)
    return TuningTask(build_prompt(SCHEMA, tokenizer), MarginalsSource(forms, SCHEMA, None, {}), tokenizer)


@torch.no_grad()
def plain(model: Any, task: TuningTask, values: tuple[str, ...]) -> list[float]:
    """log pθ of every field of an answer, given all before it: one forward pass, no packing."""
    answer = "\n".join(f"{{{value}}}" for value in values)
    ids, of = AnswerTokens(task.prompt, task.tokenizer).leading(answer, len(values), whole=False)
    prompt = list(task.prompt.ids)
    logits = model(input_ids=torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
    scores = logits.float().log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0].double()
    return [float(scores[[i for i, f in enumerate(of) if f == at]].sum()) for at in range(len(values))]


def everything(task: TuningTask) -> TargetSet:
    targets = task.source.draw(np.random.default_rng(0))
    assert len(targets.answers) == 8
    return targets


def test_the_listed_joint_distribution_has_the_kl_of_brute_force(model: Any, folder: Path) -> None:
    task = a_task(folder)
    targets = everything(task)
    judged = PreparedTask(0, task, "", 1.0, TuningConfig()).judged
    figures = judged.figures(node_log_probs(model, judged, task.prompt.ids))
    scores = [sum(plain(model, task, values)) for values in targets.values]
    pairs = list(zip(targets.weights.tolist(), scores, strict=True))
    assert figures.exact
    assert figures.cross_entropy == pytest.approx(-sum(p * score for p, score in pairs), rel=1e-5)
    assert figures.kl == pytest.approx(sum(p * (math.log(p) - score) for p, score in pairs), rel=1e-5)
    assert figures.leak == pytest.approx(-math.log(sum(math.exp(score) for _, score in pairs)), rel=1e-4)


def by_field(model: Any, task: TuningTask, targets: TargetSet) -> tuple[dict[str, float], dict[str, float]]:
    """KL and TV of every field by the chain rule: below each tuple's prefix, its row against the model's answers."""
    kl, tv = dict.fromkeys(targets.fields, 0.0), dict.fromkeys(targets.fields, 0.0)
    for values, weight in zip(targets.values, targets.weights.tolist(), strict=True):
        for at, name in enumerate(targets.fields):
            row = task.source.declared.given(name, dict(zip(targets.fields, values, strict=True)))
            assert row is not None
            scores = {text: plain(model, task, (*values[:at], text, *values[at + 1 :]))[at] for text in row}
            kl[name] += weight * sum(p * (math.log(p) - scores[text]) for text, p in row.items())
            gaps = [abs(p - math.exp(scores[text])) for text, p in row.items()]
            outside = 1 - sum(math.exp(score) for score in scores.values())
            tv[name] += weight * 0.5 * (sum(gaps) + outside)
    return kl, tv


def test_below_every_prefix_stands_the_row_of_its_own_parent(model: Any, folder: Path) -> None:
    """As for targets that are drawn: masses of the declared tables, whatever value a tuple happened to hold."""
    task = a_task(folder)
    source, everyone = task.source, everything(task)
    few = [("Female", "Nurse", "saw"), ("Male", "Pilot", "map"), ("Male", "Nurse", "pen")]
    some = TargetSet(
        everyone.fields, tuple("\n".join(f"{{{v}}}" for v in row) for row in few), tuple(few),
        np.array([0.5, 0.3, 0.2]), False,
    )  # fmt: skip
    for targets in (everyone, some):
        trie = build_trie(
            AnswerTokens(task.prompt, task.tokenizer), targets, source.closed, np.random.default_rng(0),
            conditionals=source.conditionals,
        )  # fmt: skip
        assert trie.known == {"gender", "job", "tool"}
        figures = trie.figures(node_log_probs(model, trie, task.prompt.ids))
        kl, tv = by_field(model, task, targets)
        assert {name: field.kl for name, field in figures.fields.items()} == pytest.approx(kl, rel=1e-4)
        assert {name: field.tv for name, field in figures.fields.items()} == pytest.approx(tv, rel=1e-4)
        assert figures.kl == pytest.approx(sum(kl.values()), rel=1e-4)


def test_the_loss_of_all_tuples_is_the_plain_one(model: Any, folder: Path) -> None:
    task = a_task(folder)
    targets = everything(task)
    trie = build_trie(
        AnswerTokens(task.prompt, task.tokenizer), targets, task.source.closed, np.random.default_rng(0),
        conditionals=task.source.conditionals,
    )  # fmt: skip
    expected = -sum(
        weight * sum(plain(model, task, values))
        for values, weight in zip(targets.values, targets.weights.tolist(), strict=True)
    )
    figures = trie.figures(node_log_probs(model, trie, task.prompt.ids))
    assert figures.cross_entropy == pytest.approx(expected, rel=1e-5)
    assert figures.optimum == pytest.approx(-sum(p * math.log(p) for p in targets.weights.tolist()))


def test_a_tuple_without_a_row_is_named(folder: Path) -> None:
    task = a_task(folder)
    rows = {name: table for name, table in task.source.conditionals.items() if name == "job"}
    rows["job"].rows.pop("Male")
    with pytest.raises(
        RecipeError, match="'job': a tuple holds gender 'Male', for which its table has no row"
    ):
        build_trie(
            AnswerTokens(task.prompt, task.tokenizer), everything(a_task(folder)), {}, np.random.default_rng(0),
            conditionals=rows,
        )  # fmt: skip


def test_tuning_on_tables_teaches_how_fields_go_together(tmp_path: Path) -> None:
    """Against the same marginals without tables: both come to the marginals, one alone to the dependence."""
    joint = {"gender": {"Female": 1, "Male": 1}, "job": JOBS}
    folder = sharp_model_folder(
        tmp_path / "sharp",
        [f"{{{g}}}\n{{{j}}}\n{{" for g in ("Female", "Male") for j in ("Nurse", "Engineer")],
    )
    flat = joint | {"job": {"Nurse": 1, "Engineer": 1}}
    tasks = {"joint": a_task(folder, joint), "flat": a_task(folder, flat)}
    config = TuningConfig(lr=1e-2, steps=200, rank=8, health_samples=0, anchor="none", kl=0.01)
    found = {}
    for name, task in tasks.items():
        result = tune(str(folder), [task], config, tmp_path / name)
        assert result.stopped_by == "kl", (name, result.after[0].kl)
        tuned = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), str(tmp_path / name)
        ).eval()
        found[name] = mutual_information(tuned, task)
    assert found["flat"] == pytest.approx(0, abs=0.01)
    declared = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)  # 0.131 nats
    assert found["joint"] == pytest.approx(declared, abs=0.05)


def mutual_information(model: Any, task: TuningTask) -> float:
    """Between gender and job in what the model gives, in nats: exact, over the four pairs there are."""
    pairs = [(gender, job) for gender in ("Female", "Male") for job in ("Nurse", "Engineer")]
    masses = np.array([math.exp(sum(plain(model, task, pair))) for pair in pairs]).reshape(2, 2)
    joint = masses / masses.sum()
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    return float((joint * np.log(joint / independent)).sum())
