"""Ports with a meter at their door: the API and the doorbell, counted and timed without their knowledge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from worker.adapters.metrics.process_meters import ProcessMeters
from worker.core.errors import AssistantError, GateClosed
from worker.core.model import (
    NO_OPTIONS,
    CannedTexts,
    MessageListing,
    MessageOptions,
    RemoteConversation,
    RemoteMessage,
)
from worker.core.ports import Admit, Assistant, Bell
from worker.core.rating import Reaction

T = TypeVar("T")


class MeteredAssistant:
    """The Assistant port, each call timed."""

    def __init__(self, assistant: Assistant, meters: ProcessMeters) -> None:
        self._assistant = assistant
        self._meters = meters

    async def find_conversations(
        self, project_id: int, name_part: str, *, admit: Admit | None = None
    ) -> list[RemoteConversation]:
        """See the port."""
        return await self._timed(
            "find_conversations", self._assistant.find_conversations(project_id, name_part, admit=admit)
        )

    async def create_conversation(
        self, project_id: int, name: str, *, connect_within_s: float
    ) -> RemoteConversation:
        """See the port."""
        return await self._timed(
            "create_conversation",
            self._assistant.create_conversation(project_id, name, connect_within_s=connect_within_s),
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
        """See the port."""
        return await self._timed(
            "post_question",
            self._assistant.post_question(
                project_id,
                session_id,
                text=text,
                external_id=external_id,
                lang=lang,
                traceparent=traceparent,
                connect_within_s=connect_within_s,
                on_late=on_late,
                on_accepted=on_accepted,
                on_progress=on_progress,
                options=options,
            ),
        )

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
        """See the port."""
        return await self._timed(
            "complete",
            self._assistant.complete(
                project_id,
                text=text,
                external_id=external_id,
                lang=lang,
                traceparent=traceparent,
                connect_within_s=connect_within_s,
                on_late=on_late,
                on_progress=on_progress,
            ),
        )

    async def get_message(self, project_id: int, session_id: str, message_id: int) -> RemoteMessage:
        """See the port."""
        return await self._timed(
            "get_message", self._assistant.get_message(project_id, session_id, message_id)
        )

    async def list_messages(
        self, project_id: int, session_id: str, *, above: int, admit: Admit | None = None
    ) -> MessageListing:
        """See the port."""
        return await self._timed(
            "list_messages", self._assistant.list_messages(project_id, session_id, above=above, admit=admit)
        )

    async def delete_conversation(self, project_id: int, session_id: str) -> None:
        """See the port."""
        await self._timed("delete_conversation", self._assistant.delete_conversation(project_id, session_id))

    async def rate_answer(
        self, project_id: int, session_id: str, message_id: int, reaction: Reaction
    ) -> None:
        """See the port."""
        await self._timed(
            "rate_answer", self._assistant.rate_answer(project_id, session_id, message_id, reaction)
        )

    async def check_project(self, project_id: int) -> None:
        """See the port."""
        await self._timed("check_project", self._assistant.check_project(project_id))

    async def canned_texts(self, project_id: int, *, admit: Admit | None = None) -> CannedTexts:
        """See the port; not timed, because nearly always the texts are there already."""
        return await self._assistant.canned_texts(project_id, admit=admit)

    async def _timed(self, call: str, made: Awaitable[T]) -> T:
        begun = time.perf_counter()
        result = "ok"
        try:
            return await made
        except (AssistantError, GateClosed) as error:
            result = error.code
            raise
        except asyncio.CancelledError:
            result = "cancelled"
            raise
        finally:
            self._meters.api_called(call, result, time.perf_counter() - begun)


class MeteredBell:
    """The Bell port, each ring counted."""

    def __init__(self, bell: Bell, meters: ProcessMeters) -> None:
        self._bell = bell
        self._meters = meters

    async def start(self, on_ring: Callable[[], Awaitable[None]]) -> None:
        """See the port."""

        async def heard() -> None:
            self._meters.doorbell("heard")
            await on_ring()

        await self._bell.start(heard)

    def ring(self) -> None:
        """See the port."""
        self._meters.doorbell("rung")
        self._bell.ring()

    async def stop(self) -> None:
        """See the port."""
        await self._bell.stop()
