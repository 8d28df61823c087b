"""The whole job after engine start against a bare vLLM loop over as many requests; and what adapters cost.

    python bench/generation.py                       # job and bare loop in turns, 1,000 and 3,000 records
    python bench/generation.py --sides job bare transformers --sizes 1000
    python bench/generation.py --sides base one three merged --sizes 1500      # fixed-length answers, by adapters

`job` is `recipe.run`: biographies of nano through plan, vLLM in its own process, parsing, validation, journal,
Parquet, checksums, report; rejected attempts and the sample of the untuned model count as requests. `bare` is
vLLM's own engine in process with the same settings and seeds, given all requests at once; it makes the texts and
throws them away. Each side has a process of its own that stays open; they are asked in turns, one at a time.

Floor of a decode step: per row 2 operations per weight and 4 per layer, key column and width of the attention; per step
all weights and every row's keys and values read once, in the engine's numbers. Peak and bandwidth are measured here.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import runs

ROOT = Path(__file__).parents[1]
RECIPE = {"schema": "schemas/biography.py:Biography", "generate": {"mix": {"base": 1.0}}}
BEFORE = 100  # samples of the untuned model
LENGTH = 48  # tokens of the answers of the sides that compare adapters
JOBS = {"job": "vllm", "transformers": "transformers"}
ADAPTERS = {"base": 0, "one": 1, "three": 3, "merged": 1}
Work = Callable[[int], dict[str, float]]  # how many → seconds and what was made


def serve(side: str, model: str, answer_to: int) -> None:
    """Open a side's engine and answer."""
    work = job(model, JOBS[side]) if side in JOBS else bare(model) if side == "bare" else rows(model, side)
    work(64)  # the first steps compile and fill caches
    runs.answer(work, answer_to)


def job(model: str, name: str) -> Work:
    from synthgen import Recipe
    from synthgen.generation import serving
    from synthgen.job import prepare
    from synthgen.progress import SilentProgress
    from synthgen.run import run_recipe

    recipe = Recipe.from_mapping({**RECIPE, "model": model}, base=ROOT)
    engine = serving(prepare(recipe), {}, name).open(SilentProgress())
    began: dict[str, float] = {}

    class Listener(SilentProgress):
        def stage(self, name: str, detail: str = "") -> None:  # noqa: ARG002
            began[name] = time.perf_counter()

    def work(n: int) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as out:
            started = time.perf_counter()
            run = run_recipe(recipe, n, Path(out), engine=engine, n_before=BEFORE, progress=Listener())
            ended = time.perf_counter()
            manifest = json.loads((Path(out) / "_manifest.json").read_text(encoding="utf-8"))
        n_requests = int(str(run.summary["n_attempted"])) + manifest["before"]["attempted"]
        stages = {"generate_s": began["report"] - began["generate"], "report_s": ended - began["report"]}
        tokens = manifest["shards"]["0"]["counts"]["tokens"] / manifest["shards"]["0"]["counts"]["attempted"]
        return {"seconds": ended - started, "requests": n_requests, "tokens": tokens, **stages}

    return work


def bare(model: str) -> Work:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    from synthgen import Recipe
    from synthgen.engines import CAPACITY
    from synthgen.engines.protocol import Sampling
    from synthgen.engines.vllm import VllmEngine
    from synthgen.job import prepare

    prompt = prepare(Recipe.from_mapping({**RECIPE, "model": model}, base=ROOT)).prompt
    core: Any = VllmEngine(model, {}, Sampling(), 0, CAPACITY["vllm"])._engine
    names = iter(range(10**9))

    def work(n: int) -> dict[str, float]:
        started = time.perf_counter()
        for i in range(n):
            params = SamplingParams(
                temperature=1.0,
                max_tokens=160,
                seed=i,
                ignore_eos=True,
                stop_token_ids=list(prompt.stop_ids),
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            core.add_request(str(next(names)), {"prompt_token_ids": list(prompt.ids)}, params)
        n_done = 0
        while n_done < n:
            n_done += sum(output.finished for output in core.step())
        return {"seconds": time.perf_counter() - started, "requests": n}

    return work


def rows(model: str, side: str) -> Work:
    """Requests to an engine in process, all of one length, with as many random adapters as the side has."""
    from synthgen import Recipe
    from synthgen.engines import CAPACITY
    from synthgen.engines.protocol import Request, Sampling
    from synthgen.engines.vllm import VllmEngine
    from synthgen.job import prepare

    folder = Path(tempfile.mkdtemp(prefix="bench-adapters-"))
    adapters = {
        name: random_adapter(model, folder / name, i) for i, name in enumerate("abc"[: ADAPTERS[side]])
    }
    if side == "merged":
        model, adapters = str(merged(model, adapters["a"], folder / "merged")), {}
    prompt = prepare(Recipe.from_mapping(RECIPE, base=ROOT)).prompt
    engine = VllmEngine(model, adapters, Sampling(max_tokens=LENGTH), 0, CAPACITY["vllm"])
    names = [*adapters] or [None]

    def work(n: int) -> dict[str, float]:
        started = time.perf_counter()
        engine.submit([Request(i, prompt.ids, names[i % len(names)], i) for i in range(n)])
        n_done = 0
        while n_done < n:
            n_done += len(engine.poll())
        return {"seconds": time.perf_counter() - started, "requests": n}

    return work


def merged(model: str, adapter: Path, out: Path) -> Path:
    """The model with an adapter in its weights, which keep their precision."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from synthgen.models import resolve_model

    place = resolve_model(model)
    shutil.copytree(place, out)  # the tokenizer; the weights are written over
    base: Any = AutoModelForCausalLM.from_pretrained(place, dtype="auto")
    dtype = base.dtype
    PeftModel.from_pretrained(base.float(), str(adapter)).merge_and_unload().to(dtype).save_pretrained(out)
    return out


def random_adapter(model: str, folder: Path, seed: int) -> Path:
    """A LoRA adapter of rank 8 on every projection, so weak that answers stay what they were."""
    import torch

    from synthgen.lora import add_lora, load_model
    from synthgen.tuning_config import TuningConfig

    config = TuningConfig(rank=8, device="cpu", seed=seed)
    lora = add_lora(load_model(model, config), config)
    for name, weight in lora.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=1e-3)
    lora.save_pretrained(folder)
    return folder


def floor_per_s(model: str, tokens: float, n_rows: int) -> runs.Row:
    """Requests a second that this machine could decode at most, `n_rows` at once, of so many tokens each."""
    import torch

    from synthgen.models import multiplies_in_bf16

    config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    hidden, layers, vocab = config["hidden_size"], config["num_hidden_layers"], config["vocab_size"]
    heads, size = config["num_attention_heads"], config["head_dim"]
    kv_width = config["num_key_value_heads"] * size
    attention = hidden * size * heads * 2 + hidden * kv_width * 2
    n_weights = layers * (attention + 3 * hidden * config["intermediate_size"]) + hidden * vocab
    context = 90 + tokens / 2  # columns that a row sees on average
    operations = n_rows * (2 * n_weights + 4 * layers * context * heads * size)
    kind = torch.bfloat16 if multiplies_in_bf16("cpu") else torch.float32  # as the engine computes
    n_bytes = kind.itemsize * (n_weights + n_rows * context * layers * 2 * kv_width)
    a, big = torch.randn(2048, 2048, dtype=kind), torch.zeros(2**27, dtype=kind)
    copy = torch.ones_like(big)  # of pages that are there already: faults are no bandwidth
    peak = 2 * 2048**3 / min(runs.timed(lambda: a @ a) for _ in range(10))
    bandwidth = 2 * big.nbytes / min(runs.timed(lambda: copy.copy_(big)) for _ in range(5))
    step_s = max(operations / peak, n_bytes / bandwidth)
    return {
        "floor of a decode step": f"{n_rows} rows",
        "GFLOP": runs.rounded(operations / 1e9),
        "MB": runs.rounded(n_bytes / 1e6),
        "peak GFLOP/s": round(peak / 1e9),
        "GB/s": runs.rounded(bandwidth / 1e9),
        "ms": runs.rounded(step_s * 1000),
        "requests/s at most": runs.rounded(n_rows / step_s / tokens),
    }


def compared(sides: dict[str, runs.Side], n: int, repeats: int) -> list[runs.Row]:
    """All sides in turns; the first decides how many requests the others get."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(repeats):
        n_asked = n
        for name, side in sides.items():
            found[name].append(side(n if name in JOBS else n_asked))
            n_asked = int(found[next(iter(sides))][-1]["requests"])
    rates = {name: [one["requests"] / one["seconds"] for one in many] for name, many in found.items()}
    against = "bare" if "bare" in rates else next(iter(rates))
    table: list[runs.Row] = []
    for name, many in found.items():
        tokens = [one["tokens"] for one in many if "tokens" in one]
        row: runs.Row = {"side": name, "records": n, "requests/s": runs.spread(rates[name])}
        row[f"of {against}"] = None if name == against else runs.ratio(rates[name], rates[against])
        for key in ("generate_s", "report_s"):
            row[key] = runs.spread([one[key] for one in many]) if key in many[0] else None
        row["tokens"] = runs.rounded(sum(tokens) / len(tokens)) if tokens else None
        table.append({**row, "start s": runs.rounded(sides[name].start_s)})
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choices = [*JOBS, "bare", *ADAPTERS]
    parser.add_argument("--sides", nargs="+", choices=choices, default=["job", "bare"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 3000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--serve", choices=choices, help=argparse.SUPPRESS)
    parser.add_argument("--answer-to", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    from synthgen.models import resolve_model

    model = resolve_model(asked.model)
    if asked.serve:
        serve(asked.serve, model, asked.answer_to)
        return
    sides = {name: runs.Side(__file__, ["--serve", name, "--model", model]) for name in asked.sides}
    try:
        table = [row for n in asked.sizes for row in compared(sides, n, asked.repeats)]
    finally:
        for side in sides.values():
            side.close()
    runs.print_table(f"{asked.model}, requests a second", table)
    tokens = next((float(str(row["tokens"])) for row in table if row["tokens"]), LENGTH)
    floor = floor_per_s(model, tokens, 512)
    runs.print_table("how far it could go", [floor])
    against = next(key for key in table[0] if key.startswith("of "))
    headline = {
        f"{row['side']} {row['records']} {against}": row[against]["median"]  # type: ignore[index]
        for row in table
        if row[against]
    }
    runs.keep("generation", headline, [*table, floor])


if __name__ == "__main__":
    main()
