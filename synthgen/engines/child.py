"""The engine's own process: `python -m synthgen.engines.child FD` opens an engine and works for the other end.

It ends with its parent: when the line breaks, and on Linux by the system's own signal, so that no engine is
left holding a GPU. What libraries print goes to the log that the parent gave it as stdout and stderr.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
import traceback
from queue import SimpleQueue

from synthgen.engines.link import Close, Failed, Link, Open, Opened, Score, Submit
from synthgen.engines.memory import is_out_of_memory
from synthgen.engines.protocol import Engine
from synthgen.errors import EngineError, SynthgenError

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main() -> None:
    """Serve the engine that the first message names, until told to close."""
    end = socket.socket(fileno=int(sys.argv[1]))
    end.set_inheritable(False)
    link = Link(end)
    first = link.receive()
    assert isinstance(first, Open)
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # may be sent to every process of a job: the parent decides
        signal.signal(number, lambda *_: None)
    if first.follow_thread and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        engine = first.open_engine()
        link.send(Opened(engine.info, engine.capacity))
        serve(engine, link)
        engine.close()
        sys.stdout.flush()
        os._exit(0)  # the interpreter's own teardown can hang or crash in the libraries' threads
    except Exception as error:
        traceback.print_exc()  # into the log
        link.send(Failed(_presentable(error), is_out_of_memory(error)))
        sys.exit(1)


def serve(engine: Engine, link: Link) -> None:
    """Work off what comes, taking in new requests between two polls, until `Close`."""
    inbox: SimpleQueue[object] = SimpleQueue()
    threading.Thread(target=_read, args=(link, inbox), daemon=True).start()
    n_waiting = 0
    while True:
        while n_waiting == 0 or not inbox.empty():
            match inbox.get():
                case Submit(requests):
                    engine.submit(requests)
                    n_waiting += len(requests)
                case Score(prompt_ids, answers, adapter):
                    link.send(engine.score(prompt_ids, answers, adapter))
                case Close():
                    return
        completions = engine.poll()
        n_waiting = n_waiting - len(completions) if completions else 0
        link.send(completions)


def _read(link: Link, inbox: SimpleQueue[object]) -> None:
    """Put messages into the inbox while the engine works; without a parent, end at once."""
    try:
        while True:
            inbox.put(link.receive())
    except (EOFError, OSError):
        os._exit(1)


def _presentable(error: Exception) -> SynthgenError:
    """The error itself if it is one of ours; a foreign type may not exist in the parent."""
    if isinstance(error, SynthgenError):
        return error
    return EngineError(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


if __name__ == "__main__":
    main()
