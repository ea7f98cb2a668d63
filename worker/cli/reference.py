"""Writes the pages of docs/reference that follow from the code, or checks that they are in step.

python -m worker.cli.reference            write docs/reference/*.md
python -m worker.cli.reference --check    write nothing; exit with 10 and name the pages that are out of step
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.adapters.metrics.catalogue import METRICS, PROCESS_METRICS, Metric
from worker.adapters.rabbitmq.troubles import TROUBLES
from worker.cli.app import COMMANDS, PROGRAM
from worker.cli.exit_codes import ExitCode
from worker.core import errors
from worker.core.log_events import ALWAYS, EVENTS, FIELDS
from worker.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FOLDER = Path(__file__).parents[2] / "docs" / "reference"

_NOTE = "<!-- Written by `python -m worker.cli.reference`. Change the code, not this page. -->"

_EXAMPLE = re.compile(r"^Example: (.*)", re.MULTILINE)

#: What a group of errors means for the event or question, by class.
_CONSEQUENCES = {
    errors.EventError: "The event goes to the rejected queue with this code as `x-askrelay-reason`.",
    errors.AssistantError: "What a call to the API came to; the turn decides what follows.",
    errors.TurnError: "The question ends with a failed reply whose `reason` is this code.",
    errors.LedgerError: "Nothing is lost: what was not committed is done again.",
    errors.MirrorError: "The reply is out already; only the copy of the conversation is missing.",
    errors.ReplyError: "The reply stays in the outbox and is published again.",
    errors.DoorbellError: "Questions start up to 5 s later, when a worker looks by itself; none is lost.",
    errors.SettingsError: "The start stops and says what to do.",
}


def pages() -> dict[str, str]:
    """Return every page by its file name."""
    bodies = {
        "settings.md": _settings(),
        "commands.md": _commands(),
        "logs.md": _logs(),
        "metrics.md": _metrics(),
        "errors.md": _errors(),
        "exit-codes.md": _exit_codes(),
    }
    return {name: f"{_NOTE}\n\n" + "\n".join(lines).rstrip() + "\n" for name, lines in bodies.items()}


def main(arguments: Sequence[str]) -> int:
    """Write or check the pages and return the exit code."""
    stale = [name for name, text in pages().items() if _on_disk(name) != text]
    for name in stale:
        if "--check" in arguments:
            sys.stderr.write(f"{name} is out of step; run: python -m worker.cli.reference\n")
        else:
            FOLDER.mkdir(parents=True, exist_ok=True)
            (FOLDER / name).write_text(pages()[name], encoding="utf-8")
            sys.stdout.write(f"wrote {name}\n")
    return ExitCode.CHECK_FAILED if stale and "--check" in arguments else ExitCode.OK


def _on_disk(name: str) -> str:
    path = FOLDER / name
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _settings() -> Iterator[str]:
    yield "# Settings\n"
    yield (
        "Settings are environment variables. Each may be given as `NAME_FILE` too: the path of a file with"
        " the value in it, without its last line end. What is empty counts as not set. A wrong value or an"
        " unknown `ASKRELAY_` name stops the start and names the nearest right one. `askrelay settings` shows"
        " what is in force.\n"
    )
    rows = [
        (
            " or ".join(f"`{name}`" for name in setting.names if name.isupper()),
            f"`{setting.default}`" if setting.default else "-",
            setting.must_be,
            setting.about,
        )
        for setting in SETTINGS
    ]
    yield from _table(("Name", "Default", "Value", "Meaning"), rows)


def _commands() -> Iterator[str]:
    yield "# Commands\n"
    yield f"`{PROGRAM}` and `python -m worker` are the same program; see its [exit codes](exit-codes.md).\n"
    yield from _table(("Command", ""), [(f"`{PROGRAM} {each.name}`", each.summary) for each in COMMANDS])
    for command in COMMANDS:
        yield from _command(f"{PROGRAM} {command.name}", command.load())


def _command(path: str, command: Any) -> Iterator[str]:
    """Yield the section of one command, and those of the commands in it."""
    yield f"\n## {path}\n"
    yield _EXAMPLE.sub(r"Example: `\1`", inspect.cleandoc(command.help or "")) + "\n"
    rows = [
        (f"`{' / '.join(_spellings(each))}`", _default(each), getattr(each, "help", "") or "")
        for each in command.params
        if "--help" not in each.opts
        and not each.name.endswith("completion")
        and not getattr(each, "hidden", False)
    ]
    if rows:
        yield from _table(("Parameter", "Default", "Meaning"), rows)
    for name, inner in getattr(command, "commands", {}).items():
        yield from _command(f"{path} {name}", inner)


def _spellings(parameter: Any) -> list[str]:
    if parameter.param_type_name == "argument":
        return [parameter.name.upper()]
    return [*parameter.opts, *parameter.secondary_opts]


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    return "-" if value is None or value is False or callable(value) else f"`{value}`"


def _logs() -> Iterator[str]:
    yield "# Logs\n"
    yield (
        "One JSON object per line on stdout, or readable lines on a terminal (`ASKRELAY_LOG_FORMAT`). This"
        " list is closed: nothing else is logged. No question, answer, contact id, metadata or secret is ever"
        " logged.\n"
    )
    yield "## Events\n"
    yield from _table(
        ("Event", "Level", "Meaning", "Fields"),
        [
            (f"`{each.name}`", each.level, each.meaning, ", ".join(f"`{field}`" for field in each.fields))
            for each in EVENTS.values()
        ],
    )
    yield "\n## Fields\n"
    yield "Names end in their unit: `_s` seconds, `_chars` characters, `_bytes` bytes. A field may be null.\n"
    every = [*ALWAYS.items(), *sorted(FIELDS.items())]
    yield from _table(("Field", "Meaning"), [(f"`{name}`", meaning) for name, meaning in every])


def _metrics() -> Iterator[str]:
    yield "# Metrics\n"
    yield (
        "`GET /metrics` on `ASKRELAY_HEALTH_HOST` and `ASKRELAY_HEALTH_PORT` (127.0.0.1:8088), in the text"
        " format of Prometheus or as OpenMetrics, whichever is asked for. Base units; no label holds a"
        " contact, an event or a text. Counters begin at 0 for the values that alerts look at; every other"
        " series with labels is not there until its first count.\n"
    )
    yield "## Of each worker\n"
    yield "Scrape every worker and sum over them: each counts what it did itself, from its own start.\n"
    yield from _metric_table(metric for metric in METRICS if not metric.is_fleet_wide)
    yield "\n## Of the fleet\n"
    yield (
        "Read from the ledger at a scrape, at most every 3 s, and the same from every worker: take the `max`"
        " over workers, never the sum. They are left out while the ledger cannot be reached.\n"
    )
    yield from _metric_table(metric for metric in METRICS if metric.is_fleet_wide)
    yield "\n## Of the process\n"
    yield from _metric_table(PROCESS_METRICS)


def _metric_table(metrics: Iterable[Metric]) -> Iterator[str]:
    rows = [
        (
            f"`{each.name}`",
            each.kind,
            each.about,
            "; ".join(f"`{label}`: {values}" for label, values in each.labels) or "-",
        )
        for each in metrics
    ]
    yield from _table(("Metric", "Kind", "Meaning", "Labels"), rows)


def _errors() -> Iterator[str]:
    yield "# Errors\n"
    yield "The same word stands in logs, metrics, `x-askrelay-reason` and the `reason` of a failed reply.\n"
    for group, consequence in _CONSEQUENCES.items():
        yield f"## {group.__name__}\n"
        yield f"{consequence}\n"
        leaves = group.__subclasses__() or [group]
        yield from _table(("Code", "Meaning"), [(f"`{leaf.code}`", _first_line(leaf)) for leaf in leaves])
        yield ""
    yield "## The broker\n"
    yield (
        "What `bus.disconnected` tells: the connection is tried again by itself, with pauses of up to 30 s."
        " Questions wait in RabbitMQ meanwhile, replies in the outbox.\n"
    )
    rows = [(f"`{each.code}`", each.meaning, f"{_capital(each.to_do)}.") for each in TROUBLES]
    yield from _table(("Code", "Meaning", "What to do"), rows)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _exit_codes() -> Iterator[str]:
    yield "# Exit codes\n"
    yield from _table(
        ("Code", "Name", "Meaning"), [(f"{each:d}", each.name, each.meaning) for each in ExitCode]
    )


def _first_line(documented: type) -> str:
    return (inspect.getdoc(documented) or "").partition("\n")[0]


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in (headings, ["---"] * len(headings), *rows):
        yield "| " + " | ".join(re.sub(r"([|<])", r"\\\1", cell) for cell in row) + " |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
