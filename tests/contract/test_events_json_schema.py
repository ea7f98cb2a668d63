"""The published JSON Schemas: in step with the models, and right about what is taken and written."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas import (
    AnsweredEvent,
    AskedEvent,
    EventRefused,
    FailedEvent,
    RawEvent,
    answered_event,
    asyncapi_document,
    decode_event,
    failed_event,
    json_schema,
    reply_id,
)
from schemas.__main__ import OUT_OF_STEP, main
from schemas.examples import ANSWERED_EXAMPLE, ASKED_EXAMPLE, FAILED_EXAMPLE, RATED_EXAMPLE
from schemas.published import PAGE, published_files

EXAMPLES = {
    "asked": ASKED_EXAMPLE,
    "rated": RATED_EXAMPLE,
    "answered": ANSWERED_EXAMPLE,
    "failed": FAILED_EXAMPLE,
}


def complaints(name: str, event: Any) -> list[str]:
    validator = Draft202012Validator(json_schema()[name], format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [error.json_path for error in validator.iter_errors(event)]


def test_schema_files_are_in_step_with_the_models() -> None:
    assert main(["--check"]) == 0


def test_check_fails_for_every_file_that_is_out_of_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, page = tmp_path / "json", tmp_path / "events.md"
    page.write_text(
        PAGE.read_text().replace("| `time` | RFC 3339 or null | no |", "| `time` | string | yes |")
    )
    assert main(["--check"], folder=folder, page=page) == OUT_OF_STEP
    assert main([], folder=folder, page=page) == 0
    assert main(["--check"], folder=folder, page=page) == 0
    assert page.read_text() == PAGE.read_text()
    (folder / "asked.schema.json").write_text("{}\n")
    (folder / "asyncapi.json").write_text("{}\n")
    (folder / "left-over.schema.json").write_text("{}\n")
    page.write_text(page.read_text().replace("`posted`, `recovered`", "`posted`"))
    capsys.readouterr()
    assert main(["--check"], folder=folder, page=page) == OUT_OF_STEP
    assert capsys.readouterr().err.splitlines() == [
        "asked.schema.json is out of step; run: python -m schemas",
        "asyncapi.json is out of step; run: python -m schemas",
        "events.md is out of step; run: python -m schemas",
        "left-over.schema.json is out of step; run: python -m schemas",
    ]
    assert main([], folder=folder, page=page) == 0
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        path.name for path in published_files() if path != PAGE
    )


def test_page_that_lost_the_place_of_a_table_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "events.md"
    page.write_text(PAGE.read_text().replace("<!-- table: failed -->", ""))
    with pytest.raises(ValueError, match="one place for each table"):
        main(["--check"], page=page)


def test_files_are_made_without_a_page_where_only_the_package_is_installed(tmp_path: Path) -> None:
    assert main([], folder=tmp_path / "json", page=tmp_path / "none.md") == 0
    assert not (tmp_path / "none.md").exists()


def test_page_has_a_row_for_every_field_and_says_which_are_required() -> None:
    """Counted in another way than the tables are made."""
    page = PAGE.read_text(encoding="utf-8")
    for model, name in ((AskedEvent, "asked"), (AnsweredEvent, "answered"), (FailedEvent, "failed")):
        table = page.split(f"<!-- table: {name} -->")[1].split("<!-- end of table -->")[0]
        rows = dict(re.findall(r"^\| `([\w.]+)` \| .*? \| (yes|no) \|", table, re.MULTILINE))
        data = model.model_fields["data"].annotation
        expected = {
            **{field: info for field, info in model.model_fields.items() if field != "data"},
            **{f"data.{field}": info for field, info in data.model_fields.items() if field != "options"},
        }
        if "options" in data.model_fields:
            options = data.model_fields["options"].annotation.model_fields
            expected |= {f"data.options.{field}": info for field, info in options.items()}
        assert {field: mark == "yes" for field, mark in rows.items()} == {
            field: info.is_required() for field, info in expected.items()
        }


def test_events_shown_on_the_page_are_the_examples() -> None:
    shown = [
        json.loads(each)
        for each in re.findall(r"^```json\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    ]
    assert [each["type"].rpartition(".")[2] for each in shown] == ["asked", "answered", "rated"]
    for event in shown:
        example = EXAMPLES[event["type"].rpartition(".")[2]]
        assert event == {name: value for name, value in example.items() if name != "traceparent"}


def test_page_names_every_amqp_property_of_a_reply() -> None:
    table = PAGE.read_text().split("## AMQP properties of a reply\n")[1].split("\n## ")[0]
    said = asyncapi_document()["components"]["messages"]["answered"]["x-amqp-properties"]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(said)


@pytest.mark.parametrize("name", EXAMPLES)
def test_schema_is_valid_and_takes_its_own_example(name: str) -> None:
    schema = json_schema()[name]
    Draft202012Validator.check_schema(schema)
    assert schema["examples"] == [EXAMPLES[name]]
    assert complaints(name, EXAMPLES[name]) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_schema_describes_every_field(name: str) -> None:
    schema = json_schema()[name]
    objects = [schema, *schema["$defs"].values()]
    undescribed = [
        field
        for described in objects
        for field, rule in described["properties"].items()
        if "description" not in rule and "$ref" not in rule
    ]
    assert undescribed == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_schema_leaves_room_for_fields_of_later_versions(name: str) -> None:
    event = copy.deepcopy(EXAMPLES[name])
    event["later"] = event["data"]["later"] = 1
    assert complaints(name, event) == []


def test_examples_belong_together() -> None:
    question = decode_event(RawEvent(json.dumps(ASKED_EXAMPLE).encode()))
    for reply in (ANSWERED_EXAMPLE, FAILED_EXAMPLE):
        assert reply["id"] == reply_id(ASKED_EXAMPLE["source"], ASKED_EXAMPLE["id"])
        assert reply["data"]["metadata"] == getattr(question, "metadata", None)


def test_replies_without_optional_values_fit_their_schemas() -> None:
    shared: dict[str, Any] = {
        "reply_id": reply_id("crm", "1"),
        "question_id": "1",
        "question_source": "crm",
        "contact_id": "c",
        "external_id": "c",
        "thread_id": None,
        "conversation_id": None,
        "metadata": None,
        "conversation_renewed": True,
        "attempts": 0,
        "asked_at": None,
        "traceparent": None,
        "tracestate": None,
    }
    at = "2026-11-20T20:00:03.250Z"
    answer = answered_event(
        **shared, project_id=1, session_id="s", message_id=1, answer="", fallback="no_answer", citations=[],
        provider_metadata={}, outcome="reposted_after_unknown", answered_at=at,
    )  # fmt: skip
    failure = failed_event(
        **shared,
        project_id=None,
        session_id=None,
        message_id=None,
        reason="expired",
        detail="Too late.",
        failed_at=at,
    )
    assert complaints("answered", json.loads(answer)) == []
    assert complaints("failed", json.loads(failure)) == []


def changed(place: str, value: Any) -> dict[str, Any]:
    event = copy.deepcopy(ASKED_EXAMPLE)
    *path, name = place.split(".")
    target = event["data"] if path else event
    if value is ...:
        del target[name]
    else:
        target[name] = value
    return event


CHANGES: list[tuple[str, Any]] = [
    ("specversion", "0.3"), ("specversion", ...), ("type", "other"), ("type", ...), ("data", ...),
    ("data", []), ("id", ...), ("id", ""), ("id", " "), ("id", 1), ("id", "x" * 256), ("id", "x" * 255),
    ("id", "a\x7f"), ("id", "a\n"),
    ("source", ...), ("source", ""), ("source", "a\nb"), ("source", "Ü"),
    ("time", 5), ("time", None), ("time", ...), ("expirytime", []), ("expirytime", None),
    ("data.contact_id", ...), ("data.contact_id", None), ("data.contact_id", ""), ("data.contact_id", "  "),
    ("data.contact_id", 12), ("data.contact_id", True), ("data.contact_id", 1.5),
    ("data.contact_id", "a\u202e"), ("data.contact_id", "a\x00"), ("data.contact_id", "客户 😀"),
    ("data.contact_id", "x" * 500),
    ("data.question", ...), ("data.question", ""), ("data.question", " \n"), ("data.question", 1),
    ("data.question", "a\x00\n😀"), ("data.thread_id", ""), ("data.thread_id", " "), ("data.thread_id", 9),
    ("data.thread_id", False), ("data.thread_id", ...), ("data.thread_id", "a\n"), ("data.lang", ""),
    ("data.lang", ...), ("data.lang", "pt-BR"), ("data.lang", "not a tag"), ("data.lang", 5),
    ("data.metadata", ...), ("data.metadata", [1]), ("data.metadata", "x"), ("data.later", {}),
]  # fmt: skip


@pytest.mark.parametrize(("place", "value"), CHANGES)
def test_schema_of_the_question_agrees_with_what_is_taken(place: str, value: Any) -> None:
    event = changed(place, value)
    try:
        decode_event(RawEvent(json.dumps(event).encode(), content_type="application/cloudevents+json"))
    except EventRefused:
        is_taken = False
    else:
        is_taken = True
    assert (complaints("asked", event) == []) == is_taken
