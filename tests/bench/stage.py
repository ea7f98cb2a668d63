"""What a run happens on: private servers, the API, a queue of questions, and fresh copies of the ledgers."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pika
import psycopg
from pika.adapters.blocking_connection import BlockingChannel

from tests.bench.api_process import ApiProcess
from tests.bench.contenders import ROOT, Contender
from tests.bench.program import MOMENT_S, Program
from tests.bench.traffic import Message, Wrap, as_cloudevent, event_of, known_contact
from tests.servers.ports import free_port
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.reaper import Reaper
from tests.servers.waiting import wait_until

QUEUE = "bench"
REPLIES = "bench.replies"
EXCHANGE = "bench.events"
REJECTED = "bench.rejected"
DOORBELL = "bench.doorbell"
#: All that a run may leave behind; dramatiq makes two more beside each queue of its own.
QUEUES = (
    *(REPLIES, REJECTED),
    *(f"{queue}{end}" for queue in (QUEUE, DOORBELL) for end in ("", ".DQ", ".XQ")),
)


class Stage:
    """Everything that a contender needs. A context manager that leaves nothing running."""

    def __init__(self, *, known: int, contenders: Iterable[Contender]) -> None:
        self.known = known
        self._ledgers = {each.ledger: each for each in contenders}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Stage:
        with contextlib.ExitStack() as stack:
            self._reaper = reaper = stack.enter_context(contextlib.closing(Reaper()))
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="askrelay-bench-")))
            self.rabbitmq = stack.enter_context(contextlib.closing(RabbitMQ(reaper)))
            self.rabbitmq.start()
            self.postgres: Postgres | None = None
            if "postgresql" in self._ledgers:
                self.postgres = stack.enter_context(contextlib.closing(Postgres(reaper)))
                self.postgres.start()
            self.api = stack.enter_context(ApiProcess())
            self._templates: dict[str, str] = {}
            for kind, contender in self._ledgers.items():
                self._templates[kind] = self._peers_table() if kind == "peers" else self._ledger(contender)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def set_up(self, contender: Contender, *, in_flight: int) -> Iterator[Program]:
        """Prepare empty queues and a fresh copy of the ledger; whatever still runs after it is killed."""
        self._declare(contender)
        with self._fresh_ledger(contender.ledger) as ledger:
            program = self._program(contender, ledger, in_flight)
            try:
                yield program
            finally:
                program.kill()

    @contextlib.contextmanager
    def channel(self) -> Iterator[BlockingChannel]:
        """Open a channel; without heartbeats, because nobody reads while a run is waited for."""
        parameters = pika.URLParameters(self.rabbitmq.url)
        parameters.heartbeat = 0
        with pika.BlockingConnection(parameters) as connection:
            yield connection.channel()

    def fill(self, wrap: Wrap, events: Iterable[dict[str, Any]]) -> int:
        """Put questions into the queue and return how many there are, when all of them are there."""
        count = 0
        with self.channel() as channel:
            for count, event in enumerate(events, 1):  # noqa: B007 - the last number is wanted
                publish(channel, wrap(event))
            # Without confirms, which would take a second per thousand; so it is looked whether they arrived.
            wait_until(lambda: depth(channel, QUEUE) >= count, within_s=MOMENT_S, what=f"{count} questions")
        return count

    def versions(self) -> dict[str, str]:
        """Return the releases of the servers."""
        with pika.BlockingConnection(pika.URLParameters(self.rabbitmq.url)) as connection:
            broker = connection._impl.server_properties["version"]  # pika's blocking adapter has no way in
        versions = {"rabbitmq": broker.decode() if isinstance(broker, bytes) else str(broker)}
        if self.postgres is not None:
            with psycopg.connect(self.postgres.url) as connection:
                versions["postgresql"] = ".".join(map(str, divmod(connection.info.server_version, 10_000)))
        return versions

    def _declare(self, contender: Contender) -> None:
        with self.channel() as channel:
            for queue in QUEUES:
                channel.queue_delete(queue)
            channel.exchange_declare(EXCHANGE, "topic", durable=True)
            channel.queue_declare(QUEUE, durable=True, arguments=dict(contender.queue_arguments))
            channel.queue_bind(QUEUE, EXCHANGE, "contact.question.asked")
            channel.queue_declare(REPLIES, durable=True)
            for kind in ("answered", "failed"):
                channel.queue_bind(REPLIES, EXCHANGE, f"contact.question.{kind}")

    def _program(self, contender: Contender, ledger: str, in_flight: int) -> Program:
        environment = self._environment(contender, ledger, in_flight)
        return Program(contender, in_flight, environment, log=self.folder / "log", reaper=self._reaper)

    def _environment(self, contender: Contender, ledger: str, in_flight: int) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ASKRELAY_", "CUSTOMGPT_"))
        }
        if not contender.is_ours:
            peers = {
                "BENCH_AMQP_URL": self.rabbitmq.url,
                "BENCH_API_URL": self.api.url,
                "BENCH_DATABASE": ledger,
                "BENCH_EXCHANGE": EXCHANGE,
                "BENCH_IN_FLIGHT": str(in_flight),
                "BENCH_QUEUE": QUEUE,
            }
            return {**inherited, **peers}
        ours = {
            "RABBITMQ_URL": self.rabbitmq.url,
            "DATABASE_URL": ledger,
            "CUSTOMGPT_API_URL": self.api.url,
            "CUSTOMGPT_API_KEY": "bench",
            "CUSTOMGPT_PROJECT_ID": "123",
            "ASKRELAY_CONCURRENCY": str(in_flight),
            # The gate is on, and wide enough never to be what limits.
            "ASKRELAY_REQUESTS_PER_MINUTE": "1000000",
            "ASKRELAY_REQUESTS_AT_ONCE": "100000",
            "ASKRELAY_HEALTH_PORT": str(free_port()),
            "ASKRELAY_LOG_FORMAT": "json",
            "ASKRELAY_EVENTS_EXCHANGE": EXCHANGE,
            "ASKRELAY_QUESTION_QUEUE": QUEUE,
            "ASKRELAY_REJECTED_QUEUE": REJECTED,
            "ASKRELAY_DOORBELL_QUEUE": DOORBELL,
        }
        return {**inherited, **ours}

    @contextlib.contextmanager
    def _fresh_ledger(self, kind: str) -> Iterator[str]:
        """Copy a ledger in which the known contacts have their conversations; give where the copy is."""
        template = self._templates[kind]
        if kind == "postgresql":
            assert self.postgres is not None
            url = self.postgres.new_database(template)
            try:
                yield url
            finally:
                self.postgres.drop_database(url)
            return
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            copy = shutil.copy(template, folder)
            yield f"sqlite:///{copy}" if kind == "sqlite" else str(copy)

    def _peers_table(self) -> str:
        path = self.folder / "conversations.db"
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE conversations (contact_id TEXT PRIMARY KEY, session_id TEXT)")
            rows = [(known_contact(number), str(uuid.uuid4())) for number in range(self.known)]
            connection.executemany("INSERT INTO conversations VALUES (?, ?)", rows)
        return str(path)

    def _ledger(self, contender: Contender) -> str:
        """Let the worker itself answer one question of each known contact, and keep its ledger."""
        path = self.folder / "ledger.db"
        if contender.ledger == "sqlite":
            url = f"sqlite:///{path}"
        else:
            assert self.postgres is not None
            url = self.postgres.new_database()
        self._declare(contender)
        self.fill(as_cloudevent, (event_of(f"known-{n}", known_contact(n)) for n in range(self.known)))
        program = self._program(contender, url, in_flight=64)
        upgrade = [*contender.command(64)[:-1], "db", "upgrade"]
        subprocess.run(upgrade, env=program.environment, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        self.api.set_latency(0)
        try:
            program.start()
            with self.channel() as channel:
                program.wait_until(lambda: depth(channel, REPLIES) >= self.known, "the ledger to copy")
            program.stop()
        finally:
            program.kill()
        if contender.ledger == "postgresql":
            return url
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return str(path)


def publish(channel: BlockingChannel, message: Message) -> None:
    """Put one message into the queue of questions."""
    properties = pika.BasicProperties(
        content_type=message.content_type, delivery_mode=2, **message.properties
    )
    channel.basic_publish("", QUEUE, message.body, properties)


def depth(channel: BlockingChannel, queue: str) -> int:
    """Count the messages that are ready in a queue."""
    count = channel.queue_declare(queue, passive=True).method.message_count
    assert isinstance(count, int)
    return count
