"""A front of plain servers on loopback: TLS for those that do not speak it, or one address for several."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, Self, TypeVar

T = TypeVar("T")

#: Bytes that are passed on at a time.
PIECE_BYTES = 65_536


class Front:
    """Passes each connection on to the first port that takes it, as a load balancer does.

    A context manager that leaves nothing running.
    """

    def __init__(self, behind: Sequence[int], *, tls: ssl.SSLContext | None = None) -> None:
        self.behind = behind
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()
        self.port = 0
        #: How many were taken, handshake and all.
        self.connections = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._take, "127.0.0.1", 0, ssl=self._tls))
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
            inner_reader, inner = await self._connect()
            self._writers.add(inner)
            await asyncio.gather(_pass(reader, inner), _pass(inner_reader, writer))
            self._writers.discard(inner)
        except OSError:
            writer.transport.abort()  # nobody is behind
        finally:
            self._writers.discard(writer)
            self._passing.discard(task)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for port in self.behind:
            with contextlib.suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", port)
        raise ConnectionRefusedError


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on until one side ends, then end the other."""
    with contextlib.suppress(OSError):
        while data := await reader.read(PIECE_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
