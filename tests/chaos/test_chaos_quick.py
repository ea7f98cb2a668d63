"""The part of the chaos that runs in every ``make test``; all of it: ``python -m tests.chaos``."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos import broker, database, fleet_trouble
from tests.chaos.commit_cutter import CommitCutter
from tests.chaos.outcome import Outcome
from tests.chaos.recovery_points import Hit, kill_again, play_all
from tests.chaos.stage import Cell, Stage
from tests.chaos.trouble import APPROACHES
from tests.judge import Judgement
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import AmqpNames, RabbitMQ
from worker.core.ports import RecoveryPoint as Point

pytestmark = pytest.mark.quick

#: Takes half a minute to come by.
SLOW_POINTS = {Point.SECOND_LOOKS_TAKEN}
POINTS = [point for point in Point if point not in SLOW_POINTS]
#: In two, so that two cores share them.
HALVES = (
    [point for point in POINTS if APPROACHES[point].is_intake],
    [point for point in POINTS if not APPROACHES[point].is_intake],
)
#: Where a pause hurts most: between a commit and what it announces.
PAUSES = (Point.CLAIMED, Point.CREATE_INTENDED, Point.POST_INTENDED, Point.QUESTION_POSTED)

StageOn = Callable[[str], Stage]


@pytest.fixture
def stage_on(rabbitmq: RabbitMQ, amqp_names: AmqpNames, tmp_path: Path) -> StageOn:
    """Return what sets up a fleet on a database."""

    def make(url: str) -> Stage:
        return Stage(rabbitmq=rabbitmq, names=amqp_names, database_url=url, folder=tmp_path)

    return make


@pytest.fixture
def sqlite_url(tmp_path: Path) -> Iterator[str]:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


def complaints(outcomes: list[Outcome]) -> dict[str, list[str]]:
    """Return what is wrong, by cell."""
    return {outcome.cell: outcome.complaints() for outcome in outcomes if not outcome.is_good}


def test_every_point_has_an_approach() -> None:
    assert set(APPROACHES) == set(Point)


def test_a_cell_whose_trouble_never_came_is_broken() -> None:
    assert not Outcome("kill", "missed", 0, Judgement()).is_good
    assert Outcome("kill", "hit", 1, Judgement()).is_good
    assert not Outcome("kill", "doubled", 1, Judgement(double_posts=["evt-1"])).is_good


@pytest.mark.parametrize("points", HALVES, ids=("intake and outbox", "turns"))
def test_a_worker_killed_at_any_point_loses_and_doubles_nothing_of_new_contacts(
    stage_on: StageOn, sqlite_url: str, points: list[Point]
) -> None:
    hits = [Hit(point, signal.SIGKILL, is_known=False, has_duplicate=False) for point in points]
    with stage_on(sqlite_url) as stage:
        assert complaints(play_all(stage, "kill", hits)) == {}


@pytest.mark.parametrize("points", HALVES, ids=("intake and outbox", "turns"))
def test_a_worker_killed_at_any_point_loses_and_doubles_nothing_of_known_contacts_and_repeated_events(
    stage_on: StageOn, postgres_url: str, points: list[Point]
) -> None:
    hits = [
        Hit(point, signal.SIGKILL, is_known=True, has_duplicate=True)
        for point in points
        if APPROACHES[point].has_known  # the others were played with new contacts
    ]
    with stage_on(postgres_url) as stage:
        assert complaints(play_all(stage, "kill", hits)) == {}


def test_a_worker_killed_while_it_recovers_loses_and_doubles_nothing(
    stage_on: StageOn, postgres_url: str
) -> None:
    with stage_on(postgres_url) as stage:
        kill_again(stage, "kill again", Point.QUESTION_POSTED, Point.READ_BACK)
        assert complaints(stage.finish()) == {}


def test_a_worker_paused_beyond_its_lease_touches_nothing_when_it_goes_on(
    stage_on: StageOn, postgres_url: str
) -> None:
    hits = [Hit(point, signal.SIGSTOP, is_known=False, has_duplicate=False) for point in PAUSES]
    with stage_on(postgres_url) as stage:
        assert complaints(play_all(stage, "pause", hits)) == {}


def test_a_database_killed_under_load_loses_and_doubles_nothing(
    stage_on: StageOn, postgres: Postgres, postgres_url: str
) -> None:
    assert played(stage_on(postgres_url), lambda stage: database.killed(stage, postgres, times=3)) == {}


@pytest.mark.parametrize("withholds", [False, True], ids=["after it was done", "before it arrived"])
def test_a_connection_cut_at_commit_loses_and_doubles_nothing(
    stage_on: StageOn, postgres: Postgres, postgres_url: str, withholds: bool
) -> None:
    cuts = CommitCutter(
        postgres.port, cuts=lambda number: number > 60 and number % 20 == 0, withholds=withholds
    )
    with cuts as cutter:
        stage = stage_on(cutter.url(postgres_url))
        assert played(stage, lambda stage: database.commits_cut(stage, cutter, seconds=6)) == {}


def test_a_broker_killed_under_load_loses_and_doubles_nothing(stage_on: StageOn, postgres_url: str) -> None:
    assert played(stage_on(postgres_url), lambda stage: broker.killed(stage, times=1)) == {}


def test_questions_start_without_a_single_doorbell(stage_on: StageOn, sqlite_url: str) -> None:
    assert played(stage_on(sqlite_url), broker.doorbells_lost) == {}


def test_a_deleted_question_queue_is_declared_again_and_nothing_accepted_is_lost(
    stage_on: StageOn, sqlite_url: str
) -> None:
    assert played(stage_on(sqlite_url), lambda stage: broker.queue_deleted(stage, times=1)) == {}


def test_one_event_a_thousand_times_is_one_post_and_one_reply_id(
    stage_on: StageOn, postgres_url: str
) -> None:
    assert played(stage_on(postgres_url), fleet_trouble.storm, workers=0) == {}


def played(stage: Stage, act: Callable[[Stage], Cell], *, workers: int = 2) -> dict[str, list[str]]:
    """Play one act with so many workers and return what is wrong."""
    with stage:
        for _ in range(workers):
            stage.start_worker()
        act(stage)
        return complaints(stage.finish())
