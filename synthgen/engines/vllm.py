"""vLLM behind the `Engine` protocol: offline, in process, always full; CUDA and CPU builds by the same code.

On the CPU build, adapters are applied by `vllm_lora_cpu`, which is twice as fast as vLLM's own path for few
adapters, and leaves base rows alone: vLLM 0.32's gives a base row batched with adapter rows the
adapter in the last slot. As a second guard one slot more than there are adapters is kept empty.
Soft prompts go in as embeddings at their positions, all other positions as token ids; LoRA rows, soft prompts and
base rows may share a batch.
"""

from __future__ import annotations

import json
import os
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_SETTINGS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # in process: starts three times faster, and no second engine to lose
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "CRITICAL",
    "VLLM_CONFIGURE_LOGGING": "1",
}
for _name, _value in _SETTINGS.items():  # read by vLLM when it is imported; the user's own settings stand
    os.environ.setdefault(_name, _value)

with warnings.catch_warnings():  # the libraries' deprecations are no concern of synthgen's users
    warnings.simplefilter("ignore")
    import torch
    from vllm.engine.arg_utils import EngineArgs
    from vllm.inputs import TokensPrompt
    from vllm.lora.request import LoRARequest
    from vllm.platforms import current_platform
    from vllm.sampling_params import RequestOutputKind, SamplingParams
    from vllm.v1.engine.llm_engine import LLMEngine
    from vllm.version import __version__

from synthgen.engines.protocol import Completion, EngineInfo, Request, Sampling  # noqa: E402
from synthgen.engines.vllm_soft import SoftPrompts  # noqa: E402
from synthgen.errors import AdapterError, EngineError  # noqa: E402
from synthgen.models import multiplies_in_bf16, resolve_model  # noqa: E402
from synthgen.tokenizers import load_tokenizer  # noqa: E402

GIB = 2**30
GPU_MEMORY = 0.9  # of a GPU's memory, for the engines that share it
_CPU_SETTINGS = {
    "enable_chunked_prefill": False,  # a seeded request whose prompt is cut in two kills the CPU engine (0.32)
    "block_size": 32,  # tokens; the CPU's own 128 would keep most prompts out of the prefix cache
}
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM lets max_lora_rank be (it also takes 1)


class VllmEngine:
    """An in-process vLLM engine with its adapters loaded by name.

    Every request carries its own seed, so its tokens do not depend on its neighbours, but for rounding: bfloat16
    sums differ with the batch's size, and two nearly equal tokens may then change places.
    """

    def __init__(
        self,
        model_path: str | Path,
        adapters: Mapping[str, Path] | None = None,
        sampling: Sampling | None = None,
        seed: int = 0,
        capacity: int = 512,
        max_model_len: int = 1024,
        dtype: str | None = None,
        kv_cache_gib: float = 1.0,
        gpu_share: float = 1.0,
    ) -> None:
        """Start the engine; `max_model_len` bounds prompt and answer together.

        `dtype` None: bfloat16; where the hardware has no instructions for it, float16 on a GPU, float32 on a CPU.
        `kv_cache_gib` counts on CPU only, `gpu_share` on GPU only: the part of its memory that is this engine's.

        Raises:
            AdapterError: an adapter folder without safetensors weights or without a config.
            EngineError: vLLM refuses to start; its own reason is in the message.
        """
        place = resolve_model(str(model_path))
        local, cpu = Path(place).is_dir(), current_platform.is_cpu()
        self._sampling = sampling or Sampling()
        self._tokenizer = load_tokenizer(place)
        self._soft = SoftPrompts(adapters or {})
        lora = {name: folder for name, folder in (adapters or {}).items() if name not in self._soft}
        self._adapters = _lora_requests(lora)
        self._queue: deque[Request] = deque()
        self._running: dict[str, Request] = {}
        self._n_started = 0
        self.capacity = capacity
        settings = engine_settings(place, seed, capacity, max_model_len, dtype, kv_cache_gib, gpu_share)
        if self._adapters:
            settings |= _lora_settings({name: _config(name, folder) for name, folder in lora.items()})
        if self._soft:
            settings["enable_prompt_embeds"] = True
        offline = os.environ.get("HF_HUB_OFFLINE")
        if local:
            os.environ["HF_HUB_OFFLINE"] = "1"
        try:
            if cpu and self._adapters:
                from synthgen.engines.vllm_lora_cpu import install

                install()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._engine: Any = LLMEngine.from_engine_args(EngineArgs(**settings))
        except Exception as error:  # vLLM raises many types
            reason = " ".join(str(error).split())[:300]
            raise EngineError(f"engine vllm {__version__}: cannot start on {place!r}: {reason}") from error
        finally:
            if local and offline is None:
                os.environ.pop("HF_HUB_OFFLINE", None)
        self._soft.check_width(self._engine.model_config.get_hidden_size(), place)
        shown = (
            "dtype",
            "max_model_len",
            "max_num_seqs",
            "seed",
            "max_loras",
            "max_lora_rank",
            "enable_prompt_embeds",
            "enforce_eager",
        )
        device = "cpu" if cpu else f"cuda:{torch.cuda.get_device_name()}"
        kept = {key: settings[key] for key in shown if key in settings}
        self.info = EngineInfo("vllm", str(__version__), device, "record", kept)

    def submit(self, requests: Sequence[Request]) -> None:
        """Queue requests; EngineError for an adapter not given at the start."""
        for request in requests:
            self._check_adapter(request.adapter)
        self._queue.extend(requests)

    def poll(self) -> list[Completion]:
        """Step until a request has finished; [] only if nothing is queued."""
        done: list[Completion] = []
        while not done and (self._queue or self._running):
            while self._queue and len(self._running) < self.capacity:
                if refused := self._start(self._queue.popleft()):
                    done.append(refused)
            if self._running:
                done += [self._completion(output) for output in self._step() if output.finished]
        return done

    def score(
        self, prompt_ids: Sequence[int], answers: Sequence[Sequence[int]], adapter: str | None = None
    ) -> list[list[float]]:
        """Log-probabilities at temperature 1; only while no request is on its way (EngineError)."""
        self._check_adapter(adapter)
        if self._running or self._queue:
            raise EngineError("engine vllm: score: requests are on their way; expected an idle engine")
        scores: list[list[float]] = [[] for _ in answers]
        waiting = {}
        for i, answer in enumerate(answers):
            if answer:
                self._n_started += 1
                waiting[f"score-{self._n_started}"] = i
                params = SamplingParams(
                    temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False, ignore_eos=True
                )
                ids = (*prompt_ids, *answer)
                self._add(f"score-{self._n_started}", ids, len(prompt_ids), params, adapter)
        while waiting:
            for output in self._step():
                if output.finished:
                    i = waiting.pop(output.request_id)
                    chosen = list(output.prompt_logprobs)[-len(answers[i]) :]
                    scores[i] = [float(at[t].logprob) for at, t in zip(chosen, answers[i], strict=True)]
        return scores

    def close(self) -> None:
        """Stop the engine and free the model."""
        if self._engine is not None:
            self._engine.engine_core.shutdown()
            self._engine = None
            self._queue.clear()
            self._running.clear()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _start(self, request: Request) -> Completion | None:
        """Hand a request to vLLM; an "error" completion if vLLM refuses it (too long a prompt, for one)."""
        chosen = self._sampling
        greedy = request.greedy or chosen.temperature == 0
        params = SamplingParams(
            temperature=0.0 if greedy else chosen.temperature,
            top_p=1.0 if greedy else chosen.top_p,
            top_k=0 if greedy else chosen.top_k,
            min_p=0.0 if greedy else chosen.min_p,
            max_tokens=chosen.max_tokens,
            stop_token_ids=list(chosen.stop_ids),
            seed=None if greedy else request.seed % 2**63,
            ignore_eos=True,  # only `stop_ids` end an answer
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            skip_clone=True,
        )
        self._n_started += 1
        name = f"{request.id}-{self._n_started}"
        try:
            ids = request.prompt_ids + request.prefix_ids
            self._add(name, ids, len(request.prompt_ids), params, request.adapter)
        except ValueError as error:
            return Completion(request.id, "", "error", 0, detail=" ".join(str(error).split())[:300])
        self._running[name] = request
        return None

    def _add(self, name: str, ids: Sequence[int], n_prompt: int, params: Any, adapter: str | None) -> None:
        """Hand over token ids, of which the first `n_prompt` are the prompt."""
        if self._engine is None:
            raise EngineError("engine vllm: is closed")
        prompt: Any = TokensPrompt(prompt_token_ids=list(ids))
        lora = None
        if adapter is not None and adapter in self._soft:
            prompt = self._soft.prompt(adapter, ids, n_prompt)
        elif adapter is not None:
            lora = self._adapters[adapter]
        self._engine.add_request(name, prompt, params, lora_request=lora)

    def _step(self) -> list[Any]:
        try:
            outputs: list[Any] = self._engine.step()
        except Exception as error:  # vLLM raises many types; the engine is dead after any of them
            reason = " ".join(str(error).split())[:300]
            raise EngineError(f"engine vllm {__version__}: died: {type(error).__name__}: {reason}") from error
        return outputs

    def _completion(self, output: Any) -> Completion:
        request = self._running.pop(output.request_id)
        answer = output.outputs[0]
        ids = tuple(int(token) for token in answer.token_ids)
        if answer.finish_reason not in ("stop", "length"):
            return Completion(
                request.id, "", "error", len(ids), ids, f"vLLM ended it: {answer.finish_reason}"
            )
        kept = (
            ids[:-1] if answer.finish_reason == "stop" and ids and ids[-1] in self._sampling.stop_ids else ids
        )
        text = self._tokenizer.decode([*request.prefix_ids, *kept])
        return Completion(request.id, text, answer.finish_reason, len(ids), ids)

    def _check_adapter(self, adapter: str | None) -> None:
        if adapter is not None and adapter not in self._adapters and adapter not in self._soft:
            raise EngineError(
                f"engine vllm: adapter {adapter!r} was not given at the start; "
                f"expected one of {sorted([*self._adapters, *self._soft.names])} or the base model"
            )


def engine_settings(
    place: str,
    seed: int,
    capacity: int,
    max_model_len: int,
    dtype: str | None = None,
    kv_cache_gib: float = 1.0,
    gpu_share: float = 1.0,
) -> dict[str, Any]:
    """What vLLM is started with, adapters apart; chosen by bench/settings.py on a CPU."""
    length = _context(place, Path(place).is_dir(), max_model_len)
    if dtype is None:
        slow_in_bf16 = current_platform.is_cpu() and not multiplies_in_bf16("cpu")
        best = current_platform.supported_dtypes[0]  # a GPU older than Ampere has float16 there
        dtype = "float32" if slow_in_bf16 else str(best).removeprefix("torch.")
    settings: dict[str, Any] = {
        "model": place,
        "dtype": dtype,
        "seed": seed % 2**31,
        "max_model_len": length,
        "max_num_seqs": capacity,
        "enable_prefix_caching": True,
        "generation_config": "vllm",  # nothing from the model's own sampling defaults
        "trust_remote_code": False,
        "load_format": "safetensors",
        "disable_log_stats": True,
    }
    if current_platform.is_cpu():
        settings |= {"enforce_eager": True, "kv_cache_memory_bytes": int(kv_cache_gib * GIB), **_CPU_SETTINGS}
        settings |= {"max_num_batched_tokens": max(8192, length)}
    else:
        settings["gpu_memory_utilization"] = GPU_MEMORY * gpu_share
    return settings


def _lora_requests(adapters: Mapping[str, Path]) -> dict[str, Any]:
    for name, folder in adapters.items():
        if not (folder / "adapter_model.safetensors").is_file():
            raise AdapterError(
                f"adapter {name!r}: {folder} has no adapter_model.safetensors; expected a folder saved by PEFT"
            )
    return {name: LoRARequest(name, i, str(folder)) for i, (name, folder) in enumerate(adapters.items(), 1)}


def _config(name: str, folder: Path) -> dict[str, Any]:
    """PEFT's config of an adapter; `r` is made the largest of its ranks."""
    try:
        config: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text("utf-8"))
        config["r"] = max([int(config["r"]), *(config.get("rank_pattern") or {}).values()])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AdapterError(
            f"adapter {name!r}: {folder}/adapter_config.json: {error!r}; expected PEFT's file"
        ) from error
    if config["r"] > RANKS[-1]:
        raise AdapterError(f"adapter {name!r}: rank {config['r']}; vLLM serves ranks up to {RANKS[-1]}")
    return config


def _lora_settings(configs: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Room for every adapter and one more, and LoRA only on the layers that some adapter has.

    Left alone, vLLM also wraps the output layer, and then prompt log-probabilities fail on the CPU.
    """
    rank = max(config["r"] for config in configs.values())
    n_slots = len(configs) + 1
    targets = [config.get("target_modules") for config in configs.values()]
    names = sorted(
        {str(name).rpartition(".")[2] for part in targets if isinstance(part, list) for name in part}
    )
    return {
        "enable_lora": True,
        "max_lora_rank": next(size for size in RANKS if size >= rank),
        "max_loras": n_slots,
        "max_cpu_loras": n_slots,
        "lora_target_modules": names if all(isinstance(part, list) for part in targets) else None,
    }


def _context(place: str, local: bool, wanted: int) -> int:
    """`wanted`, or what the model was built for if that is less."""
    if not local:
        return wanted
    config: dict[str, Any] = json.loads((Path(place) / "config.json").read_text("utf-8"))
    text: dict[str, Any] = config.get("text_config", config)
    built_for: int = text.get("max_position_embeddings", wanted)
    return min(wanted, built_for)
