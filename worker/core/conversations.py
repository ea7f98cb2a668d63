"""Ensure that the contact's conversation exists: look up or create, exactly one (PROTOCOL 4)."""

from __future__ import annotations

from dataclasses import replace

from worker.core.errors import (
    AssistantError,
    ConversationGone,
    CreationPending,
    OutcomeUnknown,
    ProjectNotFound,
)
from worker.core.model import Conversation, Intent, RemoteConversation, digest_of
from worker.core.ports import RecoveryPoint
from worker.core.world import Turn


def tag_of(project_id: int, conversation: Conversation) -> str:
    """Return the 32 hex digits that a conversation's name ends in."""
    return digest_of(str(project_id), conversation.external_id, conversation.thread_id)[:32]


def name_of(project_id: int, conversation: Conversation) -> str:
    """Return the name: readable by people, found by its tag."""
    return f"crm:{conversation.external_id} #{tag_of(project_id, conversation)}"


async def ensure_conversation(turn: Turn) -> None:
    """Leave the turn with a saved session.

    Raises CreationPending while an earlier creation may still show up in the listing.
    """
    if turn.conversation.session_id is not None:
        return
    # Fixed for this turn, and for good with the first that is written of the conversation.
    turn.conversation = replace(turn.conversation, project_id=turn.project_id)
    listed_at = turn.ledger_time()
    found = await _listed(turn)
    turn.world.points.reached(RecoveryPoint.CONVERSATIONS_LISTED)
    for remote in found:
        if await _adopt(turn, remote, has_extras=len(found) > 1):
            return
    pending_until = _pending_until(turn)
    if pending_until is not None and listed_at < pending_until:
        raise CreationPending(for_s=pending_until - listed_at)
    await _create(turn)


async def find_again(turn: Turn) -> None:
    """Find out what a 404 on the saved session means; leave the turn able to ensure a conversation anew.

    Raises ProjectNotFound, or ConversationGone when the session is there after all and the turn should be
    tried again later.
    """
    session_id, project_id = turn.session_id, turn.project_id
    try:
        await _listed(turn)
    except ConversationGone as error:
        raise ProjectNotFound from error
    try:
        await turn.read(
            lambda admit: turn.world.assistant.list_messages(project_id, session_id, above=-1, admit=admit),
            "posts",
        )
    except ConversationGone:
        await turn.write(lambda: turn.world.ledger.forget_session(turn.claim.lease))
        turn.conversation = replace(
            turn.conversation,
            session_id=None,
            conversation_id=None,
            highest_message_id=0,
            create_intent_at=None,
            forgotten_session_ids=(*turn.conversation.forgotten_session_ids, session_id),
            epoch=turn.conversation.epoch + 1,
        )
        turn.is_renewed = True
    else:
        raise ConversationGone("the session is listed although the post was refused")


async def _listed(turn: Turn) -> list[RemoteConversation]:
    """List by tag, lowest id first, without those that are deleted or forgotten."""
    tag = tag_of(turn.project_id, turn.conversation)
    listed = await turn.read(
        lambda admit: turn.world.assistant.find_conversations(turn.project_id, tag, admit=admit), "posts"
    )
    forgotten = turn.conversation.forgotten_session_ids
    matching = [
        remote
        for remote in listed
        # The API's filter may be any kind of match: only the end of the name counts.
        if remote.name.endswith(tag) and not remote.is_deleted and remote.session_id not in forgotten
    ]
    # Without a number it cannot be the oldest for sure: last.
    return sorted(matching, key=lambda remote: (remote.conversation_id is None, remote.conversation_id or 0))


async def _adopt(turn: Turn, remote: RemoteConversation, *, has_extras: bool) -> bool:
    """Save a conversation that exists together with the highest message id in it.

    A baseline of 0 on an old conversation would let an old message pass for the answer to a new question.
    """
    try:
        listing = await turn.read(
            lambda admit: turn.world.assistant.list_messages(
                turn.project_id, remote.session_id, above=-1, admit=admit
            ),
            "posts",
        )
    except ConversationGone:
        # Listed but gone: on its way out of the API's listing.
        return False
    highest = max((message.message_id for message in listing.messages), default=0)
    conversation_id = (
        remote.conversation_id if remote.conversation_id is not None else listing.conversation_id
    )
    await _save(turn, remote.session_id, conversation_id, highest, has_extras=has_extras)
    return True


async def _create(turn: Turn) -> None:
    world = turn.world
    begun_at = await turn.begin_create()
    turn.conversation = replace(turn.conversation, create_intent_at=turn.ledger_time())
    world.points.reached(RecoveryPoint.CREATE_INTENDED)
    left_s = world.rules.send_grace_s - (world.clock.boottime() - begun_at)
    name = name_of(turn.project_id, turn.conversation)
    try:
        if left_s <= 0:
            raise CreationPending("nothing was sent", for_s=0)
        remote = await turn.timed(
            world.assistant.create_conversation(turn.project_id, name, connect_within_s=left_s)
        )
    except OutcomeUnknown:
        # It may exist: the intent stays, and the listing will tell.
        raise
    except AssistantError:
        turn.is_write_refused = True
        await turn.write(lambda: world.ledger.cancel_create(turn.claim.lease))
        raise
    world.points.reached(RecoveryPoint.CONVERSATION_CREATED)
    # If the lease is lost by now, this raises and nothing is touched: another turn may have adopted it.
    await _save(turn, remote.session_id, remote.conversation_id, 0)


async def _save(
    turn: Turn, session_id: str, conversation_id: int | None, highest: int, *, has_extras: bool = False
) -> None:
    ledger, lease = turn.world.ledger, turn.claim.lease
    begun_at = 0.0

    async def save() -> Intent | None:
        nonlocal begun_at
        begun_at = turn.world.clock.boottime()
        return await ledger.save_session(
            lease,
            project_id=turn.project_id,
            session_id=session_id,
            conversation_id=conversation_id,
            highest_message_id=highest,
            has_extras=has_extras,
            # The post comes next.
            begins_post_of=turn.question.number if turn.world.rules.begins_posts_early else None,
        )

    intent = await turn.write(save)
    turn.begun = None if intent is None else (begun_at, intent)
    turn.conversation = replace(
        turn.conversation,
        session_id=session_id,
        conversation_id=conversation_id,
        highest_message_id=highest,
        create_intent_at=None,
    )
    turn.world.points.reached(RecoveryPoint.SESSION_SAVED)


def _pending_until(turn: Turn) -> float | None:
    """Return the ledger time from which a listing that lacks an intended conversation proves its absence."""
    if turn.conversation.create_intent_at is None:
        return None
    rules = turn.world.rules
    return (
        turn.conversation.create_intent_at + rules.send_grace_s + rules.request_timeout_s + rules.list_lag_s
    )
