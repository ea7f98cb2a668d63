"""What both buses owe to the runtime: one suite, against RabbitMQ and the bus within the process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import pika
import pytest
from pika.exceptions import AMQPChannelError, UnroutableError

from tests.servers.rabbitmq import AmqpNames, RabbitMQ
from worker.adapters.local_bus import LocalBus, LocalBusServer
from worker.adapters.memory_bus import MemoryBroker, MemoryBus, MemoryMessage
from worker.adapters.rabbitmq import BusConfig, RabbitmqBus
from worker.core.model import Progress, Reply
from worker.core.ports import Bus, Delivery, PublishResult

ASKED = "contact.question.asked"

#: A busy machine answers late, but it answers.
WITHIN_S = 60.0

Received = tuple[bytes, dict[str, Any]]


class Outside(Protocol):
    """The CRM's side of a bus."""

    def make_bus(self) -> Bus: ...

    async def ask(self, *bodies: bytes, **properties: Any) -> None: ...

    async def bind_replies(self, *keys: str) -> Callable[[int], Any]: ...

    async def rejected(self) -> Received: ...


class MemoryOutside:
    def __init__(self) -> None:
        self._broker = MemoryBroker()

    def make_bus(self) -> Bus:
        return MemoryBus(self._broker)

    async def ask(self, *bodies: bytes, **properties: Any) -> None:
        for body in bodies:
            self._broker.publish(MemoryMessage(ASKED, body, **properties))

    async def bind_replies(self, *keys: str) -> Callable[[int], Any]:
        queue = self._broker.bind(*keys)

        async def read(number: int) -> list[Received]:
            return [described(await queue.get()) for _ in range(number)]

        return read

    async def rejected(self) -> Received:
        return described(await self._broker.rejected.get())


class LocalOutside(MemoryOutside):
    """The memory broker again, reached over a socket as the demo's worker processes reach it."""

    def __init__(self) -> None:
        super().__init__()
        self._server = LocalBusServer(self._broker)
        self._serving: list[asyncio.Task[None]] = []

    def make_bus(self) -> Bus:
        ours, theirs = socket.socketpair()
        self._serving.append(asyncio.create_task(self._server.serve(ours)))
        return LocalBus(theirs)


class RabbitmqOutside:
    def __init__(self, node: RabbitMQ, names: AmqpNames) -> None:
        self._node = node
        self._names = names
        self._config = BusConfig(
            node.url,
            events_exchange=names.events_exchange,
            question_queue=names.question_queue,
            rejected_queue=names.rejected_queue,
        )

    def make_bus(self) -> Bus:
        return RabbitmqBus(self._config, log=lambda _event, /, **_fields: None)

    async def ask(self, *bodies: bytes, **properties: Any) -> None:
        await asyncio.to_thread(self._ask, bodies, pika.BasicProperties(**properties))

    async def bind_replies(self, *keys: str) -> Callable[[int], Any]:
        queue = f"{self._names.prefix}.replies"
        await asyncio.to_thread(self._bind, queue, keys)

        async def read(number: int) -> list[Received]:
            return [await asyncio.to_thread(self._get, queue) for _ in range(number)]

        return read

    async def rejected(self) -> Received:
        return await asyncio.to_thread(self._get, self._names.rejected_queue)

    def _ask(self, bodies: tuple[bytes, ...], properties: pika.BasicProperties) -> None:
        """Publish each until a queue takes it: the bus may still be about to declare it."""
        deadline = time.monotonic() + WITHIN_S
        left = list(bodies)
        while left:
            assert time.monotonic() < deadline, "the question queue was never declared"
            with (
                contextlib.suppress(AMQPChannelError, UnroutableError),
                contextlib.closing(self._node.connect()) as connection,
            ):
                channel = connection.channel()
                channel.confirm_delivery()
                while left:
                    channel.basic_publish(
                        self._names.events_exchange, ASKED, left[0], properties, mandatory=True
                    )
                    left.pop(0)

    def _bind(self, queue: str, keys: tuple[str, ...]) -> None:
        with contextlib.closing(self._node.connect()) as connection:
            channel = connection.channel()
            channel.exchange_declare(self._names.events_exchange, "topic", durable=True)
            channel.queue_declare(queue, durable=True, arguments={"x-expires": 120_000})
            for key in keys:
                channel.queue_bind(queue, self._names.events_exchange, key)

    def _get(self, queue: str) -> Received:
        deadline = time.monotonic() + WITHIN_S
        with contextlib.closing(self._node.connect()) as connection:
            channel = connection.channel()
            while time.monotonic() < deadline:
                method, properties, body = channel.basic_get(queue, auto_ack=True)
                if method is not None:
                    described = {name: getattr(properties, name) for name in PROPERTIES}
                    headers = dict(properties.headers or {})
                    headers.pop("x-delivery-count", None)  # a quorum queue's own, put there as it delivers
                    return body, {**described, "headers": headers}
                connection.sleep(0.02)
        raise AssertionError(f"nothing came into {queue}")


PROPERTIES = ("content_type", "content_encoding", "message_id", "correlation_id", "app_id", "type")


def described(message: MemoryMessage) -> Received:
    return message.body, {name: getattr(message, name) for name in (*PROPERTIES, "headers")}


@pytest.fixture(params=["memory", "local", "rabbitmq"])
def outside(request: pytest.FixtureRequest) -> Outside:
    if request.param == "memory":
        return MemoryOutside()
    if request.param == "local":
        return LocalOutside()
    return RabbitmqOutside(request.getfixturevalue("rabbitmq"), request.getfixturevalue("amqp_names"))


@pytest.fixture
async def bus(outside: Outside) -> AsyncIterator[Bus]:
    bus = outside.make_bus()
    await bus.start()
    yield bus
    await bus.stop()


async def take(bus: Bus, number: int) -> list[Delivery]:
    """Receive exactly this many deliveries."""
    taken: list[Delivery] = []
    async with asyncio.timeout(WITHIN_S):
        while len(taken) < number:
            taken += await bus.receive(number - len(taken))
    return taken


async def drain(bus: Bus, number: int) -> list[bytes]:
    """Receive and ack exactly this many deliveries."""
    bodies: list[bytes] = []
    while len(bodies) < number:
        batch = await take(bus, min(256, number - len(bodies)))
        bus.ack(batch)
        bodies += bodies_of(batch)
    return bodies


def bodies_of(deliveries: list[Delivery]) -> list[bytes]:
    return [each.body for each in deliveries]


def numbered(*numbers: int) -> list[bytes]:
    return [b"%d" % number for number in numbers]


def reply(number: int, *, kind: Any = "answered", **fields: Any) -> Reply:
    return Reply(event_id=f"reply-{number}", kind=kind, body=b"{}", question_id=f"evt-{number}", **fields)


async def test_deliveries_come_in_the_order_of_publishing(bus: Bus, outside: Outside) -> None:
    await outside.ask(*numbered(*range(600)))
    assert await drain(bus, 600) == numbered(*range(600))


async def test_a_delivery_carries_what_was_published(bus: Bus, outside: Outside) -> None:
    headers = {"ce-id": "1", "nested": {"list": [1, "two", None, True]}}
    await outside.ask(
        b"\x00\xff",
        content_type="text/plain",
        content_encoding="gzip",
        message_id="m-1",
        app_id="crm",
        type="asked",
        headers=headers,
    )
    [delivery] = await take(bus, 1)
    assert delivery.body == b"\x00\xff"
    assert (delivery.content_type, delivery.content_encoding) == ("text/plain", "gzip")
    assert (delivery.message_id, delivery.app_id, delivery.type) == ("m-1", "crm", "asked")
    assert delivery.headers == headers
    assert not delivery.is_redelivered


async def test_a_delivery_without_properties_has_none(bus: Bus, outside: Outside) -> None:
    await outside.ask(b"{}")
    [delivery] = await take(bus, 1)
    assert (delivery.content_type, delivery.message_id, delivery.app_id) == (None, None, None)
    assert delivery.headers == {}


async def test_receive_never_returns_more_than_its_limit(bus: Bus, outside: Outside) -> None:
    await outside.ask(*numbered(0, 1, 2))
    assert len(await bus.receive(1)) == 1
    assert len(await take(bus, 2)) == 2


async def test_what_is_unacked_comes_again_in_order_after_a_reset(bus: Bus, outside: Outside) -> None:
    await outside.ask(*numbered(*range(10)))
    taken = await take(bus, 10)
    bus.ack(taken[:4])
    await bus.reset_intake()
    again = await take(bus, 6)
    assert bodies_of(again) == numbered(4, 5, 6, 7, 8, 9)
    assert all(each.is_redelivered for each in again)


async def test_returned_deliveries_come_before_later_events(bus: Bus, outside: Outside) -> None:
    await outside.ask(*numbered(0, 1, 2))
    await take(bus, 2)
    await bus.reset_intake()
    await outside.ask(*numbered(3))
    assert bodies_of(await take(bus, 4)) == numbered(0, 1, 2, 3)


async def test_acks_may_come_in_any_order_and_twice(bus: Bus, outside: Outside) -> None:
    await outside.ask(*numbered(*range(8)))
    taken = await take(bus, 8)
    bus.ack([taken[5], taken[2]])
    bus.ack([taken[0], taken[2]])
    bus.ack([taken[1], taken[7]])
    bus.ack([])
    await bus.reset_intake()
    assert bodies_of(await take(bus, 3)) == numbered(3, 4, 6)


async def test_an_ack_never_covers_a_delivery_that_is_not_settled(bus: Bus, outside: Outside) -> None:
    await outside.ask(*numbered(*range(6)))
    taken = await take(bus, 6)
    bus.ack(taken[1:])
    await bus.reset_intake()
    assert bodies_of(await take(bus, 1)) == numbered(0)


async def test_an_ack_from_before_a_reset_settles_nothing(bus: Bus, outside: Outside) -> None:
    await outside.ask(*numbered(0, 1))
    stale = await take(bus, 2)
    await bus.reset_intake()
    again = await take(bus, 2)
    bus.ack(stale)
    await bus.reset_intake()
    assert bodies_of(await take(bus, 2)) == bodies_of(again)


async def test_the_stand_by_goes_on_in_order_where_a_stopped_bus_left_off(bus: Bus, outside: Outside) -> None:
    # More than the broker sends ahead: what it has not sent yet must not overtake what comes back.
    await outside.ask(*numbered(*range(1200)))
    taken = await take(bus, 12)
    stand_by = outside.make_bus()
    await stand_by.start()
    try:
        waiting = asyncio.create_task(drain(stand_by, 1195))
        bus.ack(taken[:5])
        await bus.stop_intake()
        assert await waiting == numbered(*range(5, 1200))
    finally:
        await stand_by.stop()


async def test_only_one_bus_of_a_fleet_receives(bus: Bus, outside: Outside) -> None:
    await outside.ask(*numbered(0))
    await take(bus, 1)
    stand_by = outside.make_bus()
    await stand_by.start()
    try:
        waiting = asyncio.create_task(stand_by.receive(10))
        await outside.ask(*numbered(*range(1, 50)))
        await take(bus, 49)
        assert not waiting.done()
        waiting.cancel()
    finally:
        await stand_by.stop()


async def test_receive_ends_with_nothing_when_the_intake_was_stopped(bus: Bus) -> None:
    waiting = asyncio.create_task(bus.receive(10))
    await asyncio.sleep(0)
    await bus.stop_intake()
    async with asyncio.timeout(WITHIN_S):
        assert await waiting == []
        assert await bus.receive(10) == []


async def test_replies_are_confirmed_and_arrive_in_order(bus: Bus, outside: Outside) -> None:
    read = await outside.bind_replies("contact.question.*")
    replies = [reply(number) for number in range(300)]
    assert await bus.publish(replies) == [PublishResult.CONFIRMED] * 300
    arrived = await read(10)
    assert [properties["message_id"] for _, properties in arrived] == [each.event_id for each in replies[:10]]


async def test_a_reply_carries_its_properties(bus: Bus, outside: Outside) -> None:
    read = await outside.bind_replies("#")
    await bus.publish([reply(1, kind="failed", traceparent="00-aa-bb-01", tracestate="x=1")])
    [(body, properties)] = await read(1)
    assert body == b"{}"
    assert properties == {
        "content_type": "application/cloudevents+json",
        "content_encoding": None,
        "message_id": "reply-1",
        "correlation_id": "evt-1",
        "app_id": "askrelay",
        "type": "contact.question.failed",
        "headers": {"traceparent": "00-aa-bb-01", "tracestate": "x=1"},
    }


async def test_replies_that_no_queue_takes_are_returned_and_hold_up_no_others(
    bus: Bus, outside: Outside
) -> None:
    read = await outside.bind_replies("contact.question.answered")
    kinds = ["answered" if number % 3 else "failed" for number in range(200)]
    results = await bus.publish([reply(number, kind=kind) for number, kind in enumerate(kinds)])
    assert results == [
        PublishResult.CONFIRMED if kind == "answered" else PublishResult.RETURNED for kind in kinds
    ]
    assert len(await read(5)) == 5


async def test_the_same_reply_returned_twice_is_reported_twice(bus: Bus) -> None:
    assert await bus.publish([reply(1), reply(1), reply(1)]) == [PublishResult.RETURNED] * 3


async def test_publishers_at_the_same_time_each_get_their_own_results(bus: Bus, outside: Outside) -> None:
    await outside.bind_replies("contact.question.answered")
    results = await asyncio.gather(
        *(bus.publish([reply(n, kind="answered" if n % 2 else "failed")]) for n in range(100))
    )
    assert results == [[PublishResult.CONFIRMED if n % 2 else PublishResult.RETURNED] for n in range(100)]


async def test_nothing_published_is_nothing_reported(bus: Bus) -> None:
    assert await bus.publish([]) == []


async def test_a_rejected_delivery_keeps_bytes_headers_and_ids(bus: Bus, outside: Outside) -> None:
    await outside.ask(
        b"\x80\x04pickled", content_type="x/y", message_id="m-1", app_id="crm", headers={"team": "blue"}
    )
    [delivery] = await take(bus, 1)
    result = await bus.reject(delivery, reason="malformed_event", detail="not JSON")
    assert result is PublishResult.CONFIRMED
    body, properties = await outside.rejected()
    assert body == b"\x80\x04pickled"
    assert (properties["content_type"], properties["message_id"], properties["app_id"]) == (
        "x/y",
        "m-1",
        "crm",
    )
    assert properties["headers"] == {
        "team": "blue",
        "x-askrelay-reason": "malformed_event",
        "x-askrelay-detail": "not JSON",
    }


async def test_reject_does_not_ack(bus: Bus, outside: Outside) -> None:
    await outside.ask(b"bad")
    [delivery] = await take(bus, 1)
    await bus.reject(delivery, reason="malformed_event", detail="")
    await bus.reset_intake()
    assert bodies_of(await take(bus, 1)) == [b"bad"]


async def test_an_empty_body_can_be_rejected(bus: Bus, outside: Outside) -> None:
    await outside.ask(b"")
    [delivery] = await take(bus, 1)
    assert await bus.reject(delivery, reason="malformed_event", detail="") is PublishResult.CONFIRMED
    assert (await outside.rejected())[0] == b""


async def test_nothing_is_confirmed_after_stop(outside: Outside) -> None:
    bus = outside.make_bus()
    await bus.start()
    await bus.stop()
    async with asyncio.timeout(WITHIN_S):
        assert await bus.publish([reply(1)]) == [PublishResult.NOT_CONFIRMED]


async def test_stop_may_be_called_twice(outside: Outside) -> None:
    bus = outside.make_bus()
    await bus.start()
    await bus.stop_intake()
    await bus.stop()
    await bus.stop()


def told(number: int) -> Progress:
    return Progress(event_id=f"progress-{number}", body=b"{}", question_id=f"evt-{number}")


async def test_what_may_be_lost_does_not_confuse_the_confirms_of_what_may_not(
    bus: Bus, outside: Outside
) -> None:
    await outside.bind_replies("contact.question.answered")
    await bus.publish([reply(0)])
    for number in range(1, 30):
        bus.tell(told(number))
        kind = "answered" if number % 2 else "failed"
        bus.tell(told(number))
        expected = PublishResult.CONFIRMED if number % 2 else PublishResult.RETURNED
        assert await bus.publish([reply(number, kind=kind)]) == [expected]


async def test_what_was_told_before_a_reply_comes_before_it(bus: Bus, outside: Outside) -> None:
    if isinstance(bus, LocalBus):
        pytest.skip("the demo's bus drops it")
    read = await outside.bind_replies("contact.question.progress", "contact.question.answered")
    await bus.publish([reply(0)])
    for number in range(3):
        bus.tell(told(number))
    await bus.publish([reply(1)])
    ids = [properties["message_id"] for _, properties in await read(5)]
    assert ids == ["reply-0", "progress-0", "progress-1", "progress-2", "reply-1"]


async def test_telling_a_bus_that_is_not_up_is_no_error(outside: Outside) -> None:
    bus = outside.make_bus()
    bus.tell(told(1))
    await bus.stop()
    bus.tell(told(2))
