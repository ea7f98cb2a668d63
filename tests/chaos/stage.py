"""A fleet with victims in it, and cells that are judged each by its own contacts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.chaos.crm import Crm
from tests.chaos.outcome import Outcome
from tests.fleet import Fleet
from tests.judge import Asked, Judgement, judge
from tests.servers.rabbitmq import AmqpNames, RabbitMQ
from worker.core.ports import RecoveryPoint

#: s. As short as they may be beside each other: recovery waits for real time to pass.
TIMES = {
    "ASKRELAY_LEASE_S": "2",
    "ASKRELAY_SEND_GRACE_S": "1",
    "ASKRELAY_REQUEST_TIMEOUT_S": "3",
    "ASKRELAY_SETTLE_S": "6",
    "ASKRELAY_LIST_LAG_S": "1",
    "ASKRELAY_LOG_LEVEL": "debug",
}
#: s. Longer than any recovery: replies change hands after 30 s, lost posts are settled after 17 s.
RECOVERY_S = 150.0
#: s. Extra conversations are looked for after G + H + V, by sweepers that step every 5 s.
HEALING_S = 60.0
#: s. A start takes one or two; a machine that runs everything at once needs far longer.
START_S = 60.0


@dataclass(slots=True)
class Cell:
    """One piece of chaos: its questions, and whether the trouble came."""

    group: str
    name: str
    #: Begins the ids of its contacts, so that it can be judged by itself.
    prefix: str
    asked: list[Asked] = field(default_factory=list)
    hits: int = 0
    other: list[str] = field(default_factory=list)
    note: str = ""
    begun: float = field(default_factory=time.monotonic)

    def questions(self, contacts: Sequence[int], each: int = 1, *, since: int = 0) -> list[Asked]:
        """Return questions of this cell's contacts, who take turns; ``since`` numbers the first."""
        return [
            Asked(
                f"{self.prefix}-{contact}-{number}",
                f"{self.prefix}-contact-{contact}",
                f"{self.prefix}: question {number} of contact {contact}, may I?",
            )
            for number in range(since, since + each)
            for contact in contacts
        ]


class Stage:
    """A fleet on which cells play. A context manager that leaves nothing running."""

    def __init__(
        self,
        *,
        rabbitmq: RabbitMQ,
        names: AmqpNames,
        database_url: str,
        folder: Path,
        latency_s: float = 0.05,
        pause_s: float = 0.0,
        settings: dict[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.rabbitmq = rabbitmq
        self.names = names
        self.fleet = Fleet(
            rabbitmq=rabbitmq,
            names=names,
            database_url=database_url,
            folder=folder,
            latency_s=latency_s,
            settings={**TIMES, **(settings or {})},
        )
        self.cells: list[Cell] = []
        self._pause_s = pause_s
        self._crm: Crm | None = None

    def __enter__(self) -> Self:
        self.fleet.__enter__()
        self._crm = Crm(self.rabbitmq, self.names, pause_s=self._pause_s)
        return self

    def __exit__(self, *_: object) -> None:
        if self._crm is not None:
            self._crm.close()
        for worker in self.fleet.workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGCONT)
        self.fleet.__exit__(*_)

    @property
    def crm(self) -> Crm:
        """Who asks."""
        assert self._crm is not None
        return self._crm

    def cell(self, group: str, name: str) -> Cell:
        """Begin a cell."""
        cell = Cell(group, name, f"c{len(self.cells)}")
        self.cells.append(cell)
        return cell

    def ask(self, cell: Cell, questions: Sequence[Asked], *, repeats: int = 1) -> None:
        """Ask questions of a cell and return when the broker has them; ``repeats`` times each, in a row."""
        cell.asked += [question for question in questions if question not in cell.asked]
        self.crm.ask_now([question for question in questions for _ in range(repeats)])

    def wait_for_replies(self, cell: Cell) -> None:
        """Wait until everything that a cell asked so far has a reply."""
        self.fleet.wait_until(
            lambda: self.is_answered(cell.asked), f"the replies of {cell.name}", within_s=RECOVERY_S
        )

    def publish_garbage(self) -> None:
        """Publish what is no event."""
        with self.fleet.publishing() as channel:
            self.fleet.publish_raw(channel, b"no event at all", "text/plain")

    def start_worker(self, *, is_up: bool = True, **settings: str) -> subprocess.Popen[bytes]:
        """Start a worker that is well, and wait until it works unless told otherwise."""
        worker = self.fleet.start_worker(**settings)
        if is_up:
            self.wait_until_up(worker)
        return worker

    def start_victim(
        self,
        point: RecoveryPoint | None,
        how: signal.Signals = signal.SIGKILL,
        *,
        nth: int = 1,
        options: Sequence[str] = (),
        **settings: str,
    ) -> subprocess.Popen[bytes]:
        """Start a worker that signals itself the n-th time it reaches the point, and wait until it works."""
        number = len(self.fleet.workers)
        harm = (
            ()
            if point is None
            else ("--kill-at", point, "--nth", str(nth), "--how", how.name, "--mark", str(self.mark(number)))
        )
        worker = self.fleet.start_worker(command=("tests.chaos.worker", *harm, *options), **settings)
        if point is not None:
            self.fleet.stopped.append(worker)  # It is meant to go.
        self.wait_until_up(worker)
        return worker

    def mark(self, number: int) -> Path:
        """Return the file in which a victim writes the point it is about to be hit at."""
        return self.folder / f"hit-{number}"

    def number_of(self, worker: subprocess.Popen[bytes]) -> int:
        """Return the place of a worker in the fleet."""
        return self.fleet.workers.index(worker)

    def wait_until_up(self, worker: subprocess.Popen[bytes]) -> None:
        """Wait until a worker consumes; one that may be hit before that counts too."""
        log = self.folder / f"worker-{self.number_of(worker)}.log"
        self.fleet.wait_until(
            lambda: (
                '"link":"consume"' in log.read_text().replace(" ", "")
                or worker.poll() is not None
                or self.is_hit(worker)
            ),
            "the start of a worker",
            within_s=START_S,
        )

    def is_hit(self, worker: subprocess.Popen[bytes]) -> bool:
        """Tell whether a victim reached its point and was killed or stopped by it."""
        if not self.mark(self.number_of(worker)).exists():
            return False
        if worker.poll() is not None:
            return worker.returncode == -signal.SIGKILL
        return state_of(worker.pid) == "T"

    def hit(
        self,
        cell: Cell,
        worker: subprocess.Popen[bytes],
        ask: Callable[[int], None],
        *,
        waves: int = 6,
        patience_s: float = 20.0,
    ) -> bool:
        """Ask wave after wave until the victim is hit; returns whether it was, and counts it."""
        for wave in range(waves):
            ask(wave)
            until = time.monotonic() + (2.0 if wave < waves - 1 else patience_s)
            while time.monotonic() < until:
                if self.is_hit(worker):
                    cell.hits += 1
                    return True
                time.sleep(0.02)
        return False

    def finish(self, *, is_healed: bool = True, within_s: float = RECOVERY_S) -> list[Outcome]:
        """Wait until every question of every cell has its reply, then judge each cell."""
        asked = [question for cell in self.cells for question in cell.asked]
        with contextlib.suppress(AssertionError):
            # What is missing then is the judge's to say.
            self.fleet.wait_until(lambda: self.is_answered(asked), "the replies", within_s=within_s)
        extra = self._wait_for_healing() if is_healed else []
        effects, replies = self.fleet.sandbox.effects(), list(self.fleet.replies)
        outcomes = [
            Outcome(
                cell.group,
                cell.name,
                cell.hits,
                judge_cell(cell, effects, replies),
                other=cell.other,
                note=cell.note,
                duration_s=time.monotonic() - cell.begun,
            )
            for cell in self.cells
        ]
        for outcome, complaint in zip(outcomes, extra, strict=False):
            outcome.other.append(complaint)
        outcomes[-1].other += self.crashes()
        if any(outcome.judgement.double_posts for outcome in outcomes):
            # A pause between the last check and the bytes leaving (PROTOCOL A2) has to be owned up to.
            owned_up = [len(self.events(name)) for name in ("duplicate_post.found", "late_post.found")]
            outcomes[-1].note += "duplicate_post.found {}, late_post.found {}".format(*owned_up)
        return outcomes

    def crashes(self) -> list[str]:
        """Return what the workers themselves call a bug."""
        return [
            f"{line['event']} {line.get('loop', '')} {line.get('exception', '')}"
            for line in self.lines()
            if line["event"] in {"turn.crashed", "loop.crashed"}
        ]

    def lines(self) -> list[dict[str, Any]]:
        """Return all log lines of all workers; a line that a kill cut off is left out."""
        found = []
        for number in range(len(self.fleet.workers)):
            for line in (self.folder / f"worker-{number}.log").read_text(errors="replace").splitlines():
                with contextlib.suppress(ValueError):
                    found.append(json.loads(line))
        return found

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return all log lines of one kind."""
        return [line for line in self.lines() if line["event"] == name]

    def is_answered(self, asked: Sequence[Asked]) -> bool:
        """Tell whether each of these questions has a reply."""
        seen = {reply["data"]["question_id"] for reply in list(self.fleet.replies)}
        return all(question.event_id in seen for question in asked)

    def _wait_for_healing(self) -> list[str]:
        """Wait until no contact has an extra conversation at the API; returns a complaint if one stays."""
        try:
            self.fleet.wait_until(lambda: self._extras() == 0, "the healing", within_s=HEALING_S)
        except AssertionError:
            return [f"{self._extras()} extra conversations were not healed"]
        return []

    def _extras(self) -> int:
        summary = self.fleet.sandbox.summary()
        contacts = {question.contact_id for cell in self.cells for question in cell.asked}
        return int(summary["conversations"] - summary["conversations_gone"]) - len(contacts)


def judge_cell(cell: Cell, effects: Sequence[dict[str, Any]], replies: Sequence[dict[str, Any]]) -> Judgement:
    """Judge a cell by what concerns its contacts alone."""
    contacts = {question.contact_id for question in cell.asked}
    return judge(
        cell.asked,
        [effect for effect in effects if effect["external_id"] in contacts],
        [reply for reply in replies if reply["data"]["contact_id"] in contacts],
    )


def state_of(pid: int) -> str:
    """Return the letter of a process's state: T is stopped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"
