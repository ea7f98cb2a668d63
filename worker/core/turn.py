"""A turn: one conversation's next question, from the claim to the verdict (PROTOCOL 3 to 7)."""

from __future__ import annotations

from typing import Any

from worker.core.completions import ask_again, unknown_completion
from worker.core.conversations import ensure_conversation, find_again
from worker.core.errors import (
    AskrelayError,
    AssistantError,
    ContactLimit,
    ConversationGone,
    CrashPoison,
    Expired,
    GraceOver,
    OutcomeUnknown,
)
from worker.core.model import NO_SESSION, Failed, Outcome, RemoteMessage, Snooze, Verdict
from worker.core.policy import verdict_on
from worker.core.ports import RecoveryPoint
from worker.core.reconcile import accept_answer, find_posted, read_back, read_whole
from worker.core.reply import reply_for
from worker.core.world import LOOK_FIRST_S, Turn

#: Leases that expired in a row on one question until it is given up: one may be bad luck, five are a pattern.
POISON_LEASES = 5


async def take_turn(turn: Turn) -> Verdict:
    """Bring the question one step on and return how the turn ends; LeaseLost means: touch nothing."""
    try:
        return await _answer(turn)
    except AskrelayError as error:
        return await verdict_on(turn, error)


async def _answer(turn: Turn) -> Verdict:
    if turn.claim.probes in {"credentials_rejected", "project_not_found"}:
        await turn.read(lambda _: turn.world.assistant.check_project(turn.project_id))
    verdict = await _look_back(turn) or _give_up(turn)
    if verdict is not None:
        return verdict
    if turn.api == "chat_completions":
        return await _post(turn, NO_SESSION)
    await ensure_conversation(turn)
    try:
        return await _post(turn, turn.session_id)
    except ConversationGone:
        # Definite: nothing was posted. Once per turn, find out what is gone and post again.
        await find_again(turn)
    await ensure_conversation(turn)
    return await _post(turn, turn.session_id)


async def _look_back(turn: Turn) -> Verdict | None:
    """Look before anything is sent; None when the question was certainly not posted."""
    question = turn.question
    if question.intent is not None and question.intent.session_id == NO_SESSION:
        return ask_again(turn)
    if question.intent is not None:
        return await read_back(turn, question.intent)
    if turn.world.rules.is_after_restore and turn.api == "conversations":
        # The tables are older than the API: what they call waiting may have been posted, also when a post of
        # it was refused before the backup.
        return await find_posted(turn)
    return None


def _give_up(turn: Turn) -> Verdict | None:
    """Return why the question is not to be posted, if there is a reason."""
    question = turn.question
    if question.expired_leases >= POISON_LEASES:
        return Failed(CrashPoison.code, f"{question.expired_leases} workers fell silent on it")
    if question.intent is not None:
        return None  # It was on its way already: whether anybody waits was decided then.
    if _is_late(turn):
        return Failed(Expired.code)
    return Failed(ContactLimit.code) if question.is_over_limit else None


def _is_late(turn: Turn) -> bool:
    """Tell whether nobody waits for the answer any more."""
    expires_at = turn.question.expires_at
    return expires_at is not None and turn.wall() > expires_at


async def _post(turn: Turn, session_id: str) -> Verdict:
    """Commit the intent, send within the grace, and sort what comes back."""
    world = turn.world
    begun_at, intent = await turn.begin_post(session_id)
    world.points.reached(RecoveryPoint.POST_INTENDED)
    left_s = world.rules.send_grace_s - (world.clock.boottime() - begun_at)
    if left_s <= 0:
        # Nothing was sent. Sending now could overtake somebody who trusts the grace to be over.
        return Snooze(GraceOver.code, after_s=0)
    if turn.question.intent is None and _is_late(turn):
        # Finding the conversation and waiting for the pace took too long; nothing was sent.
        return Failed(Expired.code)
    try:
        message: RemoteMessage = await turn.timed(_send(turn, session_id, left_s))
    except OutcomeUnknown as error:
        if session_id == NO_SESSION:
            return unknown_completion(turn, error)
        return turn.unknown(error, begun_at=begun_at)
    except AssistantError:
        # Every other failure of a write is definite: nothing was posted, so nothing is outstanding.
        turn.has_intent = False
        turn.is_write_refused = True
        raise
    world.points.reached(RecoveryPoint.QUESTION_POSTED)
    if session_id != NO_SESSION and message.message_id <= intent.baseline_message_id:
        # The API named a message that was there before: this is no answer to our post.
        return Snooze(OutcomeUnknown.code, after_s=LOOK_FIRST_S, keeps_intent=True)
    if not message.is_whole:
        message = await read_whole(turn, message, session_id)
    outcome: Outcome = "reposted_after_unknown" if turn.is_repost else "posted"
    return await accept_answer(turn, message, session_id, outcome)


async def _send(turn: Turn, session_id: str, left_s: float) -> RemoteMessage:
    """Ask the agent, in the conversation or without one."""
    world, question = turn.world, turn.question
    sending: Any = {
        "text": question.text,
        "external_id": turn.conversation.external_id,
        "lang": question.lang or world.rules.lang,
        "traceparent": question.traceparent,
        "connect_within_s": left_s,
        "on_late": turn.note_late,
        # What was told of an earlier post stands until the reply: its numbers would begin anew.
        "on_progress": None if question.posts else turn.on_progress,
    }
    if session_id == NO_SESSION:
        return await world.assistant.complete(turn.project_id, **sending)
    return await world.assistant.post_question(
        turn.project_id,
        session_id,
        **sending,
        on_accepted=turn.note_accepted,
        options=question.options.over(world.rules.options),
    )


async def finish(turn: Turn, verdict: Verdict) -> Verdict:
    """Record the verdict with its reply and give the lease back; hand the reply to the relay."""
    try:
        await turn.finish(verdict, reply_for(turn, verdict))
    except OutcomeUnknown as error:
        # The message answers another question: whatever this post made is still to be found.
        verdict = turn.unknown(error)
        await turn.finish(verdict, None)
    turn.world.points.reached(RecoveryPoint.TURN_FINISHED)
    return verdict
