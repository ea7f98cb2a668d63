"""The calls to Inkeep's Analytics API, sorted as in PROTOCOL 7.

| seen                                               | a copy that is sent | a copy that is read |
|----------------------------------------------------|---------------------|---------------------|
| no byte was sent: refused, DNS, TLS, connect       | Unreachable         | Unreachable         |
| 401, 403                                           | CredentialsRejected | CredentialsRejected |
| 404, and its listing is there                      | MirrorRefused       | there is none       |
| 404, and its listing is not there either           | MirrorNotFound      | there is none       |
| 400, 413, 422, or a copy under another id          | MirrorRefused       | MirrorRefused       |
| 429                                                | Throttled           | Throttled           |
| everything else                                    | OutcomeUnknown      | Unreachable         |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Self
from urllib.parse import quote

from worker.adapters.customgpt.config import CustomGptConfig
from worker.adapters.customgpt.exchange import Exchange
from worker.adapters.customgpt.moments import pause_of
from worker.adapters.customgpt.transport import Transport
from worker.adapters.inkeep import shapes
from worker.core.errors import (
    AskrelayError,
    CredentialsRejected,
    MirrorNotFound,
    MirrorRefused,
    OutcomeUnknown,
    Throttled,
    Unreachable,
)
from worker.core.mirroring import ConversationCopy

#: s. For a connection, and for a whole request: an upsert of 2 MB is no matter of minutes.
CONNECT_WITHIN_S = 10.0
WITHIN_S = 30.0
#: Requests of one copy: it may be read first, and a 404 is looked into.
REQUESTS_PER_COPY = 3

_SUCCESS = frozenset({200, 201})
#: Problem codes of the documentation; another word of theirs might hold anything.
_CODES = frozenset(
    {"bad_request", "unauthorized", "forbidden", "not_found", "unprocessable_entity", "internal_server_error"}
)


class Inkeep:
    """Implements worker.core.mirroring.Mirror; use ``start`` and ``close``, or it as a context manager."""

    def __init__(self, config: CustomGptConfig, key: Callable[[], str]) -> None:
        self._api_url = config.api_url.rstrip("/")
        self._within_s = min(WITHIN_S, config.request_timeout_s)
        self._key = key
        # Connections of its own: a mirror that hangs holds up no question.
        self._transport = Transport(config)
        self.start = self._transport.start
        self.close = self._transport.close

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def copy(self, conversation: ConversationCopy) -> None:
        """See the port."""
        before: Mapping[str, Any] = {}
        if conversation.is_partial:
            before = await self._read(f"/conversations/{_quoted(conversation.copy_id)}") or {}
        body = shapes.upsert_of(conversation, kept=before.get("messages"))
        exchange = await self._exchange("POST", "/conversations", body)
        if exchange.status in _SUCCESS:
            copy_id = _object_of(exchange).get("id")
            if copy_id == conversation.copy_id:
                return
            if copy_id is None:
                raise OutcomeUnknown("copy: 200, unreadable")
            # Sent again it might be made again, so nobody does.
            raise MirrorRefused("copy: it was kept under another id than the one that was sent")
        if exchange.status == 404 and await self._is_gone():
            raise MirrorNotFound("copy: 404, and so is the listing")
        raise _failure_of(exchange, "copy", is_write=True)

    async def by_external_id(self, external_id: str) -> dict[str, Any] | None:
        """Return the copy that Inkeep finds for a contact; None when there is none."""
        return await self._read(f"/conversations/external/{_quoted(external_id)}")

    async def _read(self, path: str) -> dict[str, Any] | None:
        exchange = await self._exchange("GET", path)
        if exchange.status == 404:
            return None
        if exchange.status not in _SUCCESS:
            raise _failure_of(exchange, "read", is_write=False)
        found = _object_of(exchange)
        if "id" not in found:
            raise Unreachable("read: 200, unreadable")
        return found

    async def _is_gone(self) -> bool:
        """Tell whether a plain reading is not found either: then it is the address, and not this copy."""
        return (await self._exchange("GET", "/conversations?limit=1")).status == 404

    async def _exchange(self, method: str, path: str, body: bytes | None = None) -> Exchange:
        key = self._key()
        if not key or not key.isascii() or not key.isprintable():
            raise CredentialsRejected("the key is empty or has characters that no header holds")
        headers = {"Authorization": f"Bearer {key}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        return await self._transport.exchange(
            method,
            f"{self._api_url}{path}",
            headers=headers,
            body=body,
            connect_within_s=min(CONNECT_WITHIN_S, self._within_s),
            total_s=self._within_s,
        )


def _failure_of(exchange: Exchange, call: str, *, is_write: bool) -> AskrelayError:
    detail = f"{call}: {exchange.status or exchange.trouble}"
    code = _object_of(exchange).get("code")
    if isinstance(code, str) and code in _CODES:
        detail = f"{detail} {code}"
    match exchange.status:
        case None if not exchange.was_sent:
            return Unreachable(detail)
        case 401 | 403:
            return CredentialsRejected(detail)
        case 429:
            return Throttled(detail, pause_s=pause_of(exchange.headers))
        case 404 | 400 | 413 | 422:
            return MirrorRefused(detail)
        case _:
            return OutcomeUnknown(detail) if is_write else Unreachable(detail)


def _object_of(exchange: Exchange) -> dict[str, Any]:
    try:
        found = json.loads(exchange.body or b"")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _quoted(part: str) -> str:
    """Quote one part of a path; a contact may be called ``.`` or ``..``, which would be taken for steps."""
    return quote(part, safe="").replace(".", "%2E") if part in {".", ".."} else quote(part, safe="")
