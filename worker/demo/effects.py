"""The sandbox's ledger of effects, read while it grows."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp

#: s. Between two looks whether the sandbox is quiet.
LOOK_S = 0.05
#: Entries in one page: enough for the fastest run, and the sandbox is not held up by it for long.
PAGE = 2_000


class EffectsTail:
    """Reads the ledger from where it left off. An async context manager."""

    def __init__(self, root: str) -> None:
        self._url = f"{root}/_effects"
        self._since = 0
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> EffectsTail:
        # No proxy of the environment may stand between the demo and its own sandbox.
        self._session = aiohttp.ClientSession(trust_env=False, timeout=aiohttp.ClientTimeout(total=30))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def read(self) -> list[dict[str, Any]]:
        """Return all entries that came since the last call."""
        found: list[dict[str, Any]] = []
        has_more = True
        while has_more:
            page = await self._get("", {"since": str(self._since), "limit": str(PAGE)})
            found += page["effects"]
            self._since, has_more = page["next"], page["has_more"]
        return found

    async def wait_until_quiet(self, *, within_s: float) -> None:
        """Wait until the sandbox serves no call any more, but no longer than this."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            if not (await self._get("/summary", {}))["open_requests"]:
                return
            await asyncio.sleep(LOOK_S)

    async def _get(self, path: str, query: dict[str, str]) -> Any:
        assert self._session is not None
        async with self._session.get(self._url + path, params=query) as answer:
            return await answer.json()
