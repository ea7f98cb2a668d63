"""Put the pages of a conversation's messages together, and know when the rest does not matter."""

from __future__ import annotations

from worker.adapters.customgpt.parsing import Page
from worker.core.model import MessageListing, RemoteMessage


class ListingSoFar:
    """The messages read so far, out of those with an id above a baseline; -1 asks for the first page only.

    To stop before the last page rests on the order that was asked for, newest first. When the rows show
    another one it is never enough: what is missed by stopping early would be posted a second time.
    """

    def __init__(self, above: int) -> None:
        self._above = above
        self._found: dict[int, RemoteMessage] = {}
        self._lowest: int | None = None
        self._is_newest_first = True
        self._conversation_id: int | None = None

    def add(self, page: Page[RemoteMessage]) -> bool:
        """Take one more page in, and say whether it was enough."""
        if self._conversation_id is None:
            self._conversation_id = page.conversation_id
        for message in page.rows:
            number = message.message_id
            if number in self._found:
                continue  # pushed here from the page before, by a message that came meanwhile
            if self._lowest is not None and number > self._lowest:
                self._is_newest_first = False
            else:
                self._lowest = number
            self._found[number] = message
            if self._conversation_id is None:
                self._conversation_id = message.conversation_id
        return self._is_enough()

    def _is_enough(self) -> bool:
        """Tell whether no later page can hold a message above the baseline."""
        if self._lowest is None or not self._is_newest_first:
            return False
        return self._above < 0 or self._lowest <= self._above

    def finished(self) -> MessageListing:
        """Return what was asked for, newest first."""
        numbers = sorted((number for number in self._found if number > self._above), reverse=True)
        return MessageListing(tuple(self._found[number] for number in numbers), self._conversation_id)
