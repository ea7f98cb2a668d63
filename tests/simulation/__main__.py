"""Run seeds: ``python -m tests.simulation --seed 7`` for one step by step, ``--seeds 20000`` for many."""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.simulation.assumptions import ASSUMPTIONS
from tests.simulation.many import Summary, hunted, results_of
from tests.simulation.mutants import MUTANTS
from tests.simulation.simulation import Scenario, simulate
from tests.simulation.tables import Tables

#: Failing seeds that are printed one by one.
SHOWN = 20


def main() -> int:
    """Do what the command line asks and return the exit code."""
    options = _options()
    console = Console()
    if options.mutants:
        return _hunt(console, options.seeds or 1000)
    if options.seed is not None:
        return _replay(options.seed, options.without, options.mutant)
    return _run(console, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay one seed, step by step")
    parser.add_argument("--seeds", type=int, help="how many seeds to run (2000)")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--jobs", type=int, help="processes (one per core)")
    parser.add_argument("--without", choices=ASSUMPTIONS, help="break an assumption of PROTOCOL 1")
    parser.add_argument("--mutants", action="store_true", help="find every mutant")
    parser.add_argument("--mutant", help="with --seed: replay it with a rule off, by a part of its name")
    return parser.parse_args()


def _scenario(without: str | None) -> Scenario:
    return ASSUMPTIONS[without].scenario() if without else Scenario()


def _replay(seed: int, without: str | None, mutant: str | None) -> int:
    scenario = _scenario(without)
    if mutant is None:
        result = simulate(seed, replace(scenario, has_trace=True), Tables())
    else:
        found = next(each for each in MUTANTS if mutant in each.name)
        with found.switched_on():
            result = simulate(seed, replace(found.scenario(), has_trace=True), Tables())
    for line in result.trace:
        print(line)
    print(f"\nseed {seed}: {result.questions} questions, {result.posts} posts, {result.replies} replies")
    for name, subject in result.breaks:
        print(f"broken on purpose: {name} ({subject})")
    for violation in result.violations:
        print(f"VIOLATION {violation}")
    print("verdict:", "broken" if result.violations else "every promise was kept")
    return int(bool(result.violations))


def _run(console: Console, options: argparse.Namespace) -> int:
    count = options.seeds or 2000
    seeds = range(options.first, options.first + count)
    assumption = ASSUMPTIONS.get(options.without)
    summary, unexplained = Summary(), []
    begun = time.monotonic()
    with _progress(console) as progress:
        task = progress.add_task("simulating", total=count)
        for result in results_of(seeds, _scenario(options.without), options.jobs):
            summary.add(result)
            if assumption is not None and assumption.unexplained(result):
                unexplained.append(result)
            progress.advance(task)
    failing = summary.failing if assumption is None else unexplained
    console.print(_table(summary, time.monotonic() - begun))
    if assumption is not None:
        console.print(f"without {assumption.name} ({assumption.says}): {dict(summary.promises)}")
    for result in sorted(failing, key=lambda result: result.seed)[:SHOWN]:
        console.print(
            f"seed {result.seed}: {'; '.join(map(str, result.violations))[:300]}",
            markup=False,
            soft_wrap=True,
        )
        suffix = f" --without {options.without}" if options.without else ""
        console.print(f"    replay: python -m tests.simulation --seed {result.seed}{suffix}", soft_wrap=True)
    kept = "every promise was kept" if assumption is None else "every violation is explained by a break"
    console.print(f"{len(failing)} of {count} seeds failed" if failing else f"{count} seeds: {kept}")
    return int(bool(failing))


def _table(summary: Summary, seconds: float) -> Table:
    table = Table(title="Simulation", title_justify="left", show_header=False)
    table.add_row("seeds", f"{summary.seeds:,}")
    table.add_row("questions", f"{summary.questions:,}")
    table.add_row("posts", f"{summary.posts:,}")
    table.add_row("replies that came out", f"{summary.replies:,}")
    table.add_row("virtual time", f"{summary.virtual_s / 3600:,.0f} h")
    table.add_row("time", f"{seconds:,.0f} s on {os.cpu_count()} cores")
    table.add_section()
    for name, times in sorted(summary.faults.items()):
        table.add_row(f"fault: {name}", f"{times:,}")
    table.add_section()
    for name, times in sorted(summary.promises.items()):
        table.add_row(f"VIOLATED: {name}", f"{times:,}")
    return table


def _hunt(console: Console, seeds: int) -> int:
    table = Table("rule taken out", "PROTOCOL", "found after", "as", title="Mutants", title_justify="left")
    begun, survivors = time.monotonic(), 0
    with _progress(console) as progress:
        task = progress.add_task("hunting", total=len(MUTANTS))
        for mutant, tried in hunted(MUTANTS, seeds):
            survivors += tried is None
            found = "SURVIVED" if tried is None else f"{tried} seeds"
            table.add_row(mutant.name, mutant.rule, found, ", ".join(sorted(mutant.breaks)))
            progress.advance(task)
    console.print(table)
    console.print(f"{len(MUTANTS) - survivors} of {len(MUTANTS)} found in {time.monotonic() - begun:,.0f} s")
    return int(bool(survivors))


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


if __name__ == "__main__":
    sys.exit(main())
