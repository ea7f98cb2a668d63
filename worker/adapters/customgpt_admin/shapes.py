"""What an operator's calls give, read tolerantly: unknown fields are ignored, missing ones are None."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from worker.adapters.customgpt.moments import iso_moment
from worker.adapters.customgpt.parsing import Page, UnreadableError, message_of, whole_number
from worker.core.model import RemoteMessage

_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class ConversationRow:
    """A conversation as listings show it; moments are ISO 8601 in UTC."""

    conversation_id: int | None
    session_id: str
    name: str
    created_at: str | None
    #: When it was last renamed: messages do not move it.
    updated_at: str | None
    created_by: int | None
    is_deleted: bool


@dataclass(frozen=True, slots=True)
class StoredConversation:
    """A conversation with its messages, newest first; without itself where the API does not name it."""

    conversation: ConversationRow | None
    messages: tuple[RemoteMessage, ...]


@dataclass(frozen=True, slots=True)
class ProjectRow:
    """A project (an agent)."""

    project_id: int
    name: str
    sitemap_path: str | None
    #: Whether it can answer; None for a new one.
    is_chat_active: bool | None
    created_at: str | None
    updated_at: str | None


@dataclass(frozen=True, slots=True)
class IndexingState:
    """How far an agent has come with its sources, in documents; None where the API does not say."""

    pages_found: int | None
    pages_crawled: int | None
    pages_indexed: int | None
    total_queries: int | None

    @property
    def is_done(self) -> bool:
        """Whether everything that was found can be answered from, as far as the API tells."""
        return bool(self.pages_found) and (self.pages_indexed or 0) >= (self.pages_found or 0)


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan's limits, each as (used, limit); None where the API does not say."""

    queries: tuple[int | None, int | None]
    projects: tuple[int | None, int | None]
    storage_credits: tuple[int | None, int | None]


def page_of(parse_row: Callable[[Any], _Row | None], number: int, data: Any) -> Page[_Row]:
    """Read one page of Laravel's paginator, or a plain list, which is the only page; None is left out."""
    if isinstance(data, list):
        data = {"data": data}
    if not isinstance(data, dict) or not isinstance(data.get("data"), list):
        raise UnreadableError("no page of rows")
    rows = [row for each in data["data"] if (row := parse_row(each)) is not None]
    last_page = whole_number(data.get("last_page"))
    return Page(rows, bool(data.get("next_page_url")) or (last_page is not None and number < last_page))


def conversation_row_or_none(row: Any) -> ConversationRow | None:
    """Read a conversation; one that names no session is None, since nobody can use it."""
    if not isinstance(row, dict) or not isinstance(row.get("session_id"), str) or not row["session_id"]:
        return None
    return ConversationRow(
        conversation_id=whole_number(row.get("id")),
        session_id=row["session_id"],
        name=_text(row.get("name")) or "",
        created_at=iso_moment(row.get("created_at")),
        updated_at=iso_moment(row.get("updated_at")),
        created_by=whole_number(row.get("created_by")),
        is_deleted=bool(row.get("deleted_at")),
    )


def conversation_row(row: Any) -> ConversationRow:
    """Read the one conversation that was asked for."""
    if (conversation := conversation_row_or_none(row)) is None:
        raise UnreadableError("no session_id")
    return conversation


def stored_page_of(number: int, data: Any) -> Page[StoredConversation]:
    """Read one page of a conversation's messages, as one row: the conversation and what the page holds."""
    if not isinstance(data, dict):
        raise UnreadableError("no page of messages")
    page = page_of(message_of, number, data.get("messages"))
    conversation = conversation_row_or_none(data.get("conversation"))
    return Page([StoredConversation(conversation, tuple(page.rows))], page.has_next)


def project_row_or_none(row: Any) -> ProjectRow | None:
    """Read a project; one without a number is None."""
    if not isinstance(row, dict) or (project_id := whole_number(row.get("id"))) is None:
        return None
    is_active = row.get("is_chat_active")
    return ProjectRow(
        project_id=project_id,
        name=_text(row.get("project_name", row.get("name"))) or "",
        sitemap_path=_text(row.get("sitemap_path")),
        is_chat_active=None if is_active is None else is_active in (True, 1, "1", "true"),
        created_at=iso_moment(row.get("created_at")),
        updated_at=iso_moment(row.get("updated_at")),
    )


def project_row(row: Any) -> ProjectRow:
    """Read the one project that was asked for."""
    if (project := project_row_or_none(row)) is None:
        raise UnreadableError("no project id")
    return project


def indexing_of(row: Any) -> IndexingState:
    """Read how far an agent has come with its sources."""
    if not isinstance(row, dict):
        raise UnreadableError("no stats")
    names = ("pages_found", "pages_crawled", "pages_indexed", "total_queries")
    return IndexingState(*(whole_number(row.get(name)) for name in names))


def plan_of(row: Any) -> Plan:
    """Read the plan's limits."""
    if not isinstance(row, dict):
        raise UnreadableError("no usage")

    def pair(used: str, limit: str) -> tuple[int | None, int | None]:
        return whole_number(row.get(used)), whole_number(row.get(limit))

    return Plan(
        queries=pair("current_queries", "max_queries"),
        projects=pair("current_projects_num", "max_projects_num"),
        storage_credits=pair("current_total_storage_credits", "max_total_storage_credits"),
    )


def settings_of(row: Any) -> dict[str, Any]:
    """Read a project's settings, whatever they are."""
    if not isinstance(row, dict):
        raise UnreadableError("no settings")
    return row


def sources_of(row: Any) -> dict[str, int]:
    """Read by which ways a project was asked, and how often."""
    sources = row.get("sources") if isinstance(row, dict) else None
    if not isinstance(sources, list):
        raise UnreadableError("no sources of traffic")
    return {
        each["request_source"]: whole_number(each.get("request_source_number")) or 0
        for each in sources
        if isinstance(each, dict) and isinstance(each.get("request_source"), str)
    }


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
