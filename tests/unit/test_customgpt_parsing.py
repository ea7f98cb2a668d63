"""Bodies in every form that the API has been seen to send."""

from __future__ import annotations

import json
from typing import Any

import pytest

from worker.adapters.customgpt import facts, parsing
from worker.adapters.customgpt.listing import ListingSoFar
from worker.adapters.customgpt.parsing import Page, UnreadableError
from worker.core.model import CannedTexts, Citation, RemoteMessage

MESSAGE: dict[str, Any] = {
    "id": 1,
    "user_id": None,
    "user_query": "When?",
    "openai_response": "Now.",
    "created_at": "25 Jun 2023 05:01:11",
    "citations": None,
    "metadata": {
        "user_ip": "192.0.2.1",
        "user_agent": "x",
        "external_id": "C",
        "request_source": "api",
        "nested": {"a": 1},
        "flag": True,
    },
    "a_field_of_next_year": [1],
}


def test_message_is_read_with_what_is_harmless_of_its_metadata() -> None:
    message = parsing.message_of(MESSAGE)
    assert message == RemoteMessage(
        message_id=1,
        question="When?",
        answer="Now.",
        external_id="C",
        conversation_id=None,
        citations=(),
        metadata={"external_id": "C", "request_source": "api", "flag": True},
        created_at="2023-06-25T05:01:11Z",
    )


@pytest.mark.parametrize(
    ("external_id", "expected"), [("C", "C"), ("", None), (None, None), (12345, "12345"), ([], None)]
)
def test_external_id_is_none_when_none_was_sent(external_id: object, expected: str | None) -> None:
    assert parsing.message_of(MESSAGE | {"metadata": {"external_id": external_id}}).external_id == expected


@pytest.mark.parametrize("metadata", [None, [], "", 5])
def test_message_without_metadata_is_read(metadata: object) -> None:
    message = parsing.message_of(MESSAGE | {"metadata": metadata})
    assert (message.metadata, message.external_id) == ({}, None)


@pytest.mark.parametrize("row", [None, [], {}, {"id": None}, {"id": "x"}, {"id": True}, {"id": 1.5}])
def test_message_without_an_id_is_unreadable(row: object) -> None:
    with pytest.raises(UnreadableError):
        parsing.message_of(row)


@pytest.mark.parametrize("answer", ["", "  ", None, 7, []])
def test_answer_that_is_none_is_unreadable_where_one_is_due(answer: object) -> None:
    row = MESSAGE | {"openai_response": answer}
    assert parsing.message_of(row).answer is None
    with pytest.raises(UnreadableError, match="empty answer"):
        parsing.answered_message_of(row)


@pytest.mark.parametrize(
    ("citations", "expected"),
    [
        (None, ()),
        ([], ()),
        ({}, ()),
        ([12], (Citation(12),)),
        (["12061.0", "7"], (Citation(12061), Citation(7))),
        ([12061.0], (Citation(12061),)),
        (
            [{"id": "3", "title": "T", "url": "https://x.example", "more": 1}],
            (Citation(3, "T", "https://x.example"),),
        ),
        ([{"url": "https://x.example"}], (Citation(None, None, "https://x.example"),)),
        ([None, "x", "", True, 1.5, {}, [], float("inf"), {"id": None}], ()),
    ],
)
def test_citations_are_read_in_every_form(citations: object, expected: tuple[Citation, ...]) -> None:
    assert parsing.citations_of(citations) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(5, 5), (5.0, 5), ("5", 5), (" 5.0 ", 5), ("-5", -5), (2**63 - 1, 2**63 - 1)],
)
def test_whole_number_is_read(value: object, expected: int) -> None:
    assert parsing.whole_number(value) == expected


@pytest.mark.parametrize(
    "value", [None, True, 5.5, "5.5", "five", "", "\u0665", "1e3", 2**63, [], float("nan")]
)
def test_what_is_no_whole_number_is_none(value: object) -> None:
    assert parsing.whole_number(value) is None


def test_data_is_taken_out_of_the_envelope_in_any_order() -> None:
    assert parsing.data_of(b'{"status": "success", "data": {"a": 1}}') == {"a": 1}
    assert parsing.data_of(b'{"data": [], "status": "success", "more": 1}') == []
    assert parsing.data_of(b'{"data": 1}') == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"x"',
        b"<html>",
        b'{"data": 1',
        b'{"status": "success"}',
        b'{"data": {"code": 500}, "status": "error"}',
        b'{"data": "\xff"}',
        b"\x00",
        b'{"data": ' + b"[" * 100_000,
        b'{"data": ' + b"9" * 10_000 + b"}",
    ],
)
def test_body_without_a_success_envelope_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableError):
        parsing.data_of(body)


def test_what_cannot_be_written_again_is_mended_on_reading() -> None:
    data = parsing.data_of(
        rb'{"data": {"a": "x\ud800y", "\uDFFF": ["\ud83d\ude00"],'
        rb' "b": NaN, "c": -Infinity, "d": 1e999, "e": 0.5}}'
    )
    assert data == {"a": "x\ufffdy", "\ufffd": ["\U0001f600"], "b": None, "c": None, "d": None, "e": 0.5}
    json.dumps(data, allow_nan=False, ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"NaN", b"-Infinity"])
def test_number_that_cannot_be_written_again_is_null_in_metadata(number: bytes) -> None:
    body = b'{"data": {"id": 1, "created_at": %b, "metadata": {"score": %b, "rank": 2}}}' % (number, number)
    message = parsing.message_of(parsing.data_of(body))
    assert message.metadata == {"score": None, "rank": 2}
    assert message.created_at is None


@pytest.mark.parametrize("depth", [150, 300])
def test_deeply_nested_body_is_read_by_either_reader(depth: int) -> None:
    nested = parsing.data_of(b'{"data": ' + b"[" * depth + b"]" * depth + b', "data2": 1, "data2": 2}')
    for _ in range(depth - 1):
        (nested,) = nested
    assert nested == []


def test_deep_escapes_are_unreadable_and_no_crash() -> None:
    with pytest.raises(UnreadableError):
        parsing.data_of(b'{"data": ' + b"[" * 100_000 + rb'"\ud800"' + b"]" * 100_000 + b"}")


def test_conversation_is_read_and_marked_when_deleted() -> None:
    row = {"id": "5", "session_id": "plain text", "name": None, "deleted_at": "2025-07-24T15:03:21.000000Z"}
    conversation = parsing.conversation_of(row)
    assert (conversation.conversation_id, conversation.session_id) == (5, "plain text")
    assert (conversation.name, conversation.is_deleted) == ("", True)
    assert not parsing.conversation_of({"session_id": "s", "ended_at": None, "deleted_at": None}).is_deleted


@pytest.mark.parametrize(
    ("paginator", "has_next"),
    [
        ({"data": [], "next_page_url": None, "last_page": 1}, False),
        ({"data": [], "next_page_url": "http://x", "last_page": 2}, True),
        ({"data": [], "last_page": "2"}, True),
        ({"data": []}, False),
        ([], False),
    ],
)
def test_page_knows_whether_another_follows(paginator: object, has_next: bool) -> None:
    assert parsing.conversations_page_of(1, paginator).has_next is has_next


@pytest.mark.parametrize("data", [None, "", {}, {"data": None}, {"data": {}}, 5])
def test_listing_without_rows_is_unreadable_and_not_empty(data: object) -> None:
    with pytest.raises(UnreadableError):
        parsing.conversations_page_of(1, data)
    with pytest.raises(UnreadableError):
        parsing.messages_page_of(1, {"messages": data})


def test_canned_texts_are_read_and_blank_ones_are_none() -> None:
    settings = {"no_answer_message": "N", "chatbot_siesta_msg": " ", "account_out_of_queries_msg": "O"}
    assert facts.canned_texts_of(settings) == CannedTexts("N", None, "O")


@pytest.mark.parametrize(
    ("value", "expected"), [(True, True), (1, True), ("1", True), (False, False), (0, False), (None, None)]
)
def test_project_says_whether_it_can_answer(value: object, expected: bool | None) -> None:
    assert facts.project_of(5, {"is_chat_active": value}).is_chat_active is expected


def page(*numbers: int, has_next: bool = True) -> Page[RemoteMessage]:
    return Page([RemoteMessage(number, "", None, None) for number in numbers], has_next)


def listed(listing: ListingSoFar) -> list[int]:
    return [message.message_id for message in listing.finished().messages]


def test_listing_is_enough_when_it_reaches_the_baseline() -> None:
    listing = ListingSoFar(above=5)
    assert not listing.add(page(9, 8))
    assert not listing.add(page(7, 6))
    assert listing.add(page(5, 4))
    assert listed(listing) == [9, 8, 7, 6]


def test_listing_bears_rows_pushed_to_the_next_page() -> None:
    listing = ListingSoFar(above=5)
    assert not listing.add(page(9, 8))
    assert listing.add(page(8, 7, 3))
    assert listed(listing) == [9, 8, 7]


@pytest.mark.parametrize("above", [-1, 0, 3])
def test_listing_in_another_order_is_never_enough(above: int) -> None:
    """A server that lists oldest first would hide a posted question behind a page that looks sufficient."""
    listing = ListingSoFar(above)
    assert not listing.add(page(1, 2, 3))
    assert not listing.add(page(4, 5, 6))
    assert listed(listing) == [number for number in (6, 5, 4, 3, 2, 1) if number > above]


def test_listing_of_the_first_page_only_is_enough_with_one_page() -> None:
    assert ListingSoFar(above=-1).add(page(9, 8))
