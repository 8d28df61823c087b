"""The embedded engine: works wherever torch does; batched, with a key-value cache, LoRA by PEFT, soft prompts.

Rows of one adapter form a batch. A prompt is prefilled once, and its keys and values are shared by the rows that
have it; new rows take the places of finished ones as soon as a third as many wait as are alive.
Every row's tokens come from its own request's seed, so a record does not depend on its neighbours (but for
rounding, where two tokens are equally likely to within the batch's arithmetic).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from synthgen.elicit.soft_prompt import check_width, read_soft_prompts
from synthgen.engines.protocol import Completion, EngineInfo, FinishReason, Request, Sampling
from synthgen.engines.sampling import draw
from synthgen.engines.transformers_cache import RowCache
from synthgen.errors import AdapterError, EngineError
from synthgen.models import resolve_model
from synthgen.tokenizers import load_tokenizer

Key = tuple[str | None, tuple[int, ...]]  # adapter and prompt
SCORE_ELEMENTS = 2**27  # logits held at once while scoring
MAX_PROMPTS = 32  # prefilled prompts kept


@dataclass
class _Row:
    """One request on its way."""

    request: Request
    uniforms: np.ndarray  # (max_tokens,) one per generated token
    forced: deque[int]  # prefix tokens still to be fed
    fed: int = 0  # the token to feed next
    token_ids: list[int] = field(default_factory=list)


@dataclass
class _Batch:
    """Rows of one adapter, in the order of the cache's rows; `None` where a row has finished."""

    cache: RowCache
    rows: list[_Row | None] = field(default_factory=list)
    queue: deque[Request] = field(default_factory=deque)

    @property
    def n_alive(self) -> int:
        return sum(row is not None for row in self.rows)


@dataclass(frozen=True)
class _Prefilled:
    """A prompt's keys and values per layer, (1, H, T, D) each, and the logits after it, (1, V)."""

    layers: list[tuple[torch.Tensor, torch.Tensor]]
    logits: torch.Tensor


class TransformersEngine:
    """A causal language model of the transformers library behind the `Engine` protocol."""

    def __init__(
        self,
        model_path: str | Path,
        adapters: Mapping[str, Path] | None = None,
        sampling: Sampling | None = None,
        capacity: int = 128,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        """Load a model folder or hub id and the adapters; `dtype` "auto" is bfloat16 on a GPU, else float32.

        Raises:
            AdapterError: an adapter folder without safetensors weights, or one that does not fit the model.
            EngineError: the model cannot be loaded.
        """
        place = resolve_model(str(model_path))
        name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        number = ("bfloat16" if name.startswith("cuda") else "float32") if dtype == "auto" else dtype
        self._sampling = sampling or Sampling()
        self.capacity = capacity
        self._device = torch.device(name)
        self._tokenizer = load_tokenizer(place)
        self._soft = read_soft_prompts(adapters or {})
        lora = {name: folder for name, folder in (adapters or {}).items() if name not in self._soft}
        self._slots: dict[str, str] = {a: f"adapter_{i}" for i, a in enumerate(lora)}
        self._model: Any = _load(place, lora, self._slots, getattr(torch, number)).to(self._device).eval()
        check_width(self._soft, self._model.get_input_embeddings().embedding_dim, place)
        self._active: str | None = None
        self._prefilled: dict[Key, _Prefilled] = {}
        self._batches: dict[str | None, _Batch] = {}
        self._answered: list[Completion] = []
        self.info = EngineInfo(
            "transformers", version("transformers"), _device_name(self._device), "record", {"dtype": number}
        )

    def submit(self, requests: Sequence[Request]) -> None:
        """Queue requests; EngineError for an adapter not given at the start, or an empty prompt."""
        for request in requests:
            self._check_adapter(request.adapter)
            if not request.prompt_ids:
                raise EngineError(
                    f"engine transformers: record {request.id} has an empty prompt; expected tokens"
                )
        for request in requests:
            if request.adapter not in self._batches:
                self._batches[request.adapter] = _Batch(RowCache())
            self._batches[request.adapter].queue.append(request)

    @torch.inference_mode()
    def poll(self) -> list[Completion]:
        """Step the fullest batch until a request has finished; [] only if nothing is queued."""
        while not self._answered and self._batches:
            adapter, batch = max(self._batches.items(), key=lambda item: item[1].n_alive + len(item[1].queue))
            with self._adapter(adapter):
                self._refill(adapter, batch)
                if batch.n_alive:
                    self._step(batch)
            if not batch.n_alive and not batch.queue:
                del self._batches[adapter]
        answered, self._answered = self._answered, []
        return answered

    @torch.inference_mode()
    def score(
        self, prompt_ids: Sequence[int], answers: Sequence[Sequence[int]], adapter: str | None = None
    ) -> list[list[float]]:
        """Natural-log probabilities at temperature 1, nothing cut off; answers may have any lengths."""
        self._check_adapter(adapter)
        scores: list[list[float]] = [[] for _ in answers]
        order = sorted((i for i, answer in enumerate(answers) if answer), key=lambda i: len(answers[i]))
        with self._adapter(adapter):
            prompt = self._prefill((adapter, tuple(prompt_ids)))
            size = prompt.logits.shape[-1]
            while order:
                n = max(1, SCORE_ELEMENTS // (size * len(answers[order[-1]])))
                part, order = order[-n:], order[:-n]
                for i, row in zip(part, self._score_batch(prompt, [answers[i] for i in part]), strict=True):
                    scores[i] = row
        return scores

    def close(self) -> None:
        """Free the model."""
        self._model = None
        self._prefilled.clear()
        self._batches.clear()

    def _check_adapter(self, adapter: str | None) -> None:
        if adapter is not None and adapter not in self._slots and adapter not in self._soft:
            raise EngineError(
                f"engine transformers: adapter {adapter!r} was not given at the start; "
                f"expected one of {sorted([*self._slots, *self._soft])} or the base model"
            )

    @contextmanager
    def _adapter(self, adapter: str | None) -> Iterator[None]:
        """The model with this adapter, or with none; a soft prompt is none to the model's layers."""
        if self._model is None:
            raise EngineError("engine transformers: is closed")
        if adapter is None or adapter in self._soft:
            if not self._slots:
                yield
                return
            with self._model.disable_adapter():
                yield
            return
        if self._active != adapter:
            self._model.set_adapter(self._slots[adapter], inference_mode=True)
            self._active = adapter
        yield

    def _prefill(self, key: Key) -> _Prefilled:
        if key not in self._prefilled:
            if len(self._prefilled) >= MAX_PROMPTS:
                self._prefilled.pop(next(iter(self._prefilled)))
            cache = RowCache()
            ids = torch.tensor([key[1]], device=self._device)
            soft = None if key[0] is None else self._soft.get(key[0])
            given = {"input_ids": ids}
            if soft is not None:
                words = self._model.get_input_embeddings()(ids)[0]  # (T, H)
                given = {"inputs_embeds": soft.inserted(words)[None]}
            out = self._model(**given, past_key_values=cache.cache, use_cache=True, logits_to_keep=1)
            self._prefilled[key] = _Prefilled(cache.contents(), out.logits[:, -1].float())
        return self._prefilled[key]

    def _refill(self, adapter: str | None, batch: _Batch) -> None:
        """Seat queued requests once they are a third of those alive; else pack when half the rows are done."""
        keep = [i for i, row in enumerate(batch.rows) if row is not None]
        n_new = min(len(batch.queue), self.capacity - len(keep))
        if n_new == 0 or 3 * n_new < len(keep):
            n_new = 0
            if 2 * len(keep) > len(batch.rows) or not keep:
                return
        new = [batch.queue.popleft() for _ in range(n_new)]
        alike = [(prompt, len(list(rows))) for prompt, rows in groupby(new, lambda row: row.prompt_ids)]
        prompts = [(self._prefill((adapter, prompt)), n) for prompt, n in alike]
        batch.cache.pack(keep, [(prompt.layers, n) for prompt, n in prompts])
        batch.rows = [batch.rows[i] for i in keep]
        batch.rows += [self._seat(request) for request in new]
        if new:
            logits = torch.cat([prompt.logits.expand(n, -1) for prompt, n in prompts])
            self._advance(batch, len(keep), logits)

    def _seat(self, request: Request) -> _Row:
        generator = np.random.Generator(np.random.Philox(request.seed))
        return _Row(request, generator.random(self._sampling.max_tokens), deque(request.prefix_ids))

    def _step(self, batch: _Batch) -> None:
        """Feed every row's last token and choose the next."""
        assert self._model is not None
        mask, positions = batch.cache.next_inputs(self._device)
        fed = torch.tensor([[row.fed if row else 0] for row in batch.rows], device=self._device)  # (B, 1)
        out = self._model(
            input_ids=fed,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=batch.cache.cache,
            use_cache=True,
        )
        self._advance(batch, 0, out.logits[:, -1].float())

    def _advance(self, batch: _Batch, first: int, logits: torch.Tensor) -> None:
        """Give the rows from `first` on their next token, forced or drawn from their row of `logits`."""
        rows = batch.rows[first:]
        uniforms = np.array([row.uniforms[len(row.token_ids)] if row else 0.0 for row in rows])
        greedy = np.array([row is not None and row.request.greedy for row in rows])
        for i, (row, token) in enumerate(
            zip(rows, draw(logits, uniforms, self._sampling, greedy), strict=True)
        ):
            if row is None:
                continue
            if row.forced:
                row.fed = row.forced.popleft()
                continue
            row.fed = token
            row.token_ids.append(token)
            stopped = token in self._sampling.stop_ids
            if stopped or len(row.token_ids) == self._sampling.max_tokens:
                self._answered.append(self._completion(row, "stop" if stopped else "length"))
                batch.rows[first + i] = None

    def _completion(self, row: _Row, reason: FinishReason) -> Completion:
        kept = row.token_ids[:-1] if reason == "stop" else row.token_ids
        text = self._tokenizer.decode([*row.request.prefix_ids, *kept])
        return Completion(row.request.id, text, reason, len(row.token_ids), tuple(row.token_ids))

    def _score_batch(self, prompt: _Prefilled, answers: Sequence[Sequence[int]]) -> list[list[float]]:
        """Answers of any lengths behind one prompt; padding comes after them and is not looked at."""
        assert self._model is not None
        rows = RowCache()
        rows.pack([], [(prompt.layers, len(answers))])
        width = max(len(answer) for answer in answers)
        ids = torch.tensor(
            [[*answer, *[0] * (width - len(answer))] for answer in answers], device=self._device
        )
        logits = prompt.logits.expand(len(answers), 1, -1)  # (B, 1, V)
        if width > 1:
            n = rows.length
            positions = torch.arange(n, n + width - 1, device=self._device)[None].expand(len(answers), -1)
            out = self._model(
                input_ids=ids[:, :-1], position_ids=positions, past_key_values=rows.cache, use_cache=True
            )
            logits = torch.cat([logits, out.logits.float()], 1)  # (B, width, V)
        chosen = logits.log_softmax(-1).gather(2, ids[:, :, None])[:, :, 0].tolist()
        return [row[: len(answer)] for row, answer in zip(chosen, answers, strict=True)]


def _load(place: str, adapters: Mapping[str, Path], slots: Mapping[str, str], dtype: torch.dtype) -> Any:
    """The model, with every adapter in its slot and none active that was not asked for."""
    try:
        model = AutoModelForCausalLM.from_pretrained(
            place,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=Path(place).is_dir(),
        )
    except Exception as error:  # the library raises many types
        reason = " ".join(str(error).split())[:200]
        raise EngineError(f"engine transformers: cannot load model {place!r}: {reason}") from error
    for name, folder in adapters.items():
        if not (folder / "adapter_model.safetensors").is_file():
            raise AdapterError(
                f"adapter {name!r}: {folder} has no adapter_model.safetensors; expected a folder saved by PEFT"
            )
        try:
            if isinstance(model, PeftModel):
                model.load_adapter(str(folder), slots[name], is_trainable=False, autocast_adapter_dtype=False)
            else:
                model = PeftModel.from_pretrained(
                    model, str(folder), slots[name], is_trainable=False, autocast_adapter_dtype=False
                )
        except Exception as error:  # shapes, target modules, a broken config
            reason = " ".join(str(error).split())[:200]
            raise AdapterError(
                f"adapter {name!r}: {folder} does not fit model {place!r}: {reason}"
            ) from error
    return model


def _device_name(device: torch.device) -> str:
    return f"cuda:{torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type
