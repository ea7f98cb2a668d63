"""PROTOCOL 1: what may happen when an assumption is broken, and nothing else."""

from __future__ import annotations

import pytest

from tests.simulation.assumptions import ASSUMPTIONS, Assumption
from tests.simulation.many import Summary, results_of

#: Seeds for each assumption.
SEEDS = 100


@pytest.mark.timeout(600)
@pytest.mark.parametrize("assumption", ASSUMPTIONS.values(), ids=ASSUMPTIONS.keys())
def test_a_broken_assumption_breaks_only_what_it_may(assumption: Assumption) -> None:
    summary, unexplained = Summary(), {}
    for result in results_of(range(SEEDS), assumption.scenario(), jobs=1):
        summary.add(result)
        if left := assumption.unexplained(result):
            unexplained[result.seed] = list(map(str, left))
    assert not unexplained
    # Otherwise the protocol would not need the assumption, or the simulation does not break it.
    assert summary.promises.keys() & assumption.may_break
