"""TLS on loopback: an authority of our own, and fronts that speak TLS for servers that do not."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

import trustme

T = TypeVar("T")

#: Bytes that are passed on at a time.
PIECE_BYTES = 65_536


class Authority:
    """Signs certificates for this machine's own names; whoever is to trust it is told ``ca_file``."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.ca_file = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(self.ca_file)

    def server(self) -> ssl.SSLContext:
        """Return what a server at localhost or 127.0.0.1 needs."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
        return context


class TlsFront:
    """Takes TLS connections and passes what they say on to a plain port, as a load balancer does.

    A context manager that leaves nothing running.
    """

    def __init__(self, behind: int, authority: Authority) -> None:
        self._behind = behind
        self._context = authority.server()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()
        self.port = 0
        #: Handshakes that were made.
        self.connections = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._take, "127.0.0.1", 0, ssl=self._context))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Drop every connection that stands, without a word of goodbye."""
        self._run(self._cut())

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _end(self) -> None:
        await asyncio.gather(*self._passing)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        self._writers.add(writer)
        try:
            inner_reader, inner = await asyncio.open_connection("127.0.0.1", self._behind)
            self._writers.add(inner)
            await asyncio.gather(_pass(reader, inner), _pass(inner_reader, writer))
            self._writers.discard(inner)
        except OSError:
            writer.transport.abort()  # nobody is behind
        finally:
            self._writers.discard(writer)
            self._passing.discard(task)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on until one side ends, then end the other."""
    with contextlib.suppress(OSError):
        while data := await reader.read(PIECE_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
