"""Was it the memory? What torch, vLLM, Python and the system say when there is too little of it."""

from __future__ import annotations

import re

REMEDY = "free memory, lower generate.max_tokens, or take a smaller model"

_WORDS = re.compile(
    r"out of memory|OutOfMemory|MemoryError|(can't|cannot|could not|failed to|unable to) allocate|bad_alloc"
    r"|not enough memory|memory for the cache blocks|KV cache is needed|less than desired .PU memory"
    r"|CUBLAS_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)


def tells_of_memory(text: str) -> bool:
    """Whether a message is one of too little memory, on the GPU or the CPU."""
    return _WORDS.search(text) is not None


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, says that memory ran out."""
    while error is not None:
        if tells_of_memory(f"{type(error).__name__}: {error}"):
            return True
        error = error.__cause__ or error.__context__
    return False
