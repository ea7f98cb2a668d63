"""The RabbitMQ bus when the broker dies, refuses, blocks or loses its queues."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import warnings
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any

import pika
import pytest

from tests.servers.ports import free_port
from tests.servers.rabbitmq import AmqpNames, RabbitMQ
from worker.adapters.rabbitmq import BusConfig, RabbitmqBus
from worker.core.model import Reply
from worker.core.ports import Delivery, PublishResult

ASKED = "contact.question.asked"

#: A killed node needs several seconds to come back, on a busy machine many more.
WITHIN_S = 120.0


class Journal:
    """A log to look into."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, /, **fields: Any) -> None:
        self.lines.append((event, fields))

    def of(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.lines if name == event]

    def codes(self) -> set[str]:
        return {fields["error_code"] for fields in self.of("bus.disconnected")}


async def until(is_so: Callable[[], object], what: str) -> None:
    try:
        async with asyncio.timeout(WITHIN_S):
            while not is_so():  # noqa: ASYNC110 - what is waited for happens in another process
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"waited in vain: {what}") from None


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def config(rabbitmq: RabbitMQ, amqp_names: AmqpNames) -> BusConfig:
    return BusConfig(
        rabbitmq.url,
        events_exchange=amqp_names.events_exchange,
        question_queue=amqp_names.question_queue,
        rejected_queue=amqp_names.rejected_queue,
    )


@contextlib.asynccontextmanager
async def running(config: BusConfig, journal: Journal, *, is_up: bool = True) -> AsyncIterator[RabbitmqBus]:
    bus = RabbitmqBus(config, log=journal)
    await bus.start()
    try:
        if is_up:
            await until(lambda: len(journal.of("bus.connected")) == 2, "both connections")
        yield bus
    finally:
        await bus.stop()


async def on_a_channel(node: RabbitMQ, work: Callable[[Any], Any]) -> Any:
    def run() -> Any:
        with contextlib.closing(node.connect()) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            return work(channel)

    return await asyncio.to_thread(run)


async def ask(
    node: RabbitMQ, config: BusConfig, *bodies: bytes, properties: pika.BasicProperties | None = None
) -> None:
    def publish(channel: Any) -> None:
        for body in bodies:
            channel.basic_publish(
                config.events_exchange, ASKED, body, properties or pika.BasicProperties(delivery_mode=2)
            )

    await on_a_channel(node, publish)


async def take(bus: RabbitmqBus, number: int) -> list[Delivery]:
    taken: list[Delivery] = []
    async with asyncio.timeout(WITHIN_S):
        while len(taken) < number:
            taken += await bus.receive(number - len(taken))
    return taken


def bodies_of(deliveries: list[Delivery]) -> list[bytes]:
    return [each.body for each in deliveries]


def replies(number: int) -> list[Reply]:
    return [
        Reply(event_id=f"reply-{n}", kind="answered", body=b"{}" * 500, question_id="q")
        for n in range(number)
    ]


async def make_durable(node: RabbitMQ) -> None:
    """Let the node write down which quorum queues it has.

    It does so every half second; a queue that is younger when the node is killed comes back empty and
    without a leader, and whoever uses it waits for ever.
    """
    await asyncio.to_thread(node.rabbitmqctl, "eval", "[dets:sync(Table) || Table <- dets:all()].")


async def bind_replies(node: RabbitMQ, config: BusConfig) -> str:
    queue = f"{config.events_exchange}.replies"

    def bind(channel: Any) -> None:
        channel.queue_declare(queue, durable=True, arguments={"x-expires": 600_000})
        channel.queue_bind(queue, config.events_exchange, "contact.question.answered")

    await on_a_channel(node, bind)
    return queue


async def test_a_killed_broker_is_found_again_and_what_was_unacked_comes_again(
    rabbitmq: RabbitMQ, config: BusConfig, journal: Journal
) -> None:
    async with running(config, journal) as bus:
        await ask(rabbitmq, config, b"0", b"1", b"2")
        taken = await take(bus, 3)
        await make_durable(rabbitmq)
        await asyncio.to_thread(rabbitmq.restart)
        await until(lambda: len(journal.of("bus.connected")) == 4, "both connections again")
        bus.ack(taken)
        again = await take(bus, 3)
        assert bodies_of(again) == [b"0", b"1", b"2"]
        assert all(each.is_redelivered for each in again)
        await bind_replies(rabbitmq, config)
        assert await bus.publish(replies(3)) == [PublishResult.CONFIRMED] * 3


async def test_only_replies_that_survive_a_killed_broker_were_confirmed(
    rabbitmq: RabbitMQ, config: BusConfig, journal: Journal
) -> None:
    async with running(config, journal) as bus:
        queue = await bind_replies(rabbitmq, config)
        await make_durable(rabbitmq)
        under_way = asyncio.create_task(bus.publish(replies(2000)))
        await asyncio.sleep(0)
        await asyncio.to_thread(rabbitmq.kill)
        results = await under_way
        assert len(results) == 2000
        assert PublishResult.RETURNED not in results
        async with asyncio.timeout(WITHIN_S):
            assert await bus.publish(replies(1)) == [PublishResult.NOT_CONFIRMED]
        await asyncio.to_thread(rabbitmq.start)
        found = await on_a_channel(rabbitmq, lambda channel: channel.queue_declare(queue, passive=True))
        assert found.method.message_count >= results.count(PublishResult.CONFIRMED)


async def test_a_broker_that_is_down_at_the_start_is_waited_for_and_said_once(
    rabbitmq: RabbitMQ, config: BusConfig, journal: Journal
) -> None:
    await asyncio.to_thread(rabbitmq.kill)
    async with running(config, journal, is_up=False):
        await until(lambda: len(journal.of("bus.disconnected")) == 2, "a line for each connection")
        await asyncio.to_thread(rabbitmq.start)
        await until(lambda: len(journal.of("bus.connected")) == 2, "both connections")
        assert "broker_unreachable" in journal.codes()
        # A node that is still starting may refuse in another way; the same way is never told twice in a row.
        for link in ("consume", "publish"):
            codes = [each["error_code"] for each in journal.of("bus.disconnected") if each["link"] == link]
            assert all(one != other for one, other in pairwise(codes))


async def test_a_deleted_question_queue_is_made_again(
    rabbitmq: RabbitMQ, config: BusConfig, journal: Journal
) -> None:
    async with running(config, journal) as bus:
        await ask(rabbitmq, config, b"0")
        taken = await take(bus, 1)
        await on_a_channel(rabbitmq, lambda channel: channel.queue_delete(config.question_queue))
        await until(lambda: journal.of("bus.queue_lost"), "the loss noticed")
        made = {"kind": "queue", "name": config.question_queue}
        await until(lambda: journal.of("bus.declared").count(made) == 2, "the queue made again")
        bus.ack(taken)
        await ask(rabbitmq, config, b"1")
        assert bodies_of(await take(bus, 1)) == [b"1"]


async def test_a_deleted_rejected_queue_is_made_again_by_the_next_rejection(
    rabbitmq: RabbitMQ, config: BusConfig, journal: Journal
) -> None:
    async with running(config, journal) as bus:
        await ask(rabbitmq, config, b"bad")
        [delivery] = await take(bus, 1)
        await on_a_channel(rabbitmq, lambda channel: channel.queue_delete(config.rejected_queue))
        result = await bus.reject(delivery, reason="malformed_event", detail="")
        assert result is PublishResult.CONFIRMED
        _, _, body = await on_a_channel(rabbitmq, lambda channel: channel.basic_get(config.rejected_queue))
        assert body == b"bad"


async def test_a_deleted_exchange_is_made_again(
    rabbitmq: RabbitMQ, config: BusConfig, journal: Journal
) -> None:
    async with running(config, journal) as bus:
        await on_a_channel(rabbitmq, lambda channel: channel.exchange_delete(config.events_exchange))
        assert await bus.publish(replies(1)) == [PublishResult.NOT_CONFIRMED]
        await until(lambda: len(journal.of("bus.connected")) == 3, "the publishing connection again")
        await bind_replies(rabbitmq, config)
        assert await bus.publish(replies(1)) == [PublishResult.CONFIRMED]


async def test_the_question_queue_is_what_order_and_safety_need(
    rabbitmq: RabbitMQ, config: BusConfig, journal: Journal
) -> None:
    async with running(config, journal):
        listed = await asyncio.to_thread(
            rabbitmq.rabbitmqctl, "list_queues", "name", "type", "durable", "arguments"
        )
    line = next(each for each in listed.splitlines() if each.startswith(config.question_queue))
    for needed in ("quorum", "true", "x-single-active-consumer", "2147483647"):
        assert needed in line


async def test_a_queue_without_single_active_consumer_is_used_and_told(
    rabbitmq: RabbitMQ, config: BusConfig, journal: Journal
) -> None:
    await on_a_channel(rabbitmq, lambda channel: channel.queue_declare(config.question_queue, durable=True))
    async with running(config, journal) as bus:
        [told] = journal.of("bus.topology_differs")
        assert "x-single-active-consumer" in told["detail"]
        assert "out of order" in told["detail"]
        await ask(rabbitmq, config, b"0")
        assert bodies_of(await take(bus, 1)) == [b"0"]


async def test_nothing_is_declared_where_it_is_not_allowed(
    rabbitmq: RabbitMQ, config: BusConfig, journal: Journal
) -> None:
    async with running(dataclasses.replace(config, declare=False), journal, is_up=False):
        await until(lambda: "broker_topology" in journal.codes(), "the refusal told")
        [told, *_] = journal.of("bus.disconnected")
        assert "ASKRELAY_DECLARE=true" in told["detail"]
        assert journal.of("bus.declared") == []


async def test_a_bus_that_may_not_declare_uses_what_is_there(
    rabbitmq: RabbitMQ, config: BusConfig, journal: Journal
) -> None:
    async with running(config, Journal()):
        pass
    async with running(dataclasses.replace(config, declare=False), journal) as bus:
        await ask(rabbitmq, config, b"0")
        assert bodies_of(await take(bus, 1)) == [b"0"]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("amqp://guest:hunter2@127.0.0.1:{port}/", "broker_credentials_rejected"),
        ("amqp://guest:guest@127.0.0.1:{port}/nowhere", "broker_vhost_refused"),
        ("amqps://guest:guest@127.0.0.1:{port}/", "broker_tls_failed"),
        ("amqp://guest:hunter2@127.0.0.1:{free_port}/", "broker_unreachable"),
    ],
)
async def test_what_keeps_the_broker_away_is_told_without_the_secret(
    rabbitmq: RabbitMQ, config: BusConfig, journal: Journal, url: str, code: str
) -> None:
    url = url.format(port=rabbitmq.port, free_port=free_port())
    async with running(dataclasses.replace(config, url=url), journal, is_up=False):
        await until(lambda: len(journal.of("bus.disconnected")) >= 2, "a line for each connection")
    # pika leaves the socket of a failed TLS handshake to the garbage collector, which warns about it.
    with warnings.catch_warnings(action="ignore"):
        gc.collect()
    assert journal.codes() == {code}
    assert "hunter2" not in repr(journal.lines)


async def test_no_field_of_the_configuration_shows_the_url(config: BusConfig) -> None:
    assert "guest:guest" not in repr(config)


async def test_a_blocked_connection_publishes_nothing_and_goes_on_afterwards(
    rabbitmq: RabbitMQ, config: BusConfig, journal: Journal
) -> None:
    async with running(config, journal) as bus:
        await bind_replies(rabbitmq, config)
        await ask(rabbitmq, config, b"0")
        await asyncio.to_thread(rabbitmq.rabbitmqctl, "set_vm_memory_high_watermark", "0")
        try:
            # The broker tells a connection that it is blocked when it publishes.
            held = asyncio.create_task(bus.publish(replies(1)))
            await until(lambda: journal.of("bus.blocked"), "the alarm told")
            assert await bus.publish(replies(1)) == [PublishResult.NOT_CONFIRMED]
            # Acks have a connection of their own.
            bus.ack(await take(bus, 1))
        finally:
            await asyncio.to_thread(rabbitmq.rabbitmqctl, "set_vm_memory_high_watermark", "absolute", "1GB")
        await until(lambda: journal.of("bus.unblocked"), "the end of the alarm told")
        assert await held == [PublishResult.CONFIRMED]
        assert await bus.publish(replies(300)) == [PublishResult.CONFIRMED] * 300
