"""An engine in a process of its own: what it answers, how its end is told, and that nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from synthgen.engines import open_process_engine
from synthgen.engines.memory import is_out_of_memory, tells_of_memory
from synthgen.engines.process import ProcessEngine, in_words, last_words
from synthgen.engines.protocol import Completion, Engine, Request, Sampling
from synthgen.errors import AdapterError, EngineDied, EngineError, Incomplete, RecipeError
from tests.engines.planted import Fault, open_faulty, open_planted

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0  # on a loaded machine


@contextmanager
def process_engine(fault: Fault = "", after: int = 0, **settings: object) -> Iterator[ProcessEngine]:
    opening = partial(open_planted, fault, after, adapters=("red",))
    with closing(ProcessEngine("planted", opening, ["red"], **settings)) as engine:  # type: ignore[arg-type]
        yield engine


def requests(n: int) -> list[Request]:
    return [Request(i, (1, 2), ("red", None)[i % 2], 100 + i) for i in range(n)]


def complete(engine: Engine, n: int) -> dict[int, Completion]:
    engine.submit(requests(n))
    done: list[Completion] = []
    while finished := engine.poll():
        done += finished
    assert sorted(one.id for one in done) == list(range(n))
    return {one.id: one for one in done}


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_it_answers_as_the_same_engine_does_in_process(capfd: pytest.CaptureFixture[str]) -> None:
    direct = open_planted(adapters=("red",))
    with process_engine() as engine:
        assert (engine.info, engine.capacity) == (direct.info, direct.capacity)
        assert complete(engine, 100) == complete(direct, 100)
        answers = [(1, 2, 3), (), (4,)]
        assert engine.score((1,), answers, "red") == direct.score((1,), answers, "red")
        assert complete(engine, 30) == complete(direct, 30)
        assert engine.poll() == []
        with pytest.raises(EngineError, match=r"adapter 'green' was not given.*\['red'\]"):
            engine.submit([Request(0, (1,), "green", 0)])
        engine.close()
    assert capfd.readouterr() == ("", "")


ENDS: list[tuple[Fault, str, bool]] = [
    ("kill", "was killed by signal 9 .*most often because the system ran out of memory", True),
    ("segv", "was killed by signal 11 .*it last said 'Fatal Python error: Segmentation fault'", False),
    ("exit", "ended with status 7 .*it last said 'RuntimeError: NCCL gave up'", False),
    ("raise", "died while working on 30 requests: RuntimeError: the kernel went away", False),
    ("memory", "out of memory while working on 30 requests: RuntimeError: CUDA out of memory", True),
    ("orphan", "ended with status 3", False),
    ("stop", "sent nothing for 3 s", False),
    ("hang", r"sent nothing for 3 s while working on 30 requests; raise generate\.stall_s", False),
]


@pytest.mark.parametrize(("fault", "says", "is_memory"), ENDS, ids=[end[0] for end in ENDS])
def test_every_end_is_one_line_after_all_that_was_answered(fault: Fault, says: str, is_memory: bool) -> None:
    with process_engine(fault, after=20, stall_s=3.0) as engine:
        engine.submit(requests(50))
        done = []
        with pytest.raises(EngineDied, match=f"^engine planted: (its process )?{says}") as caught:
            while True:
                done += engine.poll()
    assert [one.id for one in done] == list(range(20))
    assert caught.value.out_of_memory is is_memory
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        ("kill", EngineDied, "killed by signal 9 .* while starting"),
        ("memory", EngineDied, "out of memory while starting: RuntimeError: CUDA"),
        ("raise", EngineError, "^RuntimeError: the kernel went away$"),
        ("", AdapterError, "^adapter 'red': does not fit$"),
    ],
)
def test_an_error_in_the_start_arrives_with_its_type(fault: Fault, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        ProcessEngine("planted", partial(open_faulty, fault))
    assert type(caught.value) is error


def test_an_unknown_model_is_one_line() -> None:
    with pytest.raises((EngineError, RecipeError)) as caught:
        open_process_engine("transformers", "/no/such/model", {}, Sampling())
    assert "/no/such/model" in str(caught.value) and "\n" not in str(caught.value)
    assert not isinstance(caught.value, EngineDied)


def test_what_it_prints_is_kept_in_the_log_behind_what_was_there(tmp_path: Path) -> None:
    log = tmp_path / ".work" / "engine.log"
    for _ in range(2):
        with process_engine("exit", log=log) as engine:
            engine.submit(requests(1))
            with pytest.raises(EngineDied, match=rf"\(all of it: {log}\)$"):
                engine.poll()
    assert log.read_text().count("NCCL gave up") == 2


def test_a_stop_ends_every_wait_at_once_and_the_child_with_it() -> None:
    is_stopping = False
    with process_engine("hang", stopping=lambda: is_stopping, stall_s=40.0) as engine:
        pid = engine.score((1,), [(1,)]) and engine._process.pid
        engine.submit(requests(5))
        is_stopping = True
        began = time.monotonic()
        with pytest.raises(Incomplete, match="stopped while working on 5 requests; run the same command"):
            engine.poll()
        engine.close()
        assert time.monotonic() - began < 10  # not the limit of a hang
        assert pid and not is_alive(pid)
    with pytest.raises(Incomplete, match="stopped while starting"):
        ProcessEngine("planted", open_planted, stopping=lambda: True)


PARENT = """\
import sys, threading
from functools import partial
from synthgen.engines.process import ProcessEngine
from synthgen.engines.protocol import Request
from tests.engines.planted import open_planted

def work():
    engine = ProcessEngine("planted", partial(open_planted, sys.argv[1]))
    engine.submit([Request(0, (1,), None, 0)])
    print(engine._process.pid, flush=True)
    engine.poll()

if sys.argv[2] == "thread":
    threading.Thread(target=work).start()
else:
    work()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(("fault", "where"), [("hang", "thread"), ("stop", "main")])
def test_a_killed_parent_takes_its_child_along_and_needs_no_main_guard(
    fault: Fault, where: str, tmp_path: Path
) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    command = [sys.executable, str(tmp_path / "parent.py"), fault, where]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.kill()
    deadline = time.monotonic() + PATIENCE_S
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(pid)


def open_light() -> Engine:
    heavy = {"torch", "transformers", "vllm", "polars"} & set(sys.modules)
    if heavy:
        raise EngineError(f"loaded {heavy}")
    return open_planted()


def test_the_child_loads_no_more_than_its_engine() -> None:
    ProcessEngine("planted", open_light).close()


def test_the_words_of_too_little_memory() -> None:
    for text in (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to",
        "No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
        "To serve at least one request with the models's max seq len (4096), (1.0 GiB KV cache is needed, which",
        "Free memory on device cuda:0 (1/80 GiB) on startup is less than desired GPU memory utilization (0.9)",
        "OSError: [Errno 12] Cannot allocate memory",
    ):
        assert tells_of_memory(text), text
    for text in ("shared memory segment in use", "memory format", "model has no cache"):
        assert not tells_of_memory(text), text
    error = EngineError("engine vllm: cannot start")
    error.__cause__ = MemoryError()
    assert is_out_of_memory(error) and not is_out_of_memory(EngineError("engine vllm: cannot start"))


def test_last_words_are_the_line_that_says_the_most() -> None:
    assert last_words("") == ""
    assert last_words("start\nready\n\n") == "ready"
    assert last_words("ValueError: bad shape\n  0%|   |\r100%|###|\nbye") == "ValueError: bad shape"
    assert last_words("what():  can't allocate memory\nFatal Python error: Aborted\nRuntimeError: x") == (
        "what(): can't allocate memory"
    )
    assert len(last_words("Error " * 100)) == 200


def test_exit_statuses_in_words() -> None:
    assert in_words(None) == "broke the line"
    assert in_words(3) == "ended with status 3"
    assert in_words(-15) == "was killed by signal 15 (Terminated)"
