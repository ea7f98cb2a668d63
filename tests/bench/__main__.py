"""``make bench``: the worker with everything on beside what people would write instead, on real parts.

Runs are interleaved, and ratios are of runs of one repetition: a machine that slows down slows all of them.
Raw runs go to build/bench/, the tables to the screen. docs/explanation/performance.md says how to read them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.bench import contenders, kernel, measure, regimes
from tests.bench.check import check
from tests.bench.contenders import PEERS, PEERS_BIN, ROOT, Contender
from tests.bench.page import with_figures
from tests.bench.plot import plot
from tests.bench.regimes import DOORBELL_RATES, DOORBELL_RATES_QUICK, Regime, doorbell_regime
from tests.bench.stage import Stage
from tests.bench.tables import as_tables

#: Contacts that have a conversation before a run begins.
KNOWN, KNOWN_QUICK = 5000, 2000
#: What ``--publish`` writes.
PLOT, PAGE = ROOT / "docs" / "bench.svg", ROOT / "docs" / "explanation" / "performance.md"
#: Columns of the widest table.
WIDTH = 150


def main() -> int:
    """Do what the command line asks and return the exit code."""
    options = _options()
    console = Console()
    if not console.is_terminal:
        # A log has no width, and rich's guess would break every cell.
        console = Console(width=WIDTH)
    if options.report is not None:
        return _report(console, json.loads(options.report.read_text()), options)
    who = contenders.chosen(options.only)
    under = regimes.chosen(options.regimes, is_quick=options.quick)
    if not all(each.is_ours for each in who) and not PEERS_BIN.exists():
        console.print("The peers are not installed: run `make bench`, or once `make .venv-bench/.ready`.")
        return 2
    known = KNOWN_QUICK if options.quick or options.check else KNOWN
    with Stage(known=known, contenders=who) as stage:
        if options.check:
            return check(console, stage, who)
        record = {"machine": _machine(stage), "quick": options.quick, "runs": []}
        out = options.out or ROOT / "build" / "bench" / time.strftime("%Y%m%d-%H%M%S.json")
        out.parent.mkdir(parents=True, exist_ok=True)
        profiled = [replace(each, under=tuple(shlex.split(options.under))) for each in who]
        for run in _plan(profiled, under, options):
            found = _one(console, stage, *run)
            record["runs"].append(found)
            # After each, so that a run that is interrupted leaves what it has.
            out.write_text(json.dumps(record, indent=1) + "\n")
    console.print(f"raw runs: {out}")
    return _report(console, record, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short runs, one repetition: under 3 minutes")
    parser.add_argument("--reps", type=int, help="repetitions (3; quick: 1)")
    parser.add_argument("--only", default="", help="contenders by a part of their name: sqlite,aio-pika")
    parser.add_argument(
        "--regimes", default="", help="0, 50, 3000, latency, start, doorbells; several with commas"
    )
    parser.add_argument("--seconds", type=float, help="how long a backlog should last")
    parser.add_argument("--check", action="store_true", help="only see that every contender answers")
    parser.add_argument(
        "--under", default="", help="run contenders under this, a profiler: 'py-spy record -o a.svg --'"
    )
    parser.add_argument("--out", type=Path, help="where the raw runs go (build/bench/<time>.json)")
    parser.add_argument("--report", type=Path, help="print the tables of an earlier run, measure nothing")
    parser.add_argument("--publish", action="store_true", help="write tables and plot into the docs")
    parser.add_argument("--plot", type=Path, help="write the plot (SVG) there")
    return parser.parse_args()


def _plan(
    who: list[Contender], under: list[Regime], options: argparse.Namespace
) -> list[tuple[Contender, Regime, int]]:
    """Return the runs in their order: all contenders of a regime together, shuffled, again and again."""
    if options.seconds:
        under = [replace(regime, backlog_s=options.seconds) for regime in under]
    plan = []
    for repetition in range(options.reps or (1 if options.quick else 3)):
        for regime in under:
            # By repetition, so that nobody always runs after the same one.
            order = random.Random(repetition).sample(who, len(who))
            plan += [(contender, regime, repetition) for contender in order]
    if not options.regimes or "doorbells" in options.regimes:
        rates = [
            doorbell_regime(rate, is_quick=options.quick)
            for rate in (DOORBELL_RATES_QUICK if options.quick else DOORBELL_RATES)
        ]
        plan += [(who[0], regime, 0) for regime in rates if who[0].is_ours]
    return plan


def _one(
    console: Console, stage: Stage, contender: Contender, regime: Regime, repetition: int
) -> dict[str, Any]:
    name = f"{regime.name}-{repetition}".replace(" ", "-").replace("/", "-")
    found = measure.run(stage, contender, regime, name=name)
    shown = ("per_s", "cpu_ms", "broker_ms", "database_ms", "peak_mb", "added_p50_ms", "added_p99_ms")
    words = [f"{key} {found[key]:.2f}" for key in (*shown, "start_s", "foreign_cores") if found.get(key)]
    console.print(f"{repetition} {regime.name:16}{contender.name:30}{'  '.join(words)}", soft_wrap=True)
    return {"repetition": repetition, "is_ours": contender.is_ours, **found}


def _report(console: Console, record: dict[str, Any], options: argparse.Namespace) -> int:
    if options.plot is not None:
        options.plot.write_text(plot(record["runs"]))
    if options.publish:
        PLOT.write_text(plot(record["runs"]))
        PAGE.write_text(with_figures(PAGE.read_text(), record))
    for table in as_tables(record["runs"]):
        console.print(table)
    return 0


def _machine(stage: Stage) -> dict[str, Any]:
    """Say on what the figures were found, as far as it matters to them."""
    return {
        "day": time.strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "processor": kernel.processor(),
        "python": platform.python_version(),
        **stage.versions(),
        "peers": dict(
            re.findall(r"^([a-z0-9-]+)==([^ ;]+)", (PEERS / "requirements.lock").read_text(), re.MULTILINE)
        ),
        "load_before": os.getloadavg()[0],
    }


if __name__ == "__main__":
    sys.exit(main())
