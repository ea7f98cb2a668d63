"""Make one request of a kind: with the key, within its time, and with a named error for every bad end."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from worker.adapters.customgpt import parsing, sorting
from worker.adapters.customgpt.config import CustomGptConfig
from worker.adapters.customgpt.exchange import Exchange
from worker.adapters.customgpt.parsing import Page
from worker.adapters.customgpt.sorting import Call
from worker.adapters.customgpt.transport import Transport
from worker.core.errors import AssistantError, CredentialsRejected, Unreachable

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

    def __init__(self, config: CustomGptConfig, key: Callable[[], str]) -> None:
        self._config = config
        self._key = key
        self._transport = Transport(config)
        self.start = self._transport.start
        self.close = self._transport.close

    async def read(self, call: Call, url: str, parse: Callable[[Any], _Parsed]) -> _Parsed:
        """Make a request without effect and return what ``parse`` makes of its data."""
        exchange = await self._transport.exchange(
            call.method,
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
        headers = self._headers(call) | (more_headers or {})
        body = None
        if content is not None:
            headers["Content-Type"] = "application/json"
            # Escaped to ASCII by json, so it can be encoded whatever characters the text has.
            body = json.dumps(content).encode("ascii")
        exchange = await self._transport.exchange(
            call.method,
            url,
            headers=headers,
            body=body,
            connect_within_s=connect_within_s,
            total_s=self._config.request_timeout_s,
            on_late=on_late,
        )
        return _parsed(call, exchange, parse)

    async def read_pages(
        self,
        call: Call,
        url: str,
        parse: Callable[[int, Any], Page[_Row]],
        take: Callable[[Page[_Row]], bool],
    ) -> None:
        """Read page after page until ``take`` has enough; a listing without an end is refused."""
        rows: list[_Row] = []
        for number in range(1, MAX_PAGES + 1):
            page = await self.read(call, f"{url}&page={number}", partial(parse, number))
            if page.rows and page.rows == rows:
                break  # the server ignores ``page``
            if take(page) or not page.has_next:
                return
            rows = page.rows
        raise Unreachable(f"{call.name}: pages without end")

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
