"""All there is to play: groups of scenes, each a fleet of its own that yields one or more outcomes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from tests.chaos import api_trouble, broker, database, fleet_trouble
from tests.chaos.commit_cutter import CommitCutter
from tests.chaos.outcome import Outcome
from tests.chaos.recovery_points import AGAIN, Hit, kill_again, matrix, play_all
from tests.chaos.stage import Cell, Stage
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import AmqpNames, RabbitMQ
from worker.core.ports import RecoveryPoint as Point

DatabaseKind = Literal["sqlite", "postgresql"]
BOTH: Sequence[DatabaseKind] = ("sqlite", "postgresql")
#: Cells of the matrix on one stage: so few that one broken stage says where it broke.
CELLS_PER_STAGE = 12
#: Every so many commits one is cut; the first ones are left alone, so that everybody comes up.
CUT_EVERY, CUT_AFTER = 40, 60


@dataclass(slots=True)
class Ground:
    """The servers under all fleets, and where logs go."""

    rabbitmq: RabbitMQ
    postgres: Postgres
    folder: Path
    _stages: int = 0

    def stage(self, kind: DatabaseKind, *, names: AmqpNames | None = None, url: str | None = None) -> Stage:
        """Set up a fleet with names and a database of its own."""
        self._stages += 1
        folder = self.folder / f"stage-{self._stages}"
        if url is None:
            url = f"sqlite:///{folder}/ledger.db" if kind == "sqlite" else self.postgres.new_database()
        return Stage(
            rabbitmq=self.rabbitmq, names=names or self.rabbitmq.names(), database_url=url, folder=folder
        )


@dataclass(frozen=True, slots=True)
class Scene:
    """Something to play, with the number of outcomes it has."""

    group: str
    name: str
    cells: int
    play: Callable[[Ground], list[Outcome]] = field(repr=False)


def scenes() -> Iterator[Scene]:
    """Yield every scene."""
    for kind in BOTH:
        yield from _points("kill", kind, signal.SIGKILL)
        for first, second in AGAIN:
            name = f"{kind}: {first}, then {second}"
            yield Scene("kill again", name, 1, partial(_again, kind, first, second))
    for kind in BOTH:
        yield from _points("pause", kind, signal.SIGSTOP)
    for kind in BOTH:
        yield from _fleet(kind)
    yield from _broker()
    yield from _database()
    yield from _api()


def _points(group: str, kind: DatabaseKind, how: signal.Signals) -> Iterator[Scene]:
    # A duplicate changes nothing about who stopped: the pauses do without.
    duplicates = (False, True) if how is signal.SIGKILL else (False,)
    cells = list(matrix(Point, how, duplicates=duplicates))
    for start in range(0, len(cells), CELLS_PER_STAGE):
        some = cells[start : start + CELLS_PER_STAGE]
        name = f"{kind}: {some[0].point} to {some[-1].point}"
        yield Scene(group, name, len(some), partial(play_points, group, kind, some))


def play_points(group: str, kind: DatabaseKind, hits: Sequence[Hit], ground: Ground) -> list[Outcome]:
    """Play cells of the kill or the pause matrix on one stage."""
    with ground.stage(kind) as stage:
        outcomes = play_all(stage, group, hits)
    return _named(outcomes, kind)


def _again(kind: DatabaseKind, first: Point, second: Point, ground: Ground) -> list[Outcome]:
    with ground.stage(kind) as stage:
        kill_again(stage, "kill again", first, second)
        return _named(stage.finish(), kind)


def _fleet(kind: DatabaseKind) -> Iterator[Scene]:
    for name, act in {
        "killed at any moment": fleet_trouble.killed_anywhere,
        "paused at any moment": fleet_trouble.paused_anywhere,
        "rolling restart": fleet_trouble.rolling_restart,
        "the same event a thousand times": fleet_trouble.storm,
    }.items():
        yield Scene("fleet", f"{kind}: {name}", 1, partial(play, act, kind, 0))


def _broker() -> Iterator[Scene]:
    for name, act in {
        "killed and restarted": broker.killed,
        "connections closed": broker.connections_closed,
        "memory alarm": broker.out_of_memory,
        "question queue deleted": broker.queue_deleted,
        "doorbells thrown away": broker.doorbells_lost,
    }.items():
        yield Scene("broker", name, 1, partial(play, act, "postgresql", 2))


def _database() -> Iterator[Scene]:
    def killed(ground: Ground) -> list[Outcome]:
        return play(lambda stage: database.killed(stage, ground.postgres), "postgresql", 2, ground)

    yield Scene("database", "killed and restarted", 1, killed)
    yield Scene("database", "cut after COMMIT", 1, partial(_cut, withholds=False))
    yield Scene("database", "cut before COMMIT arrives", 1, partial(_cut, withholds=True))
    yield Scene("database", "clocks an hour off", 1, partial(play, database.clock_off, "postgresql", 1))


def _cut(ground: Ground, *, withholds: bool) -> list[Outcome]:
    url = ground.postgres.new_database()
    with ExitStack() as stack:
        cutter = stack.enter_context(
            CommitCutter(
                ground.postgres.port,
                cuts=lambda number: number > CUT_AFTER and number % CUT_EVERY == 0,
                withholds=withholds,
            )
        )
        stage = stack.enter_context(ground.stage("postgresql", url=cutter.url(url)))
        stage.start_worker()
        stage.start_worker()
        database.commits_cut(stage, cutter)
        return _named(stage.finish(), "postgresql")


def _api() -> Iterator[Scene]:
    for name in api_trouble.TROUBLES:
        yield Scene("api", name, 1, partial(play, partial(api_trouble.faulty, name=name), "postgresql", 2))
    for name in api_trouble.CREATIONS:
        act = partial(api_trouble.faulty, name=name, call="create")
        yield Scene("api", f"creations: {name}", 1, partial(play, act, "postgresql", 2))
    for kind in BOTH:
        yield Scene("api", f"{kind}: listings lag", 1, partial(play, api_trouble.lists_late, kind, 2))


def play(act: Callable[[Stage], Cell], kind: DatabaseKind, workers: int, ground: Ground) -> list[Outcome]:
    """Play one act on a stage of its own that has so many workers already."""
    with ground.stage(kind) as stage:
        for _ in range(workers):
            stage.start_worker()
        act(stage)
        return _named(stage.finish(), kind)


def _named(outcomes: list[Outcome], kind: DatabaseKind) -> list[Outcome]:
    for outcome in outcomes:
        outcome.cell = f"{outcome.cell} ({kind})"
    return outcomes
