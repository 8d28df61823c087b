"""Is the time that `check` tells right? A preview measures, `check`'s figure is taken, the run itself is timed.

    python bench/estimate.py                           # 3,000 biographies of nano, by vLLM where it is installed
    python bench/estimate.py --n 1000 --engine transformers

The preview tunes an adapter for a few steps and asks for a sample; the run has another adapter to tune, for twice as
many steps, an engine to start, the untuned sample to take, records to make and a report to write.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import runs
import yaml

from synthgen.plan import N_BEFORE
from synthgen.recipe import Recipe
from synthgen.speeds import estimate

BIOS = runs.ROOT / "recipes" / "bios.yaml"


def written(folder: Path, steps: int) -> Path:
    """The biographies' recipe with an adapter of so many steps, its adapters and data in a folder, no gates."""
    content = yaml.safe_load(BIOS.read_text(encoding="utf-8"))
    del content["gates"]  # so few steps reach none
    adapter = content["adapters"]["biographies"]
    adapter["steps"] = steps
    for part, key in ((content, "schema"), (adapter, "targets")):
        part[key] = str(BIOS.parent / part[key])
    content["tuned_dir"], content["export"]["dir"] = f"{folder}/adapters", f"{folder}/data"
    recipe = folder / str(steps) / BIOS.name
    recipe.parent.mkdir()
    recipe.write_text(yaml.safe_dump(content), encoding="utf-8")
    return recipe


def command(*words: str) -> float:
    """Seconds that a command takes."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *runs.SYNTHGEN, *words], stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise SystemExit(f"synthgen {' '.join(words)}: exit code {done.returncode}; its message is above")
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--engine", default="vllm" if find_spec("vllm") else "transformers")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        brief, whole = written(folder, asked.steps), written(folder, 2 * asked.steps)
        command("preview", str(brief), "--engine", asked.engine, "--quiet")
        shutil.rmtree(folder / "adapters" / "bios-biographies")  # which the run has to tune anew in any case
        told = estimate(Recipe.from_yaml(whole), asked.engine, asked.n, N_BEFORE)
        if told is None:
            raise SystemExit("the preview left no measurement; expected one in speeds.json")
        took = command("recipe", str(whole), "--n", str(asked.n), "--engine", asked.engine, "--quiet")
    row: runs.Row = {
        "engine": asked.engine,
        "records": asked.n,
        "told s": runs.rounded(told.total_s),
        "took s": runs.rounded(took),
        "took of told": runs.rounded(took / told.total_s),
        "told: tuning s": None if told.tune_s is None else runs.rounded(told.tune_s),
        "told: records s": runs.rounded(told.generate_s),
    }
    runs.print_table("the time that check tells, and the time that a run takes", [row])
    runs.keep("estimate", {asked.engine: row["took of told"]}, [row])


if __name__ == "__main__":
    main()
