"""The broker: whether it can be reached, and whether all is there that a worker needs of it."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from pika.exceptions import AMQPError

from worker.adapters.rabbitmq.config import broker_address, connection_parameters
from worker.adapters.rabbitmq.troubles import describe
from worker.adapters.rabbitmq.wire import Wire, open_wire
from worker.cli.doctor_checks.broker_objects import look_at_exchange, look_at_queues
from worker.cli.doctor_checks.broker_rights import look_at_rights
from worker.cli.doctor_checks.finding import Finding, Say

if TYPE_CHECKING:
    from worker.settings import Settings

#: The oldest RabbitMQ that has all that is used (DESIGN 4.1).
OLDEST = (3, 10)


def check_broker(settings: Settings, say: Say) -> None:
    """Connect, and look at version, exchange, queues and rights; nothing is made or changed."""
    asyncio.run(_check(settings, say))


async def _check(settings: Settings, say: Say) -> None:
    address = broker_address(settings.rabbitmq_url)
    try:
        wire = await open_wire(
            connection_parameters(
                settings.rabbitmq_url, ca_file=settings.rabbitmq_ca_file, connection_name="askrelay doctor"
            )
        )
    except Exception as error:  # noqa: BLE001 - pika raises many, and ``describe`` has a sentence for each
        trouble, detail = describe(error)
        say(Finding("broker", "wrong", f"{address}: {detail}", trouble.to_do))
        return
    alarms: list[str] = []

    def on_blocked(_: Any, frame: Any) -> None:
        alarms.append(_text(frame.method.reason))
        wire.connection.abort()  # nothing that is asked now gets an answer

    wire.connection.add_on_connection_blocked_callback(on_blocked)
    try:
        product, version = _product_and_version(wire)
        say(_reached(settings, product, version))
        await look_at_exchange(wire, settings, say)
        await look_at_queues(wire, settings, say, version=version)
        if product == "RabbitMQ":
            # Other brokers may not refuse what RabbitMQ refuses, and then the looking would do something.
            await look_at_rights(wire, settings, say)
    except AMQPError:
        if not alarms:
            raise
        text = f"it takes no messages now, an alarm for memory or disk is on ({alarms[0]})"
        say(Finding("broker", "wrong", text, "make room there; `rabbitmqctl status` shows the alarm"))
    finally:
        await wire.close()


def _reached(settings: Settings, product: str, version: tuple[int, ...]) -> Finding:
    how = " over TLS" if settings.rabbitmq_url.startswith("amqps://") else ""
    number = ".".join(map(str, version))
    text = f"{product} {number} at {broker_address(settings.rabbitmq_url)}{how}"
    if version and version < OLDEST:
        return Finding("broker", "wrong", text, "askrelay needs RabbitMQ 3.10 or newer")
    return Finding("broker", "ok", text)


def _product_and_version(wire: Wire) -> tuple[str, tuple[int, ...]]:
    properties = wire.connection.server_properties or {}
    numbers = re.match(r"\d+(\.\d+)*", _text(properties.get("version")))
    version = tuple(map(int, numbers.group().split("."))) if numbers else ()
    return _text(properties.get("product")) or "a broker", version


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
