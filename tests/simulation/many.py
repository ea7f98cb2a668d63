"""Many seeds on all cores."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.simulation import Result, Scenario, simulate
from tests.simulation.tables import Tables

#: Seeds that a process takes at once.
CHUNK = 8


def results_of(seeds: Iterable[int], scenario: Scenario, jobs: int | None = None) -> Iterator[Result]:
    """Run seeds and yield their results as they come."""
    yield from _map(partial(_one, scenario), seeds, jobs)


def first_found(mutant: Mutant, seeds: Iterable[int]) -> tuple[int, Result] | None:
    """Return how many seeds it took to find a mutant, and the run that did; None when it survives."""
    with mutant.switched_on():
        for tried, seed in enumerate(seeds, start=1):
            result = simulate(seed, mutant.scenario(), _tables())
            if any(violation.promise in mutant.breaks for violation in result.violations):
                return tried, result
    return None


def hunted(mutants: Iterable[Mutant], seeds: int) -> Iterator[tuple[Mutant, int | None]]:
    """Hunt mutants side by side; yields each with the number of seeds it took."""
    names = [mutant.name for mutant in mutants]
    by_name = {mutant.name: mutant for mutant in MUTANTS}
    for name, tried in _map(partial(_hunt, seeds), names, None, chunk=1):
        yield by_name[name], tried


@dataclass
class Summary:
    """What many runs came to."""

    seeds: int = 0
    questions: int = 0
    posts: int = 0
    replies: int = 0
    virtual_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    promises: Counter[str] = field(default_factory=Counter)
    failing: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Count a run."""
        self.seeds += 1
        self.questions += result.questions
        self.posts += result.posts
        self.replies += result.replies
        self.virtual_s += result.virtual_s
        self.faults.update(result.faults)
        self.promises.update(violation.promise for violation in result.violations)
        if result.violations:
            self.failing.append(result)


_kept: list[Tables] = []


def _tables() -> Tables:
    if not _kept:
        _kept.append(Tables())
    return _kept[0]


def _one(scenario: Scenario, seed: int) -> Result:
    return simulate(seed, scenario, _tables())


def _hunt(seeds: int, name: str) -> tuple[str, int | None]:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    found = first_found(mutant, range(seeds))
    return name, None if found is None else found[0]


def _map(function, items, jobs, *, chunk: int = CHUNK):  # noqa: ANN001, ANN202 - as Pool.imap_unordered
    jobs = jobs or os.cpu_count() or 1
    if jobs == 1:
        yield from map(function, items)
        return
    # spawn: a fork would copy whatever threads and connections the caller has.
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(function, items, chunksize=chunk)
