"""The AsyncAPI document: valid to the official parser, and true about what the worker does on the bus."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from schemas import CONTRACT_VERSION, asyncapi_document
from schemas.bus_names import QUESTION_QUEUE_ARGUMENTS, REJECTED_QUEUE_ARGUMENTS
from schemas.examples import ANSWERED_EXAMPLE, FAILED_EXAMPLE
from tests.contract import official_parser
from worker.adapters.rabbitmq import topology
from worker.adapters.rabbitmq.config import BusConfig
from worker.adapters.rabbitmq.messages import reply_message
from worker.core.errors import EventError
from worker.core.model import Reply

#: Says that there is a newer AsyncAPI. 3.0.0 is what the tools around it read today.
ALLOWED = {"asyncapi-latest-version"}

ERROR = 0


def parsed(folder: Path, *documents: dict[str, Any]) -> list[dict[str, Any]]:
    paths = [folder / f"{number}.json" for number in range(len(documents))]
    for path, document in zip(paths, documents, strict=True):
        path.write_text(json.dumps(document), encoding="utf-8")
    return official_parser.parse(*paths)


def test_official_parser_takes_the_document_without_a_word(tmp_path: Path) -> None:
    document = asyncapi_document()
    (told,) = parsed(tmp_path, document)
    assert [each for each in told["diagnostics"] if each["code"] not in ALLOWED] == []
    assert told["channels"] == [each["address"] for each in document["channels"].values()]
    assert told["operations"] == list(document["operations"])


Mutant = Callable[[dict[str, Any]], object]

MUTANTS: dict[str, tuple[Mutant, str]] = {
    "a schema that is none": (
        lambda d: d["components"]["schemas"]["Citation"]["properties"]["id"].update(type="number or so"),
        "components.schemas.Citation",
    ),
    "an operation without a channel": (
        lambda d: d["operations"]["sendAnswer"].pop("channel"),
        "operations.sendAnswer",
    ),
    "a reference to nothing": (
        lambda d: d["channels"]["failed"]["messages"]["failed"].update(
            {"$ref": "#/components/messages/none"}
        ),
        "channels.failed.messages.failed",
    ),
    "a binding of another kind": (
        lambda d: d["channels"]["asked"]["bindings"]["amqp"].update({"is": "topic"}),
        "channels.asked.bindings",
    ),
}


def test_official_parser_sees_mistakes(tmp_path: Path) -> None:
    documents = []
    for mutant, _ in MUTANTS.values():
        documents.append(copy.deepcopy(asyncapi_document()))
        mutant(documents[-1])
    told = parsed(tmp_path, *documents)
    for (name, (_, place)), each in zip(MUTANTS.items(), told, strict=True):
        errors = [found["path"] for found in each["diagnostics"] if found["severity"] == ERROR]
        assert any(path.startswith(place) for path in errors), (name, errors)


def test_missing_npm_is_an_error_with_the_command_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(official_parser.shutil, "which", lambda _: None)
    with pytest.raises(official_parser.NodeMissing, match="make servers INSTALL=1"):
        official_parser.program("npm")


def test_schemas_use_only_what_asyncapis_own_dialect_knows() -> None:
    """Its dialect is draft 7; a keyword of a later one would be ignored there without a word."""
    later = {
        "$defs",
        "prefixItems",
        "dependentRequired",
        "dependentSchemas",
        "unevaluatedProperties",
        "$anchor",
    }
    document = asyncapi_document()
    for schema in document["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)
    assert [key for key in later if f'"{key}"' in json.dumps(document)] == []


def misfits(document: dict[str, Any]) -> list[str]:
    """Name the examples that do not fit: the parser looks at their outer form only."""
    checker = Draft7Validator.FORMAT_CHECKER
    return [
        f"{name} {part}: {error.json_path}"
        for name, message in document["components"]["messages"].items()
        for example in message["examples"]
        for part in ("headers", "payload")
        for error in Draft7Validator(
            {**message[part], "components": document["components"]}, format_checker=checker
        ).iter_errors(example[part])
    ]


def test_examples_fit_their_schemas() -> None:
    document = copy.deepcopy(asyncapi_document())
    assert misfits(document) == []
    del document["components"]["messages"]["askedBinary"]["examples"][0]["headers"]["ce-id"]
    document["components"]["messages"]["answered"]["examples"][0]["payload"]["data"]["attempts"] = "one"
    assert sorted(misfits(document)) == ["answered payload: $.data.attempts", "askedBinary headers: $"]


# The document and the worker


def test_version_is_the_programs() -> None:
    assert metadata.version("askrelay") == CONTRACT_VERSION


def test_names_are_the_defaults_of_the_settings() -> None:
    config, channels = BusConfig("amqp://"), asyncapi_document()["channels"]
    assert {name: each["address"] for name, each in channels.items()} == {
        "asked": config.asked_key,
        "questions": config.question_queue,
        "rated": config.rated_key,
        "answered": config.answered_key,
        "failed": config.failed_key,
        "progress": config.progress_key,
        "rejected": config.rejected_queue,
    }
    exchanges = [
        each["bindings"]["amqp"]["exchange"]
        for each in channels.values()
        if "exchange" in each["bindings"]["amqp"]
    ]
    assert {(each["name"], each["type"], each["durable"]) for each in exchanges} == {
        (config.events_exchange, "topic", True)
    }
    assert len(exchanges) == 5


def test_queues_have_the_arguments_the_worker_declares() -> None:
    assert QUESTION_QUEUE_ARGUMENTS == topology.QUESTION_QUEUE_ARGUMENTS
    assert REJECTED_QUEUE_ARGUMENTS == topology.REJECTED_QUEUE_ARGUMENTS


@pytest.mark.parametrize(("kind", "example"), [("answered", ANSWERED_EXAMPLE), ("failed", FAILED_EXAMPLE)])
def test_replies_have_the_properties_the_document_says(kind: Any, example: dict[str, Any]) -> None:
    message = asyncapi_document()["components"]["messages"][kind]
    outgoing = reply_message(a_reply(kind, example), BusConfig("amqp://"))
    said, properties = message["x-amqp-properties"], outgoing.properties
    assert {name for name, value in vars(properties).items() if value is not None} == {*said, "headers"}
    assert (properties.message_id, properties.correlation_id) == (example["id"], "evt-1")
    for name in ("app_id", "type", "content_type", "delivery_mode"):
        assert str(getattr(properties, name)) == said[name]
    assert properties.type == message["bindings"]["amqp"]["messageType"]
    assert properties.content_type == message["contentType"]
    assert set(properties.headers) <= set(message["headers"]["properties"])


def a_reply(kind: Any, example: dict[str, Any]) -> Reply:
    known = {
        "event_id": example["id"],
        "kind": kind,
        "question_id": example["data"]["question_id"],
        "traceparent": example["traceparent"],
        "tracestate": "a=b",
        "body": json.dumps(example).encode(),
    }
    return Reply(**{name: known.get(name) for name in Reply.__dataclass_fields__})


def test_rejections_have_the_reasons_the_document_says() -> None:
    messages = asyncapi_document()["components"]["messages"]
    of_questions, of_ratings = (
        set(messages[name]["headers"]["properties"]["x-askrelay-reason"]["enum"])
        for name in ("rejected", "rejectedRating")
    )
    codes = {each.code for each in EventError.__subclasses__()}
    assert of_questions == codes - {"invalid_rating", "unmatched_rating"}
    assert of_ratings == codes - {"invalid_question"}
