"""A later version must not break who relies on an earlier one. Frozen copies of those: published/."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from schemas import AskedQuestion, RawEvent, decode_event, json_schema
from schemas.asyncapi import asyncapi_document
from schemas.examples import ASKED_EXAMPLE
from tests.contract.compatibility import (
    NotUnderstood,
    broken_for_consumers,
    broken_for_producers,
    changed,
)
from tests.contract.publish import FOLDER, main, meaning, replies

VERSIONS = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())
PUBLISHED = "0.1"

Mutant = Callable[[dict[str, Any]], object]


def published(version: str, name: str) -> Any:
    return json.loads((FOLDER / version / name).read_text(encoding="utf-8"))


def broken_messages(version: str) -> list[str]:
    """Name the messages that were taken and are refused, or mean something else."""
    broken = []
    for name, each in published(version, "messages.json").items():
        try:
            now = meaning(each["message"])
        except Exception:  # noqa: BLE001 - whatever it is, the message is not taken
            broken.append(name)
            continue
        if any(now.get(field, ...) != value for field, value in each["meaning"].items()):
            broken.append(name)
    return broken


def broken_documents(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Name what two AsyncAPI documents disagree about."""
    found = changed({key: old[key] for key in ("channels", "operations")}, new)
    for name, message in old["components"]["messages"].items():
        now = new["components"]["messages"].get(name)
        if now is None:
            found.append(f"message {name}: is gone")
            continue
        rule = broken_for_producers if name.startswith("asked") else broken_for_consumers
        found += [f"{name} header {each}" for each in rule(message["headers"], now["headers"])]
        found += changed({key: value for key, value in message.items() if key != "headers"}, now, name)
    return found


# Every published version against what the code says now


@pytest.mark.parametrize("version", VERSIONS)
def test_existing_producers_go_on_being_understood(version: str) -> None:
    assert broken_for_producers(published(version, "asked.schema.json"), json_schema()["asked"]) == []
    assert broken_messages(version) == []


@pytest.mark.parametrize("name", ["answered", "failed"])
@pytest.mark.parametrize("version", VERSIONS)
def test_existing_consumers_find_what_they_know(version: str, name: str) -> None:
    assert broken_for_consumers(published(version, f"{name}.schema.json"), json_schema()[name]) == []
    assert changed(json.loads(published(version, "replies.json")[name]), json.loads(replies()[name])) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_exchange_queues_keys_and_headers_stay_what_they_are(version: str) -> None:
    assert broken_documents(published(version, "asyncapi.json"), asyncapi_document()) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_largest_event_of_before_is_still_taken(version: str) -> None:
    limit = published(version, "limits.json")["event_bytes"]
    event = copy.deepcopy(ASKED_EXAMPLE)
    event["data"]["question"] = "q"
    event["data"]["question"] = "q" * (limit - len(json.dumps(event)) + 1)
    body = json.dumps(event).encode()
    assert len(body) == limit
    assert isinstance(decode_event(RawEvent(body)), AskedQuestion)


def test_version_of_the_program_is_published() -> None:
    assert metadata.version("askrelay").rpartition(".")[0] in VERSIONS


# The rules see what they are for: every mutant breaks somebody


def rule(path: str) -> Callable[[dict[str, Any]], Any]:
    """Return a way to a part of a schema: its keys with blanks between them."""

    def find(schema: dict[str, Any]) -> Any:
        for key in path.split():
            schema = schema[int(key)] if isinstance(schema, list) else schema[key]
        return schema

    return find


def setting(path: str, **keywords: Any) -> Mutant:
    return lambda schema: rule(path)(schema).update(keywords)


def without(path: str) -> Mutant:
    place, _, key = path.rpartition(" ")
    return lambda schema: rule(place)(schema).pop(int(key) if key.isdigit() else key)


def requiring(path: str, name: str) -> Mutant:
    return lambda schema: rule(path)(schema).setdefault("required", []).append(name)


def not_requiring(path: str, name: str) -> Mutant:
    return lambda schema: rule(path)(schema)["required"].remove(name)


ASKED_DATA = "$defs AskedData"
CONTACT, QUESTION = f"{ASKED_DATA} properties contact_id", f"{ASKED_DATA} properties question"
THREAD, LANG = f"{ASKED_DATA} properties thread_id", f"{ASKED_DATA} properties lang"

#: What would break a producer, and where the rules have to see it.
PRODUCER_MUTANTS: dict[str, tuple[Mutant, str]] = {
    "a new required field": (requiring(ASKED_DATA, "tenant"), ".data.tenant: is required"),
    "a field becomes required": (requiring(ASKED_DATA, "lang"), ".data.lang: is required"),
    "an attribute becomes required": (lambda s: s["required"].append("time"), ".time: is required"),
    "a contact is no longer an integer": (without(f"{CONTACT} anyOf 1"), ".data.contact_id: integer"),
    "a contact gets a length": (setting(f"{CONTACT} anyOf 0", maxLength=128), ".data.contact_id: maxLength"),
    "a contact gets another pattern": (
        setting(f"{CONTACT} anyOf 0", pattern="^EXT_"),
        ".data.contact_id: another pattern",
    ),
    "a question gets a length": (setting(QUESTION, maxLength=20_000), ".data.question: maxLength"),
    "a question gets a shortest length": (setting(QUESTION, minLength=3), ".data.question: minLength"),
    "a question is an object": (setting(QUESTION, type="object"), ".data.question: string is not object"),
    "an id gets shorter": (setting("properties id", maxLength=128), ".id: maxLength"),
    "an id gets a format": (setting("properties id", format="uuid"), ".id: another format"),
    "null is no longer taken": (without(f"{LANG} anyOf 2"), ".data.lang: null"),
    "empty is no longer taken": (without(f"{THREAD} anyOf 2"), ".data.thread_id: '' is not taken"),
    "languages are listed": (
        lambda s: rule(f"{LANG} anyOf")(s).__setitem__(0, {"enum": ["en", "de"]}),
        ".data.lang: is limited",
    ),
    "a version goes": (setting("properties specversion", const="2.0"), ".specversion: '1.0' is not taken"),
    "metadata becomes an object": (
        setting(f"{ASKED_DATA} properties metadata", type="object"),
        ".data.metadata: anything is not object",
    ),
    "a field is no longer read": (without(THREAD), ".data.thread_id: is gone"),
    "an attribute is no longer read": (without("properties expirytime"), ".expirytime: is gone"),
    "unknown fields are refused": (setting(ASKED_DATA, additionalProperties=False), ".data: other fields"),
    "unknown attributes are refused": (lambda s: s.update(additionalProperties=False), ": other fields"),
}

ANSWERED_DATA = "$defs AnsweredData"
FIELDS = f"{ANSWERED_DATA} properties"

#: What would break a consumer of answers.
CONSUMER_MUTANTS: dict[str, tuple[Mutant, str]] = {
    "a field goes": (without(f"{FIELDS} conversation_id"), ".data.conversation_id: is gone"),
    "an optional attribute goes": (without("properties traceparent"), ".traceparent: is gone"),
    "a field inside a list goes": (
        without("$defs Citation properties title"),
        ".data.citations[].title: is gone",
    ),
    "a field is sometimes left out": (not_requiring(ANSWERED_DATA, "answer"), ".data.answer: is required"),
    "an attribute is sometimes left out": (
        lambda s: s["required"].remove("subject"),
        ".subject: is required",
    ),
    "a field becomes nullable": (setting(f"{FIELDS} answer", type=["string", "null"]), ".data.answer: null"),
    "a number may be null": (
        lambda s: rule(FIELDS)(s).update(message_id={"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ".data.message_id: null",
    ),
    "a number becomes a string": (setting(f"{FIELDS} project_id", type="string"), ".data.project_id: string"),
    "a whole number gets fractions": (setting(f"{FIELDS} attempts", type="number"), ".data.attempts: number"),
    "a time gets another form": (
        without(f"{FIELDS} answered_at format"),
        ".data.answered_at: another format",
    ),
    "an outcome nobody expects": (
        lambda s: rule(f"{FIELDS} outcome enum")(s).append("cached"),
        ".data.outcome: 'cached' is not taken",
    ),
    "any outcome": (without(f"{FIELDS} outcome enum"), ".data.outcome: is limited"),
    "another provider": (
        setting(f"{FIELDS} provider", const="other"),
        ".data.provider: 'other' is not taken",
    ),
    "another type of event": (
        setting("properties type", const="contact.answered"),
        ".type: 'contact.answered'",
    ),
    "the data moves": (
        lambda s: s["properties"].update(data={"type": "array"}),
        ".data: array is not object",
    ),
    "citations become texts": (
        setting(f"{FIELDS} citations", items={"type": "string"}),
        ".data.citations[]: string is not object",
    ),
}


def mutated(schema: dict[str, Any], mutant: Mutant) -> dict[str, Any]:
    changed_schema = copy.deepcopy(schema)
    mutant(changed_schema)
    assert changed_schema != schema, "the mutant changes nothing"
    return changed_schema


@pytest.mark.parametrize("name", PRODUCER_MUTANTS)
def test_change_that_breaks_a_producer_is_seen(name: str) -> None:
    mutant, place = PRODUCER_MUTANTS[name]
    old = published(PUBLISHED, "asked.schema.json")
    found = broken_for_producers(old, mutated(old, mutant))
    assert any(each.startswith(place) for each in found), found


@pytest.mark.parametrize("name", CONSUMER_MUTANTS)
def test_change_that_breaks_a_consumer_is_seen(name: str) -> None:
    mutant, place = CONSUMER_MUTANTS[name]
    old = published(PUBLISHED, "answered.schema.json")
    found = broken_for_consumers(old, mutated(old, mutant))
    assert any(each.startswith(place) for each in found), found


HARMLESS_TO_PRODUCERS: dict[str, Mutant] = {
    "a new optional field": lambda s: rule(f"{ASKED_DATA} properties")(s).update(channel={"type": "string"}),
    "a field becomes optional": not_requiring(ASKED_DATA, "question"),
    "an id gets longer": setting("properties id", maxLength=1000),
    "a pattern goes": without(f"{QUESTION} pattern"),
    "a language may be listed too": lambda s: rule(f"{LANG} anyOf")(s).append({"enum": ["klingon"]}),
    "an object is a contact too": lambda s: rule(f"{CONTACT} anyOf")(s).append({"type": "object"}),
    "another text for people": setting(QUESTION, description="Other words.", examples=["Why?"]),
}
HARMLESS_TO_CONSUMERS: dict[str, Mutant] = {
    "a new field": lambda s: rule(ANSWERED_DATA)(s)["properties"].update(model={"type": "string"}),
    "a new required field": requiring(ANSWERED_DATA, "model"),
    "never null any more": lambda s: rule(FIELDS)(s).update(conversation_id={"type": "integer"}),
    "an outcome less": without(f"{FIELDS} outcome enum 2"),
    "an attribute is always there": lambda s: s["required"].append("traceparent"),
}


@pytest.mark.parametrize("name", HARMLESS_TO_PRODUCERS)
def test_change_that_breaks_no_producer_is_let_through(name: str) -> None:
    old = published(PUBLISHED, "asked.schema.json")
    assert broken_for_producers(old, mutated(old, HARMLESS_TO_PRODUCERS[name])) == []


@pytest.mark.parametrize("name", HARMLESS_TO_CONSUMERS)
def test_change_that_breaks_no_consumer_is_let_through(name: str) -> None:
    old = published(PUBLISHED, "answered.schema.json")
    assert broken_for_consumers(old, mutated(old, HARMLESS_TO_CONSUMERS[name])) == []


def test_rule_that_is_not_understood_is_an_error_and_not_no_rule() -> None:
    old = published(PUBLISHED, "asked.schema.json")
    with pytest.raises(NotUnderstood, match="dependentRequired"):
        broken_for_producers(
            old, mutated(old, setting(ASKED_DATA, dependentRequired={"lang": ["thread_id"]}))
        )


MESSAGE = "components messages"
DOCUMENT_MUTANTS: dict[str, tuple[Mutant, str]] = {
    "another key": (setting("channels answered", address="question.answered"), ".channels.answered.address"),
    "another exchange": (
        setting("channels asked bindings amqp exchange", type="direct"),
        ".channels.asked.bindings.amqp.exchange.type",
    ),
    "a queue of another kind": (
        setting("channels questions bindings amqp x-arguments", **{"x-queue-type": "classic"}),
        ".channels.questions.bindings.amqp.x-arguments.x-queue-type",
    ),
    "a channel goes": (without("channels failed"), ".channels.failed: is gone"),
    "replies are not persistent": (
        setting("operations sendAnswer bindings amqp", deliveryMode=1),
        ".operations.sendAnswer.bindings.amqp.deliveryMode",
    ),
    "a way of wrapping goes": (without(f"{MESSAGE} askedBare"), "message askedBare: is gone"),
    "a prefix goes": (
        without(f"{MESSAGE} askedBinary headers anyOf 2"),
        "askedBinary header .cloudEvents:id: is required",
    ),
    "a header of rejections goes": (
        without(f"{MESSAGE} rejected headers properties x-askrelay-detail"),
        "rejected header .x-askrelay-detail: is gone",
    ),
    "replies lose a property": (
        without(f"{MESSAGE} answered x-amqp-properties correlation_id"),
        "answered.x-amqp-properties.correlation_id: is gone",
    ),
    "replies are of another content type": (
        setting(f"{MESSAGE} failed", contentType="application/json"),
        "failed.contentType",
    ),
}


@pytest.mark.parametrize("name", DOCUMENT_MUTANTS)
def test_change_of_the_bus_is_seen(name: str) -> None:
    mutant, place = DOCUMENT_MUTANTS[name]
    old = published(PUBLISHED, "asyncapi.json")
    found = broken_documents(old, mutated(old, mutant))
    assert any(each.startswith(place) for each in found), found


@pytest.mark.parametrize(
    ("what", "value", "message"),
    [
        ("schemas.envelope._HEADER_PREFIXES", ("cloudevents:", "cloudevents_"), "binary, ce-"),
        ("schemas.envelope._TIMESTAMPS", (), "binary, cloudEvents_"),
        ("schemas.strict_json.MAX_EVENT_DEPTH", 31, "deepest"),
        ("schemas.values.MAX_ID_BYTES", 128, "longest id"),
        ("schemas.envelope.ASKED", "contact.asked", "bare"),
        ("tests.contract.publish.reply_id", lambda *_: "another", "structured"),
    ],
)
def test_change_of_how_messages_are_read_is_seen(
    monkeypatch: pytest.MonkeyPatch, what: str, value: Any, message: str
) -> None:
    assert broken_messages(PUBLISHED) == []
    monkeypatch.setattr(what, value)
    assert message in broken_messages(PUBLISHED)


def test_published_folder_is_never_written_twice() -> None:
    before = {path: path.read_bytes() for path in Path(FOLDER / PUBLISHED).iterdir()}
    with pytest.raises(FileExistsError):
        main(PUBLISHED)
    assert {path: path.read_bytes() for path in Path(FOLDER / PUBLISHED).iterdir()} == before
