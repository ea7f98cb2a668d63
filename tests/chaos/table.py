"""The table at the end."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from tests.chaos.outcome import COLUMNS, Outcome


def table_of(outcomes: Sequence[Outcome]) -> Table:
    """Return one row per cell, groups apart, and the sums."""
    table = Table(title="Chaos, judged from outside", title_justify="left")
    table.add_column("group")
    table.add_column("cell")
    for name in ("hits", "questions", "posts", *COLUMNS, "s"):
        table.add_column(name, justify="right")
    table.add_column("note")
    sums = dict.fromkeys(COLUMNS, 0)
    for before, outcome in zip([None, *outcomes], outcomes, strict=False):
        if before is not None and before.group != outcome.group:
            table.add_section()
        counts = outcome.counts()
        for column, count in counts.items():
            sums[column] += count
        judgement = outcome.judgement
        table.add_row(
            outcome.group,
            outcome.cell,
            Text(str(outcome.hits), "" if outcome.hits else "bold red"),
            str(judgement.questions),
            str(judgement.posts),
            *(Text(str(count), "bold red" if count else "") for count in counts.values()),
            f"{outcome.duration_s:.0f}",
            Text("; ".join([*outcome.complaints(), *([outcome.note] if outcome.note else [])]))
            if not outcome.is_good
            else outcome.note,
        )
    table.add_section()
    questions = sum(outcome.judgement.questions for outcome in outcomes)
    posts = sum(outcome.judgement.posts for outcome in outcomes)
    hits = sum(outcome.hits > 0 for outcome in outcomes)
    table.add_row(
        "all",
        f"{len(outcomes)} cells, {hits} hit",
        "",
        str(questions),
        str(posts),
        *(str(count) for count in sums.values()),
        "",
        "",
    )
    return table
