from __future__ import annotations

import pytest

from synthgen.engines import choose, open_engine
from synthgen.engines.fake import ByteCodec, FakeEngine, answers_by_hints
from synthgen.engines.protocol import Request, Sampling
from synthgen.errors import EngineError

PROMPT = """Generate a random thing. Answer with one line per field, each value between curly braces.
{Name}
{Kind - red/green}
{Born - YYYY-MM-DD}
{Seen - YYYY-MM-DD HH:MM}
{Age - 0-110}
{Price - 0.00}
{Place - City, Country}
{Colour - what it looks like: red/green}"""


def test_canned_texts_go_round() -> None:
    engine = FakeEngine(["{1}", "{2}"], capacity=2)
    engine.submit([Request(i, (1,), None, 0) for i in range(3)])
    assert [one.text for one in engine.poll()] == ["{1}", "{2}"]
    assert [one.text for one in engine.poll()] == ["{1}"]
    assert engine.poll() == []


def test_answers_by_hints_have_the_prompts_shape() -> None:
    engine = FakeEngine(answers_by_hints(ByteCodec()))
    engine.submit([Request(i, tuple(PROMPT.encode()), None, i) for i in range(50)])
    for one in engine.poll():
        name, kind, born, seen, age, price, place, colour = one.text.splitlines()
        assert kind in ("{red}", "{green}") and colour in ("{red}", "{green}")
        assert (len(born), len(seen)) == (12, 18)
        assert 0 <= int(age[1:-1]) <= 110 and len(price.partition(".")[2]) == 3
        assert ", " in place and name.startswith("{name ")


def test_it_dies_on_command() -> None:
    engine = FakeEngine(["{1}"], die_after=3)
    engine.submit([Request(i, (1,), None, 0) for i in range(5)])
    assert len(engine.poll()) == 3
    with pytest.raises(EngineError, match="died after 3"):
        engine.poll()


def test_failures_are_completions() -> None:
    engine = FakeEngine(["{1}"], fail_rate=0.3, sampling=Sampling())
    engine.submit([Request(i, (1,), None, 0) for i in range(200)])
    failed = [one for one in engine.poll() if one.finish_reason == "error"]
    assert 30 < len(failed) < 90 and all(one.detail for one in failed)


def test_choosing_imports_nothing_and_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthgen.engines.find_spec", lambda name: None if name == "vllm" else object())
    assert choose("auto") == "transformers"
    with pytest.raises(EngineError, match=r"vllm not installed here; install synthgen\[vllm\]"):
        choose("vllm")
    with pytest.raises(EngineError, match="'vlm': no such engine; expected auto, vllm, transformers, fake"):
        open_engine("vlm", "nano", {}, Sampling())
