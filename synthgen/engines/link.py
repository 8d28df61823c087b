"""The line between a run and its engine's process: pickles with their length in front, over a socket.

Both ends are ours and nobody else can write to the socket; every wait can be limited, so that neither a full
buffer nor half a message hangs the run.
"""

from __future__ import annotations

import pickle
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from synthgen.engines.protocol import Engine, EngineInfo, Request

_LENGTH = struct.Struct("!Q")
_CHUNK = 2**18  # bytes read at once


@dataclass(frozen=True, slots=True)
class Open:
    """To the child, first of all: the engine to open, by a function that can be imported there."""

    open_engine: Callable[[], Engine]
    follow_thread: bool  # the opener is its process's main thread: the system may end the child with it


@dataclass(frozen=True, slots=True)
class Opened:
    """To the parent: the engine is there."""

    info: EngineInfo
    capacity: int


@dataclass(frozen=True, slots=True)
class Submit:
    """To the child; answered by lists of completions, as they finish."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """To the child; answered by one list of scores."""

    prompt_ids: Sequence[int]
    answers: Sequence[Sequence[int]]
    adapter: str | None


@dataclass(frozen=True, slots=True)
class Close:
    """To the child, last of all."""


@dataclass(frozen=True, slots=True)
class Failed:
    """To the parent, the child's last word: why there is no engine, or none any more."""

    error: Exception  # one of errors.py, so that it can be raised as it is
    out_of_memory: bool


class Link:
    """One end of the line; one thread may send while another receives, if neither sets a limit."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._received = bytearray()

    def send(self, message: object, within_s: float | None = None) -> None:
        """Send one message; TimeoutError if the other end takes longer, OSError if it is gone."""
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        self._socket.settimeout(within_s)
        self._socket.sendall(_LENGTH.pack(len(data)) + data)

    def receive(self, within_s: float | None = None) -> object:
        """The next message; TimeoutError if it is not there in time (no part of it is lost), EOFError at the end."""
        deadline = None if within_s is None else time.monotonic() + within_s
        while not self._is_whole():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            try:
                part = self._socket.recv(_CHUNK)
            except ConnectionError:  # the other end died with words of ours unread
                part = b""
            if not part:
                raise EOFError
            self._received += part
        end = self._end()
        message: object = pickle.loads(self._received[_LENGTH.size : end])  # noqa: S301
        del self._received[:end]
        return message

    def close(self) -> None:
        """Hang up; the other end finds out."""
        self._socket.close()

    def _end(self) -> int:
        (length,) = _LENGTH.unpack_from(self._received)
        return _LENGTH.size + int(length)

    def _is_whole(self) -> bool:
        return len(self._received) >= _LENGTH.size and len(self._received) >= self._end()
