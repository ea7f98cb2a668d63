"""The agent's fixed texts: fetched once, kept for an hour, shared by everybody who waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from worker.core.errors import AssistantError, LedgerError
from worker.core.model import CannedTexts
from worker.core.ports import Admit, Log

#: Seconds that fetched texts are used; a person who changes them expects it to show within the hour.
KEEP_S = 3600.0
#: Seconds until a failed fetch is tried again; without the texts a fallback only goes unmarked.
TRY_AGAIN_S = 60.0
#: Seconds to wait for the texts at most, because answers that are there already wait for them.
WITHIN_S = 10.0


@dataclass(slots=True)
class _Shelf:
    texts: CannedTexts = field(default_factory=CannedTexts)
    #: Loop time at which to look again.
    look_at: float = 0.0
    has_looked: bool = False
    fetching: asyncio.Task[None] | None = None


class CannedTextsShelf:
    """Keeps the fixed texts of each project."""

    def __init__(self, fetch: Callable[[int], Awaitable[CannedTexts]], log: Log) -> None:
        self._fetch = fetch
        self._log = log
        self._shelves: dict[int, _Shelf] = {}

    async def get(self, project_id: int, admit: Admit | None = None) -> CannedTexts:
        """Return the texts as far as they are known. Never raises.

        Who begins a fetch waits for it, and at first everybody does: the fetch is a request to the API, and
        has its place among those at once by the turn that waits. ``admit`` is awaited before it.
        """
        shelf = self._shelves.get(project_id)
        if shelf is None:
            shelf = self._shelves[project_id] = _Shelf()
        is_ours = shelf.fetching is None and asyncio.get_running_loop().time() >= shelf.look_at
        if is_ours:
            shelf.fetching = asyncio.create_task(self._refresh(project_id, shelf, admit))
        if shelf.fetching is not None and (is_ours or not shelf.has_looked):
            # Not awaited itself: a turn that is cancelled must not take the fetch of the others along.
            await asyncio.wait({shelf.fetching})
        return shelf.texts

    async def _refresh(self, project_id: int, shelf: _Shelf, admit: Admit | None) -> None:
        keep_s = TRY_AGAIN_S
        try:
            async with asyncio.timeout(WITHIN_S):
                if admit is not None:
                    await admit()
                shelf.texts = await self._fetch(project_id)
            keep_s = KEEP_S
        except (AssistantError, LedgerError, TimeoutError) as failure:
            code = "unreachable" if isinstance(failure, TimeoutError) else failure.code
            self._log("canned_texts.missed", project_id=project_id, error_code=code)
        finally:
            shelf.look_at = asyncio.get_running_loop().time() + keep_s
            shelf.has_looked = True
            shelf.fetching = None

    async def close(self) -> None:
        """Give up fetches under way."""
        fetching = [shelf.fetching for shelf in self._shelves.values() if shelf.fetching is not None]
        for task in fetching:
            task.cancel()
        if fetching:
            await asyncio.wait(fetching)
