"""Finds conversations by a part of their name without looking at each of them.

A worker lists by name before every create. Looking at ten thousand names each time would make the sandbox
what a benchmark measures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.sandbox.state import Conversation

#: Names of one block: a search through its text costs microseconds, and so does adding to it.
_BLOCK_NAMES = 512


@dataclass(slots=True)
class _Block:
    text: str = ""
    conversations: list[Conversation] = field(default_factory=list)


class NameIndex:
    """Names in blocks of text. Entries are never removed: who searches checks what is found."""

    def __init__(self) -> None:
        self._blocks = [_Block()]

    def add(self, conversation: Conversation) -> None:
        """Add a conversation under the name it has now; again when it is renamed."""
        if len(self._blocks[-1].conversations) >= _BLOCK_NAMES:
            self._blocks.append(_Block())
        block = self._blocks[-1]
        block.text += conversation.name.lower() + "\n"
        block.conversations.append(conversation)

    def candidates(self, part: str) -> list[Conversation]:
        """Return, each once, at least all conversations whose name has this part in any case."""
        folded = part.lower()
        found = {
            each.conversation_id: each
            for block in self._blocks
            if folded in block.text
            for each in block.conversations
            if folded in each.name.lower()
        }
        return list(found.values())
