"""A proxy before PostgreSQL that cuts the connection right after COMMIT went out.

It reads the client's side of the protocol message by message (type byte, length, payload). A COMMIT, as a
simple query or prepared, is passed on; what the server answers is waited for and swallowed; then both
connections are reset. So the transaction is in the database, and nobody told the client. ``withholds`` cuts
without passing it on: the same for the client, and nothing is in the database.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from typing import Self

#: Request codes that come without a type byte: SSL, GSS encryption. Refused with one letter, then startup.
_NEGOTIATIONS = {80877103, 80877104}
_LINGER_0 = struct.pack("ii", 1, 0)
#: s. A commit waits for the disk.
_COMMIT_S = 10.0


class CommitCutter:
    """Listens on a port of its own while it is entered; cuts those commits, by number, that ``cuts`` says."""

    def __init__(self, port: int, *, cuts: Callable[[int], bool], withholds: bool = False) -> None:
        self._server_port = port
        self._cuts = cuts
        self._withholds = withholds
        self.commits = 0
        #: Connections that were cut at a commit.
        self.cut = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._is_listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="commit cutter", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._is_listening.wait(10):
            raise RuntimeError("the proxy did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def url(self, url: str) -> str:
        """Return a database's URL by way of this proxy."""
        return url.replace(f":{self._server_port}/", f":{self.port}/")

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._is_listening.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            _reset(writer)
            return
        connection = _Connection(self, reader, writer, server_reader, server_writer)
        try:
            await connection.run()
        finally:
            writer.close()
            server_writer.close()

    def is_cut(self) -> bool:
        """Count a commit and tell whether it is the last of its connection."""
        self.commits += 1
        is_cut = self._cuts(self.commits)
        self.cut += is_cut
        return is_cut

    @property
    def withholds(self) -> bool:
        """Whether the server never sees a commit that is cut."""
        return self._withholds


class _Connection:
    """One client and its server."""

    def __init__(
        self,
        cutter: CommitCutter,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        self._cutter = cutter
        self._reader = reader
        self._writer = writer
        self._server_reader = server_reader
        self._server_writer = server_writer
        #: The server's answer goes nowhere from now on.
        self._is_swallowing = False
        self._has_answered = asyncio.Event()

    async def run(self) -> None:
        """Pass on both ways until either side ends or a commit is cut."""
        down = asyncio.create_task(self._pass_down())
        up = asyncio.create_task(self._pass_up())
        try:
            await asyncio.wait({down, up}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (down, up):
                task.cancel()
            await asyncio.gather(down, up, return_exceptions=True)

    async def _pass_down(self) -> None:
        """Server to client, bytes as they come."""
        while data := await self._server_reader.read(65536):
            if self._is_swallowing:
                self._has_answered.set()
                continue
            self._writer.write(data)
            await self._writer.drain()

    async def _pass_up(self) -> None:
        """Client to server, message by message."""
        await self._pass_startup()
        while True:
            head = await self._reader.readexactly(5)
            (length,) = struct.unpack(">I", head[1:])
            payload = await self._reader.readexactly(length - 4)
            if _is_commit(head[:1], payload) and self._cutter.is_cut():
                await self._cut(head + payload)
                return
            self._server_writer.write(head + payload)
            await self._server_writer.drain()

    async def _pass_startup(self) -> None:
        while True:
            head = await self._reader.readexactly(8)
            length, code = struct.unpack(">II", head)
            rest = await self._reader.readexactly(length - 8)
            if code not in _NEGOTIATIONS:
                self._server_writer.write(head + rest)
                return
            self._writer.write(b"N")

    async def _cut(self, message: bytes) -> None:
        self._is_swallowing = True
        if not self._cutter.withholds:
            self._server_writer.write(message)
            await self._server_writer.drain()
            async with asyncio.timeout(_COMMIT_S):
                await self._has_answered.wait()
        _reset(self._server_writer)
        _reset(self._writer)


def _is_commit(kind: bytes, payload: bytes) -> bool:
    """Tell a simple query or a Parse that says COMMIT."""
    if kind == b"Q":
        return payload.rstrip(b"\0").strip().upper() == b"COMMIT"
    if kind == b"P":
        return payload.split(b"\0")[1].strip().upper() == b"COMMIT"
    return False


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, as a machine that vanished and came back would."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
    writer.transport.abort()
