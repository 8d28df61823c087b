"""One tuning step, ours against the published algorithm, in time and memory; and how far both are from the floor.

    python bench/tuning_step.py                        # nano, both prompt sets, fp32 and, where a CPU has it, bf16
    python bench/tuning_step.py --model 512x8 --dtypes bf16 --sets biographies
    python bench/tuning_step.py --scaling              # ours over number of targets, prompt length and rank
    python bench/tuning_step.py --pace                 # ours over pack and batch sizes
    python bench/tuning_step.py --profile              # which operations take the time, the reference's and ours

Reference: one padded sequence per target, the prompt in each, batches of 32, gradients added up, one optimiser step;
once with logits of every token, as a plain loss has them, and once with those of the answer alone. Ours: the trie in
packs behind a prompt that is run once. Both have the same LoRA adapter on the same frozen model, clip and step; the
rate is 0, so that every step sees the same weights, and losses and gradients are compared before anything is timed.
The reference has PEFT's layers and AdamW as they come, ours those of `lora_linear` and the fused AdamW; "ours, PEFT's
layers" says what these are worth.

Memory is what autograd holds for backward passes, at its most: distinct storages that are no parameters (a
saved-tensors hook). Floor: with frozen weights a token costs 2 operations per weight forward and 2 backward, not 6;
every distinct prefix once, the prompt once, logits where something is read, attention to prompt and ancestors.
"""

from __future__ import annotations

import argparse
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import runs
import torch
from peft.tuners.lora.layer import Linear as PeftLinear
from transformers import LlamaConfig, LlamaForCausalLM

from synthgen.job import prepare
from synthgen.lora import add_lora, load_model
from synthgen.lora_linear import LoraLinear
from synthgen.models import multiplies_in_bf16, resolve_model
from synthgen.packing import backward_trie
from synthgen.prompt import Prompt, build_prompt
from synthgen.recipe import Recipe
from synthgen.target_trie import AnswerTokens
from synthgen.targets import TargetSource
from synthgen.tokenizers import load_tokenizer
from synthgen.trie import TokenTrie
from synthgen.tuning_config import TuningConfig

ROOT = Path(__file__).parents[1]
REFERENCE_BATCH = 32
N_OPERATIONS = 12  # of a profile
Pace = tuple[int | None, int]  # nodes of a pack, tokens of a batch
LONG = (
    "I would like you to make up one person for me, and to answer with a short biography of that person. The person "
    "should be invented, and should be as random as possible: when I ask you again, I want to hear of somebody else, of "
    "another age, from another country, with another name and another trade. Please write down the name of the person "
    "first, then the gender, then the date of birth, and then the place where the person was born. Give the date as "
    "year, month and day, with a line between them, and give the place as a city and the country that it lies in. After "
    "that, say what the person does for a living, and what the person is known for, in one sentence of ordinary "
    "length. Write each of these on a line of its own, and put each between two curly braces, as it is shown below. "
    "Write nothing else: no greeting before the answer, no explanation behind it, and no list of other people."
)


@dataclass(frozen=True)
class Task:
    """A prompt with its targets as tokens, and their trie."""

    name: str
    prompt: tuple[int, ...]
    sequences: list[list[int]]
    weights: list[float]
    trie: TokenTrie


def task_of(name: str, prompt: Prompt, source: TargetSource, tokenizer: Any, n: int) -> Task:
    """A fixed list of targets: all of a table's, `n` of a function's."""
    targets = source.draw(np.random.default_rng(1), n if source.fresh else None)
    tokens = AnswerTokens(prompt, tokenizer)
    sequences = [tokens.leading(a, len(targets.fields), targets.whole)[0] for a in targets.answers]
    weights = targets.weights.tolist()
    return Task(name, prompt.ids, sequences, weights, TokenTrie.from_sequences(sequences, weights))


def biographies(n: int = 210, n_prompt: int = 200) -> list[Task]:
    """`n` tuples of the four leading fields behind a prompt of about `n_prompt` tokens."""
    recipe = Recipe.from_yaml(ROOT / "recipes" / "bios.yaml")
    tokenizer, schema = load_tokenizer(resolve_model("nano")), recipe.record_schema()
    words = (LONG + " ") * (1 + n_prompt // 100)

    def prompt(n_words: int) -> Prompt:
        return build_prompt(schema, tokenizer, " ".join(words.split()[:n_words]) or ".")

    length = next((k for k in range(len(words.split())) if len(prompt(k).ids) >= n_prompt), 0)
    return [task_of("biographies", prompt(length), recipe.targets_of("biographies"), tokenizer, n)]


def six_tasks() -> list[Task]:
    """The 26 prompts of the published six tasks."""
    job = prepare(Recipe.from_yaml(ROOT / "recipes" / "paper" / "six-tasks.yaml"))
    tasks = job.tasks["six-tasks"]
    return [task_of(str(i), t.prompt, t.source, t.tokenizer, 210) for i, t in enumerate(tasks)]


class Model:
    """A frozen model with a fresh adapter, and what a step does around the gradient."""

    def __init__(self, path: str, rank: int, dtype: str) -> None:
        config = TuningConfig(rank=rank)
        torch.manual_seed(0)
        self.model: Any = add_lora(load_model(path, config), config)
        self.tuned = [p for p in self.model.parameters() if p.requires_grad]
        for parameter in self.tuned:  # B is zero at first, and would leave half of the gradient zero
            torch.nn.init.normal_(parameter, std=0.02)
        self._optimizers = {
            fused: torch.optim.AdamW(self.tuned, lr=0.0, fused=fused) for fused in (False, True)
        }
        self._layers = [m for m in self.model.modules() if isinstance(m, PeftLinear)]
        self.optimizer = self._optimizers[True]
        self.is_bf16 = dtype == "bf16"

    def as_published(self, plain: bool) -> None:
        """PEFT's layers and torch's own AdamW from here on, or ours."""
        for layer in self._layers:
            layer.__class__ = PeftLinear if plain else LoraLinear
        self.optimizer = self._optimizers[not plain]

    def autocast(self) -> Any:
        return torch.autocast("cpu", torch.bfloat16) if self.is_bf16 else nullcontext()

    def step(self, backward: Callable[[], float]) -> float:
        """An optimiser step of a prompt; returns its loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = backward()
        torch.nn.utils.clip_grad_norm_(self.tuned, 1e9)
        self.optimizer.step()
        return loss

    def gradient(self) -> torch.Tensor:
        return torch.cat([p.grad.flatten().double() for p in self.tuned if p.grad is not None])

    @property
    def n_weights(self) -> int:
        """Of the layers' matrices: what every token is multiplied with."""
        named = self.model.get_base_model().model.layers.named_parameters()
        return sum(p.numel() for name, p in named if p.dim() == 2 and "lora_" not in name)


def ours(model: Model, task: Task, pack_nodes: int | None, batch_tokens: int) -> float:
    """Backward pass of the whole trie; its loss."""
    values, _ = backward_trie(
        model.model, task.trie, task.prompt, 1.0, pack_nodes, batch_tokens, model.autocast()
    )
    return float(-(task.trie.mass * values).sum())


def reference(model: Model, task: Task, whole_logits: bool) -> float:
    """Backward pass of every target with its prompt, padded, in batches of 32; the loss."""
    total, n_prompt, whole = 0.0, len(task.prompt), sum(task.weights)
    for start in range(0, len(task.sequences), REFERENCE_BATCH):
        part = task.sequences[start : start + REFERENCE_BATCH]
        width = max(map(len, part))
        ids = torch.zeros(len(part), n_prompt + width, dtype=torch.long)
        real = torch.zeros(len(part), n_prompt + width, dtype=torch.long)
        for i, answer in enumerate(part):
            ids[i, : n_prompt + len(answer)] = torch.tensor([*task.prompt, *answer])
            real[i, : n_prompt + len(answer)] = 1
        weights = torch.tensor(task.weights[start : start + REFERENCE_BATCH]) / whole
        with model.autocast():
            keep = 0 if whole_logits else width + 1
            out = model.model(input_ids=ids, attention_mask=real, use_cache=False, logits_to_keep=keep)
            log_probs = out.logits.float().log_softmax(-1)[:, -width - 1 : -1]
            chosen = log_probs.gather(2, ids[:, n_prompt:, None])[:, :, 0] * real[:, n_prompt:]
            loss = -(weights * chosen.sum(1)).sum()
        loss.backward()
        total += float(loss.detach())
    return total


class Held:
    """Bytes that autograd holds at once: storages of saved tensors, each counted once, parameters left out."""

    def __init__(self, model: Model) -> None:
        self._own = {p.untyped_storage().data_ptr() for p in model.model.parameters()}
        self._n: dict[int, int] = {}
        self._now = 0
        self.most = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        with torch.autograd.graph.saved_tensors_hooks(self._pack, lambda kept: kept.tensor):
            yield

    def _pack(self, tensor: torch.Tensor) -> _Kept:
        kept = _Kept(tensor)
        storage = tensor.untyped_storage()
        key, size = storage.data_ptr(), storage.nbytes()
        if key not in self._own:
            if self._n.get(key, 0) == 0:
                self._now += size
                self.most = max(self.most, self._now)
            self._n[key] = self._n.get(key, 0) + 1
            weakref.finalize(kept, self._release, key, size)
        return kept

    def _release(self, key: int, size: int) -> None:
        self._n[key] -= 1
        if self._n[key] == 0:
            self._now -= size


class _Kept:
    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


def held_mib(model: Model, works: Sequence[Callable[[], float]]) -> float:
    """The most that any of the steps holds."""
    most = 0
    for work in works:
        held = Held(model)
        with held.counted():
            model.step(work)
        most = max(most, held.most)
    return most / 2**20


def operations(model: Model, n_tokens: int, n_logits: int, n_pairs: int) -> float:
    """Of a step, forward and backward through frozen weights: matrices, output layer, attention."""
    config = model.model.config
    attention = config.num_hidden_layers * config.num_attention_heads * config.head_dim
    output = config.hidden_size * config.vocab_size
    return 4.0 * n_tokens * model.n_weights + 4.0 * n_logits * output + 12.0 * n_pairs * attention


def floor(model: Model, task: Task) -> float:
    """The least operations: prompt and prefixes once."""
    n_prompt, inputs = len(task.prompt), ~task.trie.is_leaf
    pairs = n_prompt * (n_prompt + 1) // 2 + int((task.trie.depth[inputs] + 1 + n_prompt).sum())
    return operations(model, n_prompt + int(inputs.sum()), int(inputs.sum()) + 1, pairs)


def reference_operations(model: Model, task: Task) -> float:
    """Of the reference with all logits: padded sequences, dense attention."""
    n_tokens = n_pairs = 0
    for start in range(0, len(task.sequences), REFERENCE_BATCH):
        part = task.sequences[start : start + REFERENCE_BATCH]
        length = len(task.prompt) + max(map(len, part))
        n_tokens += len(part) * length
        n_pairs += len(part) * length * length
    return operations(model, n_tokens, n_tokens, n_pairs)


def peak_per_s(dtype: str) -> float:
    """Operations a second of one large matrix product, the best of ten."""
    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    a, b = torch.randn(2048, 2048, dtype=kind), torch.randn(2048, 2048, dtype=kind)
    return 2 * 2048**3 / min(runs.timed(lambda: a @ b) for _ in range(10))


def checked(model: Model, tasks: Sequence[Task], pace: Pace) -> dict[str, float]:
    """Largest relative differences of loss and gradient between ours and the reference; refuses large ones."""
    worst = {"loss": 0.0, "gradient": 0.0}
    for task in tasks:
        model.as_published(True)
        expected = model.step(lambda task=task: reference(model, task, False))
        wanted = model.gradient()
        model.as_published(False)
        found = model.step(lambda task=task: ours(model, task, *pace))
        worst["loss"] = max(worst["loss"], abs(found - expected) / abs(expected))
        distance = (model.gradient() - wanted).norm() / wanted.norm()
        worst["gradient"] = max(worst["gradient"], float(distance))
    if not model.is_bf16 and worst["loss"] > 1e-4:
        raise SystemExit(f"the losses differ by {worst['loss']:.2g} of their size; expected 1e-4 at most")
    return worst


SIDES = ("reference", "reference, answer logits", "ours, PEFT's layers", "ours")


def begun(model: Model, side: str, tasks: Sequence[Task], pace: Pace) -> list[Callable[[], float]]:
    """The model made a side's; its backward passes, one per task."""
    model.as_published(side != "ours")
    if side.startswith("ours"):
        return [lambda task=task: ours(model, task, *pace) for task in tasks]
    return [lambda task=task: reference(model, task, side == "reference") for task in tasks]


def compared(model: Model, name: str, tasks: list[Task], dtype: str, repeats: int, pace: Pace) -> runs.Row:
    """Both algorithms in turns, one step per task."""
    difference = checked(model, tasks, pace)

    def run(side: str) -> float:
        steps = begun(model, side, tasks, pace)
        return runs.timed(lambda: [model.step(step) for step in steps]) / len(steps)

    memory = {side: held_mib(model, begun(model, side, tasks, pace)) for side in SIDES}
    times = runs.in_turns({side: lambda side=side: run(side) for side in SIDES}, repeats)
    model.as_published(False)
    peak, least = peak_per_s(dtype), sum(floor(model, task) for task in tasks) / len(tasks)
    n_reference = sum(reference_operations(model, task) for task in tasks) / len(tasks)
    mine = min(times["ours"])
    return {
        "prompts": name,
        "dtype": dtype,
        "prompt tokens": round(sum(len(t.prompt) for t in tasks) / len(tasks)),
        "reference s/step": runs.spread(times["reference"]),
        "ours s/step": runs.spread(times["ours"]),
        "times less": runs.ratio(times["reference"], times["ours"]),
        "… of answer logits": runs.ratio(times["reference, answer logits"], times["ours"]),
        "… with PEFT's layers": runs.ratio(times["reference"], times["ours, PEFT's layers"]),
        "reference MiB": round(memory["reference"]),
        "ours MiB": round(memory["ours"]),
        "memory less": runs.rounded(memory["reference"] / memory["ours"]),
        "floor GFLOP": runs.rounded(least / 1e9),
        "times less at most": runs.rounded(n_reference / least),
        "reference GFLOP": runs.rounded(n_reference / 1e9),
        "peak GFLOP/s": round(peak / 1e9),
        "share of peak": runs.rounded(least / mine / peak),
        "reference's share": runs.rounded(n_reference / min(times["reference"]) / peak),
        "loss differs by": runs.rounded(difference["loss"]),
        "gradient by": runs.rounded(difference["gradient"]),
    }


def profiled(model: Model, name: str, tasks: Sequence[Task], pace: Pace) -> list[runs.Row]:
    """Milliseconds of a step by operation, its own time without what it calls; the rest together.

    The reference, the trie with PEFT's layers and AdamW, ours: what each change was worth, and what is left.
    """
    sides = ("reference", "ours, PEFT's layers", "ours")
    found: dict[str, dict[str, float]] = {}
    for side in sides:
        steps = begun(model, side, tasks, pace)
        model.step(steps[0])
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            for step in steps:
                model.step(step)
        for event in profile.key_averages():
            ms = found.setdefault(event.key, dict.fromkeys(sides, 0.0))
            ms[side] = event.self_cpu_time_total / 1e3 / len(steps)
    parts = {
        key: found[key] for key in sorted(found, key=lambda key: -max(found[key].values()))[:N_OPERATIONS]
    }
    rest = [ms for key, ms in found.items() if key not in parts]
    parts["the others"] = {side: sum(ms[side] for ms in rest) for side in sides}
    parts["all"] = {side: sum(ms[side] for ms in found.values()) for side in sides}
    return [
        {"operation": key, "prompt set": name, **{f"{side} ms": runs.rounded(ms[side]) for side in sides}}
        for key, ms in parts.items()
    ]


def random_model(folder: Path, shape: str) -> str:
    """A random Llama of nano's vocabulary: "512x8" is 512 wide and 8 layers deep."""
    hidden, layers = map(int, shape.split("x"))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=3072,
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        max_position_embeddings=2048,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def scaling(path: str, dtype: str, repeats: int, pace: Pace) -> list[runs.Row]:
    """Ours over one quantity at a time."""
    rows: list[runs.Row] = []
    cases = [(n, 200, 4) for n in (50, 100, 200, 400, 800)]
    cases += [(210, n, 4) for n in (50, 100, 400, 800)] + [(210, 200, rank) for rank in (8, 16, 64)]
    for n, n_prompt, rank in cases:
        model, task = Model(path, rank, dtype), biographies(n, n_prompt)[0]
        work = lambda model=model, task=task: ours(model, task, *pace)  # noqa: E731
        model.step(work)
        times = [runs.timed(lambda model=model, work=work: model.step(work)) for _ in range(repeats)]
        row: runs.Row = {
            "targets": n,
            "prompt tokens": len(task.prompt),
            "rank": rank,
            "nodes": len(task.trie),
        }
        rows.append({**row, "s/step": runs.spread(times), "MiB": round(held_mib(model, [work]))})
    return rows


def paces(path: str, dtype: str, repeats: int) -> list[runs.Row]:
    """Ours over pack and batch sizes, in turns."""
    model, task = Model(path, 4, dtype), biographies()[0]
    cases = [(pack, batch) for pack in (64, 128, 256, 512) for batch in (512, 1024, 2048, 4096)]
    works = {case: (lambda case=case: ours(model, task, *case)) for case in cases}
    for work in works.values():
        model.step(work)
    sides = {str(c): (lambda work=work: runs.timed(lambda: model.step(work))) for c, work in works.items()}
    times = runs.in_turns(sides, repeats)
    return [
        {
            "pack": c[0],
            "batch": c[1],
            "s/step": runs.spread(times[str(c)]),
            "MiB": round(held_mib(model, [work])),
        }
        for c, work in works.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    dtypes = ["fp32", *(["bf16"] if multiplies_in_bf16("cpu") else [])]
    parser.add_argument("--model", default="nano", help="nano, a folder, or WIDTHxLAYERS for a random one")
    parser.add_argument("--dtypes", nargs="+", choices=["fp32", "bf16"], default=dtypes)
    parser.add_argument(
        "--sets", nargs="+", choices=["biographies", "six tasks"], default=["biographies", "six tasks"]
    )
    parser.add_argument("--repeats", type=int, default=3)
    defaults = TuningConfig()
    parser.add_argument("--pack-nodes", type=int, default=defaults.pack_nodes)
    parser.add_argument("--batch-tokens", type=int, default=defaults.batch_tokens)
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--pace", action="store_true")
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
    pace = (asked.pack_nodes, asked.batch_tokens)
    with tempfile.TemporaryDirectory() as folder:
        is_random = "x" in asked.model and asked.model.replace("x", "").isdigit()
        path = random_model(Path(folder), asked.model) if is_random else resolve_model(asked.model)
        rows: list[runs.Row] = []
        headline: dict[str, object] = {}
        for dtype in asked.dtypes:
            if asked.scaling or asked.pace:
                sweep = (
                    paces(path, dtype, asked.repeats)
                    if asked.pace
                    else scaling(path, dtype, asked.repeats, pace)
                )
                rows += [{"dtype": dtype, **row} for row in sweep]
                continue
            model = Model(path, 4, dtype)
            for name, make in (("biographies", biographies), ("six tasks", six_tasks)):
                if name in asked.sets and asked.profile:
                    rows += [{"dtype": dtype, **row} for row in profiled(model, name, make(), pace)]
                elif name in asked.sets:
                    row = compared(model, name, make(), dtype, asked.repeats, pace)
                    rows.append(row)
                    headline[f"{asked.model} {name} {dtype}"] = (
                        f"{row['times less']['median']}× time, {row['memory less']}× memory"  # type: ignore[index]
                    )
    if headline:
        keys = list(rows[0])
        runs.print_table(
            f"{asked.model}: a step, ours against the reference", [{k: r[k] for k in keys[:8]} for r in rows]
        )
        runs.print_table("memory and floor", [{k: r[k] for k in (*keys[:2], *keys[8:])} for r in rows])
    else:
        runs.print_table(f"{asked.model}: ours", rows)
    runs.keep("tuning_step", headline, [{"model": asked.model, **row} for row in rows])


if __name__ == "__main__":
    main()
