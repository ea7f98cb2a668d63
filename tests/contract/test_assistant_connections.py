"""Connections to the API: none, late, closed, out of step, by a proxy."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.servers.authority import Authority
from tests.servers_http.behaviours import (
    answering,
    closing_after,
    resetting_after,
    response,
    silent_after,
    success,
)
from tests.servers_http.misbehaving import MisbehavingServer, SeenRequest, Wire
from worker.adapters.customgpt import CustomGpt, CustomGptConfig, sending, transport
from worker.core.errors import AssistantError, OutcomeUnknown, Unreachable
from worker.core.model import RemoteMessage

#: Seconds; never reached unless something is broken.
LONG_S = 30.0
#: Seconds; for what is to run into its time limit.
SHORT_S = 0.3

ANSWER = success({"id": 9, "user_query": "q", "openai_response": "Yes."})


def opened(api_url: str, **settings: Any) -> CustomGpt:
    return CustomGpt(CustomGptConfig(api_url=api_url, **settings), key=lambda: "k", log=lambda *_, **__: None)


async def post(api: CustomGpt, *, connect_within_s: float = LONG_S) -> RemoteMessage:
    return await api.post_question(
        1, "s", text="q", external_id="c", lang=None, traceparent=None, connect_within_s=connect_within_s
    )


async def failure_of_post(api: CustomGpt, *, connect_within_s: float = LONG_S) -> AssistantError:
    with pytest.raises(AssistantError) as caught:
        await post(api, connect_within_s=connect_within_s)
    return caught.value


@pytest.fixture
async def server() -> AsyncIterator[MisbehavingServer]:
    async with MisbehavingServer(answering(200, ANSWER)) as server:
        yield server


@dataclass(frozen=True)
class Line:
    """With or without TLS: what a server has, and whom a client trusts."""

    tls: ssl.SSLContext | None
    ca_file: Path | None


@pytest.fixture(params=["plain", "tls"])
def line(request: pytest.FixtureRequest, authority: Authority) -> Line:
    return Line(authority.server(), authority.ca_file) if request.param == "tls" else Line(None, None)


@pytest.fixture
def held_port() -> Iterator[int]:
    """Return a port that refuses connections and that nobody else can take."""
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def full_port() -> Iterator[int]:
    """Return a port whose queue of connections is full, so that the kernel answers no more of them."""
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        held.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(held.getsockname())
        yield held.getsockname()[1]
        for filler in fillers:
            filler.close()


async def test_refused_connection_is_unreachable(held_port: int) -> None:
    async with opened(f"http://127.0.0.1:{held_port}/api/v1") as api:
        failure = await failure_of_post(api)
    assert (type(failure), failure.detail) == (Unreachable, "post_question: ECONNREFUSED")


async def test_connection_that_does_not_stand_in_time_is_unreachable(full_port: int) -> None:
    async with opened(f"http://127.0.0.1:{full_port}/api/v1") as api:
        failure = await failure_of_post(api, connect_within_s=SHORT_S)
    assert (type(failure), failure.detail) == (Unreachable, "post_question: connect time-out")


async def test_unknown_host_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)
    async with opened("http://api.invalid/api/v1") as api:
        failure = await failure_of_post(api)
    assert (type(failure), failure.detail) == (Unreachable, "post_question: DNS failed")


@pytest.mark.parametrize("end", [closing_after(b"HTTP/1.1 400 Bad Request\r\n\r\n"), resetting_after(b"")])
async def test_failed_tls_handshake_is_unreachable(end: Any) -> None:
    async def speak_no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        await end(None, Wire(reader, writer))
        writer.close()

    listening = await asyncio.start_server(speak_no_tls, "127.0.0.1", 0)
    async with listening, opened(f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}") as api:
        failure = await failure_of_post(api)
    assert type(failure) is Unreachable


async def test_silent_tls_handshake_is_a_connect_time_out() -> None:
    async with (
        MisbehavingServer(silent_after()) as server,
        opened(f"https://127.0.0.1:{server.port}/api/v1") as api,
    ):
        failure = await failure_of_post(api, connect_within_s=SHORT_S)
    assert (type(failure), failure.detail) == (Unreachable, "post_question: connect time-out")


@pytest.mark.parametrize("left_s", [0.0, -1.0])
async def test_no_time_left_to_connect_sends_nothing(server: MisbehavingServer, left_s: float) -> None:
    async with opened(server.api_url) as api:
        failure = await failure_of_post(api, connect_within_s=left_s)
    assert type(failure) is Unreachable
    assert server.connections == 0


async def test_process_that_was_suspended_while_it_connected_sends_nothing(
    server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(server.api_url) as api:
        times = iter([1000.0, 1002.1])
        monkeypatch.setattr(sending, "boottime", lambda: next(times))
        monkeypatch.setattr(transport, "boottime", lambda: next(times))
        failure = await failure_of_post(api, connect_within_s=2.0)
    assert (type(failure), failure.detail) == (Unreachable, "post_question: too late to send")
    assert server.requests == []


async def test_connection_reset_as_soon_as_it_stands_leaves_a_post_unknown() -> None:
    """The bytes may have been written before the reset was seen."""
    async with (
        MisbehavingServer(silent_after(), greeting=Wire.reset) as server,
        opened(server.api_url) as api,
    ):
        failure = await failure_of_post(api)
        assert server.connections == 1
    assert type(failure) is OutcomeUnknown


@pytest.mark.parametrize("is_reset", [False, True])
async def test_post_on_a_connection_that_was_closed_meanwhile_is_unknown_and_not_repeated(
    is_reset: bool, line: Line
) -> None:
    """What aiohttp would repeat by itself for a GET, a PUT or a DELETE it must not repeat for a post."""

    async def answer_once(request: SeenRequest, wire: Wire) -> None:
        if len(server.requests) == 1:
            await wire.send(response(200, ANSWER))
        else:
            await (resetting_after(b"") if is_reset else closing_after(b""))(request, wire)

    async with (
        MisbehavingServer(answer_once, tls=line.tls) as server,
        opened(server.api_url, ca_file=line.ca_file) as api,
    ):
        await post(api)
        failure = await failure_of_post(api)
        assert [request.connection for request in server.requests] == [1, 1]
    assert type(failure) is OutcomeUnknown


async def test_read_and_delete_on_a_closed_connection_are_not_repeated_either() -> None:
    async with MisbehavingServer(closing_after(b"")) as server, opened(server.api_url) as api:
        with pytest.raises(Unreachable):
            await api.find_conversations(1, "tag")
        with pytest.raises(OutcomeUnknown):
            await api.delete_conversation(1, "s")
        with pytest.raises(OutcomeUnknown):
            await api.rename_conversation(1, "s", "n")
        assert [request.method for request in server.requests] == ["GET", "DELETE", "PUT"]


async def test_connection_is_used_again(line: Line) -> None:
    async with (
        MisbehavingServer(answering(200, ANSWER), tls=line.tls) as server,
        opened(server.api_url, ca_file=line.ca_file) as api,
    ):
        for _ in range(3):
            await post(api)
        assert (server.connections, len(server.requests)) == (1, 3)


async def test_connection_of_a_response_that_was_not_read_whole_is_not_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cut = response(500, b"x" * 100)[:-50]

    async def cut_then_answer(request: SeenRequest, wire: Wire) -> None:
        await (silent_after(cut) if len(server.requests) == 1 else answering(200, ANSWER))(request, wire)

    monkeypatch.setattr(transport, "ERROR_BODY_WITHIN_S", 0.1)
    async with MisbehavingServer(cut_then_answer) as server, opened(server.api_url) as api:
        assert type(await failure_of_post(api)) is OutcomeUnknown
        assert (await post(api)).message_id == 9
        assert [request.connection for request in server.requests] == [1, 2]


async def test_answer_that_comes_unasked_is_never_taken_for_the_next_one() -> None:
    async def answer_twice(_: SeenRequest, wire: Wire) -> None:
        await wire.send(response(200, ANSWER))
        has_answer.set()
        await may_go_on.wait()
        await wire.send(response(200, success({"id": 10, "openai_response": "Not yours."})))

    has_answer, may_go_on = asyncio.Event(), asyncio.Event()
    async with MisbehavingServer(answer_twice) as server, opened(server.api_url) as api:
        assert (await post(api)).message_id == 9
        may_go_on.set()
        await until_out_of_step(api)
        failure = await failure_of_post(api)
        assert len(server.requests) == 1
    assert (type(failure), failure.detail) == (
        Unreachable,
        "post_question: the pooled connection is out of step",
    )


async def until_out_of_step(api: CustomGpt) -> None:
    async with asyncio.timeout(LONG_S):
        while not pooled(api).should_close:  # noqa: ASYNC110 - the client has no event for it
            await asyncio.sleep(0.01)


def pooled(api: CustomGpt) -> Any:
    """Return the one connection that idles in the pool."""
    session = api._requests._transport._session
    assert session is not None
    assert session.connector is not None
    ((protocol, _),) = next(iter(session.connector._conns.values()))
    return protocol


async def test_sockets_throw_away_on_close_and_give_up_on_silence_of_the_network(line: Line) -> None:
    async with (
        MisbehavingServer(answering(200, ANSWER), tls=line.tls) as server,
        opened(server.api_url, user_timeout_s=10.0, ca_file=line.ca_file) as api,
    ):
        await post(api)
        held = pooled(api).transport.get_extra_info("socket")
        assert held.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
        assert struct.unpack("ii", held.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)) == (1, 0)


@pytest.mark.parametrize("status", [403, 407, 502])
async def test_proxy_that_refuses_the_tunnel_makes_the_api_unreachable(status: int) -> None:
    async with (
        MisbehavingServer(answering(status, b"no")) as proxy,
        opened("https://api.invalid/api/v1", proxy_url=f"http://u:p@127.0.0.1:{proxy.port}") as api,
    ):
        failure = await failure_of_post(api)
        assert [(seen.method, seen.target) for seen in proxy.requests] == [("CONNECT", "api.invalid:443")]
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic dTpw"
        assert "authorization" not in proxy.requests[0].headers
    assert (type(failure), failure.detail) == (Unreachable, f"post_question: the proxy said {status}")


@pytest.mark.parametrize("behaviour", [silent_after(), closing_after(b""), resetting_after(b"")])
async def test_proxy_that_does_not_answer_makes_the_api_unreachable(behaviour: Any) -> None:
    async with (
        MisbehavingServer(behaviour) as proxy,
        opened("https://api.invalid/api/v1", proxy_url=f"http://127.0.0.1:{proxy.port}") as api,
    ):
        failure = await failure_of_post(api, connect_within_s=SHORT_S)
    assert type(failure) is Unreachable


async def test_environment_is_not_read(server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with opened(server.api_url) as api:
        await post(api)
    assert len(server.requests) == 1


async def test_five_hundred_posts_wait_for_their_answers_at_once() -> None:
    async def answer_when_all_are_here(_: SeenRequest, wire: Wire) -> None:
        if len(server.requests) == 500:
            all_here.set()
        await all_here.wait()
        await wire.send(response(200, ANSWER))

    all_here = asyncio.Event()
    async with MisbehavingServer(answer_when_all_are_here) as server, opened(server.api_url) as api:
        answers = await asyncio.gather(*(post(api) for _ in range(500)))
    assert len(answers) == 500


async def test_closed_adapter_sends_nothing(server: MisbehavingServer) -> None:
    api = opened(server.api_url)
    await api.start()
    await api.close()
    await api.close()
    assert type(await failure_of_post(api)) is Unreachable
    assert server.connections == 0


async def test_cancelled_post_cuts_its_connection(line: Line) -> None:
    """So that what was not sent yet is thrown away and nothing arrives late."""

    async def note_the_end(_: SeenRequest, wire: Wire) -> None:
        is_here.set()
        try:
            await wire.reader.read()
        finally:
            is_cut.set()

    is_here, is_cut = asyncio.Event(), asyncio.Event()
    async with (
        MisbehavingServer(note_the_end, tls=line.tls) as server,
        opened(server.api_url, ca_file=line.ca_file) as api,
    ):
        posting = asyncio.create_task(post(api))
        async with asyncio.timeout(LONG_S):
            await is_here.wait()
            posting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await posting
            await is_cut.wait()
