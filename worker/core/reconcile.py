"""Read back an unknown outcome (PROTOCOL 6)."""

from __future__ import annotations

import html
import unicodedata

from worker.core.conversations import ensure_conversation
from worker.core.errors import (
    AnswerUnreadable,
    ConversationGone,
    CreditsExhausted,
    OutcomeUnknown,
    QuestionRejected,
    Throttled,
)
from worker.core.model import (
    NO_SESSION,
    Answered,
    CannedTexts,
    Failed,
    Halt,
    Intent,
    MessageListing,
    Outcome,
    RemoteMessage,
    Snooze,
    Verdict,
)
from worker.core.policy import CREDITS_PROBE_S, look_again_in_s, pause_of
from worker.core.ports import RecoveryPoint
from worker.core.world import Turn


async def read_back(turn: Turn, intent: Intent) -> Verdict | None:
    """Return the verdict on an outstanding post, or None when it certainly was not accepted: post again."""
    listed_at = turn.ledger_time()
    listing = await _messages(turn, intent)
    turn.world.points.reached(RecoveryPoint.READ_BACK)
    candidates = await _candidates(turn, intent, listing)
    settled_at = _settled_at(turn, intent, trusts_end=not candidates)
    for message in candidates:
        if message.answer:
            # Positive evidence acts at once.
            return await accept_answer(turn, _with_number(message, listing), intent.session_id, "recovered")
    if listed_at < settled_at:
        # The look that decides comes as soon as it may, not when the growing pauses happen to end.
        after_s = min(look_again_in_s(intent.looks), settled_at - listed_at)
        return Snooze(
            OutcomeUnknown.code, after_s=after_s, keeps_intent=True, is_look=True, news=turn.heard()
        )
    if candidates:
        return Failed(
            AnswerUnreadable.code,
            "the question was posted, but its answer never came",
            message_id=candidates[0].message_id,
            session_id=intent.session_id,
            news=turn.heard(),
        )
    if intent.is_accepted:
        # A stream had begun: to post again would ask twice, and there is nothing for a person to decide.
        return Failed(
            AnswerUnreadable.code,
            f"the API took the question, but shows no message of it, session {intent.session_id}",
            news=turn.heard(),
        )
    if turn.world.rules.on_unknown == "hold" or turn.claim.is_altering:
        # Where the API changes texts, a listing that shows no equal one proves nothing.
        return Failed(
            OutcomeUnknown.code,
            f"posted at most once, session {intent.session_id}: see what came of it",
            news=turn.heard(),
        )
    turn.is_repost = True
    return None


async def find_posted(turn: Turn) -> Verdict | None:
    """Look through the whole conversation for a question that the ledger does not know to be posted.

    After a restore from a backup: the answer is adopted by equal text; None when there is no such message.
    """
    await ensure_conversation(turn)
    everything = Intent(turn.question.received_at, turn.session_id, baseline_message_id=0)
    listing = await _messages(turn, everything)
    turn.world.points.reached(RecoveryPoint.READ_BACK)
    for message in await _candidates(turn, everything, listing):
        if message.answer and not _is_burnt(message, await _canned_texts(turn)):
            return await accept_answer(turn, _with_number(message, listing), turn.session_id, "recovered")
    # The baseline in the tables may be as old as the backup.
    highest = max((message.message_id for message in listing.messages), default=0)
    await turn.write(lambda: turn.world.ledger.raise_highest(turn.claim.lease, highest))
    return None


async def read_whole(turn: Turn, message: RemoteMessage, session_id: str) -> RemoteMessage:
    """Return the message that the end of a stream named, with all that an answer in one piece has.

    When it cannot be read now, the error that says why keeps the intent: the answer is read back later.
    """
    try:
        found = await turn.read(
            lambda _: turn.world.assistant.get_message(turn.project_id, session_id, message.message_id)
        )
    except (ConversationGone, QuestionRejected):
        # Not shown yet, or gone since. Either would say that nothing was posted, had it come from the post.
        found = None
    if found is None or found.message_id != message.message_id or not found.answer:
        raise OutcomeUnknown("the streamed answer cannot be read yet")
    return found


async def accept_answer(turn: Turn, message: RemoteMessage, session_id: str, outcome: Outcome) -> Verdict:
    """Return the verdict on a message with an answer, after comparing it with the agent's canned texts."""
    canned = await _canned_texts(turn)
    if _is_burnt(message, canned):
        return Halt(
            CreditsExhausted.code,
            CREDITS_PROBE_S,
            burnt_message_id=message.message_id,
            session_id=session_id,
        )
    fallbacks = {canned.no_answer: "no_answer", canned.agent_problem: "agent_problem"}
    fallback = fallbacks.get(message.answer) if message.answer else None
    message = await _numbered(turn, message, session_id)
    is_altered = outcome != "recovered" and _is_altered(turn, message)
    return Answered(message, session_id, outcome, fallback, is_altered)  # type: ignore[arg-type]


def _is_burnt(message: RemoteMessage, canned: CannedTexts) -> bool:
    """Tell whether the agent said that its queries are used up: the question is to be posted again."""
    return bool(canned.out_of_queries) and message.answer == canned.out_of_queries


async def _canned_texts(turn: Turn) -> CannedTexts:
    """Return the agent's fixed texts as far as they are known; a refusal of the request is told the gate."""
    try:
        return await turn.canned_texts()
    except (Throttled, CreditsExhausted) as held:
        await _tell_gate(turn, held)
        return await turn.canned_texts()


async def _tell_gate(turn: Turn, error: Exception) -> None:
    if (news := pause_of(error)) is not None:
        await turn.write(lambda: turn.world.ledger.report(news, turn.claim.lease))


async def _messages(turn: Turn, intent: Intent) -> MessageListing:
    try:
        return await turn.read(
            lambda admit: turn.world.assistant.list_messages(
                turn.project_id, intent.session_id, above=intent.baseline_message_id, admit=admit
            )
        )
    except ConversationGone:
        # What was posted there is gone with it; once settled, ensuring the conversation finds out the rest.
        turn.has_heard = True
        return MessageListing(())


async def _candidates(turn: Turn, intent: Intent, listing: MessageListing) -> list[RemoteMessage]:
    """Return the messages that may be this post, lowest id first."""
    matching = [
        message
        for message in listing.messages
        if message.message_id > intent.baseline_message_id
        and message.external_id == turn.conversation.external_id
        and evened_out(message.question) == evened_out(turn.question.text)
    ]
    if not matching:
        return []
    ids = [message.message_id for message in matching]
    free = await turn.write(lambda: turn.world.ledger.unclaimed(intent.session_id, ids))
    return sorted(
        (message for message in matching if message.message_id in free),
        key=lambda message: message.message_id,
    )


def _is_altered(turn: Turn, message: RemoteMessage) -> bool:
    """Tell whether the API gave back another question or tag than was sent, so far as it gave any."""
    sent, given = turn.question.text, message.question
    is_other_text = bool(given) and given != sent and evened_out(given) != evened_out(sent)
    is_other_tag = message.external_id not in {None, turn.conversation.external_id}
    return is_other_text or is_other_tag


def evened_out(text: str) -> str:
    """Return the text without what an API may change in passing: entities, white space, composition."""
    return " ".join(unicodedata.normalize("NFC", html.unescape(text)).split())


def _settled_at(turn: Turn, intent: Intent, *, trusts_end: bool) -> float:
    """Return the ledger time from which a listing that lacks the post proves that it was not accepted."""
    rules = turn.world.rules
    wait_s = rules.list_lag_s if trusts_end and intent.has_ended else rules.settle_s
    return intent.at + rules.send_grace_s + rules.user_timeout_s + wait_s


def _with_number(message: RemoteMessage, listing: MessageListing) -> RemoteMessage:
    if message.conversation_id is not None or listing.conversation_id is None:
        return message
    return _numbered_as(message, listing.conversation_id)


async def _numbered(turn: Turn, message: RemoteMessage, session_id: str) -> RemoteMessage:
    """Fill in the conversation's number where the answer lacks it: from the ledger, else from a listing."""
    if message.conversation_id is not None or session_id == NO_SESSION:
        return message
    if turn.conversation.conversation_id is not None:
        return _numbered_as(message, turn.conversation.conversation_id)
    try:
        listing = await turn.read(
            lambda admit: turn.world.assistant.list_messages(
                turn.project_id, session_id, above=-1, admit=admit
            )
        )
    except Exception as error:  # noqa: BLE001 - an answer in hand is worth more than its number
        await _tell_gate(turn, error)
        return message
    return _with_number(message, listing)


def _numbered_as(message: RemoteMessage, conversation_id: int) -> RemoteMessage:
    return RemoteMessage(
        message_id=message.message_id,
        question=message.question,
        answer=message.answer,
        external_id=message.external_id,
        conversation_id=conversation_id,
        citations=message.citations,
        metadata=message.metadata,
        created_at=message.created_at,
    )
