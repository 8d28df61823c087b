from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from synthgen.engines.canary import check_adapters
from synthgen.engines.fake import FakeEngine
from synthgen.engines.protocol import Request, Sampling
from synthgen.errors import EngineError

# A model of independent letters: adapter → chance of a, b, c, d.
LETTERS = b"abcd"
CHANCES: dict[str | None, tuple[float, ...]] = {
    None: (0.4, 0.3, 0.2, 0.1),
    "red": (0.05, 0.1, 0.25, 0.6),
    "blue": (0.25, 0.25, 0.25, 0.25),
    "twin": (0.4, 0.3, 0.2, 0.1001),
}
Swaps = Mapping[str | None, str | None]


def letters(request: Request, rng: np.random.Generator) -> str:
    chances = np.array(CHANCES[request.adapter])
    return bytes(rng.choice(list(LETTERS), 40, p=chances / chances.sum()).tolist()).decode()


def scores(adapter: str | None, _prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
    return [float(np.log(CHANCES[adapter][LETTERS.index(token)])) for token in answer]


def engine(*adapters: str, seeds: bool, seed: int, mixed: Swaps | None) -> FakeEngine:
    return FakeEngine(
        letters,
        adapters=adapters,
        sampling=Sampling(max_tokens=60),
        score=scores,
        honours_seeds=seeds,
        swap_mixed=mixed,
        seed=seed,
    )


def check(*adapters: str, seeds: bool = True, seed: int = 0, mixed: Swaps | None = None) -> None:
    check_adapters(engine(*adapters, seeds=seeds, seed=seed, mixed=mixed), (1, 2), adapters)


@pytest.mark.parametrize("seeds", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_sound_engines_pass(seeds: bool, seed: int) -> None:
    check("red", "blue", "twin", seeds=seeds, seed=seed)


@pytest.mark.parametrize("seeds", [True, False])
def test_base_rows_that_take_the_last_adapter_are_caught(seeds: bool) -> None:
    with pytest.raises(EngineError, match="the base model answers like adapter 'red'"):
        check("blue", "red", seeds=seeds, mixed={None: "red"})


@pytest.mark.parametrize("seeds", [True, False])
def test_swapped_adapters_are_caught(seeds: bool) -> None:
    swapped: Swaps = {"red": "blue", "blue": "red"}
    with pytest.raises(EngineError, match="adapter 'red' answers like adapter 'blue'"):
        check("red", "blue", seeds=seeds, mixed=swapped)


def test_an_adapter_dropped_in_a_mix_is_caught() -> None:
    with pytest.raises(EngineError, match="adapter 'red' answers like the base model"):
        check("red", mixed={"red": None})


def test_an_adapter_that_changes_nothing_is_caught() -> None:
    CHANCES["idle"] = CHANCES[None]
    with pytest.raises(EngineError, match="adapter 'idle' changes no probability"):
        check("idle")


def test_lost_and_failed_probes_are_caught() -> None:
    with pytest.raises(EngineError, match="unanswered"):
        check_adapters(FakeEngine(letters, adapters=("red",), drop_after=20), (1, 2), ("red",))
    with pytest.raises(EngineError, match="failed a probe: planted failure"):
        check_adapters(FakeEngine(letters, adapters=("red",), fail_rate=0.5), (1, 2), ("red",))


def test_without_adapters_one_answer_is_enough() -> None:
    check()
