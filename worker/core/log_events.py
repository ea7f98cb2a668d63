"""The closed list of log events: what may be logged, how loudly, and with which fields.

A new line in a log starts here. Names are ``noun.past_participle``. No field may hold a question, an answer,
a contact id, metadata or a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.core.ports import LogLevel


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One kind of line."""

    name: str
    level: LogLevel
    #: One sentence for the reader of the log.
    meaning: str
    fields: tuple[str, ...] = ()


#: Every field and its meaning; ``_s`` is seconds, ``_chars`` and ``_bytes`` are sizes.
FIELDS: dict[str, str] = {
    "answer_chars": "length of the answer",
    "assistant_s": "time spent in calls to the API",
    "attempt": "counted attempts of this question, this one included",
    "away_s": "how long it was away",
    "batch": "how many were handled together",
    "body_bytes": "size of the body",
    "broker": "host and port of the broker, and the vhost",
    "concurrency": "most turns in flight in this process",
    "contact_hash": "keyed hash of the contact id; `askrelay contact-hash ID` computes it",
    "conversation_id": "the conversation's number at the API",
    "count": "how many",
    "detail": "more, in words of our own",
    "duration_s": "how long it took in all",
    "erased": "questions whose content was erased",
    "error_code": "a code of the errors page",
    "event_source": "source of the event",
    "exception": "class, code and frames of what was raised; never its message or locals",
    "gate_wait_s": "time spent waiting at the gate",
    "host": "host of the other side, or the address that is listened on",
    "kind": "exchange or queue",
    "ledger": "kind of database: sqlite or postgresql",
    "link": "which connection to the broker",
    "logger": "name of the library's logger",
    "loop": "which loop",
    "message": "the library's own words without their variable parts",
    "message_id": "the message's number at the API",
    "name": "its name",
    "new": "questions that were new",
    "outcome": "posted, recovered or reposted_after_unknown",
    "overdue": "questions that are due and that nobody holds",
    "port": "port that is listened on",
    "project_id": "the agent's number",
    "question_chars": "length of the question",
    "question_id": "id of the event",
    "queue": "name of the queue",
    "reason": "why, as a code",
    "redelivered": "the broker had delivered it before",
    "repeated": "questions that were there already",
    "reply_id": "id of the reply event",
    "retry_in_s": "when it is tried again",
    "rings_lost": "rings that did not get out",
    "session_id": "the conversation's routing key at the API",
    "setting": "name of the variable",
    "span_id": "span of the trace",
    "trace_id": "trace the event belongs to",
    "tries": "fruitless tries so far",
    "verdict": "answered, retry, snooze, halt or failed",
    "version": "version of askrelay",
    "waited_s": "time from arrival to the claim",
    "where": "place in the code",
}

#: On every line besides its own fields.
ALWAYS: dict[str, str] = {
    "timestamp": "UTC, ISO 8601",
    "level": "debug, info, warning or error",
    "event": "name from this list",
    "worker_id": "the process that wrote it",
}

_QUESTION = ("question_id", "event_source")
_CONVERSATION = ("contact_hash", "project_id", "session_id", "conversation_id")

_EVENTS = (
    LogEvent("worker.started", "info", "A worker is up.", ("version", "ledger", "concurrency", "project_id")),
    LogEvent("worker.stopping", "info", "A worker lets its turns end.", ("reason",)),
    LogEvent("worker.stopped", "info", "A worker has ended.", ("duration_s",)),
    LogEvent("settings.warned", "warning", "A setting deserves a look.", ("setting", "detail")),
    LogEvent("health.listening", "info", "Health and metrics are served there.", ("host", "port")),
    LogEvent(
        "intake.batch_accepted",
        "debug",
        "A batch of events was committed and acked.",
        ("batch", "new", "repeated", "duration_s"),
    ),
    LogEvent(
        "event.rejected",
        "warning",
        "An event went to the rejected queue.",
        (*_QUESTION, "error_code", "detail", "body_bytes", "redelivered"),
    ),
    LogEvent(
        "event.not_rejected",
        "warning",
        "The broker did not confirm that an event is in the rejected queue, so it comes again. Said once per"
        " trouble; the reason is returned (there is no such queue) or not_confirmed.",
        (*_QUESTION, "error_code", "reason", "body_bytes"),
    ),
    LogEvent(
        "event.repeated",
        "info",
        "An event came again; its question is not posted again.",
        (*_QUESTION, "reply_id", "reason", "redelivered"),
    ),
    LogEvent("event.ignored", "debug", "A reply of ours came back to intake.", ("reason",)),
    LogEvent(
        "turn.finished",
        "info",
        "A turn ended: the one line to look at for a question.",
        (
            *_QUESTION,
            "reply_id",
            *_CONVERSATION,
            "message_id",
            "attempt",
            "verdict",
            "error_code",
            "detail",
            "outcome",
            "waited_s",
            "gate_wait_s",
            "assistant_s",
            "duration_s",
            "question_chars",
            "answer_chars",
            "redelivered",
            "trace_id",
            "span_id",
        ),
    ),
    LogEvent(
        "turn.crashed",
        "error",
        "A turn raised what it should not have; its lease runs out. Please report it.",
        (*_QUESTION, "contact_hash", "exception"),
    ),
    LogEvent(
        "lease.lost",
        "warning",
        "Another worker holds the conversation now; this turn stopped and touched nothing.",
        (*_QUESTION, "contact_hash", "duration_s"),
    ),
    LogEvent(
        "gate.closed",
        "warning",
        "The fleet sends nothing to the API until the reason has gone; each worker says so once.",
        ("reason", "retry_in_s"),
    ),
    LogEvent("gate.opened", "info", "The fleet sends again.", ("reason",)),
    LogEvent(
        "agent.unavailable",
        "error",
        "The API refuses the key, the project or the plan: somebody has to act.",
        ("error_code", "project_id", "retry_in_s"),
    ),
    LogEvent(
        "canned_texts.missed",
        "warning",
        "The agent's fixed texts could not be fetched: until they are, no reply is marked as fallback, and"
        " the text of an agent that is out of queries passes for an answer.",
        ("project_id", "error_code"),
    ),
    LogEvent(
        "reply.unroutable",
        "warning",
        "No queue is bound for a reply; it stays in the outbox.",
        ("reply_id", "question_id", "error_code", "tries"),
    ),
    LogEvent(
        "reply.not_confirmed",
        "warning",
        "The broker did not confirm a reply; it is published again.",
        ("reply_id", "question_id", "error_code", "tries"),
    ),
    LogEvent("reply.published", "debug", "The broker confirmed a reply.", ("reply_id", "question_id")),
    LogEvent(
        "ledger.lost",
        "error",
        "The ledger cannot be reached; nothing is acked or posted until it can.",
        ("error_code", "detail", "retry_in_s"),
    ),
    LogEvent("ledger.recovered", "info", "The ledger is back.", ("away_s",)),
    LogEvent("bus.connected", "info", "A connection to the broker stands.", ("link", "broker")),
    LogEvent(
        "bus.disconnected",
        "warning",
        "A connection to the broker is gone or was not made; it is tried again.",
        ("link", "broker", "error_code", "detail"),
    ),
    LogEvent("bus.declared", "info", "An exchange or a queue was created.", ("kind", "name")),
    LogEvent(
        "bus.topology_differs",
        "warning",
        "A queue is there with other arguments than ours, and is used as it is.",
        ("queue", "detail"),
    ),
    LogEvent("bus.queue_lost", "warning", "The broker ended our consumer.", ("queue",)),
    LogEvent(
        "bus.confirm_missed",
        "warning",
        "The broker did not confirm in time; the outbox keeps the replies.",
        ("count",),
    ),
    LogEvent("bus.blocked", "warning", "The broker takes nothing for now, to save itself."),
    LogEvent("bus.unblocked", "info", "The broker takes messages again."),
    LogEvent(
        "doorbell.silent",
        "warning",
        "Rings do not get out: questions start up to 5 s later, none is lost.",
        ("error_code", "detail"),
    ),
    LogEvent("doorbell.restored", "info", "Rings get out again.", ("rings_lost",)),
    LogEvent("doorbell.failed", "warning", "What a ring set off went wrong.", ("error_code", "detail")),
    LogEvent(
        "doorbell.refused",
        "warning",
        "A message was no ring, or one for another ledger.",
        ("queue", "detail"),
    ),
    LogEvent("doorbell.abandoned", "warning", "The doorbell was left behind at the stop.", ("detail",)),
    LogEvent("sweeper.swept", "debug", "The sweeper did a step.", ("overdue", "erased")),
    LogEvent(
        "conversation.healed",
        "info",
        "An extra, empty conversation of a contact was deleted at the API.",
        ("project_id", "session_id"),
    ),
    LogEvent(
        "rating.sent",
        "info",
        "The API has what a contact thinks of an answer.",
        (*_QUESTION, "message_id"),
    ),
    LogEvent(
        "rating.put_off",
        "warning",
        "A rating could not be sent; it is tried again, which is not logged each time.",
        (*_QUESTION, "message_id", "error_code"),
    ),
    LogEvent(
        "rating.refused",
        "warning",
        "A rating will never be sent: the API does not take it, or its question ended without an answer.",
        (*_QUESTION, "message_id", "error_code"),
    ),
    LogEvent(
        "mirror.lost",
        "warning",
        "The mirror does not take conversations now; they wait, and answering goes on.",
        ("error_code", "detail", "retry_in_s"),
    ),
    LogEvent(
        "mirror.halted",
        "error",
        "The mirror refuses the key, or is not at its address: somebody has to act. Answering goes on.",
        ("error_code", "detail", "retry_in_s"),
    ),
    LogEvent("mirror.restored", "info", "The mirror takes conversations again.", ("error_code", "away_s")),
    LogEvent(
        "mirror.refused",
        "warning",
        "The mirror refused one conversation, which is set aside until its next answer.",
        ("project_id", "session_id", "error_code", "detail"),
    ),
    LogEvent(
        "duplicate_post.found",
        "error",
        "A question was posted twice; PROTOCOL 1 says when that can be.",
        (*_QUESTION, "project_id", "session_id", "message_id"),
    ),
    LogEvent(
        "late_post.found",
        "warning",
        "The bytes of a post left later than the grace allows, so it may be posted twice.",
        (*_QUESTION, "contact_hash", "session_id", "duration_s"),
    ),
    LogEvent(
        "loop.crashed",
        "error",
        "Something raised that should not have; the loop goes on. Please report it.",
        ("loop", "exception"),
    ),
    LogEvent(
        "traces.lost",
        "warning",
        "Spans do not reach the collector and are dropped; answering goes on without them.",
        ("count", "detail"),
    ),
    LogEvent("traces.restored", "info", "Spans reach the collector again.", ("count",)),
    LogEvent(
        "library.logged",
        "warning",
        "A library had something to say; the level is its own.",
        ("logger", "message", "where", "exception"),
    ),
)

EVENTS: dict[str, LogEvent] = {event.name: event for event in _EVENTS}
