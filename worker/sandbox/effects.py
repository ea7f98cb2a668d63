"""The append-only ledger of effects: what really happened, for tests that judge from outside."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from worker.sandbox.call import Call
    from worker.sandbox.clock import Clock

EffectKind = Literal[
    "request",
    "conversation_created",
    "conversation_renamed",
    "conversation_deleted",
    "conversation_expired",
    "message",
    "completion",
    "billed_query",
    "feedback",
    "project_created",
    "project_deleted",
    "conversation_mirrored",
]

#: Entries of one page unless asked otherwise: some megabytes of JSON at most.
PAGE_SIZE = 10_000


class Effect(NamedTuple):
    """One line of the ledger."""

    #: Grows by one, from 1, without gaps.
    seq: int
    kind: EffectKind
    #: The request that caused it; its own entry comes last.
    request: int
    #: Monotonic seconds (the machine's) and epoch seconds: arrival of the request, and this effect.
    begun: float
    ended: float
    begun_wall: float
    ended_wall: float
    call: str
    method: str
    path: str
    #: Of a request: what was sent, None when no status line left. Of the others always None.
    status: int | None
    project_id: int | None
    session_id: str | None
    conversation_id: int | None
    message_id: int | None
    question: str | None
    external_id: str | None
    #: Calls being served when this one began, itself included.
    at_once: int
    #: Whether the caller had hung up; only of a request, only as far as known when it ended.
    caller_gone: bool
    fault: str | None
    #: The W3C trace context that came with the request, as it came.
    traceparent: str | None
    #: What a post said of how to answer; empty where it left all to the agent.
    options: dict[str, str]


class Effects:
    """The ledger, and the counts that follow from it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: list[Effect] = []
        self._kinds: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()
        self._arrived = 0
        self.open_requests = 0
        self._open_posts = 0
        self._max_at_once = 0
        self._max_posts_at_once = 0

    def arrive(self, *, is_counted: bool = True) -> tuple[int, int]:
        """Count a request that has arrived; returns its number and how many are being served.

        One that is not counted goes to another API: it takes no part in what is being served.
        """
        self._arrived += 1
        self.open_requests += is_counted
        self._max_at_once = max(self._max_at_once, self.open_requests)
        return self._arrived, self.open_requests

    def begin(self, call: Call) -> None:
        """Note which call a request is, as soon as that is known."""
        if call.asks:
            self._open_posts += 1
            self._max_posts_at_once = max(self._max_posts_at_once, self._open_posts)

    def record(self, kind: EffectKind, call: Call) -> None:
        """Write an effect at the moment it happens; the facts are the call's."""
        self._append(kind, call, status=None, caller_gone=False)

    def end(self, call: Call, status: int | None, *, caller_gone: bool = False) -> None:
        """Write the request itself, once: before its last byte leaves.

        A caller that has its answer and looks here must find it, and must not count as being served still.
        """
        if call.is_ended:
            return
        call.is_ended = True
        self.open_requests -= not call.is_inkeep
        if call.asks:
            self._open_posts -= 1
        self._statuses["none" if status is None else str(status)] += 1
        self._calls[call.name] += 1
        self._append("request", call, status=status, caller_gone=caller_gone)

    def page(self, *, since: int = 0, limit: int = PAGE_SIZE, kind: str | None = None) -> dict[str, Any]:
        """Return entries after ``since``, and the ``next`` value of since; all of a kind, if one is named."""
        cut = self._entries[since : since + limit]
        return {
            "effects": [each._asdict() for each in cut if kind in (None, each.kind)],
            "next": since + len(cut),
            "has_more": since + len(cut) < len(self._entries),
        }

    def summary(self) -> dict[str, Any]:
        """Return the counts: what was done, what was asked for, what was going on at one time."""
        kinds = self._kinds
        gone = kinds["conversation_deleted"] + kinds["conversation_expired"]
        return {
            "posts": kinds["message"],
            "completions": kinds["completion"],
            "conversations": kinds["conversation_created"],
            "conversations_gone": gone,
            "mirrored": kinds["conversation_mirrored"],
            "billed_queries": kinds["billed_query"],
            "requests": kinds["request"],
            "requests_by_status": dict(sorted(self._statuses.items())),
            "requests_by_call": dict(sorted(self._calls.items())),
            "open_requests": self.open_requests,
            "max_at_once": self._max_at_once,
            "max_posts_at_once": self._max_posts_at_once,
            "effects": len(self._entries),
        }

    def _append(self, kind: EffectKind, call: Call, *, status: int | None, caller_gone: bool) -> None:
        self._kinds[kind] += 1
        self._entries.append(
            Effect(
                seq=len(self._entries) + 1,
                kind=kind,
                request=call.number,
                begun=call.begun,
                ended=self._clock.monotonic(),
                begun_wall=call.begun_wall,
                ended_wall=self._clock.wall(),
                call=call.name,
                method=call.method,
                path=call.pattern,
                status=status,
                project_id=call.project_id,
                session_id=call.session_id,
                conversation_id=call.conversation_id,
                message_id=call.message_id,
                question=call.question,
                external_id=call.external_id,
                at_once=call.at_once,
                caller_gone=caller_gone,
                fault=call.fault,
                traceparent=call.headers.get("traceparent"),
                options=call.options,
            )
        )
