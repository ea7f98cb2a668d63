"""A line to PostgreSQL that is cut at the worst moment: when COMMIT was sent and its answer is on the way."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Literal, Self
from urllib.parse import urlsplit, urlunsplit

#: Bytes taken from a socket at once.
CHUNK = 65_536

CutAt = Literal["answer", "commit"]


class CutLine:
    """Forwards to PostgreSQL; once armed, cuts the line at the next COMMIT.

    ``answer``: the server gets the COMMIT, its answer is swallowed. ``commit``: the COMMIT never arrives.
    """

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._armed: CutAt | None = None
        self.cuts = 0
        self._sockets: list[socket.socket] = []

    @property
    def url(self) -> str:
        """The URL of the line; its other end is the server of the URL it was made from."""
        port = self._listener.getsockname()[1]
        return urlunsplit(self._target._replace(netloc=f"{self._target.username}@127.0.0.1:{port}"))

    def cut(self, at: CutAt) -> None:
        """Cut at the next COMMIT."""
        self._armed = at

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, *self._sockets):
            _end(each)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((self._target.hostname, self._target.port))
            except OSError:
                _end(client)  # the server is away: so is the line
                continue
            self._sockets += [client, server]
            is_cutting = threading.Event()
            threading.Thread(target=self._to_server, args=(client, server, is_cutting), daemon=True).start()
            threading.Thread(target=self._to_client, args=(client, server, is_cutting), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket, is_cutting: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(CHUNK):
                at = self._armed if b"COMMIT" in data else None
                if at:
                    self._armed = None
                    self.cuts += 1
                    is_cutting.set()
                if at == "commit":
                    break
                server.sendall(data)
        if not is_cutting.is_set() or at == "commit":
            _end(client)
            _end(server)

    def _to_client(self, client: socket.socket, server: socket.socket, is_cutting: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(CHUNK):
                if is_cutting.is_set():
                    # The answer to COMMIT: the transaction is over, and nobody but us knows.
                    break
                client.sendall(data)
        _end(client)
        _end(server)


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
