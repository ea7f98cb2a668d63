"""What happens by plan: processes and servers that fail, and things that others do at the API."""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.api import StoredConversation
from tests.simulation.contacts import Contacts, store
from tests.simulation.fleet import Fleet
from tests.simulation.surroundings import Surroundings


class Happenings:
    """The faults that are counted per run."""

    def __init__(self, here: Surroundings, fleet: Fleet, contacts: Contacts) -> None:
        self._here = here
        self._fleet = fleet
        self._contacts = contacts

    def begin(self) -> None:
        """Plan what fails and when."""
        chance, faults = self._here.chance, self._here.faults
        for _ in range(faults.times("crash")):
            self._here.later(chance.random() * self._here.busy_s, self._fleet.crash_one)
        for _ in range(faults.times("pause")):
            self._here.later(chance.random() * self._here.busy_s, self._fleet.pause_one)
        for _ in range(faults.times("stop")):
            self._here.later(chance.random() * self._here.busy_s, self._fleet.stop_one)
        plans = {
            "key_rejected": self._reject_key,
            "credits_gone": self._take_credits,
            "out_of_queries": self._run_out,
            "conversation_deleted": self._delete_one,
            "somebody_else": self._somebody_posts,
            "ledger_away": self._fleet.cut_off_from_ledger,
            "broker_away": self._take_broker,
        }
        for name, happen in plans.items():
            for _ in range(faults.times(name)):
                self._here.later(chance.random() * self._here.busy_s, self._happen, name, happen)
        if self._here.api.broken_assumption == "A7":
            self._here.later(chance.uniform(0.1, 0.9) * self._here.busy_s, self._jump)

    def _happen(self, name: str, happen: Callable[[], None]) -> None:
        self._here.faults.counts[name] += 1
        happen()

    def _reject_key(self) -> None:
        self._here.trace("api", "KEY REJECTED")
        self._here.api.key_rejected_until = self._here.loop.time() + self._here.chance.uniform(1, 20)

    def _take_credits(self) -> None:
        self._here.trace("api", "CREDITS GONE")
        self._here.api.credits_gone_until = self._here.loop.time() + self._here.chance.uniform(1, 20)

    def _run_out(self) -> None:
        self._here.trace("api", "OUT OF QUERIES")
        self._here.api.out_of_queries_until = self._here.loop.time() + self._here.chance.uniform(1, 20)

    def _take_broker(self) -> None:
        self._here.broker.go_away(self._here.chance.uniform(0.5, 10))

    def _delete_one(self) -> None:
        live = self._live()
        if live:
            self._here.api.delete(self._here.chance.choice(live).session_id, by="retention")

    def _somebody_posts(self) -> None:
        live = self._live()
        if not live or not self._contacts.asked:
            return
        session_id = self._here.chance.choice(live).session_id
        question = self._here.chance.choice(self._contacts.asked)
        if self._here.chance.random() < 0.5:
            store(self._here.api, session_id, "something else", question.contact_id)
        else:
            store(self._here.api, session_id, question.text, "somebody else")

    def _jump(self) -> None:
        self._here.clock_jump_s += self._here.rules.settle_s + 2 * self._here.rules.lease_s
        self._here.trace("ledger", f"CLOCK JUMPS by {self._here.clock_jump_s} s")
        self._here.api.breaks.append(("A7", "everything"))

    def _live(self) -> list[StoredConversation]:
        return [each for each in self._here.api.conversations.values() if each.deleted_at is None]
