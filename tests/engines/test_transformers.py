"""What only the embedded engine promises: packing, exact sampling, adapters' weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from synthgen.engines.protocol import Request, Sampling
from synthgen.engines.sampling import draw
from synthgen.engines.transformers import TransformersEngine
from tests.engines.small_models import SmallModel, write_small_model
from tests.engines.test_contract import PROMPT, complete
from tests.tiny import ARCHS, Arch, tiny_model_folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SmallModel:
    return write_small_model(tmp_path_factory.mktemp("small"), ("red",), hidden=64)


@pytest.mark.parametrize("capacity", [1, 3, 64])
def test_a_record_does_not_depend_on_its_neighbours(model: SmallModel, capacity: int) -> None:
    sampling = Sampling(max_tokens=30, stop_ids=(*range(40), model.stop_id))
    requests = [Request(i, PROMPT, ("red", None)[i % 2], i, tuple(b"{x}"[: i % 4])) for i in range(40)]
    alone = TransformersEngine(model.path, model.adapters, sampling, capacity=8)
    expected = {i: complete(alone, [one])[i].token_ids for i, one in enumerate(requests)}
    crowd = complete(TransformersEngine(model.path, model.adapters, sampling, capacity=capacity), requests)
    assert len({len(ids) for ids in expected.values()}) > 5  # rows end at many lengths
    assert {i: one.token_ids for i, one in crowd.items()} == expected


class Counting(TransformersEngine):
    """Counts its steps."""

    n_steps = 0

    def _step(self, batch: Any) -> None:
        self.n_steps += 1
        super()._step(batch)


def test_prompts_of_their_own_share_a_batch_and_change_no_answer(model: SmallModel) -> None:
    sampling = Sampling(max_tokens=10, stop_ids=(model.stop_id,))
    requests = [Request(i, (*PROMPT[: 6 + i % 9], 65 + i % 7), None, i) for i in range(18)]
    assert len({request.prompt_ids for request in requests}) == 18
    alone = TransformersEngine(model.path, sampling=sampling)
    expected = {one.id: complete(alone, [one])[one.id] for one in requests}
    crowd = Counting(model.path, sampling=sampling, capacity=64)
    assert complete(crowd, requests) == expected
    assert crowd.n_steps <= 2 * sampling.max_tokens  # one by one they would take 18 times as many


@pytest.mark.parametrize("arch", ARCHS)
def test_greedy_answers_are_those_of_generate(arch: Arch, tmp_path: Path) -> None:
    folder = tiny_model_folder(tmp_path, arch)
    engine = TransformersEngine(folder, sampling=Sampling(temperature=0, max_tokens=20), capacity=4)
    prompts = [tuple(range(20, 30)), tuple(range(100, 120))]
    done = complete(engine, [Request(i, prompts[i % 2], None, i) for i in range(10)])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for i, prompt in enumerate(prompts):
        ids = torch.tensor([prompt])
        with torch.no_grad():
            for _ in range(20):
                ids = torch.cat([ids, model(input_ids=ids, use_cache=False).logits[:, -1:].argmax(-1)], 1)
        assert done[i].token_ids == tuple(ids[0, len(prompt) :].tolist())


def test_draw_is_the_inverse_of_the_cumulative_distribution() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2]])).expand(5, -1)
    uniforms = np.array([0.0, 0.49, 0.51, 0.79, 0.999999])
    assert draw(logits, uniforms, Sampling()) == [0, 0, 1, 1, 2]
    assert draw(logits, uniforms, Sampling(top_k=2)) == [0, 0, 0, 1, 1]  # 5/8, 3/8
    assert draw(logits, uniforms, Sampling(top_p=0.5)) == [0] * 5
    assert draw(logits, uniforms, Sampling(top_p=0.51)) == [0, 0, 0, 1, 1]
    assert draw(logits, uniforms, Sampling(temperature=0.5)) == [0, 0, 0, 1, 2]  # 25/38, 9/38, 4/38
    assert draw(logits, uniforms, Sampling(temperature=0)) == [0] * 5
    assert draw(logits, uniforms, Sampling(), np.array([False] * 3 + [True] * 2)) == [0, 0, 1, 0, 0]


def test_a_token_without_probability_is_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf]]).expand(3, -1)
    assert draw(logits, np.array([0.0, 0.5, 1 - 1e-16]), Sampling()) == [1, 1, 1]


def test_an_adapter_gives_what_its_merged_weights_give(model: SmallModel, tmp_path: Path) -> None:
    base: Any = AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float32)
    merged = shutil.copytree(model.path, tmp_path / "merged")
    PeftModel.from_pretrained(base, str(model.adapters["red"])).merge_and_unload().save_pretrained(merged)
    answers = [tuple(b"{7}\n{abc}"), tuple(b"{10}")]
    apart = TransformersEngine(model.path, model.adapters).score(PROMPT, answers, "red")
    whole = TransformersEngine(merged).score(PROMPT, answers)
    np.testing.assert_allclose(np.concatenate(whole), np.concatenate(apart), atol=1e-3)
