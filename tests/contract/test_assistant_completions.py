"""Streamed chat completions over HTTP: how each may end, and what is made of it."""

from __future__ import annotations

import json

import pytest

from tests.servers_http.behaviours import closing_after
from tests.servers_http.misbehaving import MisbehavingServer
from worker.adapters.customgpt import CustomGpt, CustomGptConfig
from worker.core.errors import OutcomeUnknown
from worker.core.model import RemoteMessage

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def sent(frame: bytes) -> bytes:
    """Return a frame as a chunk of the body."""
    return b"%x\r\n%b\r\n" % (len(frame), frame)


def chunk(content: str | None = None, *, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {} if content is None else {"content": content}, "finish_reason": reason}
    return sent(b"data: " + json.dumps({"id": "c-1", "choices": [choice]}).encode() + b"\n\n")


SAID = chunk("Yes") + chunk(".")
STOPPED = chunk(reason="stop")
DONE = sent(b"data: [DONE]\n\n")
PING = sent(b"event: ping\ndata: {}\n\n")
USAGE = sent(b'data: {"id": "c-1", "choices": [], "usage": {"total_tokens": 0}}\n\n')


async def answer_of(body: bytes) -> RemoteMessage:
    """Ask a server that sends these bytes and hangs up."""
    server = MisbehavingServer(closing_after(HEAD + body))
    async with server:
        config = CustomGptConfig(api_url=server.api_url, is_streaming=True)
        async with CustomGpt(config, key=lambda: "1|any", log=lambda *_, **__: None) as api:
            return await api.complete(
                1, text="q", external_id="c", lang=None, traceparent=None, connect_within_s=30.0
            )


@pytest.mark.parametrize(
    "body",
    [
        SAID + STOPPED + DONE + END,
        PING + SAID + PING + STOPPED + DONE + END,
        SAID + STOPPED + USAGE + DONE + END,
        SAID + STOPPED + USAGE + END,
        SAID + STOPPED + END,
        # What follows tells nothing new.
        SAID + STOPPED + DONE,
    ],
    ids=["as usual", "pings", "usage", "usage without done", "without done", "cut off after done"],
)
async def test_an_answer_that_came_to_its_stop_is_taken(body: bytes) -> None:
    assert (await answer_of(body)).answer == "Yes."


@pytest.mark.parametrize(
    "body",
    [SAID + END, SAID + DONE + END, SAID, SAID + STOPPED, PING + USAGE + END],
    ids=["no stop", "done without a stop", "cut off", "cut off after the stop", "no answer"],
)
async def test_an_answer_that_may_be_cut_short_is_unknown(body: bytes) -> None:
    with pytest.raises(OutcomeUnknown):
        await answer_of(body)
