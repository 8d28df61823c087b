"""What a seed per record costs on vLLM: the same requests with their own seeds, and with the engine's one seed.

    python bench/seeds.py [--n 1500] [--repeats 3] [--model nano]

One engine, the same prompt, sampling and answer lengths, in turns: a seed is a property of a request, so nothing but
the seeds differs. With seeds of their own, records do not depend on their neighbours, and a resumed run makes what
the interrupted one would have made; with one engine seed, a run repeats only if nothing at all is different.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import runs

from synthgen.engines.protocol import Sampling
from synthgen.engines.vllm import VllmEngine
from synthgen.models import resolve_model
from synthgen.prompt import build_prompt
from synthgen.recipe import Recipe
from synthgen.tokenizers import load_tokenizer

ROOT = Path(__file__).parents[1]
LENGTH = 48  # tokens of every answer: no stop token, so that both sides do the same work


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=1500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--capacity", type=int, default=512)
    asked = parser.parse_args()
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    place = resolve_model(asked.model)
    tokenizer = load_tokenizer(place)
    schema = Recipe.from_yaml(ROOT / "recipes" / "bios.yaml").record_schema()
    ids = build_prompt(schema, tokenizer).ids
    engine = VllmEngine(place, {}, Sampling(max_tokens=LENGTH), 0, asked.capacity)
    core, names = engine._engine, iter(range(10**9))

    def run(seeded: bool) -> float:
        def work() -> None:
            for i in range(asked.n):
                params = SamplingParams(
                    temperature=1.0,
                    max_tokens=LENGTH,
                    seed=i if seeded else None,
                    ignore_eos=True,
                    detokenize=False,
                    output_kind=RequestOutputKind.FINAL_ONLY,
                )
                core.add_request(str(next(names)), {"prompt_token_ids": list(ids)}, params)
            n_done = 0
            while n_done < asked.n:
                n_done += sum(output.finished for output in core.step())

        return asked.n / runs.timed(work)

    run(True), run(False)  # the first steps compile and fill caches
    found = runs.in_turns(
        {"own seeds": lambda: run(True), "engine's seed": lambda: run(False)}, asked.repeats
    )
    engine.close()
    rows: list[runs.Row] = [{"seeds": name, "records/s": runs.spread(rates)} for name, rates in found.items()]
    kept = runs.ratio(found["own seeds"], found["engine's seed"])
    rows[0]["of the engine's seed"] = kept
    runs.print_table(f"{asked.model}, vLLM, {LENGTH} tokens a record, {asked.capacity} at once", rows)
    runs.keep("seeds", {"own seeds / engine's seed": kept["median"]}, rows)


if __name__ == "__main__":
    main()
