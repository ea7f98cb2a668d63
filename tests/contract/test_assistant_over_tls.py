"""The API as it is in production, over TLS: the same ends of a call, and nothing more than asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_assistant_connections import ANSWER, post
from tests.contract.test_assistant_http_cells import CALLS, CELLS, Cell, failure_of
from tests.servers.authority import Authority
from tests.servers_http.behaviours import answering, closing_after, resetting_after, silent_after
from tests.servers_http.misbehaving import MisbehavingServer
from worker.adapters.customgpt import CustomGpt, CustomGptConfig
from worker.core.errors import AssistantError, OutcomeUnknown, Unreachable


def config(server: MisbehavingServer, authority: Authority, **settings: Any) -> CustomGptConfig:
    return CustomGptConfig(api_url=server.api_url, ca_file=authority.ca_file, **settings)


def opened(server: MisbehavingServer, authority: Authority, **settings: Any) -> CustomGpt:
    config_ = config(server, authority, **settings)
    return CustomGpt(config_, key=lambda: "k", log=lambda *_, **__: None)


async def failure_of_post(api: CustomGpt) -> AssistantError:
    with pytest.raises(AssistantError) as caught:
        await post(api)
    return caught.value


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
@pytest.mark.parametrize("called", [CALLS["post"], CALLS["list"]], ids=["post", "list"])
async def test_misbehaviour_is_sorted_as_without_tls(called: Any, cell: Cell, authority: Authority) -> None:
    async with MisbehavingServer(cell.behaviour, tls=authority.server()) as server:
        within_s = cell.deadline_s
        failure = await failure_of(called.invoke, config(server, authority, request_timeout_s=within_s))
        assert len(server.requests) == 1
    if called.is_write:
        assert type(failure) is (cell.definite or OutcomeUnknown), failure.detail
    else:
        assert type(failure) is (cell.of_read or cell.definite or Unreachable), failure.detail


async def test_certificate_of_somebody_else_is_not_trusted(authority: Authority, tmp_path: Path) -> None:
    async with (
        MisbehavingServer(answering(200, ANSWER), tls=Authority(tmp_path).server()) as server,
        opened(server, authority) as api,
    ):
        failure = await failure_of_post(api)
        assert server.requests == []
    assert (type(failure), failure.detail) == (Unreachable, "post_question: certificate not trusted")


@asynccontextmanager
async def tunnels(seen: list[str]) -> AsyncIterator[str]:
    """A proxy that lets everything through by CONNECT and notes where to."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        seen.append(head.splitlines()[0])
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        host, port = head.split(" ")[1].split(":")
        behind, inner = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(passed(reader, inner), passed(behind, writer))

    async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
            writer.close()
            await writer.wait_closed()
        except ConnectionError:
            writer.transport.abort()

    tasks: list[asyncio.Task[None]] = []
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as proxy:
        yield f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    await asyncio.gather(*tasks)


async def test_posts_go_through_a_proxy_and_use_its_tunnel_again(authority: Authority) -> None:
    seen: list[str] = []
    async with (
        MisbehavingServer(answering(200, ANSWER), tls=authority.server()) as server,
        tunnels(seen) as proxy_url,
    ):
        async with opened(server, authority, proxy_url=proxy_url) as api:
            answers = [await post(api) for _ in range(3)]
        assert {answer.message_id for answer in answers} == {9}
        assert [request.headers["authorization"] for request in server.requests] == ["Bearer k"] * 3
        assert seen == [f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"]


@pytest.mark.parametrize(
    "behaviour", [silent_after(), closing_after(b""), resetting_after(b"")], ids=["silent", "closed", "reset"]
)
async def test_post_that_ends_behind_a_proxy_is_unknown_and_not_repeated(
    behaviour: Any, authority: Authority
) -> None:
    async with (
        MisbehavingServer(behaviour, tls=authority.server()) as server,
        tunnels([]) as proxy_url,
        opened(server, authority, proxy_url=proxy_url, request_timeout_s=0.5) as api,
    ):
        failure = await failure_of_post(api)
        assert len(server.requests) == 1
    assert type(failure) is OutcomeUnknown
