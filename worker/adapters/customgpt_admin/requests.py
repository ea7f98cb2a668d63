"""Send one request of an operator: with the key, with patience for pauses, with a name for every bad end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, TypeVar

from worker.adapters.customgpt import parsing, sorting
from worker.adapters.customgpt.config import CustomGptConfig
from worker.adapters.customgpt.exchange import Exchange
from worker.adapters.customgpt.parsing import Page
from worker.adapters.customgpt.sorting import Call
from worker.adapters.customgpt.transport import Transport
from worker.adapters.customgpt_admin.form import Body
from worker.core.errors import CredentialsRejected, Throttled, Unreachable

#: Seconds in which a request has to get a connection.
CONNECT_WITHIN_S = 10.0
#: Seconds for a whole request: none of these waits for an answer of the agent.
WITHIN_S = 30.0
#: Seconds that one request waits for the API's pace, all pauses together; a plan's minute is over by then.
MOST_PAUSES_S = 120.0
#: Pages of one listing; more means that it has no end.
MAX_PAGES = 100_000
#: Characters of what the API says about a refusal: its sentences are shorter, and a page of HTML is none.
_WORDS_CHARS = 300

_REFUSALS = frozenset({400, 413, 422})

_Parsed = TypeVar("_Parsed")
_Row = TypeVar("_Row")


class RefusedError(Exception):
    """The API refuses what an operator asked for; the message is the API's own."""


class OperatorRequests:
    """What all calls have in common.

    ``on_pause`` is told the seconds of every pause that the API asks for. A request that got a 429 did
    nothing, so it is sent again after the pause; no other request is ever sent twice.
    """

    def __init__(
        self, config: CustomGptConfig, key: Callable[[], str], on_pause: Callable[[float], None]
    ) -> None:
        self._within_s = min(WITHIN_S, config.request_timeout_s)
        self._key = key
        self._on_pause = on_pause
        self._transport = Transport(config)
        self.start = self._transport.start
        self.close = self._transport.close

    async def ask(
        self, call: Call, url: str, parse: Callable[[Any], _Parsed], *, body: Body | None = None
    ) -> _Parsed:
        """Make a request and return what ``parse`` makes of its data.

        Raises RefusedError, and the errors that ``worker.adapters.customgpt.sorting`` lists.
        """
        paused_s = 0.0
        while True:
            try:
                return await self._ask_once(call, url, parse, body)
            except Throttled as throttled:
                paused_s += throttled.pause_s
                if paused_s > MOST_PAUSES_S:
                    raise
                self._on_pause(throttled.pause_s)
                await asyncio.sleep(throttled.pause_s)

    async def pages(
        self, call: Call, url: str, parse: Callable[[int, Any], Page[_Row]]
    ) -> AsyncIterator[Page[_Row]]:
        """Yield page after page to the last one; a listing without an end is refused."""
        rows: list[_Row] = []
        sign = "&" if "?" in url else "?"
        for number in range(1, MAX_PAGES + 1):
            page = await self.ask(call, f"{url}{sign}page={number}", partial(parse, number))
            if page.rows and page.rows == rows:
                break  # the server ignores ``page``
            yield page
            if not page.has_next:
                return
            rows = page.rows
        raise Unreachable(f"{call.name}: pages without end")

    async def _ask_once(
        self, call: Call, url: str, parse: Callable[[Any], _Parsed], body: Body | None
    ) -> _Parsed:
        headers = self._headers(call) | ({} if body is None else {"Content-Type": body.content_type})
        exchange = await self._transport.exchange(
            call.method,
            url,
            headers=headers,
            body=None if body is None else body.data,
            connect_within_s=min(CONNECT_WITHIN_S, self._within_s),
            total_s=self._within_s,
        )
        if exchange.status in _REFUSALS and call.is_write and (words := _words_of(exchange)):
            raise RefusedError(words)
        if exchange.status not in call.success or exchange.body is None:
            raise sorting.failure_of(call, exchange)
        try:
            return parse(parsing.data_of(exchange.body))
        except parsing.UnreadableError as failure:
            unclear = sorting.unclear(call, exchange, str(failure))
        raise unclear

    def _headers(self, call: Call) -> dict[str, str]:
        key = self._key()
        if not key or not key.isascii() or not key.isprintable():
            raise CredentialsRejected(f"{call.name}: the key is empty or has characters that no header holds")
        return {"Authorization": f"Bearer {key}"}


def _words_of(exchange: Exchange) -> str:
    """Return what the API says about a refusal; empty when the body is not the API's own."""
    try:
        tree = json.loads(exchange.body or b"")
    except (ValueError, RecursionError):
        return ""
    match tree:
        case {"data": {"message": str() as words}} | {"message": str() as words}:
            return "".join(each for each in words if each.isprintable())[:_WORDS_CHARS]
        case _:
            return ""
