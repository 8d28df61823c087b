"""What every engine owes: run over the fake one, transformers, and vLLM where it is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from synthgen.engines.fake import FakeEngine
from synthgen.engines.protocol import Completion, Engine, Request, Sampling
from synthgen.errors import EngineError
from tests.engines.small_models import SmallModel, write_small_model

PROMPT = tuple(b"Generate a random number.\n{Number}\n")
ENGINES = [
    "fake",
    "transformers",
    pytest.param(
        "vllm", marks=pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed here")
    ),
]
Opened = Callable[[Sampling], Engine]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SmallModel:
    return write_small_model(tmp_path_factory.mktemp("small"), ("red", "blue"), ranks=(4, 8))


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, model: SmallModel) -> Iterator[Engine]:
    """One engine for all tests of a module: temperature 1, 12 tokens, stops after 'e' or the end token."""
    sampling = Sampling(max_tokens=12, stop_ids=(ord("e"), model.stop_id))
    opened = open_one(request.param, model, sampling)
    yield opened
    opened.close()
    opened.close()


def open_one(name: str, model: SmallModel, sampling: Sampling) -> Engine:
    if name == "fake":
        return FakeEngine(noise, adapters=tuple(model.adapters), sampling=sampling, capacity=32)
    if name == "transformers":
        from synthgen.engines.transformers import TransformersEngine

        return TransformersEngine(model.path, model.adapters, sampling, capacity=32)
    from synthgen.engines.vllm import VllmEngine

    return VllmEngine(model.path, model.adapters, sampling, capacity=32, max_model_len=256, kv_cache_gib=0.25)


def noise(request: Request, rng: np.random.Generator) -> str:
    """Letters that depend on adapter and generator; about a tenth of them the stop letter."""
    shift = {None: 0, "red": 1, "blue": 2}[request.adapter]
    return "".join("abcde"[(int(i) + shift) % 5] for i in rng.integers(0, 5, 40) ** 2 // 6)


def complete(engine: Engine, requests: Sequence[Request]) -> dict[int, Completion]:
    """All completions by id; every id exactly once."""
    engine.submit(requests)
    done: list[Completion] = []
    while finished := engine.poll():
        done += finished
    assert sorted(one.id for one in done) == sorted(one.id for one in requests)
    return {one.id: one for one in done}


def mixture(n: int, greedy: bool = False) -> list[Request]:
    names = (None, "red", "blue")
    return [Request(i, PROMPT, names[i % 3], 1000 + i, greedy=greedy) for i in range(n)]


def test_answers_every_request_once_and_is_idle_after(engine: Engine) -> None:
    done = complete(engine, mixture(50))
    assert {one.finish_reason for one in done.values()} <= {"stop", "length"}
    assert engine.poll() == []


def test_ids_may_be_any_integers(engine: Engine) -> None:
    ids = [0, 7, 10**15]
    done = complete(engine, [Request(i, PROMPT, None, 5, greedy=True) for i in ids])
    assert len({done[i].text for i in ids}) == 1


def test_stop_tokens_end_an_answer_and_are_not_in_its_text(engine: Engine) -> None:
    done = complete(engine, mixture(40)).values()
    stopped = [one for one in done if one.finish_reason == "stop"]
    assert stopped
    for one in stopped:
        assert one.n_tokens <= 12
        assert "e" not in one.text
        assert one.n_tokens == len(one.token_ids)


def test_max_tokens_gives_length(engine: Engine) -> None:
    done = complete(engine, mixture(40)).values()
    cut = [one for one in done if one.finish_reason == "length"]
    assert cut
    assert all(one.n_tokens == 12 == len(one.token_ids) for one in cut)


def test_mixed_with_adapters_every_row_answers_as_it_does_alone(engine: Engine) -> None:
    mixed = complete(engine, mixture(12, greedy=True))
    for offset, name in enumerate((None, "red", "blue")):
        alone = complete(engine, [Request(0, PROMPT, name, 1, greedy=True)])[0]
        assert {mixed[i].token_ids for i in range(offset, 12, 3)} == {alone.token_ids}
    assert len({mixed[i].token_ids for i in range(3)}) == 3


def test_a_request_seed_decides_its_record(engine: Engine) -> None:
    assert engine.info.seeds == "record"
    first, again = complete(engine, mixture(30)), complete(engine, mixture(30)[::-1])
    same = [first[i].token_ids == again[i].token_ids for i in range(30)]
    assert sum(same) >= 28  # rounding may part a row from itself; other rows never do
    other = complete(engine, [Request(i, PROMPT, None, 77 + i) for i in range(30)])
    assert len({one.token_ids for one in other.values()}) > 20


def test_prefix_is_forced_and_part_of_the_text(engine: Engine) -> None:
    prefix = tuple(b"{7}\n{")
    requests = [Request(i, PROMPT, ("red", None)[i % 2], i, prefix_ids=prefix) for i in range(6)]
    requests += [Request(i, PROMPT, "red", i) for i in range(6, 9)]
    done = complete(engine, requests)
    assert all(done[i].text.startswith("{7}\n{") for i in range(6))
    assert all(done[i].n_tokens == len(done[i].token_ids) <= 12 for i in range(9))


def test_prefix_conditions_the_answer_as_the_same_tokens_in_the_prompt_would(engine: Engine) -> None:
    if engine.info.name == "fake":
        pytest.skip("the fake engine reads no prefix")
    prefix = tuple(b"{abc}\n")
    forced = complete(engine, [Request(0, PROMPT, "blue", 1, prefix_ids=prefix, greedy=True)])[0]
    given = complete(engine, [Request(0, PROMPT + prefix, "blue", 1, greedy=True)])[0]
    assert forced.token_ids == given.token_ids


def test_unknown_adapters_are_refused(engine: Engine) -> None:
    with pytest.raises(EngineError, match="'green' was not given"):
        engine.submit([Request(0, PROMPT, "green", 1)])
    with pytest.raises(EngineError, match="'green' was not given"):
        engine.score(PROMPT, [(1, 2)], "green")
    assert engine.poll() == []


def test_scores_have_the_answers_shape_and_are_log_probabilities(engine: Engine) -> None:
    answers = [tuple(b"{7}"), (), tuple(b"{10}\n{1234}"), tuple(b"{")]
    for name in (None, "red", "blue"):
        scores = engine.score(PROMPT, answers, name)
        assert [len(row) for row in scores] == [len(answer) for answer in answers]
        assert all(value < 0 for row in scores for value in row)


def test_scores_agree_with_transformers(engine: Engine, model: SmallModel) -> None:
    if engine.info.name == "fake":
        pytest.skip("the fake engine has no model")
    torch = pytest.importorskip("torch")
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    answers = [tuple(b"{7}\n{Anna}"), tuple(b"{10}"), tuple(range(60, 100))]
    for name in (None, "red", "blue"):
        plain = AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float32)
        if name:
            plain = PeftModel.from_pretrained(plain, str(model.adapters[name]))
        for answer, scores in zip(answers, engine.score(PROMPT, answers, name), strict=True):
            with torch.no_grad():
                logits = plain(input_ids=torch.tensor([[*PROMPT, *answer]])).logits[0].float()
            expected = logits.log_softmax(-1)[len(PROMPT) - 1 : -1].gather(1, torch.tensor(answer)[:, None])[
                :, 0
            ]
            error = np.array(scores) - expected.numpy()
            assert abs(error.mean()) < 0.05  # nats per token; bfloat16 against float32
            assert np.abs(error).max() < 0.5


def test_drawn_tokens_follow_the_scores(engine: Engine) -> None:
    """First tokens of 200 answers against the model's own probabilities: chi-square, false alarm 1 in 10,000."""
    if engine.info.name == "fake":
        pytest.skip("the fake engine has no model")
    from scipy.stats import chi2

    done = complete(engine, [Request(i, PROMPT, "red", 31 * i) for i in range(200)])
    counts = np.bincount([one.token_ids[0] for one in done.values()], minlength=320)
    chances = np.exp([row[0] for row in engine.score(PROMPT, [(i,) for i in range(320)], "red")])
    assert chances.sum() == pytest.approx(1, abs=0.02)
    often = chances * 200 >= 5
    observed = np.append(counts[often], counts[~often].sum())
    expected = np.append(chances[often], 1 - chances[often].sum()) * 200
    assert ((observed - expected) ** 2 / expected).sum() < chi2.ppf(0.9999, len(observed) - 1)


def test_an_adapter_without_safetensors_is_refused(model: SmallModel, tmp_path: Path) -> None:
    from synthgen.engines import open_engine
    from synthgen.errors import AdapterError

    (tmp_path / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(AdapterError, match=r"adapter_model\.safetensors"):
        open_engine("transformers", model.path, {"old": tmp_path}, Sampling())
