"""Records a second of every engine, and what LoRA costs: base, one adapter, the same merged, three mixed.

    python bench/engines.py transformers vllm --n 1000

The model has 4.3M random parameters (hidden 256, 4 layers, vocabulary 3,072); prompts have 90 tokens and
answers 52, all from their own seeds. Prints one line of JSON per case.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from synthgen.engines import open_engine
from synthgen.engines.merge import merge_adapter
from synthgen.engines.protocol import Engine, Request, Sampling
from tests.engines.small_models import write_small_model

PROMPT = tuple(range(32, 122))
SAMPLING = Sampling(max_tokens=52)


def records_per_s(engine: Engine, names: tuple[str | None, ...], n: int) -> tuple[float, float]:
    """Records per second and per CPU second; the engine is kept full, and the first tenth is not counted.

    On a machine that is busy with other things, compare CPU seconds, with OMP_NUM_THREADS=1.
    """
    n_done, n_sent, started = 0, 0, 0.0
    while n_done < n + n // 10:
        room = min(engine.capacity - (n_sent - n_done), n + n // 10 - n_sent)
        engine.submit([Request(i, PROMPT, names[i % len(names)], i) for i in range(n_sent, n_sent + room)])
        n_sent += room
        n_done += len(engine.poll())
        if not started and n_done >= n // 10:
            started, cpu_started, n_before = time.perf_counter(), time.process_time(), n_done
    n_counted = n_done - n_before
    return n_counted / (time.perf_counter() - started), n_counted / (time.process_time() - cpu_started)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("engines", nargs="+", choices=["transformers", "vllm"])
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--capacity", type=int)
    parser.add_argument("--cases", nargs="+", default=["base", "adapter", "merged", "mixed"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = write_small_model(
            Path(folder),
            ("a", "b", "c"),
            hidden=256,
            layers=4,
            vocab_size=3072,
            init=0.02,
            lora_std=0.02,
        )
        one = {"a": model.adapters["a"]}
        merged = merge_adapter(model.path, one["a"], Path(folder) / "merged")
        cases: dict[str, tuple[Path, Mapping[str, Path], tuple[str | None, ...]]] = {
            "base": (model.path, {}, (None,)),
            "adapter": (model.path, one, ("a",)),
            "merged": (merged, {}, (None,)),
            "mixed": (model.path, model.adapters, ("a", "b", "c")),
        }
        for name in args.engines:
            for case in args.cases:
                path, adapters, served = cases[case]
                started = time.perf_counter()
                engine = open_engine(name, path, adapters, SAMPLING, 0, args.capacity)
                start_s = time.perf_counter() - started
                rate, cpu_rate = records_per_s(engine, served, args.n)
                row = {
                    "engine": name,
                    "case": case,
                    "capacity": engine.capacity,
                    "start_s": round(start_s, 1),
                }
                row |= {"records_per_s": round(rate, 1), "records_per_cpu_s": round(cpu_rate, 1)}
                print(json.dumps(row), flush=True)
                engine.close()


if __name__ == "__main__":
    main()
