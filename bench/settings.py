"""vLLM's settings one by one: records a second of nano with synthgen's own, and with one of them changed.

    python bench/settings.py                                   # all, three turns of 1,500 biographies each
    python bench/settings.py --only ours compiled "128 at once"

Every way has a process of its own that starts vLLM, and is then asked in turns, so that a
busy neighbour disturbs all. Prompts, seeds and sampling are the same. What is best here is what `engines/vllm.py` does.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import runs

ROOT = Path(__file__).parents[1]
MAX_TOKENS = 160


@dataclass(frozen=True)
class Way:
    """What differs from synthgen's own settings."""

    settings: dict[str, object] = field(default_factory=dict)  # of vLLM's EngineArgs
    environment: dict[str, str] = field(default_factory=dict)
    n_per_request: int = 1
    seeded: bool = True  # a seed for every request


WAYS = {
    "ours": Way(),  # against itself: what chance alone does
    "vLLM's defaults": Way(
        {
            "enforce_eager": False,
            "enable_chunked_prefill": None,
            "block_size": None,
            "max_num_batched_tokens": None,
            "max_num_seqs": None,
        },
        {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"},
        seeded=False,  # vLLM's CPU build dies where a seeded prompt is split across steps, as these settings do
    ),
    "own process": Way(environment={"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}),
    "compiled": Way({"enforce_eager": False}),
    "one thread": Way(environment={"VLLM_CPU_OMP_THREADS_BIND": "0"}),
    "128 at once": Way({"max_num_seqs": 128}),
    "256 at once": Way({"max_num_seqs": 256}),
    "1024 at once": Way({"max_num_seqs": 1024}),
    "bfloat16": Way({"dtype": "bfloat16"}),
    "float32": Way({"dtype": "float32"}),
    "no prefix caching": Way({"enable_prefix_caching": False}),
    "blocks of 128": Way({"block_size": 128}),
    "8 answers a request": Way(n_per_request=8),
}


def serve(way: Way, answer_to: int) -> None:
    """Start vLLM and answer with the seconds that so many records take."""
    from synthgen import Recipe
    from synthgen.engines import CAPACITY
    from synthgen.engines import vllm as ours  # before vllm itself: it sets the environment
    from synthgen.job import prepare

    recipe = Recipe.from_mapping({"schema": "schemas/biography.py:Biography"}, base=ROOT)
    job = prepare(recipe)
    settings = {**ours.engine_settings(job.model, 0, CAPACITY["vllm"], 1024), **way.settings}
    given = {key: value for key, value in settings.items() if value is not None}
    engine: Any = ours.LLMEngine.from_engine_args(ours.EngineArgs(**given))
    names = iter(range(10**9))

    def work(n: int) -> dict[str, float]:
        began = time.perf_counter()
        n_requests = -(-n // way.n_per_request)
        for i in range(n_requests):
            params = ours.SamplingParams(
                n=way.n_per_request,
                temperature=1.0,
                max_tokens=MAX_TOKENS,
                seed=i if way.seeded else None,
                ignore_eos=True,
                stop_token_ids=list(job.prompt.stop_ids),
                detokenize=False,
                output_kind=ours.RequestOutputKind.FINAL_ONLY,
            )
            engine.add_request(str(next(names)), {"prompt_token_ids": list(job.prompt.ids)}, params)
        n_done = 0
        while n_done < n_requests:
            n_done += sum(output.finished for output in engine.step())
        return {"seconds": time.perf_counter() - began}

    work(64)  # the first steps compile and fill caches
    runs.answer(work, answer_to)


def side_of(name: str) -> runs.Side:
    """A way's process."""
    return runs.Side(__file__, ["--serve", name], WAYS[name].environment)


def beside(ours: runs.Side, name: str, n: int, repeats: int) -> runs.Row:
    """One way and synthgen's own in turns."""
    side = side_of(name)
    try:
        sides = {"": lambda: n / ours(n)["seconds"], name: lambda: n / side(n)["seconds"]}
        rates = runs.in_turns(sides, repeats)
    finally:
        side.close()
    return {
        "way": name,
        "records/s": runs.spread(rates[name]),
        "ours, same turns": runs.spread(rates[""]),
        "of ours": runs.ratio(rates[name], rates[""]),
        "start s": runs.rounded(side.start_s),
    }


def worth_trying() -> list[str]:
    """All ways, without bfloat16 where that takes ten times as long or more: the answer is known, the wait is long."""
    from synthgen.models import multiplies_in_bf16

    return [name for name in WAYS if name != "bfloat16" or multiplies_in_bf16("cpu")]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=1500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(WAYS), default=[])
    parser.add_argument("--serve", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--answer-to", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(WAYS[asked.serve], asked.answer_to)
        return
    rows: list[runs.Row] = []
    ours = side_of("ours")
    try:
        for name in asked.only or worth_trying():
            rows.append(beside(ours, name, asked.n, asked.repeats))
    finally:
        ours.close()
    runs.print_table(f"nano, vLLM, {asked.n:,} biographies", rows)
    runs.keep("settings", {str(row["way"]): row["of ours"]["median"] for row in rows}, rows)  # type: ignore[index]


if __name__ == "__main__":
    main()
