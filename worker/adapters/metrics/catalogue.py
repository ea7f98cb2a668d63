"""The closed list of metrics: what `/metrics` shows, in base units, without a label for a contact.

A new metric starts here. The numbers of a worker are its own and are summed over workers; those of the fleet
come from the ledger, and every worker tells the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

from worker.core.errors import AnswerUnreadable, EventError, OutcomeUnknown, QuestionRejected, TurnError
from worker.core.gate import PROBED

#: s. An answer takes 2 to 20 s, in its tail over a minute; a request is given up after 120 s.
API_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 90.0, 120.0)
#: s. At the pace of a plan a burst of questions waits for minutes, after an outage for hours.
WAIT_BUCKETS_S = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 14400.0)
#: s. A commit with fsync takes 0.1 to 5 ms; a lock is waited for 2 s, a busy SQLite file 10 s.
COMMIT_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
#: Operations; 512 is the most in one transaction.
BATCH_BUCKETS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as it is exposed."""

    name: str
    kind: Kind
    #: One sentence, for people and for the HELP line.
    about: str
    #: Each with what its values are.
    labels: tuple[tuple[str, str], ...] = ()
    is_fleet_wide: bool = False
    #: Upper bounds of a histogram.
    buckets: tuple[float, ...] = ()
    #: Values of a counter's labels that are there at 0 from the start. A rule on ``increase`` does not see
    #: the first count of a series that was not there before, and the first is what it waits for.
    starts: tuple[tuple[str, ...], ...] = ()

    @property
    def help(self) -> str:
        """The HELP line; it says when a number must not be summed over workers."""
        return f"Fleet-wide, the same from every worker: {self.about}" if self.is_fleet_wide else self.about

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of its labels."""
        return tuple(name for name, _ in self.labels)


def _counter(name: str, about: str, *starts: tuple[str, ...], **labels: str) -> Metric:
    return Metric(name, "counter", about, tuple(labels.items()), starts=starts)


def _gauge(name: str, about: str, **labels: str) -> Metric:
    return Metric(name, "gauge", about, tuple(labels.items()))


def _fleet(name: str, about: str, **labels: str) -> Metric:
    return Metric(name, "gauge", about, tuple(labels.items()), is_fleet_wide=True)


def _histogram(name: str, about: str, buckets: tuple[float, ...], **labels: str) -> Metric:
    return Metric(name, "histogram", about, tuple(labels.items()), buckets=buckets)


_CODE = "an error code, or empty"
#: The codes with which an event is rejected, and those with which a question ends as failed.
_REJECTED = sorted(leaf.code for leaf in EventError.__subclasses__())
_FAILED = sorted(
    (
        *(error.code for error in (AnswerUnreadable, OutcomeUnknown, QuestionRejected)),
        *(leaf.code for leaf in TurnError.__subclasses__()),
    )
)

BUILD_INFO = _gauge(
    "askrelay_build_info",
    "Always 1.",
    version="of askrelay",
    ledger="sqlite or postgresql",
)
EVENTS = _counter(
    "askrelay_events_total",
    "Events that intake settled.",
    *product(
        ("new", "repeat_unfinished", "repeat_finished", "erased", "own_reply", "rated", "repeat_rated"), ("",)
    ),
    *product(("rejected",), _REJECTED),
    result="new, repeat_unfinished, repeat_finished, erased, rejected, own_reply, rated, repeat_rated",
    error_code=f"{_CODE}: why it was rejected",
)
TURNS = _counter(
    "askrelay_turns_total",
    "Turns that ended; the verdicts answered and failed end a question for good.",
    ("answered", ""),
    *product(("failed",), _FAILED),
    *product(("halt",), sorted(PROBED - {"breaker"})),
    verdict="answered, retry, snooze, halt, failed",
    error_code=_CODE,
)
TURNS_LOST = _counter(
    "askrelay_turns_lost_total",
    "Turns that ended without a verdict; crashed is a bug to report.",
    ("lease_lost",),
    ("crashed",),
    reason="lease_lost, crashed",
)
TURNS_UNDER_WAY = _gauge("askrelay_turns_under_way", "Turns under way in this worker.")
ANSWERS = _counter(
    "askrelay_answers_total",
    "Answers by how they were obtained; recovered ones were found by reading back.",
    ("posted",),
    ("recovered",),
    ("reposted_after_unknown",),
    outcome="posted, recovered, reposted_after_unknown",
)
ANSWER_AGE = _histogram(
    "askrelay_asked_to_answered_seconds",
    "From the time of the event, or its arrival where it names none, to the answer being recorded.",
    WAIT_BUCKETS_S,
)
QUEUE_TIME = _histogram(
    "askrelay_queue_time_seconds",
    "From the arrival of a question to the claim of the turn that ended it.",
    WAIT_BUCKETS_S,
)
API_CALLS = _histogram(
    "askrelay_api_call_duration_seconds",
    "Calls to the CustomGPT API, all pages of a listing together.",
    API_BUCKETS_S,
    call="find_conversations, create_conversation, post_question, complete, get_message, list_messages,"
    " delete_conversation, rate_answer, check_project",
    result="ok, an error code, or cancelled",
)
API_REQUESTS = _histogram(
    "askrelay_api_request_duration_seconds",
    "HTTP requests to the CustomGPT API, connecting and the whole body included.",
    API_BUCKETS_S,
    call="find_conversations, create_conversation, post_question, complete, get_message, list_messages,"
    " delete_conversation, rate_answer, check_project, canned_texts",
    status="of HTTP, 100 to 599; other for what is no status; none when no answer came",
)
REPLIES = _counter(
    "askrelay_replies_total",
    "Replies by what the broker said; one that is not confirmed is published again.",
    ("confirmed",),
    ("returned",),
    ("not_confirmed",),
    result="confirmed, returned, not_confirmed",
)
COPIES = _counter(
    "askrelay_mirror_copies_total",
    "Attempts to mirror a conversation; one that is put off is made again.",
    ("mirrored", ""),
    *product(("put_off",), ("credentials_rejected", "mirror_not_found")),
    ("aside", "mirror_refused"),
    end="mirrored, put_off, aside",
    error_code=_CODE,
)
COMMIT_TIME = _histogram(
    "askrelay_ledger_commit_duration_seconds",
    "Transactions of the group commit, from the first statement to the end of the commit.",
    COMMIT_BUCKETS_S,
)
COMMIT_SIZE = _histogram(
    "askrelay_ledger_commit_operations",
    "Operations that shared a transaction of the group commit.",
    BATCH_BUCKETS,
)
DOORBELLS = _counter(
    "askrelay_doorbells_total",
    "Doorbells; several rung at once may become one, and losing one is harmless.",
    ("rung",),
    ("heard",),
    ("lost",),
    fate="rung, heard, lost",
)
PACE_LIMIT = _gauge(
    "askrelay_pace_limit_requests",
    "Requests a minute that this worker's settings allow the fleet; +Inf without a limit.",
)
AT_ONCE_LIMIT = _gauge(
    "askrelay_requests_at_once_limit",
    "Requests at once that this worker's settings allow the fleet; +Inf without a limit.",
)
LOOPS_STUCK = _gauge(
    "askrelay_loops_stuck",
    "Loops of this worker that are silent for too long; /health/live names them.",
)
LEDGER_UP = _gauge("askrelay_ledger_reachable", "1 while this worker reaches the ledger.")
BROKER_UP = _gauge(
    "askrelay_broker_connected",
    "1 while this worker's connection to the broker stands.",
    link="consume, publish",
)
WAITING = _fleet("askrelay_questions_waiting", "Questions that wait for their post, at most 100000.")
OLDEST = _fleet(
    "askrelay_oldest_waiting_question_age_seconds", "Age of the oldest question that waits; 0 when none does."
)
OUTBOX = _fleet(
    "askrelay_outbox_replies",
    "Replies that were not published yet, at most 100000.",
    state="waiting, unroutable",
)
OUTBOX_OLDEST = _fleet(
    "askrelay_oldest_outbox_reply_age_seconds",
    "Age of the oldest reply that waits to be published, unroutable ones aside; 0 when none does.",
)
TO_MIRROR = _fleet(
    "askrelay_mirror_conversations",
    "Answered conversations that the mirror does not have whole, at most 100000.",
    state="waiting, refused",
)
DUPLICATES = _fleet(
    "askrelay_duplicate_posts", "Questions found to be posted twice, as far as their content is kept."
)
LATE = _fleet(
    "askrelay_late_posts",
    "Posts whose bytes left later than the grace allows, as far as the question's content is kept.",
)
GATE_CLOSED = _fleet(
    "askrelay_gate_closed",
    "1 for the reason why nothing may be sent to the API; 0 for all while the gate is open.",
    reason="breaker, throttled, credits_exhausted, credentials_rejected, project_not_found",
)
PACE_REMAINING = _fleet(
    "askrelay_pace_remaining_requests",
    "Requests left of the minute's limit of the pace; +Inf without a limit.",
)
WORKERS = _fleet("askrelay_workers", "Workers that were seen in the ledger within the last minute.")

#: In the order of the page.
METRICS: tuple[Metric, ...] = (
    BUILD_INFO,
    EVENTS,
    TURNS,
    TURNS_LOST,
    TURNS_UNDER_WAY,
    ANSWERS,
    ANSWER_AGE,
    QUEUE_TIME,
    API_CALLS,
    API_REQUESTS,
    REPLIES,
    COPIES,
    COMMIT_TIME,
    COMMIT_SIZE,
    DOORBELLS,
    PACE_LIMIT,
    AT_ONCE_LIMIT,
    LOOPS_STUCK,
    LEDGER_UP,
    BROKER_UP,
    WAITING,
    OLDEST,
    OUTBOX,
    OUTBOX_OLDEST,
    TO_MIRROR,
    DUPLICATES,
    LATE,
    GATE_CLOSED,
    PACE_REMAINING,
    WORKERS,
)
#: What prometheus-client tells of the process itself.
PROCESS_METRICS: tuple[Metric, ...] = (
    _counter("process_cpu_seconds_total", "CPU time of this worker."),
    _gauge("process_resident_memory_bytes", "Memory of this worker that is in RAM."),
    _gauge("process_virtual_memory_bytes", "Address space of this worker."),
    _gauge("process_start_time_seconds", "When this worker's process started, in epoch seconds."),
    _gauge("process_open_fds", "Open file descriptors of this worker."),
    _gauge("process_max_fds", "File descriptors that this worker may have open."),
)
