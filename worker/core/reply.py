"""Freeze a verdict into the reply event (DESIGN 4.2)."""

from __future__ import annotations

from schemas import answered_event, failed_event, timestamp_of
from worker.core.model import Answered, Failed, Reply, Verdict, attempts_in
from worker.core.world import Turn


def reply_for(turn: Turn, verdict: Verdict) -> Reply | None:
    """Return the reply that a final verdict owes; None for every other verdict."""
    match verdict:
        case Answered() as answered:
            return _freeze(turn, "answered", _answered(turn, answered))
        case Failed() as failed:
            return _freeze(turn, "failed", _failed(turn, failed))
        case _:
            return None


def _freeze(turn: Turn, kind: str, body: bytes) -> Reply:
    question = turn.question
    return Reply(
        event_id=question.reply_id,
        kind=kind,  # type: ignore[arg-type]
        body=body,
        question_id=question.event_id,
        traceparent=question.traceparent,
        tracestate=question.tracestate,
    )


def _answered(turn: Turn, verdict: Answered) -> bytes:
    question, conversation, message = turn.question, turn.conversation, verdict.message
    return answered_event(
        reply_id=question.reply_id,
        question_id=question.event_id,
        question_source=question.source,
        contact_id=conversation.contact_id,
        external_id=conversation.external_id,
        thread_id=conversation.thread_id,
        project_id=turn.project_id,
        api="conversations" if verdict.session_id else "chat_completions",
        conversation_id=message.conversation_id,
        session_id=verdict.session_id,
        message_id=message.message_id,
        answer=message.answer or "",
        fallback=verdict.fallback,
        citations=message.citations,
        metadata=question.metadata,
        provider_metadata=message.metadata,
        outcome=verdict.outcome,
        conversation_renewed=turn.is_renewed,
        attempts=question.attempts + attempts_in(verdict),
        asked_at=question.asked_at,
        answered_at=timestamp_of(turn.ledger_time()),
        traceparent=question.traceparent,
        tracestate=question.tracestate,
    )


def _failed(turn: Turn, verdict: Failed) -> bytes:
    question, conversation = turn.question, turn.conversation
    # The contact may have a conversation from other times; this question was not asked in it.
    is_alone = turn.api == "chat_completions"
    return failed_event(
        reply_id=question.reply_id,
        question_id=question.event_id,
        question_source=question.source,
        contact_id=conversation.contact_id,
        external_id=conversation.external_id,
        thread_id=conversation.thread_id,
        project_id=conversation.project_id,
        api=turn.api,
        conversation_id=None if is_alone else conversation.conversation_id,
        session_id=None if is_alone else conversation.session_id,
        message_id=verdict.message_id,
        metadata=question.metadata,
        reason=verdict.code,
        detail=verdict.detail,
        conversation_renewed=turn.is_renewed,
        attempts=question.attempts + attempts_in(verdict),
        asked_at=question.asked_at,
        failed_at=timestamp_of(turn.ledger_time()),
        traceparent=question.traceparent,
        tracestate=question.tracestate,
    )
