"""The pages are followed as a reader would follow them, with real workers, a real broker and the sandbox."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.docs_walk import Walk
from tests.pages import ROOT, blocks_of
from tests.servers.ports import free_port
from tests.servers.rabbitmq import AmqpNames, RabbitMQ
from worker.sandbox.process import SandboxProcess

Follow = Callable[..., Walk]

#: The address of a broker and of a sandbox on a reader's machine.
BROKER = "amqp://guest:guest@127.0.0.1:5672/"
SANDBOX_PORT = "8899"
#: s. As elsewhere in the tests: recovery waits for real time to pass.
QUICK = {
    "ASKRELAY_LEASE_S": "2",
    "ASKRELAY_SEND_GRACE_S": "0.5",
    "ASKRELAY_REQUEST_TIMEOUT_S": "30",
    "ASKRELAY_SETTLE_S": "60",
    "ASKRELAY_LIST_LAG_S": "1",
    "ASKRELAY_REQUESTS_PER_MINUTE": "0",
    "ASKRELAY_REQUESTS_AT_ONCE": "0",
    "ASKRELAY_HEALTH_PORT": "0",
}
#: Prints a column of the latest question in a SQLite ledger: ledger, column.
LATEST = (
    "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute("
    "f'select {sys.argv[2]} from questions order by number desc').fetchone()[0])"
)


@pytest.fixture
def follow(rabbitmq: RabbitMQ, tmp_path: Path) -> Iterator[Follow]:
    """Return what prepares the walk of a page; keywords are settings that the page leaves to the reader."""
    rabbitmq.start()

    def follow(page: str, **settings: str) -> Walk:
        return Walk(page, tmp_path, rabbitmq, {"RABBITMQ_URL": rabbitmq.url, **QUICK, **settings})

    yield follow
    for prefix in ("crm", "askrelay", "tutorial", "replay"):
        names = AmqpNames(prefix)
        rabbitmq.remove(names)


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess(latency_s=0.05) as sandbox:
        yield sandbox


@pytest.fixture
def at_home(sandbox: SandboxProcess, tmp_path: Path) -> dict[str, str]:
    """Return the settings of a reader whose fleet is there already, on SQLite."""
    return {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
        "CUSTOMGPT_API_URL": sandbox.url,
        "CUSTOMGPT_API_KEY": "any",
        "CUSTOMGPT_PROJECT_ID": "123",
    }


def test_tutorial_goes_from_nothing_to_an_answer_and_over_a_killed_worker(
    follow: Follow, rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    port = free_port()
    latest = f'.venv/bin/python -c "{LATEST}" {tmp_path}/tutorial.db'
    is_busy = f"curl http://127.0.0.1:{port}/_effects/summary | grep open_requests.:1 > busy"
    tutorial = follow("docs/tutorial/first-answer.md")
    told = tutorial.walk(
        {
            BROKER: rabbitmq.url,
            SANDBOX_PORT: str(port),
            "--latency 5": "--latency 2",
            "/tmp/askrelay-tutorial": f"{tmp_path}/tutorial",
            # Where the reader presses Ctrl-C, and where seconds stand for what can be looked at.
            ".venv/bin/askrelay run > worker.log & worker=$!\nsleep 3": (
                "kill -INT $server; wait $server || true\n"
                ".venv/bin/askrelay run > worker.log & worker=$!\nawait 'works worker.log'"
            ),
            # Twice in a row: only a post takes that long.
            "sleep 3; kill -9 $worker": (
                f"await '{is_busy} && sleep 0.2 && {is_busy}'\nkill -9 $worker; {latest} state > killed-in"
            ),
            # What the reader takes from the screen.
            "ask-0123456789abcdef": f"$({latest} event_id)",
            ".venv/bin/askrelay question show": "wait $ask\n.venv/bin/askrelay question show",
        },
    )
    assert "is not a setting: did you mean ASKRELAY_CONCURRENCY?" in told
    # A kill that came late, on a busy machine, found the answer recorded.
    last = "recovered" if (tmp_path / "killed-in").read_text() == "posting\n" else "posted"
    answers = re.findall(r"^\(conversation (\d+), message \d+, (\w+)\)$", told, re.MULTILINE)
    assert answers == [("20001", "posted"), ("20001", "posted"), ("20002", "posted"), ("20001", last)]
    summary = next(json.loads(line) for line in told.splitlines() if line.startswith('{"posts"'))
    assert (summary["posts"], summary["conversations"]) == (4, 2)
    assert not list(tmp_path.glob("tutorial*"))


def test_readme_goes_from_settings_to_an_answer(
    follow: Follow, rabbitmq: RabbitMQ, postgres_url: str, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("any\n")
    (tmp_path / "questions.csv").write_text("contact_id,question\nEXT_1,How?\nEXT_2,Why?\n")
    told = follow("README.md", CUSTOMGPT_API_URL=sandbox.url).walk(
        {
            "amqps://user:password@rabbit.example/vhost": rabbitmq.url,
            "postgresql://user:password@db.example/askrelay": postgres_url,
            "/run/secrets/customgpt-key": f"{tmp_path}/key",
        }
    )
    assert re.search(r"\(conversation \d+, message \d+, posted\)", told)
    assert not re.search("WRONG|wrong", told)
    assert sandbox.summary()["posts"] == 1


def test_replay_ends_right_after_a_worker_was_killed(
    follow: Follow, rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    rows = "".join(f"EXT_{number % 12},Question {number}?\n" for number in range(120))
    told = follow("docs/how-to/replay-a-file.md").walk(
        {
            BROKER: rabbitmq.url,
            SANDBOX_PORT: str(free_port()),
            "/tmp/askrelay-replay": f"{tmp_path}/replay",
            "ASKRELAY_LEASE_S=5": "ASKRELAY_LEASE_S=2",
            # Enough questions to be killed in the middle of, and the wait for both logs.
            "contact_id,question\n": f"contact_id,question\n{rows}",
            "worker-2.log & second=$!": (
                "worker-2.log & second=$!\nawait 'works worker-1.log && works worker-2.log'"
            ),
            # A worker that is told to stop while it still starts ends as any program does.
            "wait $second $third;": "wait $second $third || true;",
            "sleep 2; kill": "await 'cat worker-1.log worker-2.log | grep turn.finished > begun'; kill",
        }
    )
    assert "questions 123, posts 123" in told
    assert "exit code 0" in told


def test_a_second_worker_on_the_host_works_too(follow: Follow, at_home: dict[str, str]) -> None:
    told = follow("docs/how-to/scale-out.md", **at_home).walk(
        {
            ".venv/bin/askrelay run &\n.venv/bin/askrelay run &": (
                ".venv/bin/askrelay run > 1.log & first=$!\n.venv/bin/askrelay run > 2.log & second=$!\n"
                "await 'works 1.log && works 2.log'"
            )
        },
        end=".venv/bin/askrelay status; kill $first $second; wait $first; wait $second",
    )
    assert re.search(r"workers +2\b", told)


def test_rotated_key_is_used_without_a_restart(
    follow: Follow, at_home: dict[str, str], sandbox: SandboxProcess, tmp_path: Path
) -> None:
    settings = {name: value for name, value in at_home.items() if name != "CUSTOMGPT_API_KEY"}
    ask = ".venv/bin/askrelay ask --contact EXT_1 --question 'Which key?'"
    key = tmp_path / "secrets/customgpt-key"
    key.parent.mkdir()
    key.write_text("old-key")
    follow("docs/how-to/rotate-the-key.md", **settings).walk(
        {
            "/run/secrets/": f"{key.parent}/",
            f"export CUSTOMGPT_API_KEY_FILE={key}": (
                f"export CUSTOMGPT_API_KEY_FILE={key}\n"
                f".venv/bin/askrelay run > run.log & worker=$!\nawait 'works run.log'\n{ask}\n"
            ),
            # Where the reader pastes the new key.
            "install -m 600 /dev/stdin": "echo new-key | install -m 600 /dev/stdin",
        },
        end=f"sleep 2; {ask}; kill $worker; wait $worker",
    )
    assert key.read_text().strip() == "new-key"
    assert key.stat().st_mode & 0o777 == 0o600


def test_upgrade_with_the_revision_that_is_there_already_disturbs_nobody(
    follow: Follow, at_home: dict[str, str], postgres_url: str
) -> None:
    told = follow("docs/how-to/upgrade.md", **{**at_home, "DATABASE_URL": postgres_url}).walk()
    assert re.search(r"askrelay \S+ \(ledger revision \d+\)", told)
    assert "WRONG" not in told
    assert re.search(r"workers +1\b", told)


def test_user_with_the_rights_of_the_checklist_can_do_all_that_a_worker_does(
    follow: Follow, rabbitmq: RabbitMQ, at_home: dict[str, str]
) -> None:
    run = ".venv/bin/askrelay run > {0}.log & worker=$!; await 'works {0}.log'"
    end = "kill $worker; wait $worker"
    as_user = rabbitmq.url.replace("guest:guest", "askrelay:secret")
    told = follow("docs/how-to/go-to-production.md", **at_home).walk(
        {"rabbitmqctl set_permissions": "rabbitmqctl add_user askrelay secret\nrabbitmqctl set_permissions"},
        end=f"""
            {run.format("declares")}; {end}
            export RABBITMQ_URL={as_user} ASKRELAY_DECLARE=false
            .venv/bin/askrelay doctor
            {run.format("works")}
            RABBITMQ_URL={rabbitmq.url} .venv/bin/askrelay ask --contact EXT_1 --question 'May I?'
            {end}
            rabbitmqctl delete_user askrelay
        """,
    )
    assert "WRONG" not in told
    assert re.search(r"\(conversation \d+, message \d+, posted\)", told)


def test_code_of_a_crm_asks_is_answered_and_reads_what_was_refused(
    follow: Follow, at_home: dict[str, str], rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    page = "docs/how-to/connect-a-crm.md"
    publish, take, read = (
        block.text.replace(BROKER, rabbitmq.url)
        for block in blocks_of(ROOT / page)
        if block.language == "python"
    )
    wrong = publish.replace('"question":', '"qestion":').replace("evt-1", "evt-2")
    for name, text in {"publish": publish, "take": take, "wrong": wrong}.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "read.py").write_text(f"{take.partition('channel.queue_declare')[0]}{read}")
    told = follow(page, **at_home).walk(
        end="""
            .venv/bin/askrelay run > run.log & worker=$!
            await 'works run.log'
            .venv/bin/python -u take.py > replies.log & crm=$!
            await 'rabbitmqctl list_bindings | grep "crm.replies.*failed" > bindings'
            .venv/bin/python publish.py
            await 'says replies.log evt-1'
            .venv/bin/python wrong.py
            await 'says run.log event.rejected'
            .venv/bin/python read.py
            cat replies.log
            kill $crm $worker; wait $worker
            rabbitmqctl delete_queue crm.replies
        """,
    )
    assert "evt-1 {'ticket': 'T-9'} " in told
    assert re.search("^invalid_question ", told, re.MULTILINE)
