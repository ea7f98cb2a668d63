"""The agent's fixed texts: fetched once, kept for an hour, shared by everybody who waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from worker.core.errors import AssistantError, CreditsExhausted, LedgerError, Throttled, Unreachable
from worker.core.model import CannedTexts
from worker.core.ports import Admit, Log

#: Seconds that fetched texts are used; a person who changes them expects it to show within the hour.
KEEP_S = 3600.0
#: Seconds until a failed fetch is tried again, the first and the longest: without the texts a fallback goes
#: unmarked, and the text of an agent that is out of queries passes for an answer.
TRY_AGAIN_S = (1.0, 60.0)
#: Seconds. Pauses between the tries of the very first fetch: everything is compared with its texts.
FIRST_PAUSES_S = (0.5, 1.5)
#: Seconds to wait for the texts at most, because answers that are there already wait for them.
WITHIN_S = 10.0


@dataclass(slots=True)
class _Shelf:
    texts: CannedTexts = field(default_factory=CannedTexts)
    #: Loop time at which to look again.
    look_at: float = 0.0
    has_looked: bool = False
    #: Fetches that failed since the last that did not.
    misses: int = 0
    #: Returns why the whole fleet has to wait, if it has.
    fetching: asyncio.Task[Throttled | CreditsExhausted | None] | None = None


class CannedTextsShelf:
    """Keeps the fixed texts of each project."""

    def __init__(self, fetch: Callable[[int], Awaitable[CannedTexts]], log: Log) -> None:
        self._fetch = fetch
        self._log = log
        self._shelves: dict[int, _Shelf] = {}

    async def get(self, project_id: int, admit: Admit | None = None) -> CannedTexts:
        """Return the texts as far as they are known; see the port for what is raised.

        Who begins a fetch waits for it, and at first everybody does: the fetch is a request to the API, and
        has its place among those at once by the turn that waits. ``admit`` is awaited before it.
        """
        shelf = self._shelves.get(project_id)
        if shelf is None:
            shelf = self._shelves[project_id] = _Shelf()
        is_ours = shelf.fetching is None and asyncio.get_running_loop().time() >= shelf.look_at
        if is_ours:
            shelf.fetching = asyncio.create_task(self._refresh(project_id, shelf, admit))
        if (fetching := shelf.fetching) is not None and (is_ours or not shelf.has_looked):
            # Not awaited itself: a turn that is cancelled must not take the fetch of the others along.
            await asyncio.wait({fetching})
            if is_ours and not fetching.cancelled() and (held := fetching.result()) is not None:
                raise held
        return shelf.texts

    async def _refresh(
        self, project_id: int, shelf: _Shelf, admit: Admit | None
    ) -> Throttled | CreditsExhausted | None:
        shortest, longest = TRY_AGAIN_S
        keep_s = min(shortest * 2.0 ** min(shelf.misses, 10), longest)
        try:
            async with asyncio.timeout(WITHIN_S):
                shelf.texts = await self._fetched(
                    project_id, () if shelf.has_looked else FIRST_PAUSES_S, admit
                )
            keep_s, shelf.misses = KEEP_S, 0
        except (AssistantError, LedgerError, TimeoutError) as failure:
            code = "unreachable" if isinstance(failure, TimeoutError) else failure.code
            shelf.misses += 1
            self._log("canned_texts.missed", project_id=project_id, error_code=code)
            return failure if isinstance(failure, Throttled | CreditsExhausted) else None
        else:
            return None
        finally:
            shelf.look_at = asyncio.get_running_loop().time() + keep_s
            shelf.has_looked = True
            shelf.fetching = None

    async def _fetched(self, project_id: int, pauses_s: Sequence[float], admit: Admit | None) -> CannedTexts:
        for pause_s in (*pauses_s, None):
            if admit is not None:
                await admit()
            try:
                return await self._fetch(project_id)
            except Unreachable:
                if pause_s is None:
                    raise
                await asyncio.sleep(pause_s)
        raise AssertionError("Bug: the last try neither returned nor raised")

    async def close(self) -> None:
        """Give up fetches under way."""
        fetching = [shelf.fetching for shelf in self._shelves.values() if shelf.fetching is not None]
        for task in fetching:
            task.cancel()
        if fetching:
            await asyncio.wait(fetching)
