"""A fleet to test: real worker processes, a real broker, a ledger, the sandbox; seen only from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import pika
from pika.adapters.blocking_connection import BlockingChannel

from tests.judge import Asked, Judgement, judge
from tests.servers.rabbitmq import AmqpNames
from worker.sandbox.process import SandboxProcess

#: s. Short times for tests: recovery waits for real time to pass.
QUICK = {
    "ASKRELAY_LEASE_S": "2",
    "ASKRELAY_SEND_GRACE_S": "0.5",
    "ASKRELAY_REQUEST_TIMEOUT_S": "5",
    "ASKRELAY_SETTLE_S": "10",
    "ASKRELAY_LIST_LAG_S": "1",
}
NO_PACE = {"ASKRELAY_REQUESTS_PER_MINUTE": "0", "ASKRELAY_REQUESTS_AT_ONCE": "0"}


class Broker(Protocol):
    """One node, or a cluster of them."""

    @property
    def url(self) -> str:
        """Where it is."""
        ...

    def connect(self) -> pika.BlockingConnection:
        """Open a connection."""
        ...


class Fleet:
    """Workers over one broker, one ledger and one sandbox. A context manager that leaves nothing running."""

    def __init__(
        self,
        *,
        rabbitmq: Broker,
        names: AmqpNames,
        database_url: str,
        folder: Path,
        latency_s: float = 0.05,
        settings: dict[str, str] | None = None,
        replies_arguments: dict[str, Any] | None = None,
    ) -> None:
        """Say where things are; ``replies_arguments`` declare the queue of replies, a classic one if none."""
        self.rabbitmq = rabbitmq
        self._replies_arguments = replies_arguments
        self.names = names
        self.folder = folder
        self.sandbox = SandboxProcess(latency_s=latency_s)
        self.workers: list[subprocess.Popen[bytes]] = []
        #: Those that the test stopped itself; every other is to stay alive.
        self.stopped: list[subprocess.Popen[bytes]] = []
        self.replies: list[dict[str, Any]] = []
        self.asked: list[Asked] = []
        self._collecting: threading.Thread | None = None
        self._is_ending = threading.Event()
        self._is_bound = threading.Event()
        self._environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("ASKRELAY_", "CUSTOMGPT_"))
            },
            **names.environment(),
            "RABBITMQ_URL": rabbitmq.url,
            "DATABASE_URL": database_url,
            "CUSTOMGPT_API_KEY": "test",
            "CUSTOMGPT_PROJECT_ID": "123",
            "ASKRELAY_HEALTH_PORT": "0",
            "ASKRELAY_LOG_FORMAT": "json",
            **NO_PACE,
            **QUICK,
            **(settings or {}),
        }

    def __enter__(self) -> Self:
        self._environment["CUSTOMGPT_API_URL"] = self.sandbox.start()
        if not self._environment["DATABASE_URL"].startswith("sqlite"):
            self.askrelay("db", "upgrade")
        self._declare()
        self._collecting = threading.Thread(target=self._collect, daemon=True)
        self._collecting.start()
        self._is_bound.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait()
        self._is_ending.set()
        if self._collecting is not None:
            self._collecting.join(30)
        self.sandbox.stop()

    def askrelay(self, *arguments: str, **settings: str) -> str:
        """Run a command with the fleet's settings and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "worker", *arguments],
            env={**self._environment, **settings},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start_worker(
        self, *, command: Sequence[str] = ("worker", "run"), **settings: str
    ) -> subprocess.Popen[bytes]:
        """Start one more worker; its log goes to a file of its own. ``command`` follows ``python -m``."""
        number = len(self.workers)
        with (self.folder / f"worker-{number}.log").open("wb") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", *command],
                env={**self._environment, **settings},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.workers.append(worker)
        return worker

    def stop_worker(self, worker: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> int:
        """Stop a worker and return its exit code."""
        self.stopped.append(worker)
        worker.send_signal(how)
        return worker.wait(60)

    def ask(self, questions: Sequence[Asked], *, repeats: int = 1) -> None:
        """Publish questions in order, each ``repeats`` times in a row."""
        self.asked += [question for question in questions if question not in self.asked]
        with self.publishing() as channel:
            for question in questions:
                body = {
                    "specversion": "1.0",
                    "id": question.event_id,
                    "source": "crm/test",
                    "type": "contact.question.asked",
                    "data": {"contact_id": question.contact_id, "question": question.question},
                }
                for _ in range(repeats):
                    self.publish_raw(channel, json.dumps(body).encode(), "application/cloudevents+json")

    @contextlib.contextmanager
    def publishing(self) -> Iterator[BlockingChannel]:
        """Open a channel on which each publish waits for the broker's confirm.

        What is not confirmed may be lost with the channel: a busy broker was seen to drop the last of 400
        events that way, and one of eight, and the test waited for questions that nobody had.
        """
        with self.rabbitmq.connect() as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            yield channel

    def publish_raw(
        self, channel: BlockingChannel, body: bytes, content_type: str | None = None, **properties: Any
    ) -> None:
        """Publish any bytes under the key of questions."""
        channel.basic_publish(
            self.names.events_exchange,
            "contact.question.asked",
            body,
            pika.BasicProperties(content_type=content_type, delivery_mode=2, **properties),
        )

    def wait_until(self, condition: Callable[[], bool], what: str, *, within_s: float = 120) -> None:
        """Poll for a condition; a deadline that passes is an error that shows the logs' ends."""
        until = time.monotonic() + within_s
        while not condition():
            assert all(worker.poll() is None for worker in self.workers if worker not in self.stopped), (
                f"a worker ended by itself\n{self.log_ends()}"
            )
            if time.monotonic() > until:
                raise AssertionError(f"{what} did not happen within {within_s} s\n{self.log_ends()}")
            time.sleep(0.05)

    def wait_for_replies(self, count: int, *, within_s: float = 120) -> None:
        """Wait until this many different reply ids have come out."""
        self.wait_until(lambda: self.reply_ids() >= count, f"{count} replies", within_s=within_s)

    def reply_ids(self) -> int:
        """Count the different reply ids so far."""
        return len({reply["id"] for reply in list(self.replies)})

    def posts(self) -> int:
        """Count what the sandbox has stored."""
        return int(self.sandbox.summary()["posts"])

    def judge(self) -> Judgement:
        """Judge all that happened so far."""
        return judge(self.asked, self.sandbox.effects(), list(self.replies))

    def logs(self) -> Iterable[dict[str, Any]]:
        """Yield all log lines of all workers."""
        for number in range(len(self.workers)):
            for line in (self.folder / f"worker-{number}.log").read_text().splitlines():
                yield json.loads(line)

    def log_ends(self) -> str:
        """Return the end of each worker's log, for a failing test."""
        return "\n".join(
            f"worker {number}: ...{(self.folder / f'worker-{number}.log').read_text()[-1500:]}"
            for number in range(len(self.workers))
        )

    def _declare(self) -> None:
        """Declare what events go through before a worker is there, for a CRM that is up first."""
        with self.rabbitmq.connect() as connection:
            channel = connection.channel()
            channel.exchange_declare(self.names.events_exchange, "topic", durable=True)
            channel.queue_declare(
                self.names.question_queue,
                durable=True,
                arguments={
                    "x-queue-type": "quorum",
                    "x-single-active-consumer": True,
                    "x-delivery-limit": 2**31 - 1,
                },
            )
            channel.queue_bind(
                self.names.question_queue, self.names.events_exchange, "contact.question.asked"
            )

    def _collect(self) -> None:
        """Collect replies, over restarts of the broker too."""
        queue = f"{self.names.prefix}.replies"
        while not self._is_ending.is_set():
            try:
                with self.rabbitmq.connect() as connection:
                    channel = connection.channel()
                    channel.exchange_declare(self.names.events_exchange, "topic", durable=True)
                    channel.queue_declare(queue, durable=True, arguments=self._replies_arguments)
                    for kind in ("answered", "failed"):
                        channel.queue_bind(queue, self.names.events_exchange, f"contact.question.{kind}")
                    self._is_bound.set()
                    for method, _, body in channel.consume(queue, inactivity_timeout=0.2):
                        if method is not None:
                            self.replies.append(json.loads(body))
                            channel.basic_ack(method.delivery_tag)
                        if self._is_ending.is_set():
                            break
                    channel.cancel()
                    channel.queue_delete(queue)
            except (pika.exceptions.AMQPError, OSError):
                time.sleep(0.2)


def generated(contacts: int, each: int) -> list[Asked]:
    """Return questions of our own, the contacts taking turns."""
    return [
        Asked(f"evt-{contact}-{number}", f"EXT_{10_000 + contact}", f"Question {number} of {contact}: may I?")
        for number in range(each)
        for contact in range(contacts)
    ]
