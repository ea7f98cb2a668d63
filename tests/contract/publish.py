"""Freeze what a version promises, once, when it is released: ``python -m tests.contract.publish 0.2``.

Writes the published documents, messages that are taken with what they mean, and replies with their bytes,
into a folder that nobody changes afterwards. test_events_compatibility holds every later version against it.
"""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from schemas import (
    MAX_EVENT_BYTES,
    MAX_EVENT_DEPTH,
    MAX_ID_BYTES,
    AskedQuestion,
    Citation,
    RawEvent,
    answered_event,
    decode_event,
    failed_event,
    json_schema,
    reply_id,
)
from schemas.asyncapi import asyncapi_document
from schemas.examples import ANSWERED_EXAMPLE, ASKED_EXAMPLE, FAILED_EXAMPLE

FOLDER = Path(__file__).parent / "published"
STRUCTURED = "application/cloudevents+json"


def nested(levels: int) -> Any:
    return [] if levels == 1 else [nested(levels - 1)]


def structured(event: dict[str, Any], content_type: str | None = STRUCTURED) -> dict[str, Any]:
    return {"body": json.dumps(event), "content_type": content_type}


def asking(**fields: Any) -> dict[str, Any]:
    return structured({**ASKED_EXAMPLE, "data": {**ASKED_EXAMPLE["data"], **fields}})


def binary(prefix: str, **others: Any) -> dict[str, Any]:
    attributes = {**{name: value for name, value in ASKED_EXAMPLE.items() if name != "data"}, **others}
    return {
        "body": json.dumps(ASKED_EXAMPLE["data"]),
        "content_type": "application/json",
        "headers": {f"{prefix}{name}": value for name, value in attributes.items()},
    }


def messages() -> dict[str, dict[str, Any]]:
    """Return messages of every kind that is taken, by name; the values are those of RawEvent."""
    shortest = {name: ASKED_EXAMPLE[name] for name in ("specversion", "id", "source", "type")}
    data = {"contact_id": "EXT_1", "question": "May I?"}
    encoded = base64.b64encode(json.dumps(data).encode()).decode()
    return {
        "structured": structured(ASKED_EXAMPLE),
        "structured, shortest": structured({**shortest, "data": data}),
        "structured, nulls": structured(
            {**shortest, "time": None, "data": {**data, "lang": None, "metadata": None}}
        ),
        "structured, unknown fields": structured(
            {**ASKED_EXAMPLE, "shade": 1, "data": {**data, "later": []}}
        ),
        "structured, no content type": structured(ASKED_EXAMPLE, None),
        "structured, data_base64": structured({**shortest, "data_base64": encoded}),
        "binary, cloudEvents:": binary("cloudEvents:"),
        "binary, cloudEvents_": binary("cloudEvents_", time=1_795_204_800_000),
        "binary, ce-": binary("ce-"),
        "bare": {"body": json.dumps(data), "message_id": "evt-1", "app_id": "crm/acme"},
        "bare, no app_id": {"body": json.dumps(data), "message_id": "evt-1", "type": "Acme.QuestionAsked"},
        "integers": asking(contact_id=12345, thread_id=9),
        "empty is not set": asking(thread_id="", lang=""),
        "long contact": asking(contact_id="x" * 500),
        "letters of all kinds": asking(
            contact_id="客户 😀", question="מה?\nوأين\x00 👩‍👩‍👧‍👦", lang="zh-Hant-TW"
        ),
        "metadata of any kind": asking(metadata=[1, 2.5, None, {"a": {"b": ["c"]}}]),
        "deepest": asking(metadata=nested(MAX_EVENT_DEPTH - 2)),
        "longest id": structured(
            {**ASKED_EXAMPLE, "id": "é" * (MAX_ID_BYTES // 2), "source": "s" * MAX_ID_BYTES}
        ),
        "offset and fraction": structured({**ASKED_EXAMPLE, "time": "2026-11-20T21:30:00.123456+01:30"}),
        "trace in headers": {
            **structured(ASKED_EXAMPLE),
            "headers": {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01", "tracestate": "a=b"},
        },
        "broken trace": structured({**ASKED_EXAMPLE, "traceparent": "none"}),
    }


def meaning(message: dict[str, Any]) -> dict[str, Any]:
    """Return what one message is decoded to, and the id of its reply."""
    question = decode_event(RawEvent(**{**message, "body": message["body"].encode()}))
    assert isinstance(question, AskedQuestion)
    return {**asdict(question), "reply_id": reply_id(question.source, question.event_id)}


def replies() -> dict[str, str]:
    """Return the bytes of replies, by name."""
    return {
        "answered": answered_event(**reply_fields(ANSWERED_EXAMPLE)).decode(),
        "failed": failed_event(**reply_fields(FAILED_EXAMPLE)).decode(),
    }


def reply_fields(example: dict[str, Any]) -> Any:
    """Return what an example was made from."""
    data = {name: value for name, value in example["data"].items() if name != "provider"}
    if "citations" in data:
        data["citations"] = [Citation(**each) for each in data["citations"]]
    return {**data, "reply_id": example["id"], "traceparent": example["traceparent"], "tracestate": None}


def documents() -> dict[str, Any]:
    """Return everything that is frozen, by file name."""
    return {
        **{f"{name}.schema.json": schema for name, schema in json_schema().items()},
        "asyncapi.json": asyncapi_document(),
        "messages.json": {
            name: {"message": message, "meaning": meaning(message)} for name, message in messages().items()
        },
        "replies.json": replies(),
        "limits.json": {"event_bytes": MAX_EVENT_BYTES, "depth": MAX_EVENT_DEPTH, "id_bytes": MAX_ID_BYTES},
    }


def main(version: str) -> None:
    """Write the folder of a version; one that is there stays as it is."""
    folder = FOLDER / version
    folder.mkdir(parents=True)
    for name, document in documents().items():
        (folder / name).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
