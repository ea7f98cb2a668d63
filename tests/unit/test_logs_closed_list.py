"""The closed list is well-formed, and the code writes nothing that is not in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from worker.core.log_events import ALWAYS, EVENTS, FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.core.log_events import LogEvent

WORKER = Path(__file__).parents[2] / "worker"
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


def emitted() -> Iterator[tuple[str, str, set[str]]]:
    """Yield place, event and fields of every call that writes a line, read from the source."""
    for path in sorted(WORKER.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0]
            if name.strip("_") == "log" and isinstance(first, ast.Constant) and isinstance(first.value, str):
                fields = {keyword.arg for keyword in node.keywords if keyword.arg}
                yield f"{path.relative_to(WORKER)}:{node.lineno}", first.value, fields


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
        for place, event, fields in emitted()
        if event not in EVENTS or not fields <= set(EVENTS[event].fields)
    ]
    assert wrong == []
