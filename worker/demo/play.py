"""Plays a plan on the bus and the screen that fit it, until it ends or somebody stops it."""

from __future__ import annotations

import asyncio
import io
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.text import Text

from worker.cli.loop import new_event_loop
from worker.demo.counting import Summary
from worker.demo.crm import Crm, MemoryCrm
from worker.demo.lines import Lines
from worker.demo.plan import Plan
from worker.demo.report import report
from worker.demo.run import Demo
from worker.demo.screen import LiveScreen, Photographer
from worker.demo.view import NoScreen, Screen

#: Columns and lines of the picture; as the smallest usual terminal, but room for longer questions.
PICTURE_COLUMNS, PICTURE_LINES = 100, 28


@dataclass(frozen=True, slots=True)
class Shown:
    """Where the run is shown."""

    #: Stdout is for the summary alone.
    as_json: bool = False
    #: A picture of the run goes here.
    svg: Path | None = None


def play(plan: Plan, shown: Shown) -> Summary:
    """Play and return the summary, which is printed unless stdout is for JSON."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal of another time cannot show every character; the rest of the line is worth seeing.
        sys.stdout.reconfigure(errors="replace")
    console = Console(stderr=shown.as_json, highlight=False)
    photographer = Photographer(_screen_of(console, plan, shown), height=PICTURE_LINES)
    demo = Demo(plan, _crm_of(plan), photographer if shown.svg else photographer.screen)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        summary = runner.run(_until_stopped(demo))
    if not shown.as_json:
        console.print(Group(Text(), report(summary)))
    if shown.svg is not None:
        shown.svg.write_text(_picture(photographer.taken, summary), encoding="utf-8")
    return summary


async def _until_stopped(demo: Demo) -> Summary:
    """Run; a SIGTERM or the end of the terminal takes everything away as Ctrl-C does."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await demo.run()
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def _crm_of(plan: Plan) -> Crm:
    if plan.rabbitmq_url is None:
        return MemoryCrm()
    from worker.demo.crm_rabbitmq import RabbitmqCrm  # noqa: PLC0415 (pika is slow to import)

    return RabbitmqCrm(plan.rabbitmq_url, ca_file=plan.rabbitmq_ca_file)


def _screen_of(console: Console, plan: Plan, shown: Shown) -> Screen:
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveScreen(console)
    if shown.as_json:
        return NoScreen()
    return Lines(console, shows_answers=plan.is_story)


def _picture(middle: RenderableType, summary: Summary) -> str:
    """Draw a frame from the middle of the run, and the summary."""
    console = Console(record=True, width=PICTURE_COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ askrelay demo", style="bold"))
    console.print(Group(middle, Text("\n[...]\n", style="dim"), report(summary)))
    svg = console.export_svg(title="askrelay demo")
    # The fonts would come from somebody else's server; a picture in a README should not call anybody.
    return re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
