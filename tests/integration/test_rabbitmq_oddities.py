"""Messages that would stop intake or publishing if the bus took them as pika hands them out."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import struct
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pika
import pytest

from tests.servers.rabbitmq import AmqpNames, RabbitMQ
from worker.adapters.rabbitmq import BusConfig, RabbitmqBus
from worker.core.ports import Delivery, PublishResult

ASKED = "contact.question.asked"
WITHIN_S = 60.0

#: The bit in a content header that says that headers follow.
HAS_HEADERS = 1 << 13


class RawHeaders(pika.BasicProperties):
    """Properties with a table of headers that pika would not write."""

    def __init__(self, table: bytes) -> None:
        super().__init__()
        self._table = table

    def encode(self) -> list[bytes]:
        return [struct.pack(">HI", HAS_HEADERS, len(self._table)), self._table]


@pytest.fixture
def config(rabbitmq: RabbitMQ, amqp_names: AmqpNames) -> BusConfig:
    return BusConfig(
        rabbitmq.url,
        events_exchange=amqp_names.events_exchange,
        question_queue=amqp_names.question_queue,
        rejected_queue=amqp_names.rejected_queue,
    )


@pytest.fixture
async def bus(config: BusConfig) -> AsyncIterator[RabbitmqBus]:
    up = asyncio.Event()
    links: set[str] = set()

    def log(event: str, /, **fields: Any) -> None:
        if event == "bus.connected":
            links.add(fields["link"])
            if len(links) == 2:
                up.set()

    bus = RabbitmqBus(config, log=log)
    await bus.start()
    async with asyncio.timeout(WITHIN_S):
        await up.wait()
    yield bus
    await bus.stop()


async def ask(node: RabbitMQ, config: BusConfig, body: bytes, properties: pika.BasicProperties) -> None:
    def publish() -> None:
        with contextlib.closing(node.connect()) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.basic_publish(config.events_exchange, ASKED, body, properties, mandatory=True)

    await asyncio.to_thread(publish)


async def take(bus: RabbitmqBus) -> Delivery:
    async with asyncio.timeout(WITHIN_S):
        [delivery] = await bus.receive(1)
    return delivery


async def rejected(node: RabbitMQ, config: BusConfig) -> tuple[bytes, pika.BasicProperties]:
    def get() -> tuple[bytes, pika.BasicProperties]:
        with contextlib.closing(node.connect()) as connection:
            _, properties, body = connection.channel().basic_get(config.rejected_queue, auto_ack=True)
            return body, properties

    return await asyncio.to_thread(get)


async def test_a_header_that_pika_cannot_read_does_not_stop_the_events_behind_it(
    rabbitmq: RabbitMQ, config: BusConfig, bus: RabbitmqBus
) -> None:
    year_36_billion = b"\x04whenT" + struct.pack(">Q", 2**60)
    await ask(rabbitmq, config, b"odd", RawHeaders(year_36_billion))
    await ask(rabbitmq, config, b"even", pika.BasicProperties(message_id="m-1"))
    odd, even = await take(bus), await take(bus)
    assert (odd.body, odd.headers, odd.message_id) == (b"odd", {}, None)
    assert (even.body, even.message_id) == (b"even", "m-1")
    assert await bus.reject(odd, reason="malformed_event", detail="") is PublishResult.CONFIRMED


async def test_an_id_in_bad_utf_8_arrives_as_text_that_no_valid_id_equals(
    rabbitmq: RabbitMQ, config: BusConfig, bus: RabbitmqBus
) -> None:
    await ask(rabbitmq, config, b"{}", pika.BasicProperties(message_id=b"caf\xe9"))
    delivery = await take(bus)
    assert delivery.message_id == "caf\udce9"
    assert await bus.reject(delivery, reason="malformed_event", detail="") is PublishResult.CONFIRMED
    _, properties = await rejected(rabbitmq, config)
    assert properties.message_id == b"caf\xe9"


async def test_headers_of_every_kind_go_along_when_rejected(
    rabbitmq: RabbitMQ, config: BusConfig, bus: RabbitmqBus
) -> None:
    headers = {
        "text": "é",
        "bytes": b"\xff\x00",
        "yes": True,
        "large": 2**40,
        "negative": -1,
        "decimal": Decimal("1.25"),
        "when": dt.datetime(2026, 11, 20, tzinfo=dt.UTC),
        "table": {"deep": {"deeper": [1, {"x": None}]}},
        "nothing": None,
    }
    await ask(rabbitmq, config, b"{}", pika.BasicProperties(headers=headers))
    await bus.reject(await take(bus), reason="invalid_question", detail="é")
    _, properties = await rejected(rabbitmq, config)
    kept = {name: properties.headers[name] for name in headers}
    assert kept == headers
    assert properties.headers["x-askrelay-detail"] == "é"


async def test_what_would_steer_the_broker_is_left_out_when_rejected(
    rabbitmq: RabbitMQ, config: BusConfig, bus: RabbitmqBus
) -> None:
    steering = {"BCC": ["nowhere"], "x-death": [{"count": 1}], "x-delay": 5000}
    await ask(
        rabbitmq,
        config,
        b"{}",
        pika.BasicProperties(
            headers={**steering, "CC": ["nowhere"], "kept": 1},
            user_id="guest",
            expiration="600000",
            reply_to="somewhere",
        ),
    )
    await bus.reject(await take(bus), reason="invalid_question", detail="")
    _, properties = await rejected(rabbitmq, config)
    assert properties.headers["kept"] == 1
    assert not {"CC", *steering} & set(properties.headers)
    assert (properties.user_id, properties.expiration) == (None, None)
    assert properties.reply_to == "somewhere"
    assert properties.delivery_mode == 2


async def test_headers_that_fill_a_frame_are_left_out_so_that_the_event_can_be_rejected(
    rabbitmq: RabbitMQ, config: BusConfig, bus: RabbitmqBus
) -> None:
    await ask(rabbitmq, config, b"{}", pika.BasicProperties(headers={"fat": "x" * 130_990}))
    delivery = await take(bus)
    assert await bus.reject(delivery, reason="malformed_event", detail="y") is PublishResult.CONFIRMED
    _, properties = await rejected(rabbitmq, config)
    assert properties.headers["x-askrelay-reason"] == "malformed_event"
    assert "fat" not in properties.headers


async def test_a_body_of_many_frames_is_rejected_whole(
    rabbitmq: RabbitMQ, config: BusConfig, bus: RabbitmqBus
) -> None:
    body = bytes(range(256)) * 4096
    await ask(rabbitmq, config, body, pika.BasicProperties())
    delivery = await take(bus)
    assert delivery.body == body
    await bus.reject(delivery, reason="event_too_large", detail="")
    assert (await rejected(rabbitmq, config))[0] == body
