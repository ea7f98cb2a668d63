"""Play all the chaos there is, with a progress bar and a table of results.

    python -m tests.chaos [--only kill,broker] [--match TEXT] [--list] [--keep FOLDER]

Exit code 1 when a promise was broken or a trouble did not happen.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.chaos.catalogue import Ground, Scene, scenes
from tests.chaos.outcome import Outcome
from tests.chaos.table import table_of
from tests.judge import Judgement
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.reaper import Reaper


def main() -> int:
    """Play what is asked for; returns the exit code."""
    parser = argparse.ArgumentParser(description="chaos on real processes")
    parser.add_argument("--only", help="groups, separated by commas")
    parser.add_argument("--match", default="", help="scenes whose name has this text")
    parser.add_argument("--list", action="store_true", help="show the scenes and end")
    parser.add_argument("--keep", type=Path, help="folder for the workers' logs; else they are removed")
    wanted = parser.parse_args()
    groups = set(wanted.only.split(",")) if wanted.only else None
    chosen = [
        scene
        for scene in scenes()
        if (groups is None or scene.group in groups) and wanted.match in scene.name
    ]
    if wanted.list:
        for scene in chosen:
            print(f"{scene.group:12} {scene.name} ({scene.cells})")
        return 0
    if not chosen:
        print("no such scene; --list shows all", file=sys.stderr)
        return 2
    begun = time.monotonic()
    # Wide when nobody watches: a table in a file should not be folded.
    console = Console(width=None if sys.stdout.isatty() else 200)
    outcomes = play(chosen, console, wanted.keep)
    console.print(table_of(outcomes))
    bad = [outcome for outcome in outcomes if not outcome.is_good]
    for outcome in bad:
        console.print(
            f"[bold red]broken[/] {outcome.group}: {outcome.cell}: {'; '.join(outcome.complaints())}"
        )
    minutes = (time.monotonic() - begun) / 60
    console.print(f"{len(outcomes)} cells in {minutes:.1f} minutes, {len(bad)} broken")
    return 1 if bad else 0


def play(chosen: Sequence[Scene], console: Console, keep: Path | None) -> list[Outcome]:
    """Play scenes one after the other on servers of their own."""
    outcomes: list[Outcome] = []
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="askrelay-chaos-")))
        folder.mkdir(parents=True, exist_ok=True)
        reaper = stack.enter_context(closing(Reaper()))
        rabbitmq = stack.enter_context(closing(RabbitMQ(reaper)))
        postgres = stack.enter_context(closing(Postgres(reaper)))
        ground = Ground(rabbitmq, postgres, folder)
        progress = stack.enter_context(
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=console,
            )
        )
        bar = progress.add_task("", total=sum(scene.cells for scene in chosen))
        for scene in chosen:
            progress.update(bar, description=f"{scene.group}: {scene.name}")
            rabbitmq.start()
            postgres.start()
            found = outcomes_of(scene, ground)
            outcomes += found
            for outcome in found:
                if not outcome.is_good:
                    progress.console.print(
                        f"[red]{outcome.group}: {outcome.cell}[/]: {'; '.join(outcome.complaints())}"
                    )
            progress.advance(bar, scene.cells)
    return outcomes


def outcomes_of(scene: Scene, ground: Ground) -> list[Outcome]:
    """Play a scene; one that breaks down is a broken cell and not the end of the run."""
    try:
        return scene.play(ground)
    except Exception as error:  # noqa: BLE001 - what stops one scene must not hide what the others show
        first_line = (str(error).splitlines() or [""])[0]
        what = f"{type(error).__name__}: {first_line}; --keep FOLDER keeps the logs"
        return [Outcome(scene.group, scene.name, 0, Judgement(), other=[what])]


if __name__ == "__main__":
    sys.exit(main())
