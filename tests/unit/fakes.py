"""Hand-written fakes of the core's ports: each works in memory, notes its calls, and can be scripted."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from worker.core.errors import ConversationGone
from worker.core.model import (
    NO_OPTIONS,
    Acceptance,
    AcceptedQuestion,
    CannedTexts,
    Claims,
    Conversation,
    GateNews,
    Intent,
    Lease,
    MessageListing,
    MessageOptions,
    OutboxReply,
    Progress,
    RemoteConversation,
    RemoteMessage,
    Reply,
    SecondLook,
    TurnEnd,
    Verdict,
)
from worker.core.ports import Admit, Delivery, PublishResult, ReadShare, RecoveryPoint, Swept
from worker.core.rating import AcceptedRating, RatingResult

SESSION = "session-1"


class FakeClock:
    """A clock that a sleep moves on at once."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def boottime(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class LoopClock:
    """The clock of the running loop, for tests in virtual time."""

    def boottime(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Highest:
    """Chance that always gives the upper bound, so that a test sees the bound."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Points:
    """Remembers the recovery points that were reached."""

    def __init__(self) -> None:
        self.seen: list[RecoveryPoint] = []

    def reached(self, point: RecoveryPoint) -> None:
        self.seen.append(point)


class Log:
    """Remembers the lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, /, **fields: Any) -> None:
        self.lines.append((event, fields))

    def of(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.lines if name == event]


class Scripted:
    """Plays what a test scripted for a call, once each; after that the fake's own behaviour."""

    def __init__(self) -> None:
        #: Every call: its name and its arguments.
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self._script: dict[str, deque[Any]] = defaultdict(deque)

    def script(self, name: str, *steps: Any) -> None:
        """Play these one by one: an exception is raised, a function called, anything else returned."""
        self._script[name].extend(steps)

    def called(self, name: str) -> list[tuple[Any, ...]]:
        return [arguments for call, arguments in self.calls if call == name]

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    async def play(self, name: str, behave: Callable[..., Any], *arguments: Any) -> Any:
        self.calls.append((name, arguments))
        step = self._script[name].popleft() if self._script[name] else behave
        if isinstance(step, BaseException):
            raise step
        result = step(*arguments) if callable(step) else step
        return await result if asyncio.iscoroutine(result) or asyncio.isfuture(result) else result


class FakeAssistant(Scripted):
    """The API in memory: conversations and their messages, answered at once."""

    def __init__(self) -> None:
        super().__init__()
        self.conversations: list[RemoteConversation] = []
        self.messages: dict[str, list[RemoteMessage]] = defaultdict(list)
        self.canned = CannedTexts()
        #: Of the last post.
        self.on_progress: Callable[[str], None] | None = None
        self.options = NO_OPTIONS
        #: Every post is accepted as soon as it is made, whatever becomes of it.
        self.is_streaming = False

    def store(self, session_id: str, text: str, external_id: str, **fields: Any) -> RemoteMessage:
        """Store a message as a post would."""
        number = fields.pop("message_id", sum(map(len, self.messages.values())) + 1)
        message = RemoteMessage(
            message_id=number,
            question=text,
            answer=fields.pop("answer", f"Answer to {text}"),
            external_id=external_id,
            conversation_id=42,
            **fields,
        )
        self.messages[session_id].append(message)
        return message

    @property
    def posts(self) -> int:
        return len(self.called("post_question"))

    async def find_conversations(
        self, project_id: int, name_part: str, *, admit: Admit | None = None
    ) -> list[RemoteConversation]:
        return await self.play(
            "find_conversations",
            lambda _, part: [found for found in self.conversations if part in found.name],
            project_id,
            name_part,
        )

    async def create_conversation(
        self, project_id: int, name: str, *, connect_within_s: float
    ) -> RemoteConversation:
        def create(_: int, name: str, _within: float) -> RemoteConversation:
            number = len(self.conversations) + 1
            self.conversations.append(RemoteConversation(number, f"session-{number}", name))
            return self.conversations[-1]

        return await self.play("create_conversation", create, project_id, name, connect_within_s)

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
        self.options, self.on_progress = options, on_progress

        def post(*_: Any) -> RemoteMessage:
            return self.store(session_id, text, external_id)

        if self.is_streaming and on_accepted is not None:
            await on_accepted()
        return await self.play(
            "post_question",
            post,
            *(project_id, session_id, text, external_id, lang, traceparent, connect_within_s),
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
        def answer(*_: Any) -> RemoteMessage:
            return RemoteMessage(0, "", f"Answer to {text}", None)

        self.on_progress = on_progress
        arguments = (project_id, text, external_id, lang, traceparent, connect_within_s)
        return await self.play("complete", answer, *arguments)

    async def get_message(self, project_id: int, session_id: str, message_id: int) -> RemoteMessage:
        def get(_: int, session_id: str, message_id: int) -> RemoteMessage:
            for message in self.messages[session_id]:
                if message.message_id == message_id:
                    return message
            raise ConversationGone

        return await self.play("get_message", get, project_id, session_id, message_id)

    async def list_messages(
        self, project_id: int, session_id: str, *, above: int, admit: Admit | None = None
    ) -> MessageListing:
        def list_(_: int, session_id: str, above: int) -> MessageListing:
            stored = self.messages[session_id]
            newest_first = sorted(stored, key=lambda message: -message.message_id)
            return MessageListing(tuple(m for m in newest_first if m.message_id > above), 42)

        return await self.play("list_messages", list_, project_id, session_id, above)

    async def delete_conversation(self, project_id: int, session_id: str) -> None:
        await self.play("delete_conversation", lambda *_: None, project_id, session_id)

    async def check_project(self, project_id: int) -> None:
        await self.play("check_project", lambda _: None, project_id)

    async def canned_texts(self, project_id: int, *, admit: Admit | None = None) -> CannedTexts:
        return await self.play("canned_texts", lambda _: self.canned, project_id)


class FakeLedger(Scripted):
    """Says yes to everything and notes it; what a test scripts decides the rest."""

    def __init__(self, clock: FakeClock | LoopClock, *, ahead_s: float = 0.0) -> None:
        super().__init__()
        self._clock = clock
        #: s. By how much the ledger's clock is ahead of this process's.
        self._ahead_s = ahead_s
        self.highest_message_id = 0
        self.claimed_messages: set[int] = set()

    def now(self) -> float:
        return self._clock.boottime() + self._ahead_s

    async def accept(self, questions: Sequence[AcceptedQuestion]) -> list[Acceptance]:
        return await self.play("accept", lambda batch: [Acceptance("new") for _ in batch], questions)

    async def accept_ratings(self, ratings: Sequence[AcceptedRating]) -> list[RatingResult]:
        return await self.play("accept_ratings", lambda batch: ["new" for _ in batch], list(ratings))

    async def claim(self, limit: int, *, begins_posts: bool = False) -> Claims:
        return await self.play("claim", lambda *_: Claims((), None, has_more=False), limit, begins_posts)

    async def renew(self, leases: Sequence[Lease]) -> set[Lease]:
        return await self.play("renew", lambda _: set(), leases)

    async def begin_create(self, lease: Lease, project_id: int) -> None:
        await self.play("begin_create", lambda *_: None, lease, project_id)

    async def cancel_create(self, lease: Lease) -> None:
        await self.play("cancel_create", lambda _: None, lease)

    async def save_session(
        self,
        lease: Lease,
        *,
        project_id: int,
        session_id: str,
        conversation_id: int | None,
        highest_message_id: int,
        has_extras: bool = False,
        begins_post_of: int | None = None,
    ) -> Intent | None:
        def save(*_: Any) -> Intent | None:
            self.highest_message_id = highest_message_id
            return begins_post_of and Intent(self.now(), session_id, highest_message_id)

        return await self.play(
            "save_session",
            save,
            lease,
            session_id,
            conversation_id,
            highest_message_id,
            has_extras,
            project_id,
        )

    async def forget_session(self, lease: Lease) -> None:
        await self.play("forget_session", lambda _: None, lease)

    async def begin_post(self, lease: Lease, question: int, *, session_id: str) -> Intent:
        def begin(*_: Any) -> Intent:
            return Intent(self.now(), session_id, self.highest_message_id)

        return await self.play("begin_post", begin, lease, question, session_id)

    async def record_accepted(self, lease: Lease, question: int) -> None:
        await self.play("record_accepted", lambda *_: None, lease, question)

    async def admit_read(self, lease: Lease | None = None, share: ReadShare = "reads") -> None:
        await self.play("admit_read", lambda *_: None, lease, share)

    async def end_healing(self) -> None:
        await self.play("end_healing", lambda: None)

    async def unclaimed(self, session_id: str, message_ids: Sequence[int]) -> set[int]:
        return await self.play(
            "unclaimed", lambda _, ids: set(ids) - self.claimed_messages, session_id, message_ids
        )

    async def finish(self, lease: Lease, question: int, verdict: Verdict, reply: Reply | None) -> TurnEnd:
        def end(*_: Any) -> TurnEnd:
            return TurnEnd(OutboxReply(question, reply) if reply else None, has_next=True)

        return await self.play("finish", end, lease, question, verdict, reply)

    async def report(self, news: GateNews, lease: Lease | None = None) -> None:
        await self.play("report", lambda *_: None, news, lease)

    async def take_replies(self, limit: int) -> tuple[list[OutboxReply], float | None]:
        return await self.play("take_replies", lambda _: ([], None), limit)

    async def mark_published(self, numbers: Sequence[int]) -> list[OutboxReply]:
        return await self.play("mark_published", lambda _: [], numbers)

    async def mark_unpublished(self, numbers: Sequence[int], reason: str) -> None:
        await self.play("mark_unpublished", lambda *_: None, numbers, reason)

    async def release(self, leases: Sequence[Lease]) -> None:
        await self.play("release", lambda _: None, leases)

    async def take_healing(self) -> tuple[Lease, Conversation] | None:
        return await self.play("take_healing", lambda: None)

    async def finish_healing(self, lease: Lease, *, again_in_s: float | None) -> None:
        await self.play("finish_healing", lambda *_: None, lease, again_in_s)

    async def take_second_looks(self, limit: int) -> list[SecondLook]:
        return await self.play("take_second_looks", lambda _: [], limit)

    async def has_outstanding_post(self, question: int) -> bool:
        return await self.play("has_outstanding_post", lambda _: False, question)

    async def put_off_second_look(self, question: int, *, again_in_s: float) -> None:
        await self.play("put_off_second_look", lambda *_: None, question, again_in_s)

    async def record_second_look(self, question: int, *, duplicate_message_id: int | None) -> None:
        await self.play("record_second_look", lambda *_: None, question, duplicate_message_id)

    async def raise_highest(self, lease: Lease, highest_message_id: int) -> None:
        await self.play("raise_highest", lambda *_: None, lease, highest_message_id)

    async def record_late_post(self, question: int) -> None:
        await self.play("record_late_post", lambda _: None, question)

    async def sweep(self) -> Swept:
        return await self.play("sweep", lambda: Swept(overdue=0, erased=0))


class FakeBus(Scripted):
    """A broker in memory: what a test delivers is received in batches, publishes are confirmed."""

    def __init__(self) -> None:
        super().__init__()
        self._deliveries: asyncio.Queue[list[Delivery]] = asyncio.Queue()
        self.acked: list[Delivery] = []

    def deliver(self, *batch: Delivery) -> None:
        self._deliveries.put_nowait(list(batch))

    async def start(self) -> None:
        await self.play("start", lambda: None)

    async def receive(self, limit: int) -> list[Delivery]:
        return await self.play("receive", lambda _: self._deliveries.get(), limit)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self.calls.append(("ack", (list(deliveries),)))
        self.acked += deliveries

    async def publish(self, replies: Sequence[Reply]) -> list[PublishResult]:
        return await self.play("publish", lambda batch: [PublishResult.CONFIRMED for _ in batch], replies)

    def tell(self, progress: Progress) -> None:
        self.calls.append(("tell", (progress,)))

    async def reject(self, delivery: Delivery, *, reason: str, detail: str) -> PublishResult:
        return await self.play("reject", lambda *_: PublishResult.CONFIRMED, delivery, reason, detail)

    async def reset_intake(self) -> None:
        await self.play("reset_intake", lambda: None)

    async def stop_intake(self) -> None:
        await self.play("stop_intake", lambda: None)

    async def stop(self) -> None:
        await self.play("stop", lambda: None)


class FakeBell:
    """A doorbell that counts rings; a test may ring at the listener."""

    def __init__(self) -> None:
        self.rings = 0
        self.on_ring: Callable[[], Awaitable[None]] | None = None
        self.is_stopped = False

    async def start(self, on_ring: Callable[[], Awaitable[None]]) -> None:
        self.on_ring = on_ring

    def ring(self) -> None:
        self.rings += 1

    async def stop(self) -> None:
        self.is_stopped = True
