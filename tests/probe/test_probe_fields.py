"""A recipe's own fields: P_token after sampled prefixes, against what the recipe declares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from synthgen.job import Job
from synthgen.probe.facts import FieldFacts, RecipeFacts
from synthgen.probe.fields import NO_FIELD, probe_fields
from synthgen.probe.steps import Scorer
from synthgen.prompt import build_prompt
from synthgen.recipe import Recipe
from synthgen.remedy import remedy_of
from tests.probe.scripted import ByteTokenizer, ScriptedEngine

SCHEMA = """
from typing import Literal
from pydantic import BaseModel

class Guest(BaseModel):
    name: str
    gender: Literal["Female", "Male"]
    job: Literal["Nurse", "Pilot", "Cook"]
"""
JOBS = {"Nurse": 0.2, "Pilot": 0.3, "Cook": 0.5}
NAMES = {"Ann": 0.5, "Bob": 0.5}
N = 200


def guests(prompt: tuple[int, ...], before: tuple[str, ...]) -> Mapping[str, float]:
    """Gender follows the name; the job is Cook nine times of ten."""
    if len(before) == 0:
        return NAMES
    if len(before) == 1:
        return {"Female": 0.9, "Male": 0.1} if before[0] == "Ann" else {"Female": 0.3, "Male": 0.7}
    return {"Nurse": 0.05, "Pilot": 0.05, "Cook": 0.9}


def job_of(tmp_path: Path, content: Mapping[str, object]) -> Job:
    (tmp_path / "guest.py").write_text(SCHEMA, encoding="utf-8")
    recipe = Recipe.from_mapping({"schema": "guest.py:Guest", **content}, tmp_path)
    schema, tokenizer = recipe.record_schema(), ByteTokenizer()
    prompt = build_prompt(schema, tokenizer)
    return Job(recipe, schema, "scripted", tokenizer, prompt, {}, remedy_of(recipe))


def probed(tmp_path: Path, content: Mapping[str, object], leak: float = 0.0) -> RecipeFacts:
    engine = ScriptedEngine(guests, lambda _prompt: 3, leak)
    return probe_fields(Scorer(engine), job_of(tmp_path, content), N, seed=3)


def fields(facts: RecipeFacts) -> dict[str, FieldFacts]:
    return {field.name: field for field in facts.fields}


def test_every_declared_field_is_held_against_its_target(tmp_path: Path) -> None:
    declared = {"target": {"targets": {"gender": {"Female": 1, "Male": 1}, "job": JOBS}}}
    facts = probed(tmp_path, declared)
    found = fields(facts)
    assert list(found) == ["gender", "job"]
    assert (facts.n_answers, facts.n_whole, facts.note) == (N, N, "")

    gender = found["gender"]
    assert gender.n_prefixes == 2
    # |0.9 − 0.5| and |0.3 − 0.5|, by the share of Anns; the mean is 0.6, more or less.
    assert gender.alignment.value == pytest.approx(0.3, abs=0.03)
    assert gender.distance.value == pytest.approx(0.1, abs=0.05)
    assert gender.distance.low is not None and gender.distance.high is not None
    assert gender.distance.low <= gender.distance.value <= gender.distance.high
    assert gender.dependence == pytest.approx(0.3, abs=0.02)
    assert gender.outside.value == pytest.approx(0.0, abs=1e-9)

    job = found["job"]
    assert job.token == pytest.approx([0.05, 0.05, 0.9])
    assert job.alignment.value == pytest.approx(0.4)
    assert job.distance.value == pytest.approx(0.4)
    assert job.dependence == pytest.approx(0.0)
    assert job.result is not None and job.result.state == "off"
    assert job.temperature.value > 1.5  # it is too sharp


def test_a_declared_table_is_followed_prefix_by_prefix(tmp_path: Path) -> None:
    """Job given gender: P_token is right after one gender and wrong after the other."""
    table = {"given": "gender", "Female": {"Nurse": 0.05, "Pilot": 0.05, "Cook": 0.9}, "Male": JOBS}
    facts = probed(tmp_path, {"target": {"targets": {"gender": {"Female": 1, "Male": 1}, "job": table}}})
    share_male = 1 - fields(facts)["gender"].token[0]
    assert fields(facts)["job"].alignment.value == pytest.approx(0.4 * share_male, abs=0.05)


def test_a_field_that_no_answer_reached_is_told(tmp_path: Path) -> None:
    engine = ScriptedEngine(guests, lambda _prompt: 1)
    job = job_of(tmp_path, {"target": {"targets": {"gender": {"Female": 1, "Male": 1}, "job": JOBS}}})
    facts = probe_fields(Scorer(engine), job, 8, seed=3)
    assert [field.name for field in facts.fields] == ["gender"]
    assert facts.note == "no answer got as far as job"
    assert (facts.n_whole, facts.fields[0].result) == (0, None)


def test_a_recipe_that_declares_nothing_is_told_so(tmp_path: Path) -> None:
    facts = probed(tmp_path, {})
    assert (facts.fields, facts.note, facts.n_answers) == ((), NO_FIELD, 0)


def test_mass_on_undeclared_values_is_seen(tmp_path: Path) -> None:
    facts = probed(tmp_path, {"target": {"targets": {"gender": {"Female": 1, "Male": 1}}}}, leak=0.25)
    assert fields(facts)["gender"].outside.value == pytest.approx(0.25)
    assert np.isclose(sum(fields(facts)["gender"].token), 1)
