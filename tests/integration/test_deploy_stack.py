"""What deploy/compose.yaml would start, started here: its commands and settings lead to an answer.

Only the servers are others: a private RabbitMQ and PostgreSQL, and ports that are free. What a container adds
(the network, the read-only root, the user) is not seen by this.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import ROOT, Ran, environment
from tests.contract.deployment import DEPLOY, document
from tests.servers.ports import free_port
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.waiting import wait_until

#: s. A loaded machine needs far longer than an idle one.
LONGEST_S = 90.0

WORKERS = ("worker-1", "worker-2")


class Stack:
    """The services of ours, as processes of this machine."""

    def __init__(self, here: dict[str, str], folder: Path) -> None:
        self._services = document(DEPLOY / "compose.yaml")["services"]
        self._here = here
        self._folder = folder

    def command(self, name: str) -> list[str]:
        return [self._moved(word) for word in self._services[name]["command"]]

    def settings(self, name: str) -> dict[str, str]:
        told = self._services[name].get("environment", {})
        return {key: self._moved(value) for key, value in told.items()}

    def run(self, name: str, *command: str) -> Ran:
        """Run a command to its end with a service's settings, as ``exec`` would."""
        done = subprocess.run(
            [sys.executable, "-m", "worker", *command],
            env=environment(self.settings(name)),
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
            cwd=ROOT,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def is_healthy(self, name: str) -> bool:
        """Run a service's health check."""
        kind, *check = [self._moved(word) for word in self._services[name]["healthcheck"]["test"]]
        assert kind == "CMD"
        programs = {"askrelay": [sys.executable, "-m", "worker"], "python": [sys.executable]}
        done = subprocess.run(
            [*programs[check[0]], *check[1:]],
            env=environment(self.settings(name)),
            capture_output=True,
            timeout=LONGEST_S,
            check=False,
            cwd=ROOT,
        )
        return done.returncode == 0

    @contextlib.contextmanager
    def up(self, name: str, *more: str) -> Iterator[None]:
        """Start a service and wait for its health check."""
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "worker", *self.command(name), *more],
                env=environment(self.settings(name)),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )
        try:
            wait_until(lambda: self.is_healthy(name), within_s=LONGEST_S, what=f"{name} is healthy")
            yield
        finally:
            process.terminate()
            process.wait(LONGEST_S)

    def _moved(self, text: str) -> str:
        for there, here in self._here.items():
            text = text.replace(there, here)
        return text


@pytest.fixture
def stack(rabbitmq: RabbitMQ, postgres_url: str, tmp_path: Path) -> Stack:
    rabbitmq.start()
    here = {
        # A vhost of its own: the exchange and the queues have the names that they have by default.
        "amqp://askrelay:askrelay@rabbitmq:5672/": rabbitmq.new_vhost(),
        "postgresql://askrelay:askrelay@postgres:5432/askrelay": postgres_url,
        "0.0.0.0": "127.0.0.1",
        **{port: str(free_port()) for port in ("8899", "8088", "8089")},
    }
    return Stack(here, tmp_path)


def asked_as_documented(stack: Stack) -> dict[str, Any]:
    """Run the command at the top of compose.yaml in its worker."""
    head = (DEPLOY / "compose.yaml").read_text(encoding="utf-8").partition("\nname:")[0]
    text = head.replace("\\\n", " ").replace("\n#", "\n")
    (line,) = [line for line in text.splitlines() if " exec " in line]
    _, service, program, *command = shlex.split(line.replace("# ", " "))[4:]
    assert program == "askrelay"
    ran = stack.run(service, *command, "--json")
    assert ran.code == 0, ran.text
    return dict(json.loads(ran.out))


def test_stack_answers_the_documented_question(stack: Stack) -> None:
    migrated = stack.run("migrate", *stack.command("migrate"))
    assert migrated.code == 0, migrated.text
    with stack.up("sandbox", "--latency", "0.05"), stack.up(WORKERS[0]), stack.up(WORKERS[1]):
        reply = asked_as_documented(stack)
        assert reply["type"] == "contact.question.answered"
        assert reply["data"]["contact_id"] == "EXT_12345"
        for name in WORKERS:
            port = stack.settings(name)["ASKRELAY_HEALTH_PORT"]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=LONGEST_S) as answer:
                assert b"askrelay_questions_waiting" in answer.read()
