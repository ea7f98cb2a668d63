"""``askrelay status``."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.output import print_json, print_table
from worker.cli.spans import moment_json, span_text
from worker.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from worker.adapters.ledger.report import GateReport, LedgerReport

#: s. Between two looks of --watch: quick enough to see work go on, slow enough not to be work.
LOOK_EVERY_S = 2.0
#: s. For asking the broker how many events were rejected; everything else comes from the ledger.
BROKER_S = 3.0

_HEADINGS = ("WHAT", "NOW", "")

#: What keeps the gate closed, in words.
_REASONS = {
    "breaker": "the API fails again and again",
    "throttled": "the API asked for a pause",
    "credits_exhausted": "the plan's queries are used up",
    "credentials_rejected": "the API refuses the key",
    "project_not_found": "the API knows no such project",
}


@dataclass(frozen=True, slots=True)
class Status:
    """One look at the ledger and at the broker."""

    ledger: LedgerReport
    #: Events in the rejected queue; None when the broker cannot be asked.
    rejected: int | None


def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every 2 s until Ctrl-C.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object; with --watch, one a line.")
    ] = False,
) -> None:
    """Show what waits, what failed and who works.

    Reads the ledger, and asks the broker how many events were rejected. Counts stop at 100,000 open and at
    the latest 20,000 finished questions, so that a look costs little however large the ledger is.

    Example: askrelay status --watch
    """
    settings = load_settings()
    from worker.adapters.ledger.report import Reports  # noqa: PLC0415 (wrong settings are told first)

    with Reports(settings.database_url) as reports:

        def look() -> Status:
            return Status(reports.ledger(), _rejected(settings))

        if not watch:
            _print(look(), as_json=as_json)
        else:
            _watch(look, as_json=as_json)


def rows_of(seen: Status) -> Iterator[tuple[str, str, str]]:
    """Yield what a person wants to know: a name, a figure, and what it means."""
    ledger = seen.ledger
    now = ledger.now

    def counted(name: str, count: int) -> str:
        return f"{count:,}+" if name in ledger.at_least else f"{count:,}"

    yield "waiting", counted("waiting", ledger.waiting), "questions not posted yet"
    oldest = "-" if ledger.oldest_at is None else span_text(now - ledger.oldest_at)
    yield "oldest", f"{oldest}{'+' if 'oldest' in ledger.at_least else ''}", "how long the first has waited"
    yield "in flight", counted("in_flight", ledger.in_flight), "conversations in work now"
    yield "unknown", counted("unknown", ledger.unknown), "posts that are being read back"
    yield "held", counted("held", ledger.held), "for a person: were they posted?"
    since = "" if ledger.finished_since is None else f", in the last {span_text(now - ledger.finished_since)}"
    latest = f"of the latest {ledger.finished:,} that finished{since}"
    yield "failed", counted("failed", sum(ledger.failed.values())), latest
    for code, count in ledger.failed.items():
        yield f"  {code}", counted("failed", count), ""
    rejected = "n/a" if seen.rejected is None else f"{seen.rejected:,}"
    meaning = "the broker cannot be asked" if seen.rejected is None else "events in the rejected queue"
    yield "rejected", rejected, meaning
    age = "" if ledger.outbox_oldest_at is None else f", oldest {span_text(now - ledger.outbox_oldest_at)}"
    yield "outbox", counted("outbox", ledger.outbox_waiting), f"replies not published yet{age}"
    yield "unroutable", counted("outbox", ledger.outbox_unroutable), "replies that no queue takes"
    if ledger.mirror_waiting or ledger.mirror_trouble:
        yield "mirror", counted("mirror", ledger.mirror_waiting), "conversations to be mirrored"
        yield from _mirror_trouble(ledger)
    if ledger.ratings_waiting:
        yield "ratings", counted("ratings", ledger.ratings_waiting), "not at the API yet"
        yield from _last_tries(ledger.ratings_trouble)
    yield "duplicates", f"{ledger.duplicate_posts:,}", "questions that were posted twice (duplicate_post)"
    if ledger.late_posts:
        yield "late posts", f"{ledger.late_posts:,}", "left later than ASKRELAY_SEND_GRACE_S allows"
    for gate in ledger.gates:
        key = f"API key {gate.key[:8]}: " if len(ledger.gates) > 1 else ""
        is_open, why = gate_text(gate, now)
        yield "gate", is_open, f"{key}{why}"
        if gate.is_altering:
            yield "", "", f"{key}the API alters texts: a post without a trace is held"
    if not ledger.gates:
        yield "gate", "open", "nothing was sent yet"
    yield "workers", f"{len(ledger.workers):,}", "seen within the last minute"
    for worker in ledger.workers:
        seen_ago = f"seen {span_text(now - worker.seen_at)} ago, up {span_text(now - worker.started_at)}"
        yield "", worker.version, f"{worker.worker_id}: {seen_ago}"


def _mirror_trouble(ledger: LedgerReport) -> Iterator[tuple[str, str, str]]:
    if ledger.mirror_refused:
        yield "  refused", f"{ledger.mirror_refused:,}", "set aside until their next answer"
    yield from _last_tries(ledger.mirror_trouble)


def _last_tries(trouble: dict[str, int]) -> Iterator[tuple[str, str, str]]:
    for code, count in trouble.items():
        yield f"  {code}", f"{count:,}", "why their last try failed"


def gate_text(gate: GateReport, now: float) -> tuple[str, str]:
    """Return whether a gate is open, and why it is not."""
    if gate.reason is None or gate.closed_until is None:
        return "open", "questions may be sent"
    left_s = gate.closed_until - now
    if gate.is_probing:
        then = "one question is trying it now"
    elif gate.needs_probe:
        then = "the next question tries it" if left_s <= 0 else f"tried again in {span_text(left_s)}"
    else:
        then = f"opens in {span_text(left_s)}"
    return "closed", f"{_REASONS.get(gate.reason, gate.reason)}; {then}"


def json_of(seen: Status) -> dict[str, Any]:
    """Return the same for programs: counts are numbers, moments ISO 8601, spans seconds."""
    ledger = seen.ledger
    return {
        "at": moment_json(ledger.now),
        "waiting": ledger.waiting,
        "oldest_s": None if ledger.oldest_at is None else round(max(ledger.now - ledger.oldest_at, 0.0), 3),
        "in_flight": ledger.in_flight,
        "unknown": ledger.unknown,
        "held": ledger.held,
        "failed": ledger.failed,
        "duplicate_posts": ledger.duplicate_posts,
        "late_posts": ledger.late_posts,
        "finished_looked_at": ledger.finished,
        "finished_since": moment_json(ledger.finished_since),
        "rejected": seen.rejected,
        "outbox": {
            "waiting": ledger.outbox_waiting,
            "unroutable": ledger.outbox_unroutable,
            "oldest_at": moment_json(ledger.outbox_oldest_at),
        },
        "mirror": {
            "waiting": ledger.mirror_waiting,
            "refused": ledger.mirror_refused,
            "trouble": ledger.mirror_trouble,
        },
        "ratings": {"waiting": ledger.ratings_waiting, "trouble": ledger.ratings_trouble},
        "gates": [
            {
                "key": gate.key,
                "is_open": gate.reason is None,
                "reason": gate.reason,
                "closed_until": moment_json(gate.closed_until),
                "is_probing": gate.is_probing,
                "is_altering": gate.is_altering,
            }
            for gate in ledger.gates
        ],
        "workers": [
            {
                "worker_id": worker.worker_id,
                "version": worker.version,
                "started_at": moment_json(worker.started_at),
                "seen_at": moment_json(worker.seen_at),
            }
            for worker in ledger.workers
        ],
        "at_least": sorted(ledger.at_least),
    }


def _print(seen: Status, *, as_json: bool) -> None:
    if as_json:
        print_json(json_of(seen))
    else:
        print_table(_HEADINGS, list(rows_of(seen)))


def _watch(look: Callable[[], Status], *, as_json: bool) -> None:
    """Look again and again: redrawn on a terminal, one look after the other in a pipe."""
    if sys.stdout.isatty() and not as_json:
        _redraw(look)
        return
    while True:
        seen = look()
        if as_json:
            import json  # noqa: PLC0415 (a line each, which print_json does not do)

            typer.echo(json.dumps(json_of(seen), ensure_ascii=False))
        else:
            _print(seen, as_json=False)
            typer.echo()
        time.sleep(LOOK_EVERY_S)


def _redraw(look: Callable[[], Status]) -> None:
    from rich.live import Live  # noqa: PLC0415 (a pipe does without)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    def drawn() -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for index, heading in enumerate(_HEADINGS):
            table.add_column(heading, overflow="fold", no_wrap=index < 2)
        for row in rows_of(look()):
            table.add_row(*(Text(cell) for cell in row))
        return table

    with Live(drawn(), auto_refresh=False) as live:
        while True:
            time.sleep(LOOK_EVERY_S)
            live.update(drawn(), refresh=True)


def _rejected(settings: Settings) -> int | None:
    """Ask the broker how many events lie in the rejected queue; None when it cannot say."""
    try:
        return asyncio.run(_ask_rejected(settings))
    except Exception:  # noqa: BLE001 - a broker that is away has many ways to say so, and all mean: not now
        return None


async def _ask_rejected(settings: Settings) -> int:
    from worker.adapters.rabbitmq.config import connection_parameters  # noqa: PLC0415 (slow)
    from worker.adapters.rabbitmq.wire import open_wire  # noqa: PLC0415

    parameters = connection_parameters(
        settings.rabbitmq_url, ca_file=settings.rabbitmq_ca_file, connection_name="askrelay status"
    )
    async with asyncio.timeout(BROKER_S):
        wire = await open_wire(parameters)
        try:
            opened = await wire.open_channel()
            answer = await opened.call(
                opened.channel.queue_declare, queue=settings.rejected_queue, passive=True
            )
            return int(answer.method.message_count)
        finally:
            await wire.close()
