"""The tables at the end of a bench, for the screen and for a page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from rich.table import Table

from tests.bench.aims import AIMS, AIO_PIKA, FASTSTREAM, Aim
from tests.bench.contenders import CONTENDERS
from tests.bench.figures import Run, in_order, ratios, values

#: A table: its title, its head, its rows.
Sheet = tuple[str, list[str], list[list[str]]]

_ORDER = [each.name for each in CONTENDERS]


def as_tables(runs: Sequence[Run]) -> list[Table]:
    """Return the tables for a terminal."""
    tables = []
    for title, head, rows in sheets(runs):
        table = Table(*head[:1], title=title, title_justify="left", title_style="bold")
        for name in head[1:]:
            table.add_column(name, justify="right")
        for row in rows:
            table.add_row(*row)
        tables.append(table)
    return tables


def as_markdown(runs: Sequence[Run]) -> str:
    """Return the tables for a page."""
    parts = []
    for title, head, rows in sheets(runs):
        rule = ["---", *["--:"] * (len(head) - 1)]
        parts.append(
            "\n".join([f"**{title}**", "", *(f"| {' | '.join(row)} |" for row in (head, rule, *rows))])
        )
    return "\n\n".join(parts)


def sheets(runs: Sequence[Run]) -> Iterator[Sheet]:
    """Yield every table that the runs have figures for; values are medians of the repetitions."""
    for regime in in_order(runs, "regime"):
        of_regime = [run for run in runs if run["regime"] == regime]
        if regime.startswith("doorbells"):
            continue
        if any("start_s" in run for run in of_regime):
            yield _start(regime, of_regime)
        elif any("added_p50_ms" in run for run in of_regime):
            yield _rate(regime, of_regime)
        else:
            yield _backlog(regime, of_regime)
    if rows := _doorbell_rows(runs):
        yield "dramatiq messages per question", ["load", "doorbells"], rows
    if rows := [row for aim in AIMS if (row := _aim_row(aim, runs))]:
        yield "aims", ["", "aim", "beyond", "found", ""], rows


def _backlog(regime: str, runs: Sequence[Run]) -> Sheet:
    head = [
        *("", "in flight", "questions/s", "CPU ms/question", "x aio-pika", "x FastStream"),
        *("broker ms", "database ms", "peak MB", "foreign cores", "runs"),
    ]
    rows = []
    for name in by_rank(runs):
        cpu = values(runs, regime=regime, contender=name, figure="cpu_ms")
        rows.append(
            [
                name,
                str(next(run["in_flight"] for run in runs if run["contender"] == name)),
                _middle(runs, regime, name, "per_s", 0),
                f"{_middle(runs, regime, name, 'cpu_ms', 2)}{_span(cpu.values(), 2)}",
                *(_ratio(runs, regime, name, peer) for peer in (AIO_PIKA, FASTSTREAM)),
                *(_middle(runs, regime, name, figure, 2) for figure in ("broker_ms", "database_ms")),
                _middle(runs, regime, name, "peak_mb", 0),
                _middle(runs, regime, name, "foreign_cores", 2),
                str(len(cpu)),
            ]
        )
    return f"API {regime}: a full queue", head, rows


def _rate(regime: str, runs: Sequence[Run]) -> Sheet:
    head = ["", "added p50 ms", "p99", "most", "CPU ms/question", "peak MB", "foreign cores", "runs"]
    figures = {"added_p50_ms": 1, "added_p99_ms": 1, "added_max_ms": 1, "cpu_ms": 2, "peak_mb": 0}
    rows = [
        [
            name,
            *(_middle(runs, regime, name, figure, digits) for figure, digits in figures.items()),
            _middle(runs, regime, name, "foreign_cores", 2),
            str(len(values(runs, regime=regime, contender=name, figure="cpu_ms"))),
        ]
        for name in by_rank(runs)
    ]
    return "an even rate: what a reply takes beyond the API's own time", head, rows


def _start(regime: str, runs: Sequence[Run]) -> Sheet:
    rows = [
        [name, *(_middle(runs, regime, name, figure, 2) for figure in ("start_s", "start_cpu_s"))]
        for name in by_rank(runs)
    ]
    return "start to first answer", ["", "s", "CPU s"], rows


def _doorbell_rows(runs: Sequence[Run]) -> list[list[str]]:
    rows = []
    for regime in in_order(runs, "regime"):
        found = [run["doorbells"] for run in runs if run["regime"] == regime and "doorbells" in run]
        if regime.startswith("doorbells") and found:
            rows.append([regime.removeprefix("doorbells "), f"{median(found):.3f}"])
        elif regime == "0 ms" and found:
            rows.append(["a full queue", f"{median(found):.3f}"])
    return sorted(rows, key=lambda row: row[0] == "a full queue")


def _aim_row(aim: Aim, runs: Sequence[Run]) -> list[str] | None:
    found = found_for(aim, runs)
    if not found:
        return None
    value = median(found)
    sign = "<=" if aim.is_at_most else ">="
    words = [f"{sign} {bound:g} {aim.unit}" for bound in (aim.aim, aim.beyond)]
    return [aim.what, *words, f"{_digits(value)} {aim.unit}{_span(found, 2)}", aim.verdict(value)]


def found_for(aim: Aim, runs: Sequence[Run]) -> list[float]:
    """Return what each repetition says about an aim."""
    runs = [run for run in runs if aim.in_flight in (None, run["in_flight"])]
    ours = values(runs, regime=aim.regime, contender=aim.ours, figure=aim.figure)
    if aim.against is None:
        return [ours[each] for each in sorted(ours)]
    return ratios(ours, values(runs, regime=aim.regime, contender=aim.against, figure=aim.figure))


def by_rank(runs: Sequence[Run]) -> list[str]:
    """Return the contenders in the order in which they are always shown: ours first."""
    return sorted(
        in_order(runs, "contender"), key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER)
    )


def _middle(runs: Sequence[Run], regime: str, name: str, figure: str, digits: int) -> str:
    found = values(runs, regime=regime, contender=name, figure=figure)
    return f"{median(found.values()):.{digits}f}" if found else "-"


def _ratio(runs: Sequence[Run], regime: str, name: str, peer: str) -> str:
    ours, theirs = (values(runs, regime=regime, contender=each, figure="cpu_ms") for each in (name, peer))
    found = ratios(ours, theirs)
    return f"{median(found):.2f}" if found else "-"


def _span(found: Iterable[float], digits: int) -> str:
    several = list(found)
    return f" ({min(several):.{digits}f}-{max(several):.{digits}f})" if len(several) > 1 else ""


def _digits(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"
