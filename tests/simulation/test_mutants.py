"""A proof that cannot fail proves nothing: each rule taken out alone is found missing."""

from __future__ import annotations

import pytest

from tests.simulation.many import first_found
from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.simulation import simulate
from tests.simulation.tables import Tables

#: A mutant has to be found within so many.
SEEDS = 1000


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_found(mutant: Mutant) -> None:
    found = first_found(mutant, range(SEEDS))
    assert found is not None, f"without PROTOCOL {mutant.rule}, {mutant.name}, {SEEDS} seeds look well"
    tried, result = found
    print(f"{mutant.name}: found after {tried} seeds, seed {result.seed}: {result.violations[0]}")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_code_without_the_mutation_keeps_its_promises_under_the_same_faults(mutant: Mutant) -> None:
    for seed in range(10):
        result = simulate(seed, mutant.scenario(), Tables())
        assert not mutant.breaks & {violation.promise for violation in result.violations}, seed
