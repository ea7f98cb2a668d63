"""The calls of the ``Assistant`` port as requests to CustomGPT."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Self
from urllib.parse import quote

from worker.adapters.customgpt import facts, parsing, sorting
from worker.adapters.customgpt.canned import CannedTextsShelf
from worker.adapters.customgpt.completions import CompletionStream
from worker.adapters.customgpt.config import CustomGptConfig
from worker.adapters.customgpt.exchange import OnExchange
from worker.adapters.customgpt.facts import PlanUsage, ProjectFacts
from worker.adapters.customgpt.listing import ListingSoFar
from worker.adapters.customgpt.parsing import Page
from worker.adapters.customgpt.requests import Requests
from worker.adapters.customgpt.streaming import AnswerStream
from worker.core.errors import ConversationGone
from worker.core.model import (
    NO_OPTIONS,
    CannedTexts,
    MessageListing,
    MessageOptions,
    RemoteConversation,
    RemoteMessage,
)
from worker.core.ports import Admit, Log
from worker.core.rating import Reaction
from worker.core.traces import NoTracer, Tracer

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class CustomGpt:
    """The ``Assistant`` port over HTTP; ``worker.core.ports`` says what each call promises.

    ``key`` is asked at every request, so that a new key is used as soon as it is there; it must not raise.
    ``on_exchange`` is told of every HTTP request as it ends; it must be quick and must not raise either.
    ``tracer`` gives every request its span, whose trace context goes out with it.
    """

    def __init__(
        self,
        config: CustomGptConfig,
        *,
        key: Callable[[], str],
        log: Log,
        on_exchange: OnExchange | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._api_url = config.api_url.rstrip("/")
        self._is_streaming = config.is_streaming
        self._requests = Requests(config, key, on_exchange, tracer or NoTracer())
        self._canned = CannedTextsShelf(self._read_canned_texts, log)

    async def start(self) -> None:
        """Open the pool of connections; connects to nothing yet."""
        await self._requests.start()

    async def close(self) -> None:
        """Close every connection."""
        await self._canned.close()
        await self._requests.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def find_conversations(
        self, project_id: int, name_part: str, *, admit: Admit | None = None
    ) -> list[RemoteConversation]:
        """List the conversations whose name has this part, all pages, deleted ones marked."""
        found: dict[str, RemoteConversation] = {}

        def take(page: Page[RemoteConversation]) -> bool:
            # A conversation created meanwhile pushes the last row of one page to the top of the next.
            found.update((conversation.session_id, conversation) for conversation in page.rows)
            return False

        url = f"{self._conversations_url(project_id)}?userFilter=all&name={_quoted(name_part)}"
        await self._requests.read_pages(
            sorting.FIND_CONVERSATIONS, url, parsing.conversations_page_of, take, admit
        )
        return list(found.values())

    async def create_conversation(
        self, project_id: int, name: str, *, connect_within_s: float
    ) -> RemoteConversation:
        """Create a conversation."""
        return await self._requests.write(
            sorting.CREATE_CONVERSATION,
            self._conversations_url(project_id),
            parsing.conversation_of,
            content={"name": name},
            connect_within_s=connect_within_s,
        )

    async def post_question(
        self,
        project_id: int,
        session_id: str,
        *,
        text: str,
        external_id: str,
        lang: str | None,
        traceparent: str | None,
        connect_within_s: float,
        on_late: Callable[[], None] | None = None,
        on_accepted: Callable[[], Awaitable[None]] | None = None,
        on_progress: Callable[[str], None] | None = None,
        options: MessageOptions = NO_OPTIONS,
    ) -> RemoteMessage:
        """Post a question and wait for the answer, which is never empty unless it was streamed.

        The message may name another question or external_id than was sent; the core decides what that means.
        """
        is_streaming = self._is_streaming
        query = f"stream={'true' if is_streaming else 'false'}&external_id={_quoted(external_id)}"
        if lang is not None:
            query += f"&lang={_quoted(lang)}"
        url = f"{self._session_url(project_id, session_id)}/messages?{query}"
        sending: Any = {
            "content": {"prompt": text, **options.given()},
            "connect_within_s": connect_within_s,
            "more_headers": self._post_headers(traceparent),
            "on_late": on_late,
        }
        call, parse = sorting.POST_QUESTION, parsing.answered_message_of
        if not is_streaming:
            return await self._requests.write(call, url, parse, **sending)
        stream = AnswerStream(on_accepted, on_progress)
        return await self._requests.write_streamed(call, url, parse, stream, **sending)

    async def complete(
        self,
        project_id: int,
        *,
        text: str,
        external_id: str,
        lang: str | None,
        traceparent: str | None,
        connect_within_s: float,
        on_late: Callable[[], None] | None = None,
        on_progress: Callable[[str], None] | None = None,
    ) -> RemoteMessage:
        """Ask without a conversation and wait for the answer, which has no number."""
        content: dict[str, Any] = {
            "messages": [{"role": "user", "content": text}],
            "stream": self._is_streaming,
            "external_id": external_id,
        }
        if lang is not None:
            content["lang"] = lang
        stream = CompletionStream(on_progress) if self._is_streaming else None
        return await self._requests.complete(
            sorting.COMPLETE,
            f"{self._api_url}/projects/{project_id}/chat/completions",
            stream,
            content=content,
            connect_within_s=connect_within_s,
            more_headers=self._post_headers(traceparent),
            on_late=on_late,
        )

    def _post_headers(self, traceparent: str | None) -> dict[str, str]:
        # An answer from the API's cache would be the answer to an older question (API-FACTS 1.3).
        headers = {"Cache-Control": "no-cache"}
        if self._is_streaming:
            headers["Accept"] = "text/event-stream"
        if traceparent is not None and _TRACEPARENT.fullmatch(traceparent):
            headers["traceparent"] = traceparent
        return headers

    async def get_message(self, project_id: int, session_id: str, message_id: int) -> RemoteMessage:
        """Return one message; ConversationGone where there is none of this id."""
        url = f"{self._session_url(project_id, session_id)}/messages/{message_id}"
        return await self._requests.read(sorting.GET_MESSAGE, url, parsing.message_of)

    async def list_messages(
        self, project_id: int, session_id: str, *, above: int, admit: Admit | None = None
    ) -> MessageListing:
        """List messages newest first, until ids fall to ``above``; -1 reads the first page only.

        Should the server turn out to keep another order, all pages are read.
        """
        listing = ListingSoFar(above)
        url = f"{self._session_url(project_id, session_id)}/messages?order=desc"
        await self._requests.read_pages(
            sorting.LIST_MESSAGES, url, parsing.messages_page_of, listing.add, admit
        )
        return listing.finished()

    async def rename_conversation(self, project_id: int, session_id: str, name: str) -> RemoteConversation:
        """Give a conversation another name."""
        return await self._requests.write(
            sorting.RENAME_CONVERSATION,
            self._session_url(project_id, session_id),
            parsing.conversation_of,
            content={"name": name},
        )

    async def delete_conversation(self, project_id: int, session_id: str) -> None:
        """Delete a conversation and its messages; one that is gone already is no error."""
        url = self._session_url(project_id, session_id)
        try:
            await self._requests.write(sorting.DELETE_CONVERSATION, url, parsing.check_deletion)
        except ConversationGone:
            return

    async def rate_answer(
        self, project_id: int, session_id: str, message_id: int, reaction: Reaction
    ) -> None:
        """Set the reaction to an answer; ConversationGone when there is no such message."""
        url = f"{self._session_url(project_id, session_id)}/messages/{message_id}/feedback"
        await self._requests.write(
            sorting.RATE_ANSWER, url, parsing.check_reaction, content={"reaction": reaction}
        )

    async def check_project(self, project_id: int) -> None:
        """Make a plain GET of the project: CredentialsRejected, ProjectNotFound, or nothing."""
        await self.project(project_id)

    async def project(self, project_id: int) -> ProjectFacts:
        """Return what the API says of a project."""
        url = f"{self._api_url}/projects/{project_id}"
        return await self._requests.read(sorting.CHECK_PROJECT, url, partial(facts.project_of, project_id))

    async def limits(self) -> PlanUsage:
        """Return how much of the plan is used up."""
        return await self._requests.read(sorting.READ_LIMITS, f"{self._api_url}/limits/usage", facts.usage_of)

    async def canned_texts(self, project_id: int, *, admit: Admit | None = None) -> CannedTexts:
        """Return the agent's fixed texts, fetched once an hour; empty when they cannot be had."""
        return await self._canned.get(project_id, admit)

    async def _read_canned_texts(self, project_id: int) -> CannedTexts:
        url = f"{self._api_url}/projects/{project_id}/settings"
        return await self._requests.read(sorting.READ_SETTINGS, url, facts.canned_texts_of)

    def _conversations_url(self, project_id: int) -> str:
        return f"{self._api_url}/projects/{project_id}/conversations"

    def _session_url(self, project_id: int, session_id: str) -> str:
        return f"{self._conversations_url(project_id)}/{_quoted(session_id)}"


def _quoted(part: str) -> str:
    return quote(part, safe="", errors="replace")
