"""Make one request of a kind: with the key, within its time, and with a named error for every bad end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from worker.adapters.customgpt import parsing, sorting
from worker.adapters.customgpt.completions import CompletionStream, completion_of
from worker.adapters.customgpt.config import CustomGptConfig
from worker.adapters.customgpt.exchange import Exchange, OnExchange
from worker.adapters.customgpt.parsing import Page
from worker.adapters.customgpt.sorting import Call
from worker.adapters.customgpt.streaming import AnswerStream
from worker.adapters.customgpt.transport import OnPiece, Transport
from worker.core.errors import AssistantError, CredentialsRejected, Unreachable
from worker.core.model import RemoteMessage
from worker.core.ports import Admit
from worker.core.traces import Tracer

#: Seconds in which a request has to get a connection where the caller does not name them (a post does: G).
CONNECT_WITHIN_S = 10.0
#: Seconds for a whole read: only an answer takes long to make, and a turn holds its lease meanwhile.
READ_WITHIN_S = 30.0
#: Pages of one listing, 10 to 20 rows each; more means that it has no end.
MAX_PAGES = 1000

_Parsed = TypeVar("_Parsed")
_Row = TypeVar("_Row")


class Requests:
    """What all calls have in common. No request is ever sent twice: trying again is up to the turn."""

    def __init__(
        self,
        config: CustomGptConfig,
        key: Callable[[], str],
        on_exchange: OnExchange | None,
        tracer: Tracer,
    ) -> None:
        self._config = config
        self._key = key
        self._on_exchange = on_exchange
        self._tracer = tracer
        self._transport = Transport(config)
        self.start = self._transport.start
        self.close = self._transport.close

    async def read(self, call: Call, url: str, parse: Callable[[Any], _Parsed]) -> _Parsed:
        """Make a request without effect and return what ``parse`` makes of its data."""
        exchange = await self._exchanged(
            call,
            url,
            headers=self._headers(call),
            body=None,
            connect_within_s=min(CONNECT_WITHIN_S, self._config.request_timeout_s),
            total_s=min(READ_WITHIN_S, self._config.request_timeout_s),
        )
        return _parsed(call, exchange, parse)

    async def write(
        self,
        call: Call,
        url: str,
        parse: Callable[[Any], _Parsed],
        *,
        content: Any = None,
        connect_within_s: float = CONNECT_WITHIN_S,
        more_headers: dict[str, str] | None = None,
        on_late: Callable[[], None] | None = None,
    ) -> _Parsed:
        """Make a request with an effect and return what ``parse`` makes of its data."""
        exchange = await self._written(
            call,
            url,
            content=content,
            connect_within_s=connect_within_s,
            more_headers=more_headers,
            on_late=on_late,
        )
        return _parsed(call, exchange, parse)

    async def _written(
        self,
        call: Call,
        url: str,
        *,
        content: Any,
        connect_within_s: float,
        more_headers: dict[str, str] | None,
        on_late: Callable[[], None] | None,
        on_piece: OnPiece | None = None,
    ) -> Exchange:
        headers = self._headers(call) | (more_headers or {})
        body = None
        if content is not None:
            headers["Content-Type"] = "application/json"
            # Escaped to ASCII by json, so it can be encoded whatever characters the text has.
            body = json.dumps(content).encode("ascii")
        return await self._exchanged(
            call,
            url,
            headers=headers,
            body=body,
            connect_within_s=connect_within_s,
            total_s=self._config.request_timeout_s,
            on_late=on_late,
            on_piece=on_piece,
        )

    async def write_streamed(
        self,
        call: Call,
        url: str,
        parse: Callable[[Any], RemoteMessage],
        stream: AnswerStream,
        **sending: Any,
    ) -> RemoteMessage:
        """Make a request whose answer may be streamed, and return the message that the stream ends with.

        A server that answers in one piece all the same is read as ever. Whatever ends before ``finish`` has
        an unknown outcome.
        """
        try:
            exchange = await self._written(call, url, on_piece=stream.feed, **sending)
            await stream.settle()
        except BaseException:
            stream.abandon()
            raise
        if not exchange.is_stream:
            return _parsed(call, exchange, parse)
        if stream.message is None:
            kind = stream.trouble or exchange.trouble or "the stream ended before its finish"
            raise sorting.unclear(call, exchange, kind)
        return stream.message

    async def complete(
        self, call: Call, url: str, stream: CompletionStream | None, **sending: Any
    ) -> RemoteMessage:
        """Make a request whose answer is in OpenAI's form, which has no envelope; streamed, if it may be."""
        on_piece = None if stream is None else stream.feed
        exchange = await self._written(call, url, on_piece=on_piece, **sending)
        if exchange.status not in call.success or exchange.body is None:
            raise sorting.failure_of(call, exchange)
        if exchange.is_stream and stream is not None:
            if stream.is_whole:
                return stream.message
            raise sorting.unclear(call, exchange, stream.trouble or "the stream ended before its end")
        unclear: AssistantError
        try:
            return completion_of(exchange.body)
        except parsing.UnreadableError as failure:
            unclear = sorting.unclear(call, exchange, str(failure))
        raise unclear

    async def read_pages(
        self,
        call: Call,
        url: str,
        parse: Callable[[int, Any], Page[_Row]],
        take: Callable[[Page[_Row]], bool],
        admit: Admit | None = None,
    ) -> None:
        """Read page after page until ``take`` has enough; a listing without an end is refused.

        ``admit`` is awaited before each page but the first: each is a request of its own to the API.
        """
        rows: list[_Row] = []
        for number in range(1, MAX_PAGES + 1):
            if number > 1 and admit is not None:
                await admit()
            page = await self.read(call, f"{url}&page={number}", partial(parse, number))
            if page.rows and page.rows == rows:
                break  # the server ignores ``page``
            if take(page) or not page.has_next:
                return
            rows = page.rows
        raise Unreachable(f"{call.name}: pages without end")

    async def _exchanged(self, call: Call, url: str, **sending: Any) -> Exchange:
        """Send one request and tell whoever measures and traces what came of it, also when it is cut off."""
        span = self._tracer.begin_call(call.name, call.method, call.path, url)
        if span.headers:
            sending["headers"] = {**sending["headers"], **span.headers}
        begun, status, trouble = time.perf_counter(), None, ""
        try:
            exchange = await self._transport.exchange(call.method, url, **sending)
            status, trouble = exchange.status, exchange.trouble
            return exchange
        finally:
            if self._on_exchange is not None:
                self._on_exchange(call.name, status, time.perf_counter() - begun)
            span.close(status, trouble)

    def _headers(self, call: Call) -> dict[str, str]:
        key = self._key()
        if not key or not key.isascii() or not key.isprintable():
            raise CredentialsRejected(f"{call.name}: the key is empty or has characters that no header holds")
        return {"Authorization": f"Bearer {key}"}


def _parsed(call: Call, exchange: Exchange, parse: Callable[[Any], _Parsed]) -> _Parsed:
    """Parse a success; one that cannot be read tells nothing about what the API did."""
    if exchange.status not in call.success or exchange.body is None:
        raise sorting.failure_of(call, exchange)
    unclear: AssistantError
    try:
        return parse(parsing.data_of(exchange.body))
    except parsing.UnreadableError as failure:
        unclear = sorting.unclear(call, exchange, str(failure))
    raise unclear
