"""The plan: arithmetic that any machine repeats."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.plan import Plan


def plan(n: int = 1000, seed: int = 7, rows: int = 64) -> Plan:
    return Plan(n, seed, (("a", 0.5), ("base", 0.3), ("b", 0.2)), rows)


def test_every_id_belongs_to_exactly_one_shard() -> None:
    p = plan()
    assert [i for shard in range(p.n_shards) for i in p.ids(shard)] == list(range(1000))
    assert all(i in p.ids(p.shard_of(i)) for i in range(1000))


def test_shares_hold_in_every_stretch() -> None:
    p = plan(n=10_000)
    for start in (0, 3_000, 9_000):
        counts = Counter(p.adapter_of(i) for i in range(start, start + 1000))
        assert abs(counts["a"] - 500) < 8 and abs(counts["base"] - 300) < 8 and abs(counts["b"] - 200) < 8


def test_a_longer_plan_begins_with_the_shorter_one() -> None:
    short, long = plan(n=100), plan(n=100_000)
    for i in range(100):
        assert short.adapter_of(i) == long.adapter_of(i)
        assert short.seed_of(i, 0) == long.seed_of(i, 0)


@given(st.integers(0, 2**40), st.integers(0, 9))
def test_seeds_differ_by_record_attempt_and_run(record_id: int, attempt: int) -> None:
    seeds = {
        plan().seed_of(record_id, attempt),
        plan().seed_of(record_id + 1, attempt),
        plan().seed_of(record_id, attempt + 1),
        plan(seed=8).seed_of(record_id, attempt),
    }
    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_fingerprint_sees_what_makes_a_record_and_not_how_many_there_are() -> None:
    prints = {plan().fingerprint, plan(seed=8).fingerprint, plan(rows=65).fingerprint}
    assert len(prints) == 3
    assert plan().fingerprint == plan(n=1001).fingerprint == plan().extended(1001).fingerprint


@given(st.integers(1, 300), st.lists(st.integers(1, 300), max_size=4), st.integers(1, 70))
def test_an_extended_plan_begins_with_the_shorter_one_shard_by_shard(
    n: int, more: list[int], rows: int
) -> None:
    short = plan(n=n, rows=rows)
    for extra in more:
        long = short.extended(short.n + extra)
        assert [long.ids(k) for k in range(short.n_shards)] == [short.ids(k) for k in range(short.n_shards)]
        assert long.ids(short.n_shards).start == short.n
        short = long
    assert [i for k in range(short.n_shards) for i in short.ids(k)] == list(range(short.n))
    assert all(i in short.ids(short.shard_of(i)) for i in range(short.n))
    assert max(len(short.ids(k)) for k in range(short.n_shards)) <= rows


def test_an_extended_plan_gives_every_id_the_adapter_and_seed_it_has_without() -> None:
    grown, whole = plan(n=100).extended(500), plan(n=500)
    assert [grown.adapter_of(i) for i in range(500)] == [whole.adapter_of(i) for i in range(500)]
    assert [grown.seed_of(i, 1) for i in range(500)] == [whole.seed_of(i, 1) for i in range(500)]


@pytest.mark.parametrize("n", [999, 1000])
def test_a_plan_is_never_shortened(n: int) -> None:
    with pytest.raises(ValueError, match="cannot be extended"):
        plan(n=1000).extended(n)
