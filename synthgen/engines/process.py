"""An engine in a process of its own: its death or hang is an error here, and its chatter stays in a log.

The child (child.py) is a fresh interpreter, not a fork and not `multiprocessing`'s spawn, so a user's script needs no
`__main__` guard. It stands in a session of its own: Ctrl-C reaches the run, and the run decides. Every wait
has a limit and looks every `TICK_S` whether the run is being stopped.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from synthgen.engines.link import Close, Failed, Link, Open, Opened, Score, Submit
from synthgen.engines.memory import tells_of_memory
from synthgen.engines.protocol import Completion, Engine, Request
from synthgen.errors import EngineDied, EngineError, Incomplete

STALL_S = 900.0  # without a single finished request: the engine hangs
START_S = 1800.0  # at least, for loading a model
TICK_S = 0.5
SEND_S = 60.0  # the child's reader is always ready, unless the whole process hangs
CLOSE_S = 15.0  # for an idle engine to go in order
LOG_TAIL = 2**16  # bytes of the log that are looked through for its last words
INTERPRETER = (sys.executable, "-P", "-X", "faulthandler")  # -P: the current folder shadows no module
STARTING = "starting"
_SAYS_ERROR = re.compile(r"Error|Exception|error:|what\(\)")
_SAYS_FATAL = re.compile(r"Fatal|Abort|Killed")


class ProcessEngine:
    """The `Engine` that `open_engine` opens, in a child process.

    After EngineDied it is of no use but to be closed; supervised.py opens the next one.
    """

    def __init__(
        self,
        name: str,
        open_engine: Callable[[], Engine],
        adapters: Iterable[str] = (),
        *,
        stall_s: float = STALL_S,
        stopping: Callable[[], bool] = lambda: False,
        log: Path | None = None,
    ) -> None:
        """Start the child and wait until its engine is open.

        Args:
            name: what messages call the engine.
            open_engine: called in the child; pickled, so a module's function or a `partial` of one.
            adapters: the names that requests may use.
            stall_s: the longest wait for the next finished request, seconds; the start may take `START_S` or this.
            stopping: asked while waiting; once true, the wait ends with Incomplete.
            log: takes what the child prints, behind what is there; None keeps it only for messages.

        Raises:
            EngineDied: the child died, hung, or had too little memory.
            SynthgenError: what `open_engine` raised.
            Incomplete: `stopping` came first.
        """
        self._name, self._names = name, {None, *adapters}
        self._stall_s, self._stopping = stall_s, stopping
        self._n_waiting = 0
        self._is_answered = False  # the child has nothing to say that was not heard
        self._log, self._log_path = _open_log(log), log
        self._log_begin = self._log.seek(0, os.SEEK_END)
        ours, theirs = socket.socketpair()
        with theirs:
            self._link = Link(ours)
            self._process = subprocess.Popen(
                [*INTERPRETER, "-m", "synthgen.engines.child", str(theirs.fileno())],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        try:
            self._send(Open(open_engine, threading.current_thread() is threading.main_thread()))
            opened = self._receive(max(START_S, stall_s), STARTING)
        except BaseException:
            self._end()
            raise
        assert isinstance(opened, Opened)
        self.info, self.capacity = opened.info, opened.capacity

    def submit(self, requests: Sequence[Request]) -> None:
        """Queue requests; EngineError for an adapter not given at the start."""
        for request in requests:
            self._check_adapter(request.adapter)
        if requests:
            self._send(Submit(tuple(requests)))
            self._n_waiting += len(requests)

    def poll(self) -> list[Completion]:
        """What has finished since, or the next to finish; [] only if nothing is queued.

        Raises:
            EngineDied: the child died, or finished nothing for `stall_s`.
            Incomplete: the run is being stopped.
        """
        if self._n_waiting == 0:
            return []
        completions = self._receive(self._stall_s, f"working on {self._n_waiting} requests")
        assert isinstance(completions, list)
        self._n_waiting = self._n_waiting - len(completions) if completions else 0
        return completions

    def score(
        self, prompt_ids: Sequence[int], answers: Sequence[Sequence[int]], adapter: str | None = None
    ) -> list[list[float]]:
        """As the engine's own; only while no request is on its way (EngineError)."""
        self._check_adapter(adapter)
        if self._n_waiting:
            raise EngineError(
                f"engine {self._name}: score: requests are on their way; expected an idle engine"
            )
        self._send(Score(prompt_ids, answers, adapter))
        scores = self._receive(self._stall_s, f"scoring {len(answers)} answers")
        assert isinstance(scores, list)
        return scores

    def close(self) -> None:
        """End the child: an idle one in order, one that works at once; calling it twice is fine."""
        if self._is_answered and self._n_waiting == 0:
            with suppress(OSError, subprocess.TimeoutExpired):
                self._link.send(Close(), SEND_S)
                self._process.wait(CLOSE_S)
        self._end()

    def _check_adapter(self, adapter: str | None) -> None:
        if adapter not in self._names:
            raise EngineError(
                f"engine {self._name}: adapter {adapter!r} was not given at the start; "
                f"expected one of {sorted(name for name in self._names if name)} or the base model"
            )

    def _send(self, message: object) -> None:
        """Send; what is wrong with the line is found out, with its reason, by the next `_receive`."""
        with suppress(OSError):
            self._link.send(message, SEND_S)

    def _receive(self, limit_s: float, doing: str) -> object:
        """The child's next message, within the limit."""
        deadline = time.monotonic() + limit_s
        self._is_answered = False
        while True:
            if self._stopping():
                raise Incomplete(
                    f"engine {self._name}: stopped while {doing}; run the same command again to go on"
                )
            has_ended = self._process.poll() is not None
            try:
                left = deadline - time.monotonic()
                message = self._link.receive(min(TICK_S, max(left, TICK_S / 10)))  # 0 would not look at all
                break
            except EOFError:
                raise self._death(doing) from None
            except TimeoutError:
                if has_ended:  # and a process that it left behind holds the line open
                    raise self._death(doing) from None
                if time.monotonic() >= deadline:
                    raise self._hang(limit_s, doing) from None
        self._is_answered = True
        if not isinstance(message, Failed):
            return message
        if message.out_of_memory:
            raise EngineDied(f"engine {self._name}: out of memory while {doing}: {message.error}", True)
        if doing == STARTING:
            raise message.error
        raise EngineDied(f"engine {self._name}: died while {doing}: {message.error}")

    def _death(self, doing: str) -> EngineDied:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_S)
        status = self._process.returncode
        words = "" if status == -signal.SIGKILL else last_words(self._printed())  # it had no time for any
        self._end()
        out_of_memory = status == -signal.SIGKILL or tells_of_memory(words)
        return EngineDied(f"{self._how(in_words(status), doing)}{self._quoted(words)}", out_of_memory)

    def _hang(self, limit_s: float, doing: str) -> EngineDied:
        words = last_words(self._printed())
        self._end()
        how = self._how(f"sent nothing for {limit_s:g} s", doing)
        return EngineDied(f"{how}; raise generate.stall_s if it only needs longer{self._quoted(words)}")

    def _how(self, what: str, doing: str) -> str:
        return f"engine {self._name}: its process {what} while {doing}"

    def _quoted(self, words: str) -> str:
        place = f" (all of it: {self._log_path})" if self._log_path else ""
        return f"; it last said {words!r}{place}" if words else ""

    def _printed(self) -> str:
        """The end of what this child has printed."""
        size = os.fstat(self._log.fileno()).st_size
        begin = max(self._log_begin, size - LOG_TAIL)
        return os.pread(self._log.fileno(), size - begin, begin).decode(errors="replace")

    def _end(self) -> None:
        """Kill the child and whatever it started, and give everything back; calling it twice is fine."""
        if self._log.closed:
            return
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._link.close()
        self._log.close()


def in_words(status: int | None) -> str:
    """How a process ended, by its exit status: minus the signal that killed it; None if it only fell silent."""
    if status is None:
        return "broke the line"
    if status >= 0:
        return f"ended with status {status}"
    killed = f"was killed by signal {-status} ({signal.strsignal(-status)})"
    return (
        f"{killed}, most often because the system ran out of memory," if -status == signal.SIGKILL else killed
    )


def last_words(printed: str) -> str:
    """The line of a log that says the most about an end: of memory, of an error, or the last; at most 200 characters."""
    lines = [" ".join(line.split()) for line in printed.splitlines() if line.strip()]
    for says_much in (tells_of_memory, _SAYS_ERROR.search, _SAYS_FATAL.search):
        if found := [line for line in lines if says_much(line)]:
            return found[-1][:200]
    return lines[-1][:200] if lines else ""


def _environment() -> dict[str, str]:
    """Our own, with the modules' folders that we have by now."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)}


def _open_log(path: Path | None) -> IO[bytes]:
    if path is None:
        return tempfile.TemporaryFile()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("ab+")
