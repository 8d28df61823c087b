"""P_token through the token trie, lists and single draws: on scripted engines, and against a model's own softmax."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from synthgen.engines.protocol import Completion
from synthgen.errors import EngineError, RecipeError
from synthgen.probe import samplers
from synthgen.probe.answers import OwnDraws, collect, leading_values, own_draws
from synthgen.probe.draws import draw_all, draw_lists, own_answers
from synthgen.probe.questions import Question, questions
from synthgen.probe.steps import Scorer, Step, alternatives
from synthgen.probe.tasks import declared_task, make_task
from synthgen.progress import SilentProgress
from tests.probe.scripted import ByteTokenizer, ScriptedEngine, by_law
from tests.tiny import tiny_model_folder

N = 6
PREFIXED = declared_task("1=0.5, 10=0.3, 100=0.15, 2=0.05", "declared")  # each the beginning of the next


def asked_of(*tasks: object, n_wordings: int = 1) -> list[Question]:
    return questions(tasks, N, n_wordings, ByteTokenizer())  # type: ignore[arg-type]


@pytest.mark.parametrize("in_prompt", [True, False])
def test_p_token_is_the_models_own_where_values_begin_alike(in_prompt: bool) -> None:
    asked = asked_of(PREFIXED)
    scorer = Scorer(by_law(samplers.exact, asked, N), in_prompt=in_prompt)
    steps = [Step((), False), Step(("10", "1"), False), Step(("1",) * (N - 1), True)]
    for found in scorer.next_values(asked[0].tokens, PREFIXED.values, steps):
        assert found.shares == pytest.approx(PREFIXED.target)
        assert found.outside == pytest.approx(0.0, abs=1e-12)


def test_mass_outside_is_what_the_values_leave() -> None:
    asked = asked_of(PREFIXED)
    scorer = Scorer(by_law(samplers.exact, asked, N, leak=0.3))
    (found,) = scorer.next_values(asked[1].tokens, PREFIXED.values, [Step((), True)])
    assert found.outside == pytest.approx(0.3)
    assert found.shares == pytest.approx(PREFIXED.target)


def test_p_token_is_uniform_where_no_value_has_a_chance() -> None:
    asked = asked_of(PREFIXED)
    engine = ScriptedEngine(lambda _prompt, _before: {"x": 1.0}, lambda _prompt: 1)
    (found,) = Scorer(engine).next_values(asked[1].tokens, PREFIXED.values, [Step((), True)])
    assert found.shares.tolist() == [0.25] * 4
    assert found.outside == 1.0


def test_p_token_is_read_where_the_tokenizer_joins_braces_with_neighbours(tmp_path: Path) -> None:
    """Against the softmax of a model whose tokens hold braces and line breaks together with letters."""
    import torch
    from transformers import AutoModelForCausalLM

    from synthgen.engines.transformers import TransformersEngine
    from synthgen.tokenizers import load_tokenizer

    folder = tiny_model_folder(tmp_path / "model")
    tokenizer = load_tokenizer(folder)
    task = declared_task("Niger=0.4, Nigeria=0.3, 1=0.2, 10=0.1", "declared")
    question = questions([task], 3, 1, tokenizer)[0]
    step = Step(("Nigeria", "10"), False)
    engine = TransformersEngine(folder)
    (found,) = Scorer(engine).next_values(question.tokens, task.values, [step])
    (other,) = Scorer(engine, in_prompt=False).next_values(question.tokens, task.values, [step])
    assert other.shares == pytest.approx(found.shares, rel=1e-4)

    model = AutoModelForCausalLM.from_pretrained(folder)
    answers, start = alternatives(question.tokens, step, task.values)
    assert [tokenizer.decode(ids) for ids in answers] == [
        f"{{Nigeria}}\n{{10}}\n{{{value}}}" for value in task.values
    ]
    masses = []
    for ids in answers:
        whole = [*question.prompt.ids, *ids]
        with torch.inference_mode():
            logs = model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
        n = len(question.prompt.ids)
        masses.append(np.exp(sum(float(logs[n + i - 1, ids[i]]) for i in range(start, len(ids)))))
    assert found.shares == pytest.approx(np.array(masses) / sum(masses), rel=1e-4)
    assert found.outside == pytest.approx(1 - sum(masses), rel=1e-4)


@pytest.mark.parametrize("fault", ["not implemented", "nothing", "not a number"])
def test_an_engine_without_log_probabilities_is_one_line(fault: str) -> None:
    class Mute(ScriptedEngine):
        def score(
            self, prompt_ids: Sequence[int], answers: Sequence[Sequence[int]], adapter: str | None = None
        ) -> list[list[float]]:
            if fault == "not implemented":
                raise NotImplementedError
            return [] if fault == "nothing" else [[float("nan")] * len(answer) for answer in answers]

    asked = asked_of(PREFIXED)
    engine = Mute(lambda _prompt, _before: {"1": 1.0}, lambda _prompt: 1)
    with pytest.raises(RecipeError) as caught:
        Scorer(engine).next_values(asked[1].tokens, PREFIXED.values, [Step((), True)])
    assert caught.value.problems == (
        "engine scripted: gives no log-probabilities of given answers, which the probe reads at every step; "
        "probe with --engine transformers or vllm",
    )


# ---- what the model writes itself ----


@pytest.mark.parametrize(
    ("text", "values", "ended"),
    [
        ("{a}\n{b}\n{a}", ["a", "b", "a"], "complete"),
        (" {a}\n{b}\n{a}\n{b}\n", ["a", "b", "a"], "complete"),
        ("{a}\n{b}\n", ["a", "b"], "ended early"),
        ("{a}", ["a"], "ended early"),
        ("", [], "ended early"),
        ("{a}\n\n{b}", ["a"], "other form"),
        ("{a}, {b}", ["a"], "other form"),
        ("1. {a}", [], "other form"),
        ("{a}\n{b", ["a"], "other form"),
    ],
)
def test_leading_values_end_where_the_form_does(text: str, values: list[str], ended: str) -> None:
    assert leading_values(text, 3) == (values, ended)


def test_own_draws_end_at_a_value_outside() -> None:
    assert own_draws("{a}\n{c}\n{b}", ("a", "b"), 3) == OwnDraws((0,), "value outside")
    assert own_draws("{b}\n{a}\n{b}", ("a", "b"), 3) == OwnDraws((1, 0, 1), "complete")


def test_an_unanswered_question_is_one_line() -> None:
    class Deaf(ScriptedEngine):
        def poll(self) -> list[Completion]:
            return []

    asked = asked_of(PREFIXED)
    engine = Deaf(lambda _prompt, _before: {"1": 1.0}, lambda _prompt: 1)
    with pytest.raises(EngineError, match="left 8 of 8 questions of the probe unanswered"):
        own_answers(engine, None, asked, {"list": 1, "single": 7}, N, 0)
    assert collect(by_law(samplers.exact, asked, N), []) == {}


# ---- lists ----


def test_a_list_that_breaks_off_is_carried_on_by_p_token() -> None:
    asked = asked_of(PREFIXED)
    engine = by_law(samplers.balancer, asked, N)
    own = [
        OwnDraws((1, 0), "value outside"),
        OwnDraws((0, 1, 2, 0, 1, 0), "complete"),
        OwnDraws((), "other form"),
    ]
    rngs = [np.random.default_rng(i) for i in range(3)]
    lists = draw_lists(Scorer(engine), asked[0], own, N, rngs)
    for drawn, found in zip(lists, own, strict=True):
        assert drawn.draws.tolist()[: len(found.draws)] == list(found.draws)
        assert drawn.shares.shape == (N, 4)
        assert (drawn.n_own, drawn.ended) == (len(found.draws), found.ended)
        for t in range(N):
            assert drawn.shares[t] == pytest.approx(samplers.balancer(PREFIXED, drawn.draws[:t].tolist(), N))
    assert engine.n_scored == 3 * N * 4  # every step of every list once


def test_lists_broken_by_values_outside_still_follow_the_law() -> None:
    """600 draws of an exact sampler that says something else in 40 % of its draws; chance of a false alarm 1e-4."""
    asked = asked_of(PREFIXED)
    engine = by_law(samplers.exact, asked, N, leak=0.4)
    own = own_answers(engine, None, asked[:1], {"list": 100}, N, seed=5)
    lists, _ = draw_all(Scorer(engine), asked[:1], own, N, 5, SilentProgress())
    assert sum(drawn.ended == "value outside" for drawn in lists) > 80
    counts = np.bincount(np.concatenate([drawn.draws for drawn in lists]), minlength=4)
    expected = PREFIXED.target * counts.sum()
    assert ((counts - expected) ** 2 / expected).sum() < 21.1  # χ² with 3 degrees of freedom


def test_single_draws_have_one_exact_p_token_and_the_models_own_answers() -> None:
    task = make_task("flat/5/words")
    asked = asked_of(task)
    engine = by_law(samplers.point_mass, asked, N, leak=0.25)
    own = own_answers(engine, None, asked, {"list": 1, "single": 40}, N, seed=1)
    _, (single,) = draw_all(Scorer(engine), asked, own, N, 1, SilentProgress())
    assert single.shares.tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert single.outside == pytest.approx(0.25)
    assert single.n_asked == 40
    assert 20 <= single.counts[0] < 40  # 30 on average; a false alarm in 2,000
    assert single.counts[1:].sum() == 0
