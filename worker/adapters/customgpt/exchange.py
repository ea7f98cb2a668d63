"""What became of one request, in words without contents."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import aiohttp


@dataclass(frozen=True, slots=True)
class Exchange:
    """What became of one request."""

    #: False means that no byte of it left this process.
    was_sent: bool
    #: None when no status line came.
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    #: None when it did not come whole.
    body: bytes | None = None
    #: What went wrong, in words without contents; empty when a whole response came.
    trouble: str = ""
    #: Its pieces were handed on as they came.
    is_stream: bool = False


#: Told of every HTTP request as it ends: the call, the status (None when no status line came), the seconds.
OnExchange = Callable[[str, int | None, float], None]


class NotSentError(Exception):
    """The request was held back at the last moment."""


#: Most particular first, because these are subclasses of one another.
TROUBLES: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ConnectionTimeoutError, "connect time-out"),
    (TimeoutError, "time-out"),
    (aiohttp.ClientConnectorDNSError, "DNS failed"),
    (aiohttp.ClientConnectorCertificateError, "certificate not trusted"),
    (aiohttp.ClientSSLError, "TLS handshake failed"),
    (aiohttp.ServerDisconnectedError, "connection closed"),
    (aiohttp.ClientPayloadError, "answer cut off"),
)


def trouble_of(failure: Exception) -> str:
    """Say what a failure was without its message, because those hold URLs and so contact ids."""
    if isinstance(failure, NotSentError):
        return str(failure)
    if isinstance(failure, aiohttp.ClientHttpProxyError):
        return f"the proxy said {failure.status}"
    for kind, words in TROUBLES:
        if isinstance(failure, kind):
            return words
    number = failure.errno if isinstance(failure, OSError) else None
    return errno.errorcode.get(number or 0, type(failure).__name__)
