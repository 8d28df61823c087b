"""Seconds of tuning until the same exact KL: the trie loss against hard-target SFT with TRL's SFTTrainer.

    python bench/tuning_sft.py --trl /path/to/trl-venv/bin/python     # an interpreter that has TRL beside our own needs
    python bench/tuning_sft.py                                        # without one: a plain SFT loop, and it says so

Both sides: nano, the same LoRA (rank 4, every projection), AdamW, fp32, one task: a die (10 values) or 200 baby names.
Ours takes the recipe's usual settings. SFT sees sampled answers, 32 a step, with the loss on the answer alone; it may
choose among the rates and schedules of `SFT_WAYS`, and its best counts. Every few steps its exact KL is computed as ours
is, and the clock stands still meanwhile. Loading is in neither time. Each run has a process of its own, in turns. SFT
is stopped at six times our time (a minute at least): where it had not reached the KL by then, the ratio is a lower bound.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import runs

ROOT = Path(__file__).parents[1]
TASKS = {  # name → recipe, adapter, KL to reach in nats
    "die": ("recipes/die.yaml", "fair", 0.005),
    "names": ("recipes/paper/baby-names.yaml", "names", 0.4),
}
SFT_WAYS = [  # rate, schedule, steps
    (2e-3, "constant", 600),
    (2e-3, "linear", 120),
    (5e-3, "linear", 120),
    (2e-3, "linear", 400),
]
SFT_BATCH = 32
LEAST_LIMIT_S = 60.0
LIMIT = 6.0  # of our seconds
LOOK_STEPS = 10


@dataclass
class Clock:
    """Seconds of training; it stands still while something is looked at."""

    seconds: float = 0.0
    _since: float | None = None

    def go(self) -> None:
        self._since = time.perf_counter()

    def stop(self) -> float:
        assert self._since is not None
        self.seconds += time.perf_counter() - self._since
        self._since = None
        return self.seconds


class Target:
    """One task: model, prompt, answers as tokens with their weights, and the exact KL of a model to them."""

    def __init__(self, name: str, goal: float | None) -> None:
        import numpy as np

        from synthgen.job import prepare
        from synthgen.recipe import Recipe
        from synthgen.target_trie import AnswerTokens
        from synthgen.trie import TokenTrie

        path, adapter, usual = TASKS[name]
        self.goal = goal or usual
        recipe = Recipe.from_yaml(ROOT / path)
        job = prepare(recipe)
        (self.task,) = job.tasks[adapter]
        self.model, self.config = job.model, recipe.adapters[adapter].tuning_config(recipe.seed)
        targets = self.task.source.draw(np.random.default_rng(0))
        tokens = AnswerTokens(self.task.prompt, self.task.tokenizer)
        self.answers = [tokens.leading(a, len(targets.fields), targets.whole)[0] for a in targets.answers]
        self.weights = targets.weights
        self.trie = TokenTrie.from_sequences(self.answers, self.weights)

    def kl(self, model: Any) -> float:
        from synthgen.packing import node_log_probs

        was_training = model.training
        model.eval()
        found = self.trie.figures(node_log_probs(model, self.trie, self.task.prompt.ids)).kl
        model.train(was_training)
        assert found is not None
        return found

    def with_lora(self) -> Any:
        from synthgen.lora import add_lora, load_model

        return add_lora(load_model(self.model, self.config), self.config)

    def sampled(self, n: int, seed: int) -> Iterator[dict[str, list[int]]]:
        """Answers drawn from the target, behind their prompt; the prompt carries no loss."""
        import numpy as np

        prompt = list(self.task.prompt.ids)
        for i in np.random.default_rng(seed).choice(len(self.answers), n, p=self.weights):
            answer = self.answers[i]
            yield {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}


def ours(target: Target, seed: int) -> dict[str, float]:
    """Our loop, until a step's exact KL is at the goal."""
    from dataclasses import replace

    from synthgen.tuning import _Run, descend

    config = replace(
        target.config, kl=target.goal, gamma=None, anchor="none", health_samples=0, look_every=10**6
    )
    config = replace(config, seed=seed, steps=300)
    run = _Run(target.with_lora(), [target.task], config)
    result = descend(run, None, time.perf_counter())
    return {"seconds": result.training_s, "steps": result.steps, "kl": target.kl(run.model)}


def plain_sft(
    target: Target, seed: int, limit_s: float, rate: float, schedule: str, steps: int
) -> dict[str, float]:
    """What a trainer does and nothing else."""
    import torch

    model = target.with_lora().train()
    tuned = [p for p in model.parameters() if p.requires_grad]
    optimizer, clock = torch.optim.AdamW(tuned, lr=rate), Clock()
    rows = target.sampled(steps * SFT_BATCH, seed)
    kl = target.kl(model)
    for step in range(1, steps + 1):
        clock.go()
        batch = [next(rows) for _ in range(SFT_BATCH)]
        width = max(len(row["input_ids"]) for row in batch)
        ids, mask, labels = (torch.zeros(SFT_BATCH, width, dtype=torch.long) for _ in range(3))
        labels -= 100
        for i, row in enumerate(batch):
            n = len(row["input_ids"])
            ids[i, :n], mask[i, :n] = torch.tensor(row["input_ids"]), 1
            labels[i, :n] = torch.tensor(row["labels"])
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - (step - 1) / steps if schedule == "linear" else 1.0)
        model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(tuned, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds = clock.stop()
        if step % LOOK_STEPS == 0 and ((kl := target.kl(model)) <= target.goal or seconds > limit_s):
            break
    return {"seconds": clock.seconds, "steps": step, "kl": kl}


def trl_sft(
    target: Target, seed: int, limit_s: float, rate: float, schedule: str, steps: int
) -> dict[str, float]:
    """TRL's trainer, its own memory-for-time settings off."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    clock, found = Clock(), {"kl": float("inf"), "steps": 0.0}

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            if clock._since is None:
                clock.go()

        def on_step_end(self, _args: Any, state: Any, control: Any, model: Any, **__: Any) -> None:
            if state.global_step % LOOK_STEPS:
                return
            seconds, found["steps"] = clock.stop(), state.global_step
            found["kl"] = target.kl(model)
            control.should_training_stop = found["kl"] <= target.goal or seconds > limit_s
            clock.go()

    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=SFT_BATCH,
            learning_rate=rate,
            lr_scheduler_type=schedule,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=seed,
            dataset_kwargs={"skip_prepare_dataset": True},
        )
        from transformers import AutoTokenizer

        rows = Dataset.from_list(list(target.sampled(steps * SFT_BATCH, seed)))
        trainer = SFTTrainer(
            model=target.with_lora(),
            args=config,
            train_dataset=rows,
            processing_class=AutoTokenizer.from_pretrained(target.model),
            callbacks=[Watch()],
        )
        trainer.train()
    if clock._since is not None:
        clock.stop()
    return {"seconds": clock.seconds, **found}


def in_process(python: str, arguments: list[str]) -> dict[str, float]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, __file__, *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compared(name: str, goal: float | None, trl: str | None, repeats: int) -> runs.Row:
    """Ours and the best way of SFT, in turns."""
    side = "trl" if trl else "plain"
    python = trl or sys.executable
    asked = ["--task", name, *([] if goal is None else ["--goal", str(goal)])]

    reached = goal or TASKS[name][2]
    first = in_process(sys.executable, ["--side", "ours", *asked])
    limit_s = max(LEAST_LIMIT_S, LIMIT * first["seconds"])

    def sft(way: int, seed: int) -> dict[str, float]:
        limits = ["--way", str(way), "--seed", str(seed), "--limit-s", str(limit_s)]
        return in_process(python, ["--side", side, *limits, *asked])

    def merit(found: dict[str, float]) -> tuple[bool, float]:
        late = found["kl"] > reached
        return late, found["kl"] if late else found["seconds"]

    tried = [sft(way, 0) for way in range(len(SFT_WAYS))]
    best = min(range(len(tried)), key=lambda i: merit(tried[i]))
    mine, theirs = [], []
    for seed in range(repeats):
        mine.append(in_process(sys.executable, ["--side", "ours", "--seed", str(seed), *asked]))
        theirs.append(sft(best, seed + 1))

    def many(rows: list[dict[str, float]], key: str) -> list[float]:
        return [row[key] for row in rows]

    rate, schedule, steps = SFT_WAYS[best]
    return {
        "task": name,
        "KL to reach": reached,
        "SFT by": "TRL" if trl else "a plain loop",
        "its best": f"{rate:g} {schedule}, {steps} steps",
        "ours s": runs.spread(many(mine, "seconds")),
        "SFT s": runs.spread(many(theirs, "seconds")),
        "times less": runs.ratio(many(theirs, "seconds"), many(mine, "seconds")),
        "our steps": median(many(mine, "steps")),
        "SFT steps": median(many(theirs, "steps")),
        "our KL": runs.spread(many(mine, "kl")),
        "SFT KL": runs.spread(many(theirs, "kl")),
        "SFT reached it": sum(row["kl"] <= reached for row in theirs),
        "tried": [{"way": SFT_WAYS[i], **row} for i, row in enumerate(tried)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trl", help="a Python that has TRL")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--goal", type=float)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit-s", type=float, default=LEAST_LIMIT_S, help=argparse.SUPPRESS)
    parser.add_argument("--side", choices=["ours", "plain", "trl"], help=argparse.SUPPRESS)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--way", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        target = Target(asked.task, asked.goal)
        sides: dict[str, Callable[[], dict[str, float]]] = {
            "ours": lambda: ours(target, asked.seed),
            "plain": lambda: plain_sft(target, asked.seed, asked.limit_s, *SFT_WAYS[asked.way]),
            "trl": lambda: trl_sft(target, asked.seed, asked.limit_s, *SFT_WAYS[asked.way]),
        }
        print(json.dumps(sides[asked.side]()))
        return
    trl = asked.trl or (sys.executable if find_spec("trl") else None)
    rows = [compared(name, asked.goal, trl, asked.repeats) for name in asked.tasks]
    runs.print_table(
        "seconds of tuning to the same exact KL", [{k: v for k, v in r.items() if k != "tried"} for r in rows]
    )
    headline = {
        f"{row['task']} (SFT by {row['SFT by']})": f"{'' if row['SFT reached it'] else '≥ '}{row['times less']['median']}"  # type: ignore[index]
        for row in rows
    }
    runs.keep("tuning_sft", headline, rows)


if __name__ == "__main__":
    main()
