"""What was answered since a backup is not asked again: docs/how-to/restore-from-backup.md on a real fleet.

On SQLite and on PostgreSQL, with the commands of the page.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.fleet import Fleet
from tests.judge import Asked
from tests.pages import ROOT, shell_blocks
from tests.servers.binaries import postgres_folder
from tests.servers.rabbitmq import AmqpNames, RabbitMQ

PAGE = ROOT / "docs/how-to/restore-from-backup.md"
#: s. A backup or a restore takes well under one.
LONGEST_S = 60.0
#: The command with which the page starts workers again.
RUN = ("run", "--after-restore")


def block_with(words: str) -> str:
    (found,) = [block.text for block in shell_blocks(PAGE) if words in block.text]
    return found


def questions(what: str, contacts: str) -> list[Asked]:
    return [Asked(f"{what}-{n}", f"{contacts}_{n % 4}", f"The {what} question {n}: may I?") for n in range(8)]


@pytest.fixture
def run_block(database_url: str, tmp_path: Path) -> Callable[[str], None]:
    """Return what runs the page's block with these words in it, on the test's database."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    environment = {
        "PATH": f"{postgres_folder()}:{os.environ['PATH']}",
        "DATABASE_URL": database_url,
        "LANG": "C.UTF-8",
    }

    def run_block(words: str) -> None:
        script = block_with(words).replace("/var/lib/askrelay/askrelay.db", f"{tmp_path}/ledger.db")
        done = subprocess.run(
            ("bash", "-eu", "-c", script),
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    return run_block


def waiting_in(database_url: str) -> int:
    engine = sa.create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with engine.connect() as connection:
            found = connection.execute(sa.text("select count(*) from questions where state = 'waiting'"))
            return int(found.scalar_one())
    finally:
        engine.dispose()


def test_page_starts_the_workers_as_this_test_does() -> None:
    assert f"askrelay {' '.join(RUN)}\n" in block_with("--after-restore")


def test_restored_backup_posts_nothing_twice_and_forgets_nothing(
    rabbitmq: RabbitMQ,
    amqp_names: AmqpNames,
    database_url: str,
    tmp_path: Path,
    run_block: Callable[[str], None],
) -> None:
    back_up, put_back = (
        ("sqlite3.connect", "cp askrelay-backup.db")
        if database_url.startswith("sqlite")
        else ("pg_dump", "pg_restore")
    )
    answered, waiting = questions("answered", "EXT"), questions("waiting", "NEW")
    # Of contacts that the backup knows, and of some whose conversations it has never seen.
    forgotten = [*questions("forgotten", "EXT"), *questions("unheard of", "LATE")]
    with Fleet(
        rabbitmq=rabbitmq, names=amqp_names, database_url=database_url, folder=tmp_path, latency_s=0.01
    ) as fleet:
        first = fleet.start_worker(ASKRELAY_REQUEST_TIMEOUT_S="60", ASKRELAY_SETTLE_S="120")
        fleet.ask(answered)
        fleet.wait_for_replies(8)
        # Contacts without a conversation get no further: their questions wait while the backup is taken.
        fleet.sandbox.set_faults({"match": {"call": "list"}, "action": {"kind": "hang"}})
        fleet.ask(waiting)
        fleet.wait_until(lambda: waiting_in(database_url) == len(waiting), "the intake")
        run_block(back_up)
        fleet.sandbox.set_faults()
        fleet.stop_worker(first, signal.SIGKILL)

        second = fleet.start_worker()
        fleet.ask(forgotten)
        fleet.wait_for_replies(32)
        fleet.stop_worker(second)
        before = fleet.judge()
        assert before.broken() == {}

        run_block(put_back)
        fleet.replies.clear()
        fleet.start_worker(command=("worker", *RUN))
        # The CRM publishes again what it asked since the backup, and more.
        fleet.ask([*answered, *waiting, *forgotten])
        fleet.wait_for_replies(32)
        later = Asked("later", "LATE_0", "May I ask something new?")
        fleet.ask([later])
        fleet.wait_for_replies(33)
        after = fleet.judge()
        outcomes = {reply["data"]["question_id"]: reply["data"]["outcome"] for reply in fleet.replies}
    assert after.broken() == {}
    assert (after.posts, after.conversations) == (before.posts + 1, before.conversations)
    assert {outcomes[each.event_id] for each in (*waiting, *forgotten)} == {"recovered"}
    assert {outcomes[each.event_id] for each in (*answered, later)} == {"posted"}
