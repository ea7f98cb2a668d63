"""The private servers: what the other tests build on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pika
import psycopg
import pytest

from tests.servers.postgres import Postgres
from tests.servers.processes import is_running
from tests.servers.rabbitmq import AmqpNames, RabbitMQ
from tests.servers.reaper import Reaper
from tests.servers.waiting import wait_until

PROJECT = Path(__file__).parents[2]

#: How long processes and folders may take to go, seconds.
GONE_S = 30.0

#: Starts both servers, tells what there is, and waits to be killed.
STARTS_SERVERS = """
import json, time
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.reaper import Reaper
reaper = Reaper()
servers = [RabbitMQ(reaper), Postgres(reaper)]
for server in servers:
    server.start()
print(json.dumps({"pids": [reaper.pid, *(pid for server in servers for pid in server.pids)],
                  "folders": [str(server.folder) for server in servers]}), flush=True)
time.sleep(600)
"""


def quorum_queue(
    connection: pika.BlockingConnection, name: str
) -> pika.adapters.blocking_connection.BlockingChannel:
    channel = connection.channel()
    channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
    channel.confirm_delivery()
    return channel


def test_node_delivers_what_was_published(rabbitmq: RabbitMQ, amqp_names: AmqpNames) -> None:
    with closing(rabbitmq.connect()) as connection:
        channel = quorum_queue(connection, amqp_names.question_queue)
        channel.basic_publish("", amqp_names.question_queue, b"hello", mandatory=True)
        _, _, body = next(channel.consume(amqp_names.question_queue, inactivity_timeout=GONE_S))
        assert body == b"hello"


def test_node_keeps_a_confirmed_message_when_it_is_killed(rabbitmq: RabbitMQ, amqp_names: AmqpNames) -> None:
    connection = rabbitmq.connect()
    channel = quorum_queue(connection, amqp_names.question_queue)
    channel.basic_publish("", amqp_names.question_queue, b"kept", pika.BasicProperties(delivery_mode=2))
    before = rabbitmq.pid
    rabbitmq.restart()
    with pytest.raises(pika.exceptions.AMQPError):
        connection.process_data_events(GONE_S)
    assert rabbitmq.pid != before
    with closing(rabbitmq.connect()) as connection:
        channel = connection.channel()
        _, _, body = next(channel.consume(amqp_names.question_queue, inactivity_timeout=GONE_S))
        assert body == b"kept"


def test_names_are_deleted_after_a_test(rabbitmq: RabbitMQ) -> None:
    names = rabbitmq.names()
    with closing(rabbitmq.connect()) as connection:
        quorum_queue(connection, names.rejected_queue)
    rabbitmq.remove(names)
    with (
        closing(rabbitmq.connect()) as connection,
        pytest.raises(pika.exceptions.ChannelClosedByBroker, match="404"),
    ):
        connection.channel().queue_declare(names.rejected_queue, passive=True)


def test_vhosts_do_not_see_each_other(rabbitmq: RabbitMQ) -> None:
    url = rabbitmq.new_vhost()
    with closing(rabbitmq.connect(url)) as connection:
        connection.channel().queue_declare("here", exclusive=True)
        with (
            closing(rabbitmq.connect()) as other,
            pytest.raises(pika.exceptions.ChannelClosedByBroker, match="404"),
        ):
            other.channel().queue_declare("here", passive=True)


def test_cluster_keeps_committed_rows_when_it_is_killed(postgres: Postgres, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE answers (text TEXT)")
        connection.execute("INSERT INTO answers VALUES ('kept')")
    before = postgres.pid
    postgres.restart()
    assert postgres.pid != before
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT text FROM answers").fetchall() == [("kept",)]


def test_cluster_cuts_open_connections_when_it_is_killed(postgres: Postgres, postgres_url: str) -> None:
    with closing(psycopg.connect(postgres_url)) as connection:
        postgres.restart()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_cluster_commits_durably(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"SHOW {setting}").fetchone() == ("on",)


def test_database_can_be_copied(postgres: Postgres, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE copied ()")
    copy = postgres.new_database(template=postgres_url)
    with psycopg.connect(copy) as connection:
        assert connection.execute("SELECT to_regclass('copied')").fetchone() == ("copied",)
    postgres.drop_database(copy)


def test_database_url_is_empty_and_ours(database_url: str) -> None:
    if database_url.startswith("sqlite:///"):
        assert not Path(database_url.removeprefix("sqlite:///")).exists()
        return
    with psycopg.connect(database_url) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        assert tables == (0,)


@pytest.mark.parametrize("server_type", [RabbitMQ, Postgres])
def test_closed_server_leaves_nothing(reaper: Reaper, server_type: type[RabbitMQ | Postgres]) -> None:
    server = server_type(reaper)
    server.start()
    pids = server.pids
    assert len(pids) > 2
    server.close()
    wait_until(
        lambda: not any(map(is_running, pids)), within_s=GONE_S, what="the end of the server's processes"
    )
    assert not server.folder.exists()


def test_killed_test_process_leaves_nothing() -> None:
    with subprocess.Popen(
        (sys.executable, "-c", STARTS_SERVERS), cwd=PROJECT, stdout=subprocess.PIPE, text=True
    ) as victim:
        assert victim.stdout is not None
        started = json.loads(victim.stdout.readline())
        assert all(map(is_running, started["pids"]))
        os.kill(victim.pid, signal.SIGKILL)
    wait_until(
        lambda: not any(map(is_running, started["pids"])), within_s=GONE_S, what="the end of all processes"
    )
    assert not [folder for folder in started["folders"] if Path(folder).exists()]
