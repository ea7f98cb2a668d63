"""The demo as a user runs it: real processes, nothing of this machine's settings, nothing left behind."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.commands import ROOT
from tests.servers.processes import descendants, is_running
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.waiting import wait_until
from worker.cli.exit_codes import ExitCode

#: A busy machine plays slowly, but it plays.
WITHIN_S = 200.0
#: Settings that would break any worker, and proxies that lead nowhere.
HOSTILE = {
    "ASKRELAY_CONCURENCY": "typo",
    "ASKRELAY_LEASE_S": "nonsense",
    "DATABASE_URL": "postgresql://127.0.0.1:1/none",
    "CUSTOMGPT_API_URL": "http://127.0.0.1:1/api/v1",
    "CUSTOMGPT_API_KEY": "wrong",
    "HTTPS_PROXY": "http://127.0.0.1:1",
    "HTTP_PROXY": "http://127.0.0.1:1",
    "http_proxy": "http://127.0.0.1:1",
}


@dataclass
class Place:
    """Where a demo runs: its temporary folder, its home and what is in its environment."""

    root: Path

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        (self.root / "home").mkdir(exist_ok=True)
        self.temporary.mkdir(exist_ok=True)
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ASKRELAY_", "CUSTOMGPT_"))
            and name not in ("RABBITMQ_URL", "DATABASE_URL")
        }
        return subprocess.Popen(
            # As the installed command does: the folder where the user happens to be is not on its path.
            [sys.executable, "-P", "-m", "worker", "demo", *arguments],
            cwd=self.root,
            env={
                **kept,
                "PYTHONPATH": str(ROOT),
                "TMPDIR": str(self.temporary),
                "HOME": str(self.root / "home"),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        demo = self.start(*arguments, **environment)
        out, err = demo.communicate(timeout=WITHIN_S)
        return subprocess.CompletedProcess(demo.args, demo.returncode, out, err)

    def is_bare(self) -> bool:
        """Tell whether nothing was left in the temporary folder or at home."""
        return not [*self.temporary.iterdir(), *(self.root / "home").iterdir()]

    def file_of(self, rows: list[tuple[str, str]]) -> str:
        path = self.root / "questions.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("contact_id", "question"), *rows])
        return str(path)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def demo(place: Place) -> Iterator[subprocess.Popen[str]]:
    """A demo in the middle of its work."""
    demo = place.start()
    assert demo.stdout is not None
    while "answered" not in (line := demo.stdout.readline()):
        assert line, "the demo ended early"
    yield demo
    demo.kill()
    demo.wait()
    demo.stdout.close()
    assert demo.stderr is not None
    demo.stderr.close()


def rows(contacts: int, each: int) -> list[tuple[str, str]]:
    """Return questions of which every contact asks one in the same words as another."""
    return [
        (f"EXT_{contact}", f"Question {number % (each - 1)}, may I?")
        for number in range(each)
        for contact in range(contacts)
    ]


def test_story_ends_well_and_tells_what_happens_in_plain_lines(place: Place) -> None:
    ran = place.run("--svg", str(place.root / "demo.svg"))
    assert ran.returncode == ExitCode.OK, ran.stdout + ran.stderr
    for words in (
        "times are short here",
        "the same event is handed in again, still waiting",
        "the same event is handed in again, answered already",
        "question stored, then the line was cut",
        "question stored, yet the API said 500",
        "conversation made, then the line was cut",
        "killed in the middle of its work",
        "read back and found, so not posted again",
        "Every question has one post and one reply, every contact one conversation.",
    ):
        assert words in ran.stdout
    assert all(character.isprintable() or character == "\n" for character in ran.stdout)
    assert max(map(len, ran.stdout.splitlines())) <= 80
    assert place.is_bare()
    picture = (place.root / "demo.svg").read_text()
    assert "SIGKILL" in picture
    assert "url(" not in re.sub(r"url\(#", "", picture), "the picture would load something from elsewhere"


def test_terminal_that_cannot_show_every_character_shows_the_others(place: Place) -> None:
    ran = place.run("--calm", "--latency", "0", PYTHONIOENCODING="ascii")
    assert ran.returncode == ExitCode.OK, ran.stdout + ran.stderr
    assert "?" in ran.stdout


def test_file_is_played_whole_whatever_the_environment_says(place: Place) -> None:
    ran = place.run("--questions", place.file_of(rows(40, 5)), "--latency", "0", "--json", **HOSTILE)
    assert ran.returncode == ExitCode.OK, ran.stdout + ran.stderr
    assert ran.stderr == ""
    summary = json.loads(ran.stdout)
    assert (summary["posts"], summary["conversations"], summary["replies"]) == (200, 40, 200)
    assert (summary["questions"], summary["contacts"]) == (200, 40)
    assert summary["workers_killed"] == 1
    assert summary["duplicates_handed_in"] == 20
    assert summary["faults"] > 3
    assert place.is_bare()


def test_calm_demo_has_no_trouble(place: Place) -> None:
    ran = place.run(
        "--questions", place.file_of(rows(5, 3)), "--calm", "--latency", "0", "--json", "--workers", "1"
    )
    assert ran.returncode == ExitCode.OK, ran.stdout + ran.stderr
    summary = json.loads(ran.stdout)
    names = ("faults", "workers_killed", "duplicates_handed_in", "recovered", "reposted")
    assert {name: summary[name] for name in names} == dict.fromkeys(names, 0)


def test_demo_runs_nothing_of_the_folder_that_it_is_started_in(place: Place) -> None:
    for name in ("worker.py", "json.py"):
        (place.root / name).write_text("raise SystemExit('somebody else')\n")
    ran = place.run("--questions", place.file_of(rows(2, 3)), "--calm", "--latency", "0", "--json")
    assert ran.returncode == ExitCode.OK, ran.stdout + ran.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_demo_that_is_stopped_leaves_nothing_running_and_nothing_behind(
    place: Place, demo: subprocess.Popen[str], how: signal.Signals
) -> None:
    started = descendants(demo.pid)
    assert len(started) >= 3, "a sandbox and two workers"
    demo.send_signal(how)
    demo.communicate(timeout=WITHIN_S)
    assert demo.returncode == (-how if how == signal.SIGKILL else ExitCode.INTERRUPTED)
    wait_until(lambda: not any(map(is_running, started)), within_s=30, what="every process is gone")
    wait_until(place.is_bare, within_s=30, what="the folder is gone")


def test_demo_on_rabbitmq_touches_nothing_else_and_removes_its_own(place: Place, rabbitmq: RabbitMQ) -> None:
    rabbitmq.start()
    before = names_on(rabbitmq)
    ran = place.run(
        "--questions",
        place.file_of(rows(10, 3)),
        "--latency",
        "0",
        "--bus",
        "rabbitmq",
        "--json",
        RABBITMQ_URL=rabbitmq.url,
    )
    assert ran.returncode == ExitCode.OK, ran.stdout + ran.stderr
    assert json.loads(ran.stdout)["replies"] == 30
    assert names_on(rabbitmq) == before


def test_demo_on_rabbitmq_that_is_interrupted_removes_its_own_too(place: Place, rabbitmq: RabbitMQ) -> None:
    rabbitmq.start()
    before = names_on(rabbitmq)
    demo = place.start("--bus", "rabbitmq", RABBITMQ_URL=rabbitmq.url)
    assert demo.stdout is not None
    while "answered" not in (line := demo.stdout.readline()):
        assert line, "the demo ended early"
    assert any(name.startswith("askrelay.demo.") for name in names_on(rabbitmq) - before)
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=WITHIN_S)
    assert demo.returncode == ExitCode.INTERRUPTED
    assert names_on(rabbitmq) == before


def test_demo_whose_broker_has_an_alarm_says_so(place: Place, rabbitmq: RabbitMQ) -> None:
    rabbitmq.start()
    with rabbitmq.alarmed():
        ran = place.run("--bus", "rabbitmq", RABBITMQ_URL=rabbitmq.url)
    assert ran.returncode == ExitCode.BROKER, ran.stdout + ran.stderr
    assert "takes no messages now: its alarm for memory or disk is on" in ran.stderr
    with contextlib.closing(rabbitmq.connect()) as connection:
        channel = connection.channel()
        for name in names_on(rabbitmq):
            if name.startswith("askrelay.demo."):
                channel.queue_delete(name)
                channel.exchange_delete(name)


def test_demo_without_its_broker_says_so(place: Place) -> None:
    ran = place.run("--bus", "rabbitmq", RABBITMQ_URL="amqp://127.0.0.1:1/")
    assert ran.returncode == ExitCode.BROKER
    assert "RabbitMQ cannot be reached" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert place.is_bare()


def names_on(node: RabbitMQ) -> set[str]:
    """Return the exchanges and queues of the default vhost."""
    lists = (
        node.rabbitmqctl("-q", "list_exchanges", "--no-table-headers", "name"),
        node.rabbitmqctl("-q", "list_queues", "--no-table-headers", "name"),
    )
    return {line.strip() for text in lists for line in text.splitlines()}
