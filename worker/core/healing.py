"""Healing: extra conversations go, reposted questions are looked for once more (PROTOCOL 4.5 and 6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from worker.core.conversations import tag_of
from worker.core.errors import AssistantError, ConversationGone, GateClosed, LeaseLost, LedgerError
from worker.core.model import Conversation, Lease, SecondLook
from worker.core.policy import pause_of
from worker.core.ports import Assistant, Clock, Ledger, Log, RecoveryPoint, RecoveryPoints
from worker.core.reconcile import evened_out

T = TypeVar("T")

#: s. After a look that the API did not answer.
AGAIN_S = 60.0
#: s. After a look for which there was no place at the gate. The sweeper comes by every 5 s at most, and the
#: gate holds a place back for who asks as often.
AGAIN_SOON_S = 1.0
ASK_S = 4.0
#: s. What was listed longer ago says too little: since then somebody may have begun to talk there. The API
#: cannot be told to delete only what is empty.
FRESH_S = 5.0
#: Second looks taken at once.
LOOKS = 10


@dataclass(frozen=True, slots=True)
class Healer:
    """Does one piece of healing at a time; reads are paced like those of turns."""

    ledger: Ledger
    assistant: Assistant
    clock: Clock
    log: Log
    #: None: nobody wants to know.
    points: RecoveryPoints | None = None

    async def heal_one(self) -> bool:
        """Heal one conversation that is due; returns whether there was one."""
        taken = await self.ledger.take_healing()
        if taken is None:
            return False
        self._reached(RecoveryPoint.HEALING_TAKEN)
        lease, conversation = taken
        again_in_s = None
        try:
            try:
                if not await self._delete_extras(lease, conversation):
                    again_in_s = AGAIN_S
            except AssistantError as error:
                await self._tell_gate(error)
                again_in_s = AGAIN_S
            except GateClosed as closed:
                again_in_s = _again_in_s(closed)
            await self.ledger.finish_healing(lease, again_in_s=again_in_s)
        except LeaseLost:
            pass  # It took longer than the lease; it stays due.
        except BaseException:
            # A stop cuts it off, as a rule: the contact's next question must not wait for the lease to end.
            with suppress(LedgerError):
                await self.ledger.finish_healing(lease, again_in_s=AGAIN_S)
            raise
        finally:
            await self.ledger.end_healing()
        return True

    async def look_again(self) -> None:
        """Look once more for questions that were posted again; a second match is reported."""
        looks = await self.ledger.take_second_looks(LOOKS)
        if not looks:
            return
        self._reached(RecoveryPoint.SECOND_LOOKS_TAKEN)
        try:
            await self._look_at(looks)
        finally:
            await self.ledger.end_healing()

    async def _look_at(self, looks: Sequence[SecondLook]) -> None:
        for look in looks:
            try:
                matches = await self._matches(look)
            except AssistantError as error:
                await self._tell_gate(error)
                continue  # It stays taken for a while and is due again.
            except GateClosed as closed:
                await self.ledger.put_off_second_look(look.question, again_in_s=_again_in_s(closed))
                continue
            # In this order: what ends in between has claimed its message by the second question.
            if matches and await self.ledger.has_outstanding_post(look.question):
                # It may have made the match: the contact asks the same again.
                await self.ledger.put_off_second_look(look.question, again_in_s=AGAIN_S)
                continue
            free = await self.ledger.unclaimed(look.session_id, matches) if matches else set()
            duplicate = min(free, default=None)
            await self.ledger.record_second_look(look.question, duplicate_message_id=duplicate)
            if duplicate is not None:
                self.log(
                    "duplicate_post.found",
                    question_id=look.event_id,
                    event_source=look.source,
                    project_id=look.project_id,
                    session_id=look.session_id,
                    message_id=duplicate,
                )

    async def _delete_extras(self, lease: Lease, conversation: Conversation) -> bool:
        """Delete the conversations that carry the tag, are not the saved one and have no messages.

        Messages go only to the saved session, so what is empty was never used. Returns False where one has to
        be looked at again.
        """
        project_id, session_id = conversation.project_id, conversation.session_id
        if project_id is None or session_id is None:
            return True  # Being ensured anew: whatever is listed may yet be adopted.
        tag = tag_of(project_id, conversation)
        admit = partial(self.ledger.admit_read, lease, "healing")
        found = await self._read(
            lease, partial(self.assistant.find_conversations, project_id, tag, admit=admit)
        )
        is_done = True
        for remote in found:
            if not remote.name.endswith(tag) or remote.is_deleted or remote.session_id == session_id:
                continue
            extra = remote.session_id
            listed_at = self.clock.boottime()
            try:
                listing = await self._read(
                    lease, partial(self.assistant.list_messages, project_id, extra, above=-1, admit=admit)
                )
            except ConversationGone:
                continue
            if listing.messages:
                continue  # Somebody talks in it: not ours to take away.
            # A healer that was stopped for long must not delete what another turn adopted meanwhile.
            if await self.ledger.renew([lease]):
                raise LeaseLost
            await self.ledger.admit_read(lease, "healing")
            if self.clock.boottime() - listed_at > FRESH_S:
                is_done = False
                continue
            await self.assistant.delete_conversation(project_id, extra)
            self._reached(RecoveryPoint.EXTRA_DELETED)
            self.log("conversation.healed", project_id=project_id, session_id=extra)
        return is_done

    async def _matches(self, look: SecondLook) -> list[int]:
        """Return the other messages that may be this question."""
        listing = await self._read(
            None,
            partial(
                self.assistant.list_messages,
                look.project_id,
                look.session_id,
                above=look.baseline_message_id,
                admit=partial(self.ledger.admit_read, None, "healing"),
            ),
        )
        return [
            message.message_id
            for message in listing.messages
            if look.baseline_message_id < message.message_id != look.message_id
            and message.external_id == look.external_id
            and evened_out(message.question) == evened_out(look.text)
        ]

    async def _tell_gate(self, error: AssistantError) -> None:
        if (news := pause_of(error)) is not None:
            await self.ledger.report(news)

    def _reached(self, point: RecoveryPoint) -> None:
        if self.points is not None:
            self.points.reached(point)

    async def _read(self, lease: Lease | None, call: Callable[[], Awaitable[T]]) -> T:
        await self.ledger.admit_read(lease, "healing")
        return await call()


def _again_in_s(closed: GateClosed) -> float:
    """Return when to ask the gate again; while a share waits, it is held back for who asks so often."""
    longest = ASK_S if closed.reason in {"pace", "at_once"} else AGAIN_S
    return min(max(closed.retry_in_s, AGAIN_SOON_S), longest)
