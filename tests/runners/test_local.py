"""A plan worked off by engines that die: every record once, by the attempt that would have made it anyway."""

from __future__ import annotations

from contextlib import closing

import pytest

from schemas.die import Die
from synthgen.engines.protocol import Engine
from synthgen.plan import Plan
from synthgen.runners.local import Work, attempts
from synthgen.schema import RecordSchema
from synthgen.validation import Record, Rejection
from tests.engines.planted import Fault, open_planted, supervised

N = 150
SCHEMA = RecordSchema.from_model(Die)


def outcomes(engine: Engine) -> dict[tuple[int, int], Record | Rejection]:
    """Every attempt's outcome by record id and attempt; none comes twice."""
    work = Work(Plan(N, 7, (("base", 1.0),), N), SCHEMA, (1, 2), max_attempts=20)
    made = [outcome for _, outcome in attempts(work, ((i, 0) for i in range(N)), engine)]
    by_try = {(outcome.id, outcome.attempt): outcome for outcome in made}
    assert len(by_try) == len(made)
    assert sorted(one.id for one in made if isinstance(one, Record)) == list(range(N))
    return by_try


@pytest.mark.parametrize(("deaths", "held"), [(["kill", "kill"], [64, 32, 16]), (["hang"], [64, 64])])
def test_deaths_in_mid_run_spend_no_attempt_and_double_nothing(deaths: list[Fault], held: list[int]) -> None:
    notes: list[str] = []
    lives = [(fault, 50) for fault in deaths]
    engine, capacities = supervised(*lives, ("", 0), stall_s=3.0, note=notes.append)
    with closing(engine):
        assert outcomes(engine) == outcomes(open_planted())
        assert capacities == held
        assert len(notes) == len(deaths) == engine.info.settings["restarts"]
