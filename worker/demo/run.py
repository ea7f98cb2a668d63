"""One demo, from the first line to the last."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from worker.demo.counting import Summary, count
from worker.demo.crm import Crm
from worker.demo.effects import EffectsTail
from worker.demo.fleet import WorkerProcesses
from worker.demo.plan import DUPLICATE_LATE_S, KILL_AT_PART, LEASE_S, QUESTIONS_PER_DUPLICATE, Plan
from worker.demo.questions import Asked
from worker.demo.record import Record, tag_of
from worker.demo.view import Happening, Screen, View, row_of, words_for, words_for_reply
from worker.sandbox.process import SandboxProcess

#: s. Between two looks at what happened: fluent to the eye.
TICK_S = 0.1
#: s without any reply, on top of three settle times, after which what is missing counts as missing.
STALLED_S = 40.0
#: Events handed in at once before the replies get their turn.
BURST = 50
#: Questions that wait and are shown: more than the tallest screen has room for.
WAITING_SHOWN = 10
#: s. Calls of a killed worker that the sandbox still serves have ended by then.
QUIET_WITHIN_S = 10.0


@dataclass(slots=True)
class Demo:
    """Runs once; a screen shows it."""

    plan: Plan
    crm: Crm
    screen: Screen
    record: Record = field(init=False)
    view: View = field(init=False)
    _begun: float = field(default_factory=time.monotonic)
    _replied_at: float = 0.0
    _is_all_handed_in: bool = False
    _by_id: dict[str, Asked] = field(default_factory=dict)
    _contacts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        asked = self.plan.asked
        self.record = Record(asked)
        self._by_id = {each.event_id: each for each in asked}
        self._contacts = {tag_of(each): each.contact_id for each in asked}
        self.view = View(len(asked), len(self._contacts), setting_of(self.plan))

    async def run(self) -> Summary:
        """Set everything up, play, take everything away, count.

        Raises SandboxError and WorkerFailedError when a process does not do its part.
        """
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="askrelay-demo-")))
            self.screen.start(self.view)
            stack.callback(self.screen.stop)
            sandbox = SandboxProcess(latency_s=self.plan.latency_s, switches=self.plan.switches())
            stack.callback(sandbox.stop)
            await asyncio.to_thread(sandbox.start)
            await asyncio.to_thread(sandbox.set_faults, *self.plan.faults())
            tail = await stack.enter_async_context(EffectsTail(sandbox.root))
            stack.push_async_callback(self.crm.close)
            await self.crm.start(self._take_reply)
            fleet = WorkerProcesses(
                settings=self.plan.worker_settings(
                    folder=folder, api_url=sandbox.url, amqp=self.crm.settings()
                ),
                folder=folder,
                server=self.crm.server,
            )
            stack.callback(fleet.end)
            await self._play(fleet, tail)
            await self._end(fleet, tail)
        return count(self.record)

    async def _play(self, fleet: WorkerProcesses, tail: EffectsTail) -> None:
        for _ in range(self.plan.workers):
            fleet.start()
        self._tell(f"{self.plan.workers} worker processes and a sandbox of CustomGPT start")
        self._tell(
            f"times are short here: lease {LEASE_S:g} s, settle {self.plan.settle_s:g} s"
            " (else 30 s and 300 s)"
        )
        while not fleet.is_ready():
            await self._look(fleet, tail)
        asking = asyncio.create_task(self._ask(), name="asking")
        try:
            self._replied_at = time.monotonic()
            while not (self._is_all_handed_in and self.record.is_answered) and not self._is_stalled():
                if asking.done():
                    asking.result()  # raises what ended it
                await self._look(fleet, tail)
                self._maybe_kill(fleet)
        finally:
            asking.cancel()

    async def _end(self, fleet: WorkerProcesses, tail: EffectsTail) -> None:
        """Stop the workers, so that nothing more can happen, and see what did."""
        await fleet.stop()
        await tail.wait_until_quiet(within_s=QUIET_WITHIN_S)
        await self.crm.close()
        self.record.take_effects(await tail.read())
        self._draw()

    async def _ask(self) -> None:
        """Hand in every question, some of them twice: at once, or when it was answered already."""
        late: list[Asked] = []
        for number, asked in enumerate(self.plan.asked):
            self._hand_in(asked)
            if self.plan.is_duplicated(number):
                if (number // QUESTIONS_PER_DUPLICATE) % 2:
                    late.append(asked)
                else:
                    self._hand_in(asked)
            if self.plan.pause_s or number % BURST == 0:
                await asyncio.sleep(self.plan.pause_s)
            if late and self.plan.pause_s and self._age_s(late[0]) > DUPLICATE_LATE_S:
                self._hand_in(late.pop(0))
        for asked in late:
            await asyncio.sleep(max(DUPLICATE_LATE_S - self._age_s(asked), 0.0))
            self._hand_in(asked)
        self._is_all_handed_in = True

    def _hand_in(self, asked: Asked) -> None:
        is_again = asked.event_id in self.record.published
        self.record.hand_in(asked.event_id, time.monotonic())
        self.view.handed_in = len(self.record.published)
        self.crm.ask(asked.event(), asked.event_id)
        if is_again and self.plan.is_story:
            state = "answered already" if asked.event_id in self.record.replies else "still waiting"
            row = row_of(asked)
            self._tell(f"{row.contact}: the same event is handed in again, {state}", is_trouble=True)

    def _age_s(self, asked: Asked) -> float:
        return time.monotonic() - self.record.published[asked.event_id]

    def _take_reply(self, body: bytes) -> None:
        seen = self.record.take_reply(body, time.monotonic())
        event_id = seen.data["question_id"]
        if len(self.record.replies[event_id]) > 1:
            return
        self._replied_at = seen.at
        row = row_of(self._by_id[event_id], seen)
        self.view.replied = len(self.record.replies)
        self.view.latest.append(row)
        self.screen.answered(row)
        words = words_for_reply(row)
        if words is not None and self.plan.is_story:
            self._tell(words)

    async def _look(self, fleet: WorkerProcesses, tail: EffectsTail) -> None:
        for trouble in self.record.take_effects(await tail.read()):
            contact = self._contacts.get(trouble.external_id or "")
            self._tell(f"{contact}: {words_for(trouble)}" if contact else words_for(trouble), is_trouble=True)
        fleet.check()
        self.crm.check()
        self._draw()
        await asyncio.sleep(TICK_S)

    def _draw(self) -> None:
        self.view.waiting = [row_of(asked) for asked in self.record.waiting()[:WAITING_SHOWN]]
        self.screen.tick()

    def _maybe_kill(self, fleet: WorkerProcesses) -> None:
        enough = len(self.record.replies) >= KILL_AT_PART * len(self.plan.asked)
        if not self.plan.kills or fleet.killed or not enough or self.record.is_answered:
            return
        number = fleet.kill_oldest()
        self.record.killed_at.append(time.monotonic())
        self._tell(
            f"worker {number} is killed in the middle of its work (SIGKILL)",
            is_trouble=True,
            is_highlight=True,
        )
        self._tell(f"worker {fleet.start()} starts; what worker {number} held goes to the others")

    def _is_stalled(self) -> bool:
        return time.monotonic() - self._replied_at > STALLED_S + 3 * self.plan.settle_s

    def _tell(self, text: str, *, is_trouble: bool = False, is_highlight: bool = False) -> None:
        happening = Happening(time.monotonic() - self._begun, text, is_trouble, is_highlight)
        self.view.happenings.append(happening)
        self.screen.happened(happening)


def setting_of(plan: Plan) -> str:
    """Say in a few words what the worker is tried with."""
    where = "no key, no network" if plan.rabbitmq_url else "no key, no broker, no network"
    contacts = len({asked.contact_id for asked in plan.asked})
    return f"askrelay demo: {len(plan.asked)} questions of {contacts} contacts; {where}"
