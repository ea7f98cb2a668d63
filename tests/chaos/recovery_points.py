"""Kills and pauses at the named recovery points."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.chaos.outcome import Outcome
from tests.chaos.stage import Cell, Stage
from tests.chaos.trouble import APPROACHES, prepare, waves
from worker.core.ports import RecoveryPoint as Point

#: The worker that is well has little room, so that most turns fall to the victim.
RESCUER = {"ASKRELAY_CONCURRENCY": "3"}
#: s. A pause: longer than a lease, so that others take over, and than their first steps.
PAUSE_S = 4.0


@dataclass(frozen=True, slots=True)
class Hit:
    """One cell of the matrix."""

    point: Point
    how: signal.Signals
    is_known: bool
    has_duplicate: bool

    @property
    def name(self) -> str:
        """The cell's name in the table."""
        contact = "known" if self.is_known else "new"
        return f"{self.point}, {contact}, {'duplicate' if self.has_duplicate else 'alone'}"


def matrix(
    points: Iterable[Point], how: signal.Signals, *, duplicates: Sequence[bool] = (False, True)
) -> Iterator[Hit]:
    """Yield every cell that these points have; a known contact comes by no creation."""
    for point in points:
        for is_known in (False, True):
            if is_known and not APPROACHES[point].has_known:
                continue
            for has_duplicate in duplicates:
                yield Hit(point, how, is_known, has_duplicate)


class Matrix:
    """Plays cells one after the other on one stage; recovery goes on while the next cell begins."""

    def __init__(self, stage: Stage, group: str) -> None:
        self._stage = stage
        self._group = group
        self._rescuer = stage.start_worker(**RESCUER)

    def play(self, hit: Hit) -> Cell:
        """Lead a victim to its point, see it hit, and hand in a duplicate where the cell says so."""
        stage = self._stage
        approach = APPROACHES[hit.point]
        cell = stage.cell(self._group, hit.name)
        prepare(stage, cell, approach, is_known=hit.is_known)
        victim = stage.start_victim(hit.point, hit.how)
        if approach.is_intake:
            self._hand_over()
        repeats = 2 if hit.has_duplicate else 1
        ask = waves(stage, cell, approach, is_known=hit.is_known, repeats=repeats)
        stage.hit(cell, victim, ask, patience_s=approach.patience_s)
        if hit.has_duplicate:
            stage.ask(cell, cell.asked)
        if hit.how is signal.SIGSTOP:
            self._go_on(victim)
        else:
            end(victim)
        return cell

    def _hand_over(self) -> None:
        """End the worker that consumes, so that the victim, which stands by, is next."""
        rescuer, self._rescuer = self._rescuer, self._stage.start_worker(**RESCUER)
        self._stage.fleet.stop_worker(rescuer)

    def _go_on(self, victim: subprocess.Popen[bytes]) -> None:
        """Let a stopped victim sleep past its leases, wake it, let it find out, and end it in order."""
        time.sleep(PAUSE_S)
        if victim.poll() is None:
            victim.send_signal(signal.SIGCONT)
            time.sleep(1.0)
            self._stage.fleet.stop_worker(victim)


def end(victim: subprocess.Popen[bytes]) -> None:
    """End a victim that was not hit, and collect it in any case."""
    if victim.poll() is None:
        os.kill(victim.pid, signal.SIGKILL)
    victim.wait(30)


#: Killed at the first point, and what recovers is killed at the second.
AGAIN: Sequence[tuple[Point, Point]] = (
    (Point.BATCH_ACCEPTED, Point.BATCH_ACCEPTED),
    (Point.CREATE_INTENDED, Point.CONVERSATIONS_LISTED),
    (Point.CONVERSATION_CREATED, Point.SESSION_SAVED),
    (Point.POST_INTENDED, Point.READ_BACK),
    (Point.QUESTION_POSTED, Point.READ_BACK),
    (Point.QUESTION_POSTED, Point.TURN_FINISHED),
    (Point.TURN_FINISHED, Point.REPLIES_TAKEN),
    (Point.REPLY_PUBLISHED, Point.REPLY_PUBLISHED),
)


def kill_again(stage: Stage, group: str, first: Point, second: Point) -> Cell:
    """Kill a worker, then the one that recovers what it left; a third ends it."""
    cell = stage.cell(group, f"{first}, then {second}")
    victim = stage.start_victim(first)
    stage.hit(cell, victim, lambda wave: stage.ask(cell, cell.questions(range(wave * 4, wave * 4 + 4))))
    end(victim)
    victim = stage.start_victim(second)
    # Nothing is asked any more: what is hit now is recovery. An outbox changes hands after 30 s.
    is_hit = stage.hit(cell, victim, lambda _: None, waves=1, patience_s=60.0)
    if not is_hit:
        cell.other.append(f"recovery never came by {second}")
    end(victim)
    rescuer = stage.start_worker()
    stage.wait_for_replies(cell)
    stage.fleet.stop_worker(rescuer)
    return cell


def play_all(stage: Stage, group: str, hits: Iterable[Hit]) -> list[Outcome]:
    """Play cells on a stage and judge them."""
    matrix_ = Matrix(stage, group)
    for hit in hits:
        matrix_.play(hit)
    return stage.finish()
