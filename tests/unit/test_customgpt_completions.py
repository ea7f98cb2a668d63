"""Answers in OpenAI's form: whole, or not to be trusted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from worker.adapters.customgpt.completions import CompletionStream, completion_of
from worker.adapters.customgpt.parsing import UnreadableError
from worker.core.errors import AnswerUnreadable

DONE = b"data: [DONE]\n\n"


def chunk(content: Any = None, *, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {} if content is None else {"content": content}, "finish_reason": reason}
    return b"data: " + json.dumps({"id": "c-1", "choices": [choice]}).encode() + b"\n\n"


def read(*pieces: bytes) -> CompletionStream:
    stream = CompletionStream()
    for piece in pieces:
        if stream.feed(piece):
            break
    return stream


def test_chunks_make_an_answer_when_a_reason_ends_them() -> None:
    told: list[str] = []
    stream = CompletionStream(told.append)
    for piece in (chunk(""), chunk("Hel"), b": comment\n\n", chunk("lo."), chunk(reason="stop")):
        assert not stream.feed(piece)
    assert stream.is_whole
    assert stream.feed(DONE), "nothing comes after it"
    assert stream.is_whole
    assert (stream.message.answer, stream.message.metadata) == ("Hello.", {"completion_id": "c-1"})
    assert told == ["Hel", "lo."]


@pytest.mark.parametrize(
    "pieces",
    [
        (chunk("Hel"),),
        (chunk("Hel"), DONE),
        (chunk("Hel"), b"data: {\n\n", chunk(reason="stop"), DONE),
        (chunk("Hel"), b"data: []\n\n", chunk(reason="stop"), DONE),
        (chunk("Hel"), b'data: {"choices": [{}]}\n\n', chunk(reason="stop"), DONE),
        (chunk("Hel"), b'data: {"error": {"message": "no"}}\n\n', chunk(reason="stop"), DONE),
        (chunk("Hel"), chunk(reason="stop"), b'data: {"error": {"message": "no"}, "choices": []}\n\n'),
        (b"data: " + b"[" * 100_000 + b"\n\n", chunk(reason="stop"), DONE),
        (b"data: " + b"x" * (2 * 1024 * 1024),),
        (),
    ],
)
def test_chunks_that_are_cut_off_or_broken_make_none(pieces: tuple[bytes, ...]) -> None:
    assert not read(*pieces).is_whole


@pytest.mark.parametrize(
    "ignored",
    [
        b"event: ping\ndata: {}\n\n",
        b"event: ping\ndata: ping\n\n",
        b"data:\n\n",
        b"data: {}\n\n",
        b'data: {"choices": null, "error": null}\n\n',
        b'data: {"choices": [], "usage": {"total_tokens": 0}}\n\n',
    ],
)
def test_what_cannot_be_a_piece_is_ignored(ignored: bytes) -> None:
    stream = read(ignored, chunk("Yes"), ignored, chunk(reason="stop"), ignored, DONE)
    assert stream.is_whole
    assert stream.message.answer == "Yes"
    assert not read(ignored, chunk("Yes"), ignored).is_whole


def test_an_answer_in_one_piece_is_read() -> None:
    body = json.dumps({"id": "7", "choices": [{"message": {"content": "Yes \ud83d."}}]}).encode()
    message = completion_of(body)
    assert (message.answer, message.message_id, message.conversation_id) == ("Yes \ufffd.", 0, None)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": {"content": 7}}]}']
)
def test_what_is_no_completion_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableError):
        completion_of(body)


@pytest.mark.parametrize("content", ["null", '""', '" "'])
def test_an_empty_answer_is_told_from_none(content: str) -> None:
    with pytest.raises(AnswerUnreadable):
        completion_of(b'{"choices": [{"message": {"content": %b}}]}' % content.encode())
