"""``askrelay run``: a worker."""

from __future__ import annotations

import asyncio
import gc
from typing import Annotated

import typer

from worker.settings import load_settings

#: Objects between two collections of the youngest, and how many of these between those of the older ones. A
#: turn makes some hundred objects and hardly a cycle: with the 700 of Python 3.11, a tenth of the CPU goes
#: into looking for cycles.
COLLECT_AFTER = (50_000, 20, 10)


def run(
    *,
    after_restore: Annotated[
        bool,
        typer.Option(
            "--after-restore",
            help="The ledger was restored from a backup: look for every question before its first post.",
        ),
    ] = False,
) -> None:
    """Run a worker until it is told to stop (SIGTERM or Ctrl-C).

    Takes questions from RabbitMQ, answers them with the agent and publishes the replies. Run more of them to
    scale out: they share the work and the pace. A SQLite ledger is migrated at the start; a PostgreSQL one
    has to be up to date (askrelay db upgrade).

    Example: CUSTOMGPT_API_KEY_FILE=/run/secrets/key CUSTOMGPT_PROJECT_ID=123 askrelay run
    """
    settings = load_settings(needs=frozenset({"api", "ledger"}))
    from worker.bootstrap import run_worker  # noqa: PLC0415 (wrong settings are told before the slow imports)
    from worker.cli.loop import new_event_loop  # noqa: PLC0415

    # The modules stay for good: no collection has to look at them.
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run_worker(settings, is_after_restore=after_restore))
