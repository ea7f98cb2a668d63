"""The last pieces of the protocol on real parts, judged from outside.

Second looks, hold, altered texts, blocking, crash poison, restored ledgers, limits, and what is checked at
the start.
"""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.commands import askrelay
from tests.fleet import Fleet
from tests.judge import Asked
from tests.servers.rabbitmq import AmqpNames, RabbitMQ
from worker.adapters.ledger import durability, prepare
from worker.cli.exit_codes import ExitCode
from worker.core.errors import SettingsError

#: s. An outcome is settled 4.5 s after a post: grace, U of the brisk worker, and the settle time.
BRISK = {"ASKRELAY_LEASE_S": "1", "ASKRELAY_REQUEST_TIMEOUT_S": "1.5", "ASKRELAY_SETTLE_S": "3"}
BRISK_WORKER = ("tests.brisk_worker",)
#: s. A lag of the API's listings that no test outlives.
FOR_EVER_S = 3600

Start = Callable[..., Fleet]


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def start(rabbitmq: RabbitMQ, amqp_names: AmqpNames, sqlite_url: str, tmp_path: Path) -> Iterator[Start]:
    """Return what starts a fleet with no worker yet; keywords are settings."""
    with ExitStack() as fleets:

        def start(database_url: str = sqlite_url, **settings: str) -> Fleet:
            fleet = Fleet(
                rabbitmq=rabbitmq,
                names=amqp_names,
                database_url=database_url,
                folder=tmp_path,
                latency_s=0.01,
                settings={**BRISK, **settings},
            )
            return fleets.enter_context(fleet)

        yield start


def question(event_id: str, contact_id: str) -> Asked:
    return Asked(event_id, contact_id, f"Question {event_id}: may I?")


def spoil(asked: Asked, kind: str, **how: Any) -> dict[str, Any]:
    """Return a fault that hits the first post of a question."""
    return {
        "match": {"call": "post", "question_contains": asked.question, "times": 1},
        "action": {"kind": kind, **how},
    }


def reply_data(fleet: Fleet, asked: Asked) -> dict[str, Any]:
    """Return what the reply to a question says."""
    (first, *_) = [reply for reply in fleet.replies if reply["data"]["question_id"] == asked.event_id]
    data: dict[str, Any] = first["data"]
    return data


def posts_of(fleet: Fleet, asked: Asked) -> list[int]:
    """Return the messages that the API stored for a question."""
    return [
        effect["message_id"]
        for effect in fleet.sandbox.effects("message")
        if (effect["external_id"], effect["question"]) == (asked.contact_id, asked.question)
    ]


def lines(fleet: Fleet, event: str) -> list[dict[str, Any]]:
    """Return the log lines of one event."""
    return [line for line in fleet.logs() if line["event"] == event]


def accepted(ledger: Path) -> int:
    """Count the questions that a SQLite ledger has taken in."""
    with closing(sqlite3.connect(ledger)) as connection:
        return int(connection.execute("select count(*) from questions").fetchone()[0])


def test_post_that_shows_up_after_its_repost_is_found_and_counted(start: Start, sqlite_url: str) -> None:
    fleet = start()
    lost = question("lost", "EXT_1")
    # A1 is broken on purpose: what is stored cannot be listed.
    fleet.sandbox.set_switches(message_list_lag_s=FOR_EVER_S)
    fleet.sandbox.set_faults(spoil(lost, "reset", when="after_work"))
    fleet.start_worker(command=BRISK_WORKER)
    fleet.ask([lost, question("next", "EXT_1"), question("other", "EXT_2")])
    fleet.wait_for_replies(3)
    assert reply_data(fleet, lost)["outcome"] == "reposted_after_unknown"
    fleet.sandbox.set_switches(message_list_lag_s=0)
    fleet.wait_until(lambda: bool(lines(fleet, "duplicate_post.found")), "the second look")
    found = [(line["question_id"], line["message_id"]) for line in lines(fleet, "duplicate_post.found")]
    first, second = posts_of(fleet, lost)
    assert found == [("lost", first)]
    assert reply_data(fleet, lost)["message_id"] == second
    told = json.loads(askrelay({"DATABASE_URL": sqlite_url}, "status", "--json").out)
    assert told["duplicate_posts"] == 1
    assert fleet.judge().broken() == {"double_posts": ["lost"]}


def test_held_question_is_posted_at_most_once_and_the_next_goes_on(start: Start) -> None:
    fleet = start(ASKRELAY_ON_UNKNOWN="hold")
    never = question("never", "EXT_1")
    fleet.sandbox.set_faults(spoil(never, "reset", when="before_work"))
    fleet.start_worker(command=BRISK_WORKER)
    fleet.ask([never, question("next", "EXT_1"), question("other", "EXT_2")])
    fleet.wait_for_replies(3)
    data = reply_data(fleet, never)
    assert (data["reason"], posts_of(fleet, never)) == ("outcome_unknown", [])
    judgement = fleet.judge()
    assert judgement.broken() == {"never_posted": ["never"]}
    assert (judgement.answered, judgement.failed) == (2, 1)


def test_where_the_api_alters_what_it_stores_an_unknown_outcome_is_held(start: Start) -> None:
    fleet = start()
    shows, lost, after = question("shows", "EXT_1"), question("lost", "EXT_2"), question("after", "EXT_2")
    fleet.sandbox.set_switches(stored_external_id="lower_case")
    fleet.sandbox.set_faults(spoil(lost, "reset", when="after_work"))
    fleet.start_worker(command=BRISK_WORKER)
    fleet.ask([shows])
    fleet.wait_for_replies(1)
    fleet.ask([lost, after])
    fleet.wait_for_replies(3)
    assert reply_data(fleet, lost)["reason"] == "outcome_unknown"
    judgement = fleet.judge()
    assert judgement.broken() == {}
    assert (judgement.answered, judgement.failed, judgement.posts) == (2, 1, 3)


def test_failed_question_blocks_its_contact_until_a_person_lets_it_go_on(
    start: Start, sqlite_url: str
) -> None:
    fleet = start(ASKRELAY_AFTER_FAILURE="block")
    bad, held = question("bad", "EXT_1"), [question("held-1", "EXT_1"), question("held-2", "EXT_1")]
    fleet.sandbox.set_faults(spoil(bad, "reply", status=400))
    fleet.start_worker(command=BRISK_WORKER)
    fleet.ask([bad, *held])
    fleet.wait_for_replies(1)
    assert reply_data(fleet, bad)["reason"] == "question_rejected"
    others = [question(f"other-{number}", f"EXT_{2 + number % 3}") for number in range(9)]
    fleet.ask(others)
    fleet.wait_for_replies(10)
    assert [posts_of(fleet, each) for each in held] == [[], []]
    ledger = {"DATABASE_URL": sqlite_url}
    unknown = askrelay(ledger, "question", "unblock", "crm/test", "nobody")
    assert unknown.code == ExitCode.NOT_FOUND
    unblocked = askrelay(ledger, "question", "unblock", "crm/test", "bad")
    assert unblocked.code == ExitCode.OK, unblocked.text
    fleet.wait_for_replies(12)
    judgement = fleet.judge()
    assert judgement.broken() == {"never_posted": ["bad"]}
    assert (judgement.answered, judgement.failed) == (11, 1)


def test_question_that_kills_five_workers_fails_and_the_others_are_answered(
    start: Start, tmp_path: Path
) -> None:
    fleet = start()
    poison, after = question("poison", "EXT_9"), question("after", "EXT_9")
    known = [question(f"known-{number}", f"EXT_{number}") for number in range(3)]
    others = [question(f"other-{number}", f"EXT_{number}") for number in range(3)]
    well = fleet.start_worker(command=BRISK_WORKER)
    fleet.ask(known)
    fleet.wait_for_replies(3)
    fleet.stop_worker(well)
    # Only the poison's contact is new: nobody else's turn comes by the listing.
    fleet.ask([poison, *others])
    for number in range(5):
        mark = tmp_path / f"killed-{number}"
        killed_at = ("--kill-at", "conversations_listed", "--mark", str(mark))
        victim = fleet.start_worker(command=("tests.chaos.worker", *killed_at))
        fleet.stopped.append(victim)
        assert victim.wait(60) == -signal.SIGKILL, fleet.log_ends()
        assert mark.exists()
    fleet.start_worker(command=BRISK_WORKER)
    fleet.wait_for_replies(7)
    assert reply_data(fleet, poison)["reason"] == "crash_poison"
    fleet.ask([after])
    fleet.wait_for_replies(8)
    judgement = fleet.judge()
    assert judgement.broken() == {"never_posted": ["poison"]}
    assert (judgement.answered, judgement.failed) == (7, 1)


def test_restored_ledger_adopts_what_was_posted_since_and_posts_nothing_twice(
    start: Start, tmp_path: Path
) -> None:
    fleet = start()
    ledger, backup = tmp_path / "ledger.db", tmp_path / "backup"
    asked = [question(f"evt-{contact}-{n}", f"EXT_{contact}") for n in range(3) for contact in range(4)]
    # Nobody gets as far as a conversation: every question is in the backup, and none was posted.
    fleet.sandbox.set_faults({"match": {"call": "list"}, "action": {"kind": "hang"}})
    first = fleet.start_worker(command=BRISK_WORKER, ASKRELAY_REQUEST_TIMEOUT_S="60", ASKRELAY_SETTLE_S="120")
    fleet.ask(asked)
    fleet.wait_until(lambda: bool(lines(fleet, "worker.started")), "the start")
    fleet.wait_until(lambda: accepted(ledger) == len(asked), "the intake")
    fleet.stop_worker(first, signal.SIGKILL)
    backup.mkdir()
    for file in tmp_path.glob("ledger.db*"):
        shutil.copy(file, backup)
    assert fleet.posts() == 0
    fleet.sandbox.set_faults()

    second = fleet.start_worker(command=BRISK_WORKER)
    fleet.wait_for_replies(len(asked))
    fleet.stop_worker(second)
    before = fleet.judge()
    assert before.broken() == {}
    for file in tmp_path.glob("ledger.db*"):
        file.unlink()
    for file in backup.iterdir():
        shutil.copy(file, tmp_path)

    # The events were acked long ago: nobody delivers them again.
    fleet.replies.clear()
    fleet.start_worker(command=(*BRISK_WORKER, "--after-restore"))
    fleet.wait_for_replies(len(asked))
    later = question("later", "EXT_0")
    fleet.ask([later])
    fleet.wait_for_replies(len(asked) + 1)
    after = fleet.judge()
    assert after.broken() == {}
    assert (after.posts, after.conversations) == (before.posts + 1, before.conversations)
    assert {reply_data(fleet, each)["outcome"] for each in asked} == {"recovered"}
    assert reply_data(fleet, later)["outcome"] == "posted"


def test_question_beyond_its_limit_or_its_time_fails_and_is_never_posted(start: Start) -> None:
    fleet = start(ASKRELAY_CONTACT_DAILY_LIMIT="2")
    talkative = [question(f"talk-{number}", "EXT_1") for number in range(4)]
    others = [question(f"other-{number}", f"EXT_{2 + number % 2}") for number in range(4)]
    expired = question("expired", "EXT_4")
    body = {
        "specversion": "1.0",
        "id": expired.event_id,
        "source": "crm/test",
        "type": "contact.question.asked",
        "expirytime": "2020-01-01T00:00:00Z",
        "data": {"contact_id": expired.contact_id, "question": expired.question},
    }
    fleet.start_worker(command=BRISK_WORKER)
    fleet.ask([*talkative, *others])
    with fleet.publishing() as channel:
        fleet.publish_raw(channel, json.dumps(body).encode(), "application/cloudevents+json")
    fleet.asked.append(expired)
    next_ = question("next", "EXT_4")
    fleet.ask([next_])
    fleet.wait_for_replies(10)
    assert [reply_data(fleet, each)["reason"] for each in talkative[2:]] == ["contact_limit"] * 2
    assert reply_data(fleet, expired)["reason"] == "expired"
    judgement = fleet.judge()
    assert judgement.broken() == {"never_posted": ["talk-2", "talk-3", "expired"]}
    assert (judgement.answered, judgement.failed) == (7, 3)


def test_start_warns_of_a_postgresql_that_may_lose_commits(start: Start, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f'alter database "{name}" set synchronous_commit = off')
    fleet = start(postgres_url)
    worker = fleet.start_worker(command=BRISK_WORKER)
    fleet.wait_until(lambda: bool(lines(fleet, "worker.started")), "the start")
    (warning,) = [line for line in lines(fleet, "settings.warned") if line["setting"] == "DATABASE_URL"]
    assert "synchronous_commit is off" in warning["detail"]
    assert fleet.stop_worker(worker) == 0


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p"])
def test_sqlite_ledger_on_a_network_file_system_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    mounts, shared = tmp_path / "mountinfo", tmp_path / "shared"
    shared.mkdir()
    mounts.write_text(
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        f"23 22 0:50 / {shared} rw,relatime shared:2 - {kind} host:/export rw\n"
    )
    monkeypatch.setattr(durability, "_MOUNTS", mounts)
    with pytest.raises(SettingsError, match="network file system"):
        prepare(f"sqlite:///{shared / 'ledger.db'}")
    assert list(shared.iterdir()) == []
    prepare(f"sqlite:///{tmp_path / 'ledger.db'}")
