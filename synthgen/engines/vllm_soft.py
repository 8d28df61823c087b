"""Soft prompts for vLLM: a prompt of token ids with trained embeddings at some of its positions.

vLLM 0.32 takes both in one prompt (`EmbedsPrompt` with `prompt_token_ids` and `prompt_is_token_ids`): it looks up
the embeddings of the ids itself, so the model's table is not needed here, and prompt log-probabilities work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from vllm.inputs import EmbedsPrompt

from synthgen.elicit.soft_prompt import check_width, read_soft_prompts

_KEPT = 64  # tensors, shared by the requests whose prompts have the same lengths


class SoftPrompts:
    """The soft prompts among an engine's adapters, by name."""

    def __init__(self, adapters: Mapping[str, Path]) -> None:
        """AdapterError for a folder that says it is one, and holds none."""
        self._prompts = read_soft_prompts(adapters)
        self._embeds: dict[tuple[str, int, int], torch.Tensor] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._prompts

    def __len__(self) -> int:
        return len(self._prompts)

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._prompts)

    def check_width(self, hidden_size: int, model: str) -> None:
        """AdapterError for one that was trained for a model of another width."""
        check_width(self._prompts, hidden_size, model)

    def prompt(self, name: str, ids: Sequence[int], n_prompt: int) -> EmbedsPrompt:
        """Token ids, of which the first `n_prompt` are the prompt, with a soft prompt in its place."""
        soft = self._prompts[name]
        at, n = soft.place(n_prompt), len(soft.vectors)
        return EmbedsPrompt(
            prompt_embeds=self._rows(name, at, len(ids) - at),
            prompt_token_ids=[*ids[:at], *[0] * n, *ids[at:]],
            prompt_is_token_ids=[True] * at + [False] * n + [True] * (len(ids) - at),
        )

    def _rows(self, name: str, before: int, after: int) -> torch.Tensor:
        """(before + n + after, H), zeros where vLLM puts the embeddings of ids."""
        key = (name, before, after)
        if key not in self._embeds:
            if len(self._embeds) >= _KEPT:
                self._embeds.clear()
            vectors = self._prompts[name].vectors.float()
            zeros = torch.zeros(1, vectors.shape[1])
            self._embeds[key] = torch.cat([zeros.expand(before, -1), vectors, zeros.expand(after, -1)])
        return self._embeds[key]
