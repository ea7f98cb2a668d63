"""The closed list is well-formed, and it and the code name the same events and fields, none more or less."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from worker.core.log_events import ALWAYS, EVENTS, FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.core.log_events import LogEvent

ROOT = Path(__file__).parents[2]
WORKER = ROOT / "worker"
#: The list itself names every event, and proves nothing by it.
LIST = WORKER / "core" / "log_events.py"
#: Written through ``at`` with a dict of fields; test_logs_library has its lines.
OF_LIBRARIES = "library.logged"
#: What would name content of the event: never a field.
FORBIDDEN = {
    "question",
    "answer",
    "contact_id",
    "external_id",
    "metadata",
    "text",
    "body",
    "key",
    "thread_id",
}


def lines_of(tree: ast.Module) -> Iterator[tuple[int, str | None, set[str]]]:
    """Yield place, event and fields of every call that writes a line; the event is None for a variable.

    A call with ``**fields`` hands on what somebody else wrote, and is left out.
    """
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name.strip("_") != "log" or any(keyword.arg is None for keyword in node.keywords):
            continue
        first = node.args[0]
        event = first.value if isinstance(first, ast.Constant) else None
        yield node.lineno, event, {keyword.arg for keyword in node.keywords if keyword.arg}


def names_in(tree: ast.Module) -> set[str]:
    """Return the events of the list that a module names anywhere."""
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)} & set(EVENTS)


@cache
def written() -> dict[str, dict[str, set[str]]]:
    """Return event -> place -> fields, read from the source.

    A call whose event is a variable stands for the events that its module names and writes nowhere else.
    """
    found: dict[str, dict[str, set[str]]] = defaultdict(dict)
    for path in sorted(WORKER.rglob("*.py")):
        if path == LIST:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = list(lines_of(tree))
        outright = {event for _, event, _ in calls if event is not None}
        for number, event, fields in calls:
            for each in [event] if event is not None else names_in(tree) - outright:
                found[each][f"{path.relative_to(ROOT)}:{number}"] = fields
    return found


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_log_event_is_well_formed(event: LogEvent) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*", event.name)
    assert event.meaning.endswith(".")
    assert set(event.fields) <= set(FIELDS), "every field has a meaning"
    assert not set(event.fields) & (FORBIDDEN | set(ALWAYS))
    assert len(event.fields) == len(set(event.fields))


def test_every_field_belongs_to_an_event() -> None:
    assert set(FIELDS) == {field for event in EVENTS.values() for field in event.fields}


def test_code_writes_only_events_and_fields_of_the_list() -> None:
    wrong = [
        f"{place}: {event} {sorted(fields - set(EVENTS[event].fields)) if event in EVENTS else 'is unknown'}"
        for event, places in written().items()
        for place, fields in places.items()
        if event not in EVENTS or not fields <= set(EVENTS[event].fields)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "event", [event for event in EVENTS.values() if event.name != OF_LIBRARIES], ids=lambda event: event.name
)
def test_code_writes_every_event_of_the_list_with_every_field(event: LogEvent) -> None:
    places = written().get(event.name, {})
    assert places, f"{event.name} is in the list, and no code writes it: take it out"
    assert set().union(*places.values()) == set(event.fields)


@pytest.mark.parametrize("name", EVENTS)
def test_some_test_waits_for_every_event_of_the_list(name: str) -> None:
    quoted = f'"{name}"'
    assert any(
        quoted in path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py"))
    ), f"no test names {name}"
