"""The plan: arithmetic that any machine repeats."""

from collections import Counter

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


def test_the_fingerprint_sees_every_part() -> None:
    prints = {
        plan().fingerprint,
        plan(n=1001).fingerprint,
        plan(seed=8).fingerprint,
        plan(rows=65).fingerprint,
    }
    assert len(prints) == 4
    assert plan().fingerprint == plan().fingerprint
