"""The demo in a pipe: plain lines that fit 80 columns, no control characters."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from worker.demo.view import Happening, Row, View

#: Columns of the table; with the blanks between them 80.
WIDTHS = (13, 27, 20, 6, 10)
#: A file's progress is told this many times.
PARTS = 10


class Lines:
    """Prints a line when something happens."""

    def __init__(self, console: Console, *, shows_answers: bool) -> None:
        self._console = console
        self._shows_answers = shows_answers
        self._view: View | None = None
        self._told_parts = 0

    def start(self, view: View) -> None:
        """Say what is about to be seen."""
        self._view = view
        self._print(view.setting)

    def answered(self, row: Row) -> None:
        """Print the row, unless there are too many."""
        if self._shows_answers:
            self._print(in_columns(row))

    def happened(self, happening: Happening) -> None:
        """Print what happened."""
        mark = "!" if happening.is_trouble else "-"
        self._print(f"{mark} {happening.at_s:5.1f} s  {happening.text}")

    def tick(self) -> None:
        """Tell how far a long file is, every tenth of it."""
        view = self._view
        if view is None or self._shows_answers or not view.questions:
            return
        parts = PARTS * view.replied // view.questions
        if parts > self._told_parts:
            self._told_parts = parts
            self._print(f"- {view.replied} of {view.questions} answered")

    def stop(self) -> None:
        """Nothing has to be put back in order."""

    def _print(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)


def in_columns(row: Row) -> str:
    """Return a row as one line of 80 columns."""
    cells = (row.contact, row.question, row.answer, row.conversation, row.verdict)
    return " ".join(shortened(cell, width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def shortened(text: str, width: int) -> str:
    """Return the text in exactly this many columns."""
    cell = Text(text)
    cell.truncate(width, overflow="ellipsis", pad=True)
    return cell.plain
