"""Build the built-in model from nothing: tokenizer, four training stages, export.

    python -m synthgen.nano.build

trains on two CPU cores and writes the weights into `synthgen/nano/weights`, with the log of the training and
`build.json` (settings, versions, held-out losses) beside them. Everything in between is kept in `--work`; the
same command goes on from there after a stop. The collapsed stage alone, again with other settings:

    python -m synthgen.nano.build --steps collapsed,export --fresh --tokens-collapsed 3M

and the model before the collapse, for studies:

    python -m synthgen.nano.build --steps export --export-stage broad --out broad-model
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from synthgen.nano import tokenizer as nano_tokenizer
from synthgen.nano import weights_path
from synthgen.nano.corpus import Stage, examples
from synthgen.nano.packing import Shape, held_out_examples
from synthgen.nano.tokenizer import Encoder
from synthgen.nano.training import (
    Pace,
    StageFiles,
    StageSettings,
    new_model,
    train_stage,
    with_twice_the_heads,
)

if TYPE_CHECKING:
    from synthgen.nano.packing import ExampleSource

STAGES: tuple[Stage, ...] = get_args(Stage)
STEPS = ("tokenizer", *STAGES, "export")
WIDENED: Stage = "lists"  # begins with twice the heads; so have all after it
BEFORE = dict(zip(STAGES[1:], STAGES, strict=False))  # stage → the one whose model it goes on from
N_TOKENIZER_EXAMPLES = 40_000
SAMPLED_FIRST = ("biography", "product", "ticket", "patient", "job", "die")


def train_tokenizer(
    source: ExampleSource, folder: Path, seed: int, n_examples: int = N_TOKENIZER_EXAMPLES
) -> None:
    """Train the tokenizer on the first and the last stage's texts and save it in `folder`."""
    rng = np.random.default_rng([seed, 0])
    broad = itertools.islice(source(rng, "broad", 1), n_examples * 7 // 8)
    collapsed = itertools.islice(source(rng, "collapsed", 1), n_examples // 8)
    # Invented words stay out: their syllables would take the places of real words' tokens.
    kept = (e for e in itertools.chain(broad, collapsed) if e.kind != "unseen-list")
    texts = (text for e in kept for text in (e.prompt, *e.answers))
    nano_tokenizer.train(texts).save_pretrained(folder)


def is_exact(prompt: str, answer: str) -> bool:
    """Whether `answer` has one braced line per field line of `prompt` (one if it has none), nothing else."""
    n_fields = sum(line.startswith("{") and line.endswith("}") for line in prompt.splitlines())
    lines = answer.split("\n")
    return len(lines) == max(1, n_fields) and all(
        line.startswith("{") and line.endswith("}") and not {"{", "}"} & set(line[1:-1]) for line in lines
    )


@torch.no_grad()
def sample(model: LlamaForCausalLM, encoder: Encoder, prompt: str, n: int, seed: int) -> list[str]:
    """`n` answers to `prompt` at temperature 1."""
    torch.manual_seed(seed)
    ids = torch.tensor([encoder.prompt_ids(prompt)] * n, device=model.device)
    written = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=256,
        eos_token_id=encoder.end,
        pad_token_id=encoder.pad,
    )
    return [str(text) for text in encoder.bpe.decode_batch(written[:, ids.shape[1] :].tolist())]


def sample_kinds(
    model: LlamaForCausalLM, encoder: Encoder, source: ExampleSource, stage: Stage, seed: int, n: int = 200
) -> dict[str, dict[str, Any]]:
    """Per kind: the share of `n` answers in exact format, how many differ, and five of them to look at."""
    held_out = held_out_examples(source, seed, stage, per_kind=1)
    chosen = [kind for kind in SAMPLED_FIRST if kind in held_out]
    chosen += [kind for kind in held_out if kind not in chosen][: 8 - len(chosen)]
    model.eval()
    report = {}
    for kind in chosen:
        prompt = held_out[kind][0].prompt
        answers = sample(model, encoder, prompt, n, seed)
        report[kind] = {
            "exact": sum(is_exact(prompt, answer) for answer in answers) / n,
            "distinct": len(set(answers)) / n,
            "prompt": prompt,
            "samples": answers[:5],
        }
    return report


def export(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path, log: str, facts: dict[str, Any]
) -> None:
    """Write bf16 weights, tokenizer, generation settings, log and `build.json` into `out`."""
    encoder = Encoder(tokenizer)
    model = model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        bos_token_id=encoder.bos,
        eos_token_id=encoder.end,
        pad_token_id=encoder.pad,
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        top_k=0,  # none: left out, transformers would put 50
    )
    model.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)  # written for the owner only
    tokenizer.save_pretrained(out)
    (out / "training_log.jsonl").write_text(log, encoding="utf-8")
    (out / "build.json").write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class Build:
    """One build: its settings, its folders, and its steps in order."""

    def __init__(
        self,
        source: ExampleSource,
        work: Path,
        seed: int,
        stages: dict[Stage, StageSettings],
        paces: dict[Stage, Pace],
        model_sizes: dict[str, int] | None = None,
    ) -> None:
        self.source, self.work, self.seed = source, work, seed
        self.stages, self.paces = stages, paces
        self.model_sizes = model_sizes or {}
        self.n_sampled = 200

    def tokenizer(self, fresh: bool = False, n_examples: int = N_TOKENIZER_EXAMPLES) -> None:
        """Train the tokenizer unless it is there already."""
        folder = self.work / "tokenizer"
        if fresh or not (folder / "tokenizer.json").exists():
            train_tokenizer(self.source, folder, self.seed, n_examples)

    def model(self, encoder: Encoder, trained: Stage | None = None) -> LlamaForCausalLM:
        """A new model, or the one that stage `trained` ended with."""
        torch.manual_seed(self.seed)
        vocabulary = encoder.bpe.get_vocab_size()
        model = new_model(vocabulary, encoder.pad, encoder.bos, encoder.end, **self.model_sizes)
        if trained is not None and STAGES.index(trained) >= STAGES.index(WIDENED):
            model = with_twice_the_heads(model)
        if trained is not None:
            result = StageFiles(self.work, trained).result
            if not result.exists():
                raise FileNotFoundError(f"{result}: not there; run --steps {trained} to its end first")
            model.load_state_dict(torch.load(result, map_location="cpu", weights_only=True)["model"])
        return model

    def encoder(self) -> Encoder:
        """The encoder over the trained tokenizer."""
        return Encoder(nano_tokenizer.load(self.work / "tokenizer"))

    def train(self, stage: Stage, fresh: bool = False) -> bool:
        """Train one stage to its end (true) or to the pace's last step (false)."""
        encoder, files = self.encoder(), StageFiles(self.work, stage)
        if fresh:
            files.clear()
        model = self.model(encoder, BEFORE.get(stage))
        if stage == WIDENED:
            model = with_twice_the_heads(model)
        settings, pace = self.stages[stage], self.paces[stage]
        source = self.source if stage == "broad" else partial(self.source, pieces=encoder.pieces())
        finished = train_stage(model, encoder, source, settings, self.seed, files, pace)
        if finished and '"sampled"' not in (
            files.log.read_text(encoding="utf-8") if files.log.exists() else ""
        ):
            sampled = sample_kinds(model, encoder, source, stage, self.seed, self.n_sampled)
            files.write_log({"stage": stage, "sampled": sampled})
            print(json.dumps(sampled, indent=1, ensure_ascii=False), flush=True)
        return finished

    def export(self, stage: Stage, out: Path) -> None:
        """Write what stage `stage` ended with into `out`."""
        tokenizer = nano_tokenizer.load(self.work / "tokenizer")
        names = STAGES[: STAGES.index(stage) + 1]
        logs = {name: StageFiles(self.work, name).log.read_text(encoding="utf-8") for name in names}
        model = self.model(Encoder(tokenizer), stage)
        facts = {
            "stage": stage,
            "seed": self.seed,
            "parameters": sum(p.numel() for p in model.parameters()),
            "vocabulary": len(tokenizer),
            "stages": {name: {"settings": self._settings_of(name), **_outcome(logs[name])} for name in names},
            "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers", "numpy")},
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        export(model, tokenizer, out, "".join(logs.values()), facts)

    def _settings_of(self, stage: Stage) -> dict[str, Any]:
        """The settings the stage was really trained with."""
        checkpoint = StageFiles(self.work, stage).checkpoint
        if checkpoint.exists():
            return dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["settings"])
        return asdict(self.stages[stage])


def _outcome(log: str) -> dict[str, Any]:
    """Tokens, seconds and held-out losses at a stage's end, and its exact-format rates."""
    lines = [json.loads(line) for line in log.splitlines()]
    last = [line for line in lines if "held_out" in line][-1]
    sampled: dict[str, Any] = next((line["sampled"] for line in lines if "sampled" in line), {})
    return {
        "tokens": last["tokens"],
        "elapsed_s": last["elapsed_s"],
        "loss": last["loss"],
        "held_out": last["held_out"],
        "exact_format": {kind: facts["exact"] for kind, facts in sampled.items()},
    }


def _count(text: str) -> int:
    """`16M`, `1.5M`, `300k` or a plain number."""
    factor = {"k": 1_000, "m": 1_000_000}.get(text[-1:].lower(), 1)
    try:
        return int(float(text[:-1] if factor > 1 else text) * factor)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of tokens; write 16M, 300k or 8192"
        ) from None


def _steps(text: str) -> list[str]:
    steps = text.split(",")
    if unknown := [step for step in steps if step not in STEPS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is no step; known: {', '.join(STEPS)}")
    return [step for step in STEPS if step in steps]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m synthgen.nano.build",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--out",
        type=Path,
        default=weights_path(),
        help="folder for the finished model (default: the package's)",
    )
    add("--work", type=Path, default=Path("build/nano"), help="folder for checkpoints and logs (%(default)s)")
    add("--steps", type=_steps, default=list(STEPS), help="comma-separated, of: " + ",".join(STEPS))
    add("--tokens-broad", type=_count, default=43_000_000, help="row tokens of the broad stage (43M)")
    add("--tokens-lists", type=_count, default=20_000_000, help="row tokens of the lists stage (20M)")
    add("--tokens-copying", type=_count, default=11_000_000, help="row tokens of the copying stage (11M)")
    add("--tokens-collapsed", type=_count, default=2_200_000, help="row tokens of the collapsed stage (2.2M)")
    add("--rows", type=int, default=Shape().rows, help="rows per batch (%(default)s)")
    add("--length", type=int, default=Shape().length, help="tokens per row (%(default)s)")
    for stage, share in (("lists", 0.6), ("copying", 0.4), ("collapsed", 0.2)):
        words = "its learning rates as a share of broad's (%(default)s)"
        add(f"--{stage}-rate", type=float, default=share, help=words)
    add("--seed", type=int, default=7)
    add(
        "--minutes",
        type=float,
        help="end training within so many minutes of work, decaying earlier if needed",
    )
    add("--max-steps", type=int, help="stop a stage after so many updates, to go on later")
    add("--fresh", action="store_true", help="forget earlier work of the named steps")
    add(
        "--export-stage",
        choices=STAGES,
        default="collapsed",
        help="which model to export (%(default)s)",
    )
    add("--device", default="cpu", help="where to train (%(default)s)")
    add("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads (%(default)s)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the named steps; 0 done, 1 a fault, 4 stopped early and resumable."""
    options = parse(arguments)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the batches come from a forked process
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    shape = Shape(options.rows, options.length)
    broad = StageSettings("broad", options.tokens_broad, shape)

    def later(stage: Stage, tokens: int, rate: float) -> StageSettings:
        rates = {"muon_rate": broad.muon_rate * rate, "adam_rate": broad.adam_rate * rate}
        return StageSettings(stage, tokens, shape, **rates, decay_share=0.98)

    stages: dict[Stage, StageSettings] = {
        "broad": broad,
        "lists": later("lists", options.tokens_lists, options.lists_rate),
        "copying": later("copying", options.tokens_copying, options.copying_rate),
        "collapsed": later("collapsed", options.tokens_collapsed, options.collapsed_rate),
    }
    asked = [settings for name, settings in stages.items() if name in options.steps]
    n_tokens = sum(settings.tokens for settings in asked)
    paces: dict[Stage, Pace] = {
        name: Pace(
            minutes=options.minutes * settings.tokens / n_tokens if options.minutes and n_tokens else None,
            device=options.device,
            max_steps=options.max_steps,
        )
        for name, settings in stages.items()
    }
    build = Build(examples, options.work, options.seed, stages, paces)
    try:
        for step in options.steps:
            if step == "tokenizer":
                build.tokenizer(options.fresh)
            elif step == "export":
                build.export(options.export_stage, options.out)
            elif not build.train(step, options.fresh):
                print(f"{step}: stopped early; the same command goes on from {options.work}", file=sys.stderr)
                return 4
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
