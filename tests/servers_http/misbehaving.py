"""A byte-level HTTP server on loopback that does what a script says after it has read a request."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """One request as it arrived."""

    method: str
    target: str
    #: Names in lower case.
    headers: dict[str, str]
    body: bytes
    #: Which connection it came by, from 1.
    connection: int


class Wire:
    """The server's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Send these bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    def reset(self) -> None:
        """Cut the connection with a TCP reset."""
        held = self._writer.get_extra_info("socket")
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def close(self) -> None:
        """Close the connection in order (FIN)."""
        self._writer.close()

    @property
    def is_closed(self) -> bool:
        """Whether this side has ended the connection."""
        return self._writer.is_closing()


Behaviour = Callable[[SeenRequest, Wire], Awaitable[None]]


class MisbehavingServer:
    """Reads each request whole, notes it, and does what the behaviour says."""

    def __init__(
        self,
        behaviour: Behaviour,
        *,
        greeting: Callable[[Wire], None] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.behaviour = behaviour
        #: Runs as soon as a connection stands, before anything is read.
        self.greeting = greeting
        self._tls = tls
        self.requests: list[SeenRequest] = []
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def api_url(self) -> str:
        """What a client is told."""
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}/api/v1"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        wire = Wire(reader, writer)
        try:
            if self.greeting is not None:
                self.greeting(wire)
            await self._serve_requests(wire, self.connections)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve_requests(self, wire: Wire, connection: int) -> None:
        while not wire.is_closed:
            head = (await wire.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            request_line, *lines = head.rstrip("\r\n").split("\r\n")
            method, target, _ = request_line.split(" ", 2)
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = await wire.reader.readexactly(int(headers.get("content-length", "0")))
            request = SeenRequest(method, target, headers, body, connection)
            self.requests.append(request)
            await self.behaviour(request, wire)
