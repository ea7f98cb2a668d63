"""The calls of an operator as requests to CustomGPT."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Self
from urllib.parse import quote

from worker.adapters.customgpt.config import CustomGptConfig
from worker.adapters.customgpt.parsing import check_deletion
from worker.adapters.customgpt.sorting import Call
from worker.adapters.customgpt_admin import shapes
from worker.adapters.customgpt_admin.form import Body, form_of
from worker.adapters.customgpt_admin.requests import OperatorRequests
from worker.adapters.customgpt_admin.shapes import (
    ConversationRow,
    IndexingState,
    Plan,
    ProjectRow,
    StoredConversation,
)
from worker.core.errors import ConversationGone, ProjectNotFound, Unreachable
from worker.core.model import RemoteMessage

#: As documented; ``me`` is the owner of the key.
UserFilter = Literal["all", "anonymous", "team_member", "me"]

_CREATED = frozenset({200, 201})
_NO_SESSIONS = frozenset({"", ".", ".."})

_LIST = Call("list_conversations", "GET", is_write=False, not_found=ProjectNotFound)
_MESSAGES = Call("list_messages", "GET", is_write=False, not_found=ConversationGone)
_RENAME = Call("rename_conversation", "PUT", is_write=True, not_found=ConversationGone)
_DELETE = Call("delete_conversation", "DELETE", is_write=True, not_found=ConversationGone)
_PROJECTS = Call("list_projects", "GET", is_write=False, not_found=Unreachable)
_CREATE_PROJECT = Call("create_project", "POST", is_write=True, not_found=ProjectNotFound, success=_CREATED)
_PROJECT = Call("project", "GET", is_write=False, not_found=ProjectNotFound)
_STATS = Call("project_stats", "GET", is_write=False, not_found=ProjectNotFound)
_SETTINGS = Call("project_settings", "GET", is_write=False, not_found=ProjectNotFound)
_TRAFFIC = Call("project_traffic", "GET", is_write=False, not_found=ProjectNotFound)
_USAGE = Call("usage", "GET", is_write=False, not_found=Unreachable)


class CustomGptAdmin:
    """The API for a person at a command line; use it as a context manager.

    Every method raises the AssistantError that says what a failure means: ConversationGone and
    ProjectNotFound for a 404, OutcomeUnknown where a change may have been made. RefusedError holds the
    API's own words about what it does not take. ``on_pause`` is told the seconds of a pause that is kept.
    """

    def __init__(
        self, config: CustomGptConfig, *, key: Callable[[], str], on_pause: Callable[[float], None]
    ) -> None:
        self._api_url = config.api_url.rstrip("/")
        self._requests = OperatorRequests(config, key, on_pause)

    async def __aenter__(self) -> Self:
        await self._requests.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._requests.close()

    async def conversations(
        self, project_id: int, *, name_part: str | None = None, user: UserFilter = "all"
    ) -> list[ConversationRow]:
        """List conversations, newest first, all pages. What ``name_part`` selects is the API's to decide."""
        query = f"order=desc&orderBy=id&userFilter={user}"
        if name_part is not None:
            query += f"&name={_quoted(name_part)}"
        url = f"{self._project_url(project_id)}/conversations?{query}"
        parse = partial(shapes.page_of, shapes.conversation_row_or_none)
        # A conversation created meanwhile pushes the last row of one page to the top of the next.
        found: dict[str, ConversationRow] = {}
        async for page in self._requests.pages(_LIST, url, parse):
            found.update((row.session_id, row) for row in page.rows)
        return list(found.values())

    async def messages(self, project_id: int, session_id: str) -> StoredConversation:
        """Return a conversation with all its messages, newest first."""
        url = f"{self._session_url(project_id, session_id)}/messages?order=desc"
        conversation: ConversationRow | None = None
        found: dict[int, RemoteMessage] = {}
        async for page in self._requests.pages(_MESSAGES, url, shapes.stored_page_of):
            for stored in page.rows:
                conversation = conversation or stored.conversation
                found.update((message.message_id, message) for message in stored.messages)
        newest_first = sorted(found, reverse=True)
        return StoredConversation(conversation, tuple(found[number] for number in newest_first))

    async def rename_conversation(self, project_id: int, session_id: str, name: str) -> ConversationRow:
        """Give a conversation another name and return it."""
        url = self._session_url(project_id, session_id)
        return await self._requests.ask(_RENAME, url, shapes.conversation_row, body=_json({"name": name}))

    async def delete_conversation(self, project_id: int, session_id: str) -> None:
        """Delete a conversation with its messages."""
        await self._requests.ask(_DELETE, self._session_url(project_id, session_id), check_deletion)

    async def create_project(self, name: str, sitemap: str) -> ProjectRow:
        """Create a project from a site map; it can answer when it has read its sources."""
        body = form_of({"project_name": name, "sitemap_path": sitemap})
        return await self._requests.ask(
            _CREATE_PROJECT, f"{self._api_url}/projects", shapes.project_row, body=body
        )

    async def projects(self, *, name_part: str | None = None) -> list[ProjectRow]:
        """List projects, newest first, all pages."""
        query = "order=desc&orderBy=id" + (f"&name={_quoted(name_part)}" if name_part is not None else "")
        url = f"{self._api_url}/projects?{query}"
        parse = partial(shapes.page_of, shapes.project_row_or_none)
        found: dict[int, ProjectRow] = {}
        async for page in self._requests.pages(_PROJECTS, url, parse):
            found.update((row.project_id, row) for row in page.rows)
        return list(found.values())

    async def project(self, project_id: int) -> ProjectRow:
        """Return a project."""
        return await self._requests.ask(_PROJECT, self._project_url(project_id), shapes.project_row)

    async def indexing(self, project_id: int) -> IndexingState:
        """Return how far a project has come with its sources."""
        url = f"{self._project_url(project_id)}/stats"
        return await self._requests.ask(_STATS, url, shapes.indexing_of)

    async def project_settings(self, project_id: int) -> dict[str, Any]:
        """Return a project's settings as the API has them."""
        url = f"{self._project_url(project_id)}/settings"
        return await self._requests.ask(_SETTINGS, url, shapes.settings_of)

    async def traffic(self, project_id: int) -> dict[str, int]:
        """Return how often a project was asked, by the way of asking, such as ``api``."""
        url = f"{self._project_url(project_id)}/reports/traffic?filters=sources"
        return await self._requests.ask(_TRAFFIC, url, shapes.sources_of)

    async def plan(self) -> Plan:
        """Return the plan's limits and what is used of them."""
        return await self._requests.ask(_USAGE, f"{self._api_url}/limits/usage", shapes.plan_of)

    def _project_url(self, project_id: int) -> str:
        return f"{self._api_url}/projects/{project_id}"

    def _session_url(self, project_id: int, session_id: str) -> str:
        if session_id in _NO_SESSIONS or "/" in session_id:
            # A path with dots in it may be put in order on its way, and then name the project itself.
            raise ConversationGone("no session has such an id")
        return f"{self._project_url(project_id)}/conversations/{_quoted(session_id)}"


def _json(content: Any) -> Body:
    return Body("application/json", json.dumps(content).encode("ascii"))


def _quoted(part: str) -> str:
    return quote(part, safe="", errors="replace")
