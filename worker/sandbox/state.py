"""What the sandbox remembers: projects, their conversations, the messages in them."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from worker.sandbox.name_index import NameIndex

if TYPE_CHECKING:
    from worker.sandbox.clock import Clock

#: The project that exists from the start.
FIRST_PROJECT_ID = 123
#: Far apart, so that a number taken for another kind of number finds nothing.
FIRST_CONVERSATION_ID = 20_001
FIRST_MESSAGE_ID = 7_000_001

OWNER_ID = 35


@dataclass(slots=True, eq=False)
class Message:
    """One exchange: the question and, once there is one, its answer."""

    message_id: int
    conversation: Conversation
    #: As it came, and as the API keeps it (the switch stored_question).
    question: str
    stored_question: str
    #: As it came; None when none was sent.
    external_id: str | None
    lang: str | None
    user_ip: str
    user_agent: str
    created_at: float
    updated_at: float
    #: Monotonic time of storing; list lag counts from here.
    stored: float
    answer: str | None = None
    citation_ids: tuple[int, ...] = ()
    reaction: str | None = None
    reacted_at: float | None = None


@dataclass(slots=True, eq=False)
class Conversation:
    """A thread of messages; its session id is what calls are made with."""

    conversation_id: int
    session_id: str
    project_id: int
    name: str
    created_at: float
    updated_at: float
    #: Monotonic time of creation; list lag and retention count from here.
    created: float
    deleted_at: float | None = None
    #: By id, oldest first.
    messages: dict[int, Message] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Project:
    """An agent."""

    project_id: int
    name: str
    created_at: float
    updated_at: float
    sitemap_path: str = ""
    is_shared: bool = False
    #: Monotonic times: since when it reads its sources, and when it will have read them.
    indexing_since: float = 0.0
    indexing_until: float = 0.0
    billed_queries: int = 0
    #: Questions by the way they came, such as api.
    request_sources: Counter[str] = field(default_factory=Counter)
    #: Settings that differ from the defaults.
    settings: dict[str, Any] = field(default_factory=dict)
    #: By session id, oldest first. A session is in one of the two.
    conversations: dict[str, Conversation] = field(default_factory=dict)
    deleted: dict[str, Conversation] = field(default_factory=dict)
    #: Of all conversations that ever were.
    names: NameIndex = field(default_factory=NameIndex)


class Store:
    """All projects. Nothing here knows HTTP, switches or the ledger of effects."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._project_ids = count(FIRST_PROJECT_ID)
        self._conversation_ids = count(FIRST_CONVERSATION_ID)
        self._message_ids = count(FIRST_MESSAGE_ID)
        self.projects: dict[int, Project] = {}
        self.billed_queries = 0
        #: Since when the account exists, epoch seconds.
        self.account_since = clock.wall()
        self.add_project("Sandbox agent", sitemap_path="https://www.example.com/sitemap.xml")

    def add_project(self, name: str, *, sitemap_path: str = "", indexing_s: float = 0.0) -> Project:
        """Make a project, which takes its time to read its sources."""
        now, since = self._clock.wall(), self._clock.monotonic()
        project = Project(
            next(self._project_ids),
            name,
            now,
            now,
            sitemap_path,
            indexing_since=since,
            indexing_until=since + indexing_s,
        )
        self.projects[project.project_id] = project
        return project

    def add_conversation(self, project: Project, name: str, *, session_id: str | None = None) -> Conversation:
        """Make a conversation; two with one name are two. A session id given here is the caller's own."""
        now = self._clock.wall()
        conversation = Conversation(
            conversation_id=next(self._conversation_ids),
            session_id=session_id or str(uuid.uuid4()),
            project_id=project.project_id,
            name=name,
            created_at=now,
            updated_at=now,
            created=self._clock.monotonic(),
        )
        project.deleted.pop(conversation.session_id, None)
        project.conversations[conversation.session_id] = conversation
        project.names.add(conversation)
        return conversation

    def rename_conversation(self, project: Project, conversation: Conversation, name: str) -> None:
        """Rename a conversation; the only thing that moves its updated_at."""
        conversation.name = name
        conversation.updated_at = self._clock.wall()
        project.names.add(conversation)

    def delete_conversation(self, project: Project, conversation: Conversation) -> None:
        """Delete a conversation and its messages."""
        del project.conversations[conversation.session_id]
        conversation.deleted_at = self._clock.wall()
        conversation.messages.clear()
        project.deleted[conversation.session_id] = conversation

    def expire_conversations(self, project: Project, retention_s: float | None) -> list[Conversation]:
        """Delete what is older than the retention time and return it."""
        if retention_s is None:
            return []
        oldest = self._clock.monotonic() - retention_s
        expired = [each for each in project.conversations.values() if each.created <= oldest]
        for conversation in expired:
            self.delete_conversation(project, conversation)
        return expired

    def next_message_id(self) -> int:
        """Return a number that no message and no completion had."""
        return next(self._message_ids)

    def add_message(
        self,
        conversation: Conversation,
        *,
        question: str,
        stored_question: str,
        external_id: str | None,
        lang: str | None,
        user_ip: str,
        user_agent: str,
    ) -> Message:
        """Store a question. Ids grow over all conversations, in the order of storing."""
        now = self._clock.wall()
        message = Message(
            message_id=self.next_message_id(),
            conversation=conversation,
            question=question,
            stored_question=stored_question,
            external_id=external_id,
            lang=lang,
            user_ip=user_ip,
            user_agent=user_agent,
            created_at=now,
            updated_at=now,
            stored=self._clock.monotonic(),
        )
        conversation.messages[message.message_id] = message
        return message
