"""The doorbell on a real broker: it rings, it holds back, and nothing foreign or broken silences it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pickle
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import dramatiq
import dramatiq.broker
import pika
import pytest
from pika.exceptions import ChannelClosedByBroker

from tests.servers.ports import free_port
from tests.servers.rabbitmq import AmqpNames, RabbitMQ
from worker.adapters.doorbell import Doorbell

WITHIN_S = 120.0
LEDGER = "ledger-1"


class Journal:
    """A log to look into."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, /, **fields: Any) -> None:
        self.lines.append((event, fields))

    def of(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.lines if name == event]


class Listener:
    """Counts rings, and keeps them waiting while ``has_room`` is not set."""

    def __init__(self) -> None:
        self.heard = 0
        self.has_room = asyncio.Event()
        self.has_room.set()

    async def __call__(self) -> None:
        self.heard += 1
        await self.has_room.wait()


async def until(is_so: Callable[[], object], what: str) -> None:
    try:
        async with asyncio.timeout(WITHIN_S):
            while not is_so():  # noqa: ASYNC110 - what is waited for happens in another process
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"waited in vain: {what}") from None


@contextlib.asynccontextmanager
async def listening(
    node: RabbitMQ | str, queue: str, *, ledger: str = LEDGER, journal: Journal | None = None
) -> AsyncIterator[tuple[Doorbell, Listener]]:
    url = node if isinstance(node, str) else node.url
    bell = Doorbell(url, queue, ledger, log=journal or Journal())
    listener = Listener()
    await bell.start(listener)
    try:
        yield bell, listener
    finally:
        await bell.stop()


async def heard_a_ring(bell: Doorbell, listener: Listener) -> None:
    """Ring, and wait until it is heard."""
    before = listener.heard
    bell.ring()
    await until(lambda: listener.heard > before, "a ring")


async def put(node: RabbitMQ, queue: str, *bodies: bytes) -> None:
    def publish() -> None:
        with contextlib.closing(node.connect()) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            for body in bodies:
                channel.basic_publish("", queue, body, pika.BasicProperties(), mandatory=True)

    await asyncio.to_thread(publish)


async def waiting_in(node: RabbitMQ, queue: str) -> int | None:
    """Return how many messages wait in a queue; None when there is no such queue."""

    def look() -> int | None:
        with contextlib.closing(node.connect()) as connection:
            try:
                return connection.channel().queue_declare(queue, passive=True).method.message_count
            except ChannelClosedByBroker:
                return None

    return await asyncio.to_thread(look)


def ring_of(queue: str, **changes: Any) -> bytes:
    ring = {
        "queue_name": queue,
        "actor_name": "ring",
        "args": [LEDGER],
        "kwargs": {},
        "options": {},
        "message_id": "m-1",
        "message_timestamp": 1,
    }
    return json.dumps({**ring, **changes}).encode()


async def test_a_ring_is_heard(rabbitmq: RabbitMQ, amqp_names: AmqpNames) -> None:
    async with listening(rabbitmq, amqp_names.doorbell_queue) as (bell, listener):
        await heard_a_ring(bell, listener)
        await heard_a_ring(bell, listener)


async def test_a_ring_may_be_heard_by_another_process_of_the_fleet(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames
) -> None:
    queue = amqp_names.doorbell_queue
    async with (
        listening(rabbitmq, queue) as (bell, first),
        listening(rabbitmq, queue) as (_, second),
    ):
        await until(lambda: bell.ring() or second.heard, "a ring in the other process")
        assert first.heard + second.heard >= 1


async def test_many_rings_become_few(rabbitmq: RabbitMQ, amqp_names: AmqpNames) -> None:
    async with listening(rabbitmq, amqp_names.doorbell_queue) as (bell, listener):
        await heard_a_ring(bell, listener)
        heard = listener.heard
        for _ in range(10_000):
            bell.ring()
        await heard_a_ring(bell, listener)
        assert listener.heard - heard < 1000


async def test_rings_wait_in_the_queue_while_the_listener_has_no_room(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames
) -> None:
    queue = amqp_names.doorbell_queue
    async with listening(rabbitmq, queue) as (bell, listener):
        await heard_a_ring(bell, listener)
        listener.has_room.clear()
        heard = listener.heard
        await put(rabbitmq, queue, *[ring_of(queue)] * 20)
        await until(lambda: listener.heard == heard + 2, "both threads busy")
        listener.has_room.set()
        await until(lambda: listener.heard >= heard + 20, "all rings heard")


FOREIGN = {
    "no JSON": lambda _: b"\xff\xfe",
    "a list": lambda _: b"[]",
    "a number": lambda _: b"1",
    "an object": lambda _: b"{}",
    "pickle": lambda _: pickle.dumps({"a": 1}),
    "nothing": lambda _: b"",
    "too deep": lambda _: b"[" * 100_000,
    "another queue": lambda queue: ring_of(queue, queue_name="elsewhere"),
    "another actor": lambda queue: ring_of(queue, actor_name="send_money"),
    "another ledger": lambda queue: ring_of(queue, args=["ledger-2"]),
    "a delay": lambda queue: ring_of(queue, options={"eta": 4_102_444_800_000}),
    "no options": lambda queue: ring_of(queue, options=None),
    "one field more": lambda queue: ring_of(queue, extra=1),
}


@pytest.mark.parametrize("kind", FOREIGN)
async def test_a_foreign_message_is_dropped_and_the_next_ring_is_heard(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, kind: str
) -> None:
    queue = amqp_names.doorbell_queue
    journal = Journal()
    async with listening(rabbitmq, queue, journal=journal) as (bell, listener):
        await heard_a_ring(bell, listener)
        heard = listener.heard
        await put(rabbitmq, queue, FOREIGN[kind](queue))
        await until(lambda: bell.rings_refused, "the refusal")
        assert listener.heard == heard
        await heard_a_ring(bell, listener)
        assert await waiting_in(rabbitmq, queue) == 0
    assert journal.of("doorbell.refused") == [{"queue": queue, "detail": "not a ring for this ledger"}]


async def test_a_listener_that_fails_is_asked_again(rabbitmq: RabbitMQ, amqp_names: AmqpNames) -> None:
    journal = Journal()
    bell = Doorbell(rabbitmq.url, amqp_names.doorbell_queue, LEDGER, log=journal)
    heard = 0

    async def fail() -> None:
        nonlocal heard
        heard += 1
        raise ValueError("secret")

    await bell.start(fail)
    try:
        for number in (1, 2):
            bell.ring()
            await until(lambda number=number: heard >= number, "a ring")
        await until(lambda: len(journal.of("doorbell.failed")) >= 2, "the failure told")
    finally:
        await bell.stop()
    assert "secret" not in repr(journal.lines)


async def test_only_one_queue_is_made(rabbitmq: RabbitMQ, amqp_names: AmqpNames) -> None:
    queue = amqp_names.doorbell_queue
    async with listening(rabbitmq, queue) as (bell, listener):
        await heard_a_ring(bell, listener)
        assert await waiting_in(rabbitmq, queue) is not None
        assert await waiting_in(rabbitmq, f"{queue}.DQ") is None
        assert await waiting_in(rabbitmq, f"{queue}.XQ") is None


async def test_a_queue_that_exists_with_other_arguments_is_used(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames
) -> None:
    def declare() -> None:
        with contextlib.closing(rabbitmq.connect()) as connection:
            connection.channel().queue_declare(
                amqp_names.doorbell_queue, durable=True, arguments={"x-queue-type": "quorum"}
            )

    await asyncio.to_thread(declare)
    async with listening(rabbitmq, amqp_names.doorbell_queue) as (bell, listener):
        await heard_a_ring(bell, listener)


async def test_a_deleted_queue_is_made_again(rabbitmq: RabbitMQ, amqp_names: AmqpNames) -> None:
    queue = amqp_names.doorbell_queue
    async with listening(rabbitmq, queue) as (bell, listener):
        await heard_a_ring(bell, listener)

        def delete() -> None:
            with contextlib.closing(rabbitmq.connect()) as connection:
                connection.channel().queue_delete(queue)

        await asyncio.to_thread(delete)
        await heard_a_ring(bell, listener)


async def test_a_broker_that_is_down_at_the_start_is_waited_for(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames
) -> None:
    await asyncio.to_thread(rabbitmq.kill)
    journal = Journal()
    async with listening(rabbitmq, amqp_names.doorbell_queue, journal=journal) as (bell, listener):
        for expected in (1, 2, 3):
            bell.ring()
            await until(lambda expected=expected: bell.rings_lost >= expected, "a ring lost")
        [silent] = journal.of("doorbell.silent")
        assert silent["error_code"] == "doorbell_failed"
        assert silent["detail"].isidentifier(), "the class of what was raised"
        await asyncio.to_thread(rabbitmq.start)
        await heard_a_ring(bell, listener)
        assert journal.of("doorbell.restored")


async def test_rings_are_heard_again_after_the_broker_was_killed(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames
) -> None:
    async with listening(rabbitmq, amqp_names.doorbell_queue) as (bell, listener):
        await heard_a_ring(bell, listener)
        await asyncio.to_thread(rabbitmq.restart)
        before = listener.heard
        await until(lambda: bell.ring() or listener.heard > before, "a ring after the restart")


async def test_stop_ends_every_thread(rabbitmq: RabbitMQ, amqp_names: AmqpNames) -> None:
    before = set(threading.enumerate())
    async with listening(rabbitmq, amqp_names.doorbell_queue) as (bell, listener):
        await heard_a_ring(bell, listener)
    started = set(threading.enumerate()) - before
    await until(lambda: not [each for each in started if each.is_alive()], "the end of every thread")


async def test_stop_does_not_wait_for_a_listener_without_room(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames
) -> None:
    async with listening(rabbitmq, amqp_names.doorbell_queue) as (bell, listener):
        await heard_a_ring(bell, listener)
        listener.has_room.clear()
        await heard_a_ring(bell, listener)
    # Getting here is the proof; stop gives up after its own limit, and says so.


async def test_start_and_stop_do_not_need_a_broker() -> None:
    journal = Journal()
    async with listening(f"amqp://guest:hunter2@127.0.0.1:{free_port()}/", "doorbell", journal=journal) as (
        bell,
        _,
    ):
        bell.ring()
        await until(lambda: bell.rings_lost, "a ring lost")
    assert "hunter2" not in repr(journal.lines)


async def test_a_ring_before_the_start_and_after_the_stop_is_no_error(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames
) -> None:
    bell = Doorbell(rabbitmq.url, amqp_names.doorbell_queue, LEDGER, log=Journal())
    bell.ring()
    await bell.stop()
    listener = Listener()
    other = Doorbell(rabbitmq.url, amqp_names.doorbell_queue, LEDGER, log=Journal())
    await other.start(listener)
    await other.stop()
    await other.stop()
    other.ring()


async def test_the_users_own_dramatiq_broker_is_left_alone(rabbitmq: RabbitMQ, amqp_names: AmqpNames) -> None:
    before = dramatiq.broker.global_broker
    async with listening(rabbitmq, amqp_names.doorbell_queue):
        assert dramatiq.broker.global_broker is before
