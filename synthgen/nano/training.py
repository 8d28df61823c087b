"""The built-in model and its training stages.

Stands between `packing` and `build`. Stage `broad` teaches the model the language and the variety of records;
`lists` and `copying` teach a model with twice the heads to copy options that it has never seen from the prompt;
`collapsed` gives the model the narrow habits of a tuned chat model, which are what this package exists to undo.

Matrices inside the layers learn by Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon), embeddings
and norms by AdamW; the rate warms up, stays, and falls linearly to zero (warm-up, stable, decay: Hu et al.
2024, MiniCPM, section 4).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM

from synthgen.nano.packing import (
    IGNORE,
    Batch,
    PackedBatches,
    Shape,
    attention_mask,
    held_out_batches,
    held_out_examples,
)
from synthgen.nano.tokenizer import Encoder

if TYPE_CHECKING:
    from synthgen.nano.corpus import Stage
    from synthgen.nano.packing import ExampleSource


@dataclass(frozen=True, slots=True)
class StageSettings:
    """What a stage's result depends on, besides the corpus and the seed.

    `tokens` counts the slots of packed rows (nearly all filled). Shares are of the stage's length.
    """

    stage: Stage
    tokens: int
    shape: Shape = field(default_factory=Shape)
    muon_rate: float = 0.02
    adam_rate: float = 0.004
    warmup_share: float = 0.02
    decay_share: float = 0.4

    @property
    def n_steps(self) -> int:
        """Updates in the stage."""
        return max(1, self.tokens // self.shape.tokens)

    def rate(self, progress: float) -> float:
        """The learning rate's factor at `progress` in [0, 1]."""
        return max(0.0, min(1.0, progress / self.warmup_share + 1e-3, (1 - progress) / self.decay_share))


@dataclass(frozen=True, slots=True)
class Pace:
    """How a run goes, without a say in what it aims at."""

    minutes: float | None = None  # decay earlier, so that the stage ends by then
    checkpoint_s: float = 180.0
    log_every: int = 20
    held_out_every: int = 200
    compiled: bool = True
    device: str = "cpu"
    max_steps: int | None = None  # stop there, resumable


def new_model(vocabulary: int, pad: int, bos: int, end: int, **sizes: int) -> LlamaForCausalLM:
    """An untrained built-in model (4.7 M parameters); `sizes` override the configuration in tests."""
    shape = {
        "hidden_size": 256,
        "intermediate_size": 688,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "head_dim": 64,
        "max_position_embeddings": 1024,
        **sizes,
    }
    shape.setdefault("num_key_value_heads", shape["num_attention_heads"])
    config = LlamaConfig(
        vocab_size=vocabulary,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        pad_token_id=pad,
        bos_token_id=bos,
        eos_token_id=end,
        attn_implementation="sdpa",
        **shape,
    )
    return LlamaForCausalLM(config)


@torch.no_grad()
def with_twice_the_heads(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """A copy of `model` with two of each attention head, which computes the same logits.

    The second of each pair looks where the first looks (same query and key), carries other directions of what
    it sees (a fresh value matrix), and adds nothing yet (zero columns in the output matrix). So the model goes
    on from where it stands with twice the width for what attention copies: function-preserving growth (Chen et
    al. 2016, Net2Net, arXiv:1511.05641). Heads and key-value heads must be as many.
    """
    config = LlamaConfig.from_dict(model.config.to_dict())
    config.num_attention_heads *= 2
    config.num_key_value_heads *= 2
    state = model.state_dict()
    for name, matrix in model.state_dict().items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            state[name] = torch.cat([matrix, matrix])
        elif name.endswith("v_proj.weight"):
            state[name] = torch.cat([matrix, torch.randn_like(matrix) * matrix.std()])
        elif name.endswith("o_proj.weight"):
            state[name] = torch.cat([matrix, torch.zeros_like(matrix)], dim=1)
    wider = LlamaForCausalLM(config)
    wider.load_state_dict(state)
    return wider


def target_logits(model: LlamaForCausalLM, batch: Batch, mask_dtype: torch.dtype = torch.float32) -> Tensor:
    """Logits (M, V) of a packed batch's predictions; the rest of the rows is never multiplied out."""
    allowed = attention_mask(batch.document, batch.branch)
    mask = torch.zeros(allowed.shape, dtype=mask_dtype, device=allowed.device).masked_fill(
        ~allowed, float("-inf")
    )
    hidden = model.model(
        input_ids=batch.ids, attention_mask=mask, position_ids=batch.positions, use_cache=False
    ).last_hidden_state  # (B, T, H)
    picked = hidden.flatten(0, 1).index_select(0, batch.source)  # (M, H)
    logits: Tensor = model.lm_head(picked)
    return logits


def target_losses(model: LlamaForCausalLM, batch: Batch) -> Tensor:
    """Cross-entropy in nats of each prediction, (M,) float32; 0 where unused."""
    with torch.autocast(batch.ids.device.type, torch.bfloat16):
        logits = target_logits(model, batch, torch.bfloat16)
    return nn.functional.cross_entropy(logits.float(), batch.target, ignore_index=IGNORE, reduction="none")


def new_optimizers(model: LlamaForCausalLM, settings: StageSettings) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for the embeddings and norms."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    muon = torch.optim.Muon(matrices, lr=settings.muon_rate, momentum=0.95, weight_decay=0.01)
    adam = torch.optim.AdamW(others, lr=settings.adam_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    optimizers: list[torch.optim.Optimizer] = [muon, adam]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


class StageFiles:
    """Where a stage keeps its checkpoint, its result and its log, all in the work folder."""

    def __init__(self, work: Path, stage: Stage) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self.checkpoint = work / f"{stage}.checkpoint.pt"
        self.result = work / f"{stage}.pt"
        self.log = work / f"{stage}.jsonl"

    def clear(self) -> None:
        """Forget the stage, so that it starts again."""
        for path in (self.checkpoint, self.result, self.log):
            path.unlink(missing_ok=True)

    def write_log(self, line: dict[str, Any]) -> None:
        """Append one line of JSON."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def truncate_log(self, step: int) -> None:
        """Drop the lines past `step`, which the resumed run writes again."""
        if self.log.exists():
            lines = self.log.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if json.loads(line).get("step", 0) <= step]
            self.log.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` whole or not at all."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def train_stage(
    model: LlamaForCausalLM,
    encoder: Encoder,
    source: ExampleSource,
    settings: StageSettings,
    seed: int,
    files: StageFiles,
    pace: Pace,
) -> bool:
    """Train `model` in place; true when the stage is finished, false when `pace.max_steps` cut it short.

    Goes on from the stage's checkpoint if there is one.

    Raises:
        ValueError: the checkpoint was made with other settings.
    """
    return _Run(model, encoder, source, settings, seed, files, pace).go()


class _Run:
    """One stage under way: the model, its optimisers, and how far it has come."""

    def __init__(
        self,
        model: LlamaForCausalLM,
        encoder: Encoder,
        source: ExampleSource,
        settings: StageSettings,
        seed: int,
        files: StageFiles,
        pace: Pace,
    ) -> None:
        self.device = torch.device(pace.device)
        self.model = model.to(self.device).train()
        self.encoder, self.source, self.settings = encoder, source, settings
        self.seed, self.files, self.pace = seed, files, pace
        self.optimizers = new_optimizers(self.model, settings)
        self.losses: Callable[[LlamaForCausalLM, Batch], Tensor] = (
            torch.compile(target_losses, dynamic=False) if pace.compiled else target_losses
        )
        held_out = held_out_examples(source, seed, settings.stage)
        self.kinds = list(held_out)
        self.held_out = [b.to(self.device) for b in held_out_batches(held_out, encoder, settings.shape)]
        self.identity = {"seed": seed, **asdict(settings)}
        self.step, self.elapsed_s = 0, 0.0
        self._restore()

    def _restore(self) -> None:
        if not self.files.checkpoint.exists():
            return
        state = torch.load(self.files.checkpoint, map_location=self.device, weights_only=True)
        if state["settings"] != self.identity:
            raise ValueError(
                f"{self.files.checkpoint}: made with {state['settings']}, asked for {self.identity}; "
                "ask for the same, or start the stage again with --fresh"
            )
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]
        self.files.truncate_log(self.step)

    def _checkpoint(self) -> None:
        state = {
            "settings": self.identity,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "elapsed_s": self.elapsed_s,
        }
        save(self.files.checkpoint, state)

    def _batches(self) -> Iterator[Batch]:
        packed = PackedBatches(
            self.source,
            self.encoder,
            self.settings.shape,
            self.seed,
            self.settings.stage,
            self.settings.n_steps,
        )
        # One process of its own: corpus and tokenizer never hold up the training process.
        return iter(
            DataLoader(
                packed,
                batch_size=None,
                sampler=range(self.step, self.settings.n_steps),
                num_workers=1,
                prefetch_factor=8,
            )
        )

    def progress(self) -> float:
        """Share of the stage done: by tokens, or by the clock where that is further on."""
        by_tokens = self.step / self.settings.n_steps
        by_clock = self.elapsed_s / (60 * self.pace.minutes) if self.pace.minutes else 0.0
        return min(1.0, max(by_tokens, by_clock))

    def go(self) -> bool:
        if self.progress() < 1:
            self._loop(self._batches())
        if self.progress() < 1:
            return False
        save(
            self.files.result,
            {"model": self.model.state_dict(), "step": self.step, "elapsed_s": self.elapsed_s},
        )
        return True

    def _loop(self, batches: Iterator[Batch]) -> None:
        saved_at = logged_at = time.monotonic()
        started = saved_at - self.elapsed_s
        summed, n_summed = 0.0, 0
        for batch in batches:
            rate = self.settings.rate(self.progress())
            summed, n_summed = summed + self._update(batch.to(self.device), rate), n_summed + 1
            self.step += 1
            self.elapsed_s = time.monotonic() - started
            last = self.progress() >= 1 or self.step == self.pace.max_steps
            if self.step % self.pace.log_every == 0 or last:
                now = time.monotonic()
                line: dict[str, Any] = {
                    "stage": self.settings.stage,
                    "step": self.step,
                    "tokens": self.step * self.settings.shape.tokens,
                    "loss": round(summed / n_summed, 4),
                    "rate": round(rate, 4),
                    "tokens_per_s": round(n_summed * self.settings.shape.tokens / (now - logged_at)),
                    "elapsed_s": round(self.elapsed_s, 1),
                }
                if self.step % self.pace.held_out_every == 0 or last:
                    line["held_out"] = self.held_out_losses()
                self.files.write_log(line)
                print(json.dumps(line), flush=True)
                logged_at, summed, n_summed = time.monotonic(), 0.0, 0
            if time.monotonic() - saved_at > self.pace.checkpoint_s or last:
                self._checkpoint()
                saved_at = time.monotonic()
            if last:
                return

    def _update(self, batch: Batch, rate: float) -> float:
        losses = self.losses(self.model, batch)
        loss = losses.sum() / (batch.target != IGNORE).sum()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return loss.item()

    @torch.no_grad()
    def held_out_losses(self) -> dict[str, float]:
        """Mean nats per token of each kind's held-out answers."""
        sums = torch.zeros(2, len(self.kinds), device=self.device)
        for batch in self.held_out:
            losses, used = self.losses(self.model, batch), batch.target != IGNORE
            sums[0].index_add_(0, batch.kind[used], losses[used])
            sums[1].index_add_(0, batch.kind[used], torch.ones_like(losses[used]))
        means = (sums[0] / sums[1].clamp(min=1)).tolist()
        return {kind: round(mean, 4) for kind, mean in zip(self.kinds, means, strict=True)}
