"""Waits until a new agent has read its sources, and shows how far it is."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import typer

from worker.core.errors import Throttled, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.adapters.customgpt_admin import CustomGptAdmin, IndexingState

#: s. Between two looks, growing: a small site is read within seconds, and a plan may allow only 60 requests a
#: minute, of which a look takes two.
FIRST_LOOK_S = 0.5
LATER_LOOK_S = 5.0


async def wait_until_active(api: CustomGptAdmin, project_id: int, *, timeout_s: float) -> bool:
    """Return true as soon as the project can answer, false when it cannot within the time.

    An API that is away for a moment ends nothing: the project is being read meanwhile.
    """
    loop = asyncio.get_running_loop()
    until, pause_s = loop.time() + timeout_s, FIRST_LOOK_S
    with ExitStack() as stack:
        tell = _progress(stack)
        while True:
            try:
                row = await api.project(project_id)
                if row.is_chat_active:
                    return True
                tell(await api.indexing(project_id))
            except (Unreachable, Throttled):
                pass
            left_s = until - loop.time()
            if left_s <= 0:
                return False
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 1.5, LATER_LOOK_S)


def _progress(stack: ExitStack) -> Callable[[IndexingState], None]:
    """Return what shows the progress on stderr: a bar on a terminal, else a line when it changes."""
    if not sys.stderr.isatty():
        return _Lines().tell
    from rich.console import Console  # noqa: PLC0415 (a pipe does without)
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("indexing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
    task = bar.add_task("indexing", total=None)

    def tell(state: IndexingState) -> None:
        bar.update(task, total=state.pages_found or None, completed=state.pages_indexed or 0)

    return tell


class _Lines:
    def __init__(self) -> None:
        self._last = ""

    def tell(self, state: IndexingState) -> None:
        found = "?" if not state.pages_found else f"{state.pages_found:,}"
        line = f"indexing: {state.pages_indexed or 0:,} of {found} documents"
        if line != self._last:
            typer.echo(line, err=True)
        self._last = line
