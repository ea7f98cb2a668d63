"""The demo on a terminal: progress, a table and what just happened, redrawn in place."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from worker.demo.view import Happening, Row, Screen, View

#: Lines of the frame that are neither rows nor happenings: titles, bar, headings, blanks.
FIXED_LINES = 5
#: The frame is no taller, however tall the terminal is: what happens should be seen at one glance.
TALLEST = 34
#: Of what is left of the height, happenings get this part.
HAPPENINGS_PART = 0.42
#: At most so many rows show questions that wait.
WAITING_ROWS = 4

#: Part of the replies at which the picture is taken, if it shows the kill: before all is well again.
TAKEN_AT_PART = 0.6

_STYLES = {"answered": "green", "recovered": "yellow", "reposted": "yellow"}


class LiveScreen:
    """Redraws one frame."""

    def __init__(self, console: Console, *, height: int | None = None) -> None:
        self._console = console
        self._height = height
        self._live: Live | None = None
        self._view: View | None = None

    def start(self, view: View) -> None:
        """Begin to draw."""
        self._view = view
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
        self._live.start()

    def answered(self, row: Row) -> None:
        """The next tick shows it."""

    def happened(self, happening: Happening) -> None:
        """The next tick shows it."""

    def tick(self) -> None:
        """Draw the frame anew."""
        if self._live is not None and self._view is not None:
            self._live.update(frame(self._view, height=self._height or self._console.height), refresh=True)

    def stop(self) -> None:
        """Leave the last frame where it is."""
        if self._live is not None:
            self._live.stop()
            self._live = None


class Photographer:
    """Passes everything on to another screen, and keeps one frame from the middle of the run."""

    def __init__(self, screen: Screen, *, height: int) -> None:
        self.screen = screen
        self._height = height
        self._view: View | None = None
        self.taken: RenderableType = Text()
        self._shows_highlight = False
        self._is_taken = False

    def start(self, view: View) -> None:
        """Begin."""
        self._view = view
        self.screen.start(view)

    def answered(self, row: Row) -> None:
        """Pass it on."""
        self.screen.answered(row)

    def happened(self, happening: Happening) -> None:
        """Pass it on."""
        self.screen.happened(happening)

    def tick(self) -> None:
        """Keep the frame when it is time, and pass it on."""
        if self._view is not None and not self._is_taken:
            self._take(self._view)
        self.screen.tick()

    def _take(self, view: View) -> None:
        latest = latest_happenings(view, height=self._height)
        shows_highlight = any(happening.is_highlight for happening in latest)
        if self._shows_highlight and not shows_highlight:
            # On a slow machine more happens meanwhile: the frame before this one is the better picture.
            self._is_taken = True
            return
        self.taken, self._shows_highlight = frame(view, height=self._height), shows_highlight
        self._is_taken = shows_highlight and view.replied >= TAKEN_AT_PART * view.questions

    def stop(self) -> None:
        """Pass it on."""
        self.screen.stop()


def frame(view: View, *, height: int) -> RenderableType:
    """Return everything that is shown, in at most this many lines."""
    rows, happenings = _lines(height)
    return Group(
        Text(view.setting, style="bold", no_wrap=True, overflow="ellipsis"),
        _progress(view),
        Text(),
        _table(view, rows),
        Text(),
        *_happenings(latest_happenings(view, height=height), happenings),
    )


def latest_happenings(view: View, *, height: int) -> list[Happening]:
    """Return what a frame of this many lines shows of what happened, latest last."""
    _, lines = _lines(height)
    return list(view.happenings)[-lines:]


def _lines(height: int) -> tuple[int, int]:
    """Return how many rows and how many happenings have room."""
    room = max(min(height - 1, TALLEST) - FIXED_LINES, 4)
    happenings = int(room * HAPPENINGS_PART)
    return room - happenings, happenings


def _progress(view: View) -> RenderableType:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True, justify="right")
    bar = ProgressBar(total=max(view.questions, 1), completed=view.replied)
    grid.add_row(bar, Text(f"asked {view.handed_in}, answered {view.replied} of {view.questions}"))
    return grid


def _table(view: View, lines: int) -> RenderableType:
    table = Table(box=None, expand=True, pad_edge=False, header_style="bold dim", padding=(0, 1, 0, 0))
    table.add_column("contact", no_wrap=True, width=13, overflow="ellipsis")
    table.add_column("question", no_wrap=True, ratio=5, overflow="ellipsis")
    table.add_column("answer", no_wrap=True, ratio=4, overflow="ellipsis")
    table.add_column("conv.", no_wrap=True, width=6, justify="right")
    table.add_column("verdict", no_wrap=True, width=10, overflow="ellipsis")
    waiting = view.waiting[: min(WAITING_ROWS, lines)]
    answered = list(view.latest)[-(lines - len(waiting)) :] if lines > len(waiting) else []
    for row in answered:
        style = _STYLES.get(row.verdict, "red")
        table.add_row(*_cells(row), Text(row.verdict, style=style))
    for row in waiting:
        table.add_row(*_cells(row), Text("..."), style="dim")
    for _ in range(lines - len(answered) - len(waiting)):
        table.add_row()
    return table


def _cells(row: Row) -> tuple[Text, Text, Text, Text]:
    # Text, never markup: a contact may write square brackets.
    return Text(row.contact), Text(row.question), Text(row.answer), Text(row.conversation)


def _happenings(latest: list[Happening], lines: int) -> list[RenderableType]:
    shown: list[RenderableType] = [
        Text(
            f"{happening.at_s:5.1f} s  {happening.text}",
            style="red" if happening.is_trouble else "",
            no_wrap=True,
            overflow="ellipsis",
        )
        for happening in latest
    ]
    return shown + [Text() for _ in range(lines - len(latest))]
