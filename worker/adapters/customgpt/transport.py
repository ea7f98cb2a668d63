"""Send one request, at most once, and report what became of it.

Nothing here raises for what the network does: a failure is part of the report.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress

import aiohttp
from yarl import URL

from worker.adapters.customgpt.config import CustomGptConfig
from worker.adapters.customgpt.exchange import Exchange, trouble_of
from worker.adapters.customgpt.sending import Sending, WatchedRequest, boottime, current_sending

#: Bytes. A page of messages is some 100 KB; what is larger is no answer of the API and would fill the memory.
MAX_BODY_BYTES = 8 * 1024 * 1024

#: Seconds a connection may idle in the pool. Common servers close idle ones after 60 s and more, and a post
#: sent while the server hangs up has an unknown outcome, so we hang up first.
KEEP_ALIVE_S = 15.0

#: Seconds that an address found by DNS is used. Short enough for a fail-over by DNS.
DNS_TTL_S = 30

#: Seconds to wait for the body of a status that has decided already; the body only adds detail.
ERROR_BODY_WITHIN_S = 5.0

#: Seconds to wait for the end of a stream whose last frame is there; mostly both come together.
STREAM_TAIL_WITHIN_S = 0.2

#: The media type of server-sent events.
EVENT_STREAM = "text/event-stream"

#: Takes a piece of a stream and tells whether that was enough.
OnPiece = Callable[[bytes], bool]

#: Linger on, for 0 seconds: closing a socket throws away what was not sent yet. Without it a killed worker's
#: bytes were seen to arrive 20 s later, long after others had read back and found nothing.
LINGER_OFF = struct.pack("ii", 1, 0)


class Transport:
    """A pool of connections to the API."""

    def __init__(self, config: CustomGptConfig) -> None:
        self._config = config
        self._proxy = config.proxy_in_use()
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the pool; it has no limit of its own, because the gate limits what is in flight."""
        trust: ssl.SSLContext | bool = True
        if self._config.ca_file is not None:
            trust = ssl.create_default_context(cafile=self._config.ca_file)
        connector = aiohttp.TCPConnector(
            limit=0,
            keepalive_timeout=KEEP_ALIVE_S,
            ttl_dns_cache=DNS_TTL_S,
            socket_factory=self._open_socket,
            ssl=trust,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=WatchedRequest,
            headers={"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "askrelay"},
        )

    async def close(self) -> None:
        """Close every connection; what is in flight is cut off."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        made = socket.socket(family=family, type=kind, proto=protocol)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_OFF)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                # Bytes waiting in the kernel for a network that is away must not arrive minutes later.
                milliseconds = max(1, int(self._config.user_timeout_s * 1000))
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        except OSError:
            made.close()
            raise
        return made

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        connect_within_s: float,
        total_s: float,
        on_late: Callable[[], None] | None = None,
        on_piece: OnPiece | None = None,
    ) -> Exchange:
        """Send one request and report what became of it; a cancellation is the only thing that it raises.

        ``url`` is quoted already. ``connect_within_s`` is also the time within which the bytes must leave.
        The pieces of a success that is a stream of events go to ``on_piece``, where there is one, and the
        body of the report is empty then.
        """
        if self._session is None:
            return Exchange(was_sent=False, trouble="closed")
        if connect_within_s <= 0:
            # To aiohttp a time-out of 0 means none.
            return Exchange(was_sent=False, trouble="no time left to connect")
        sending = Sending(deadline=boottime() + connect_within_s, on_late=on_late)
        token = current_sending.set(sending)
        try:
            response = await self._session.request(
                method,
                URL(url, encoded=True),
                data=body,
                headers=headers,
                allow_redirects=False,
                proxy=self._proxy,
                timeout=aiohttp.ClientTimeout(
                    total=total_s, connect=connect_within_s, ceil_threshold=math.inf
                ),
            )
        except Exception as failure:  # noqa: BLE001 - whatever it was, all that counts is whether bytes left
            return Exchange(was_sent=sending.has_begun, trouble=trouble_of(failure))
        finally:
            current_sending.reset(token)
        return await _received(response, on_piece)


async def _received(response: aiohttp.ClientResponse, on_piece: OnPiece | None) -> Exchange:
    status, headers = response.status, response.headers
    is_stream = on_piece is not None and status < 300 and response.content_type == EVENT_STREAM
    body: bytes | None
    try:
        if is_stream and on_piece is not None:
            body = await _listen(response, on_piece)
        elif status < 300:
            body = await _read(response)
        else:
            async with asyncio.timeout(ERROR_BODY_WITHIN_S):
                body = await _read(response)
    except Exception as failure:  # noqa: BLE001 - parsers and decompressors raise what they like
        trouble = trouble_of(failure)
        return Exchange(was_sent=True, status=status, headers=headers, trouble=trouble, is_stream=is_stream)
    finally:
        # A connection whose response was read to its end is in the pool already.
        if not response.closed:
            response.close()
    trouble = "answer too large" if body is None else ""
    return Exchange(
        was_sent=True, status=status, headers=headers, body=body, trouble=trouble, is_stream=is_stream
    )


async def _listen(response: aiohttp.ClientResponse, on_piece: OnPiece) -> bytes | None:
    """Hand the pieces on until there is enough of them; None when they are more than any answer's."""
    size = 0
    while piece := await response.content.readany():
        size += len(piece)
        if on_piece(piece):
            with suppress(Exception):
                # What counts is in hand; only to its end is a connection of use to the next request.
                async with asyncio.timeout(STREAM_TAIL_WITHIN_S):
                    await _read(response)
            return b""
        if size > MAX_BODY_BYTES:
            return None
    return b""


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    """Read the body to its end, or return None when it is larger than any answer of the API."""
    pieces, size = [], 0
    while piece := await response.content.readany():
        size += len(piece)
        if size > MAX_BODY_BYTES:
            return None
        pieces.append(piece)
    return b"".join(pieces)
