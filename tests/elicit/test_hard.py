"""Hard prompts: never worse than their start, and words that are read back as the tokens that were found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from synthgen.adapters import PROMPT_TEXT, load_manifest
from synthgen.elicit.config import HardConfig
from synthgen.elicit.frame import HardFrame, searchable
from synthgen.elicit.goal import SearchStep
from synthgen.elicit.hard_prompt import served_prompt
from synthgen.elicit.hard_search import _Search, search_hard
from synthgen.errors import AdapterError
from tests.elicit.models import brute_force_kl, goal, load, model_folder

QUICK = HardConfig(n_tokens=4, steps=8, restarts=2, n_candidates=24, top_k=32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return load(folder)


@pytest.mark.parametrize("template", ["{prompt}\n{found}", "Say {found} {prompt}"])
@pytest.mark.parametrize("readable", [False, True])
def test_the_search_never_makes_it_worse_and_is_read_back(
    folder: Path, model: Any, template: str, readable: bool
) -> None:
    some = goal(folder)
    steps: list[SearchStep] = []
    config = replace(QUICK, template=template, readable=readable)
    found = search_hard(model, [some], config, steps.append)
    assert found.loss <= found.start
    losses = [step.loss for step in steps]
    assert losses == sorted(losses, reverse=True)
    assert found.loss == min(found.restarts)
    words = some.tokenizer.decode(found.ids)
    prompt = HardFrame(some.prompt.user, template, some.tokenizer).prompt(words)
    assert tuple(some.tokenizer.encode(some.tokenizer.chat(prompt.user))) == prompt.ids
    at = next(i for i in range(len(prompt.ids)) if prompt.ids[i : i + 4] == found.ids)
    assert at > 0
    if readable:
        assert words.replace(" ", "").isalpha()
    inputs = model.get_input_embeddings()(torch.tensor(prompt.ids))
    assert found.loss - some.trie.entropy() == pytest.approx(brute_force_kl(model, inputs, some), abs=1e-4)


def test_a_search_finds_what_it_gains_by(folder: Path, model: Any) -> None:
    found = search_hard(model, [goal(folder, next_token=True)], replace(QUICK, steps=20))
    assert found.loss < found.start - 0.1


def test_candidates_differ_in_one_token_and_fit(folder: Path, model: Any) -> None:
    import numpy as np

    some = goal(folder)
    search = _Search(model, [some], QUICK, searchable(some.tokenizer, readable=False))
    ids = search_hard(model, [some], replace(QUICK, steps=1, restarts=1)).ids
    candidates = search.candidates(ids, np.random.default_rng(0))
    assert len(candidates) == len(set(candidates)) > 4
    assert all(sum(a != b for a, b in zip(ids, one, strict=True)) == 1 for one in candidates)
    assert all(search.frames[0].fits(one) for one in candidates)


def test_the_gradient_ranks_swaps_better_than_chance(folder: Path, model: Any) -> None:
    """The mean loss of proposed swaps is under that of random ones: 200 each, a false alarm is out of reach."""
    import numpy as np

    some = goal(folder, next_token=True)
    allowed = searchable(some.tokenizer, readable=False)
    rng = np.random.default_rng(0)
    config = replace(QUICK, n_candidates=200, top_k=16)
    search = _Search(model, [some], config, allowed)
    ids = search_hard(model, [some], replace(QUICK, steps=1, restarts=1)).ids
    blind = _Search(model, [some], replace(config, top_k=len(allowed)), allowed)
    proposed = search.losses(search.candidates(ids, rng))
    random = blind.losses(blind.candidates(ids, rng))
    assert np.mean(proposed) < np.mean(random)


def test_two_goals_are_searched_together(folder: Path, model: Any) -> None:
    first, second = goal(folder, "Answer."), goal(folder, "Another message of other length.")
    both = [replace(first, share=0.25), replace(second, share=0.75)]
    found = search_hard(model, both, replace(QUICK, restarts=1))
    parts = []
    for some in (first, second):
        prompt = HardFrame(some.prompt.user, QUICK.template, some.tokenizer).prompt(
            some.tokenizer.decode(found.ids)
        )
        inputs = model.get_input_embeddings()(torch.tensor(prompt.ids))
        parts.append(brute_force_kl(model, inputs, some) + some.trie.entropy())
    assert found.loss == pytest.approx(0.25 * parts[0] + 0.75 * parts[1], abs=1e-4)


def test_words_that_the_manifest_and_the_text_disagree_on_are_refused(folder: Path, tmp_path: Path) -> None:
    from synthgen.elicit.finding import elicit_file, search_config
    from synthgen.progress import SilentProgress

    target = tmp_path / "target.yaml"
    target.write_text("yes: 0.5\nno: 0.5\n", encoding="utf-8")
    config = search_config("hard-prompt", {"n_tokens": 3, "steps": 2, "restarts": 1})
    out = tmp_path / "words"
    found = elicit_file(str(folder), target, "hard-prompt", config, out, SilentProgress(), message="Well?")
    some = goal(folder, "Well?")
    served = served_prompt(found.manifest, some.prompt, some.tokenizer)
    assert served.user == (out / PROMPT_TEXT).read_text(encoding="utf-8")
    assert found.manifest.kind == "hard-prompt"
    prompting = found.manifest.prompting
    assert prompting is not None
    swapped = prompting.model_copy(update={"ids": prompting.ids[::-1]})
    with pytest.raises(AdapterError, match="are not read back as the 3 tokens"):
        served_prompt(found.manifest.model_copy(update={"prompting": swapped}), some.prompt, some.tokenizer)
    (out / PROMPT_TEXT).write_text("other", encoding="utf-8")
    with pytest.raises(AdapterError, match="the words were changed"):
        load_manifest(out)
