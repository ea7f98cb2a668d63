"""The simulated API as one process reaches it: connections, requests, and everything that goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from tests.simulation.api import OUT_OF_QUERIES, SimApi, StoredMessage
from tests.simulation.process import SimProcess
from tests.simulation.surroundings import PROJECT
from worker.core.errors import (
    AssistantError,
    ConversationGone,
    CredentialsRejected,
    CreditsExhausted,
    OutcomeUnknown,
    ProjectNotFound,
    QuestionRejected,
    Throttled,
    Unreachable,
)
from worker.core.model import (
    NO_OPTIONS,
    CannedTexts,
    MessageListing,
    MessageOptions,
    RemoteConversation,
    RemoteMessage,
)
from worker.core.ports import Admit

#: s. An ordinary way to the API and back, each.
TRIP_S = 0.05
#: s. An ordinary answer, at most.
ANSWER_S = 2.0
#: Part of the streams whose first frame arrives.
STREAM_BEGINS = 0.8
#: s. A connection, at most; beyond the grace in part of the cases.
CONNECT_S = 0.3


class SimAssistant:
    """Implements Assistant."""

    def __init__(
        self, process: SimProcess, api: SimApi, *, user_timeout_s: float, send_grace_s: float
    ) -> None:
        self._process = process
        self._api = api
        self._faults = api.faults
        self._chance = api.faults.chance
        self._user_timeout_s = user_timeout_s
        self._send_grace_s = send_grace_s

    async def find_conversations(
        self, project_id: int, name_part: str, *, admit: Admit | None = None
    ) -> list[RemoteConversation]:
        """See the port; all of it is one page."""

        def listed() -> list[RemoteConversation]:
            _check_project(project_id)
            now = self._api.now()
            return [
                RemoteConversation(each.conversation_id, each.session_id, each.name)
                for each in self._api.conversations.values()
                if name_part in each.name and each.listed_at <= now and each.deleted_at is None
            ]

        return await self._read(listed)

    async def list_messages(
        self, project_id: int, session_id: str, *, above: int, admit: Admit | None = None
    ) -> MessageListing:
        """See the port; all of it is one page."""

        def listed() -> MessageListing:
            if not self._is_there(project_id, session_id):
                raise ConversationGone
            now = self._api.now()
            conversation = self._api.conversations[session_id]
            found = [
                self._remote(message, session_id)
                for message in conversation.messages
                if message.visible_at <= now and (message.message_id > above)
            ]
            found.sort(key=lambda message: -message.message_id)
            return MessageListing(tuple(found), conversation.conversation_id)

        return await self._read(listed)

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
        raise AssertionError("nobody asks without a conversation here")

    async def get_message(self, project_id: int, session_id: str, message_id: int) -> RemoteMessage:
        """See the port."""

        def got() -> RemoteMessage:
            now = self._api.now()
            if self._is_there(project_id, session_id):
                for message in self._api.conversations[session_id].messages:
                    if message.message_id == message_id and message.visible_at <= now:
                        return self._remote(message, session_id)
            raise ConversationGone

        return await self._read(got)

    async def check_project(self, project_id: int) -> None:
        """See the port."""
        await self._read(lambda: _check_project(project_id))

    async def canned_texts(self, project_id: int, *, admit: Admit | None = None) -> CannedTexts:
        """See the port."""
        await self._process.step()
        return CannedTexts(out_of_queries=OUT_OF_QUERIES)

    async def delete_conversation(self, project_id: int, session_id: str) -> None:
        """See the port."""

        def delete(_latency_s: float) -> bool:
            is_there = self._is_there(project_id, session_id)
            if is_there:
                self._api.delete(session_id, by="worker")
            # Not None, which is an answer that gets lost.
            return is_there

        await self._write(delete, connect_within_s=self._send_grace_s, latency_s=0)

    async def create_conversation(
        self, project_id: int, name: str, *, connect_within_s: float
    ) -> RemoteConversation:
        """See the port."""

        def create(_latency_s: float) -> RemoteConversation:
            _check_project(project_id)
            created = self._api.create(name)
            return RemoteConversation(created.conversation_id, created.session_id, name)

        return await self._write(create, connect_within_s=connect_within_s, latency_s=0, subject=name)

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
        asked = asked_by(traceparent)

        def post(latency_s: float) -> RemoteMessage:
            if not self._is_there(project_id, session_id):
                raise ConversationGone
            if "rejected" in text:
                raise QuestionRejected
            message = self._api.accept(session_id, text, external_id, asked, latency_s)
            return self._remote(message, session_id, is_answered=True)

        stream = SimStream(self._process, self._api, asked, on_accepted) if self._api.is_streaming else None
        latency_s = ANSWER_S * self._chance.random()
        try:
            message: RemoteMessage = await self._write(
                post, connect_within_s=connect_within_s, latency_s=latency_s, subject=asked, stream=stream
            )
        except AssistantError:
            if stream is not None:
                await stream.settle()
            raise
        if stream is None:
            return message
        await stream.settle()
        return replace(message, question="", answer=None, external_id=None, is_whole=False)

    def _is_there(self, project_id: int, session_id: str) -> bool:
        """Tell whether a conversation exists in this project: the only one there is."""
        return project_id == PROJECT and self._api.is_there(session_id)

    def _remote(self, message: StoredMessage, session_id: str, *, is_answered: bool = False) -> RemoteMessage:
        return RemoteMessage(
            message_id=message.message_id,
            question=message.question,
            answer=message.answer if is_answered else self._api.answer_of(message),
            external_id=message.external_id,
            conversation_id=self._api.conversations[session_id].conversation_id,
        )

    async def _read(self, read: Callable[[], Any]) -> Any:
        """Make a read, which fails now and then."""
        await self._process.step()
        if self._faults.strikes("refused"):
            await asyncio.sleep(TRIP_S)
            raise Unreachable
        await asyncio.sleep(TRIP_S * self._chance.random())
        try:
            self._check_doors()
            if self._faults.strikes("read_failed"):
                raise Unreachable
            result = read()
        except AssistantError:
            await asyncio.sleep(TRIP_S)
            raise
        slow_s = self._api.times.request_timeout_s * 0.9 if self._faults.strikes("slow") else TRIP_S
        await asyncio.sleep(slow_s * self._chance.random())
        await self._process.step()
        return result

    async def _write(
        self,
        work: Callable[[float], Any],
        *,
        connect_within_s: float,
        latency_s: float,
        subject: str | None = None,
        stream: SimStream | None = None,
    ) -> Any:
        """Make a write: connect, send, wait for what comes back."""
        await self._process.step()
        try:
            async with asyncio.timeout(connect_within_s):
                await asyncio.sleep(CONNECT_S * self._chance.random())
                await self._process.step()
        except TimeoutError:
            raise Unreachable from None
        if self._faults.strikes("refused"):
            raise Unreachable
        if self._api.breaks_now("A2", 0.5):
            # Stopped between the last check and the bytes.
            self._process.pause(self._send_grace_s + 3 * self._api.times.settle_s, "before the bytes leave")
            self._api.breaks.append(("A2", subject or "a deletion"))
            await self._process.step()
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._send(work, answered, latency_s, stream)
        try:
            async with asyncio.timeout(self._api.times.request_timeout_s):
                result = await answered
                await self._process.step()
        except TimeoutError:
            raise OutcomeUnknown("no answer in time") from None
        return result

    def _send(
        self,
        work: Callable[[float], Any],
        answered: asyncio.Future[Any],
        latency_s: float,
        stream: SimStream | None,
    ) -> None:
        """Let the bytes leave. From here on the request has a life of its own."""
        loop, chance, api = self._process.loop, self._chance, self._api
        if self._faults.strikes("request_lost"):
            if chance.random() < 0.5:
                loop.at_outside(
                    chance.uniform(0, self._user_timeout_s), _answer, answered, OutcomeUnknown("reset")
                )
            return
        late = self._faults.strikes("request_late")
        api.under_way += 1
        loop.at_outside(
            chance.random() * (self._user_timeout_s if late else TRIP_S),
            self._arrive,
            work,
            answered,
            latency_s,
            stream,
        )

    def _arrive(
        self,
        work: Callable[[float], Any],
        answered: asyncio.Future[Any],
        latency_s: float,
        stream: SimStream | None,
    ) -> None:
        """Do the work, or not, and answer, or not."""
        chance, faults, api = self._chance, self._faults, self._api
        delay_s = 0.0
        try:
            self._check_doors()
            if faults.strikes("error_before"):
                raise OutcomeUnknown("502", is_server_error=True)
            if faults.strikes("error_before_own"):
                raise OutcomeUnknown("500", has_ended=True, is_server_error=True)
            delay_s = self._latency(latency_s)
            api.last_accepted = None
            outcome = work(delay_s)
        except AssistantError as error:
            outcome = error
        else:
            if faults.strikes("error_after"):
                outcome = OutcomeUnknown("504", is_server_error=True)
                delay_s *= chance.random()
            elif faults.strikes("error_after_own"):
                outcome = OutcomeUnknown("500", has_ended=True, is_server_error=True)
                self._end_work(delay_s)
            else:
                if stream is not None and chance.random() < STREAM_BEGINS:
                    self._process.loop.at_outside(TRIP_S * chance.random(), stream.begin, outcome.message_id)
                if faults.strikes("garbage"):
                    outcome = OutcomeUnknown("garbage")
                elif faults.strikes("response_lost"):
                    outcome = OutcomeUnknown("reset") if chance.random() < 0.5 else None
        self._process.loop.at_outside(delay_s + TRIP_S * chance.random(), self._respond, answered, outcome)

    def _latency(self, latency_s: float) -> float:
        """Return how long the work takes this time."""
        times = self._api.times
        if self._faults.strikes("slow"):
            latency_s = times.request_timeout_s * self._chance.uniform(0.5, 1.9)
        if self._faults.strikes("long_answer"):
            # Longer than a lease, and in time all the same.
            latency_s = max(latency_s, times.request_timeout_s * self._chance.uniform(0.7, 0.9))
        if self._faults.strikes("answer_late"):
            latency_s = times.settle_s * self._chance.uniform(0.5, 1.6)
        return latency_s

    def _end_work(self, delay_s: float) -> None:
        """Keep A6: once the API says that its work has ended, what it made can be read within V."""
        api = self._api
        message = api.last_accepted
        if message is None:
            return
        ended_at = api.now() + delay_s
        if api.breaks_now("A6", 0.8) and message.asked is not None:
            message.visible_at = ended_at + api.times.settle_s / 2 + api.times.list_lag_s
            api.breaks.append(("A6", message.asked))
        else:
            message.visible_at = min(
                message.visible_at, ended_at + self._chance.random() * api.times.list_lag_s
            )

    def _respond(self, answered: asyncio.Future[Any], outcome: Any) -> None:
        self._api.under_way -= 1
        if outcome is not None:
            _answer(answered, outcome)

    def _check_doors(self) -> None:
        """Raise what the API answers before it looks at a request."""
        now = self._api.now()
        if now < self._api.key_rejected_until:
            raise CredentialsRejected
        if now < self._api.credits_gone_until:
            raise CreditsExhausted
        if self._faults.strikes("throttled"):
            raise Throttled(pause_s=self._chance.uniform(0.5, 5))


class SimStream:
    """The beginning of a streamed answer: the frame that proves that the post was taken."""

    def __init__(
        self,
        process: SimProcess,
        api: SimApi,
        asked: str | None,
        on_accepted: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self._process = process
        self._api = api
        self._asked = asked
        self._on_accepted = on_accepted
        self._begun: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._accepting = asyncio.ensure_future(self._accept())

    def begin(self, message_id: int) -> None:
        """Let the first frame arrive."""
        if not self._begun.done():
            self._begun.set_result(message_id)

    async def settle(self) -> None:
        """Wait until the acceptance is recorded, if the frame came."""
        if self._begun.done():
            await self._accepting
        else:
            self._accepting.cancel()

    async def _accept(self) -> None:
        message_id = await self._begun
        await self._process.step()
        if self._on_accepted is not None:
            await self._on_accepted()
        effect = {"kind": "accepted", "asked": self._asked, "message_id": message_id, "at": self._api.now()}
        self._api.effects.append(effect)
        self._api.trace(self._process.name, f"knows that {self._asked} was taken as {message_id}")


def _check_project(project_id: int) -> None:
    if project_id != PROJECT:
        raise ProjectNotFound


def asked_by(traceparent: str | None) -> str | None:
    """Return the question that a trace context was made for."""
    return None if traceparent is None else str(int(traceparent.split("-")[1], 16))


def _answer(answered: asyncio.Future[Any], outcome: Any) -> None:
    if answered.done():
        return
    if isinstance(outcome, BaseException):
        answered.set_exception(outcome)
        answered.exception()  # nobody may be left to hear it
    else:
        answered.set_result(outcome)
