"""Requests that a broker must refuse: what it says in refusing tells what is there and what is allowed.

AMQP has no method to look at the type of an exchange, the arguments of a queue or the rights of a user. But
RabbitMQ checks rights first, then what is there already, then what is asked for. A request whose last part is
impossible therefore does nothing, whatever is there, and the reason of the refusal says how far it came.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pika
from pika.exceptions import ChannelClosedByBroker

from worker.adapters.rabbitmq.topology import ACCESS_REFUSED, NOT_FOUND
from worker.adapters.rabbitmq.wire import OpenChannel, Wire

#: An exchange cannot be made with it: the value is a number where a name is needed.
IMPOSSIBLE_EXCHANGE = {"alternate-exchange": 1}

#: A quorum queue cannot be made with it: only streams have it, and the value is none of its values. On a
#: quorum queue that is there it is not compared, so all the other arguments are.
IMPOSSIBLE_QUEUE = {"x-max-age": "never"}

#: A message with it is not taken: it must be a number. It is looked at before the message is routed.
IMPOSSIBLE_EXPIRATION = "never"

#: A consumer cannot be made with it: it must be a number.
IMPOSSIBLE_CONSUMER = {"x-priority": "none"}

#: Nobody uses it: should a message be routed after all, only a consumer of everything sees an empty body.
UNUSED_KEY = "askrelay.doctor.unused"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the broker did not do it; code 0 when it had nothing against it."""

    code: int = 0
    text: str = ""

    @property
    def is_missing(self) -> bool:
        """It is not there."""
        return self.code == NOT_FOUND

    @property
    def is_forbidden(self) -> bool:
        """This user may not."""
        return self.code == ACCESS_REFUSED

    @property
    def difference(self) -> str:
        """What is there with another value than asked for: ``type``, or the name of an argument."""
        match = re.search(r"inequivalent arg '([^']+)'", self.text)
        return match.group(1) if match else ""

    @property
    def current(self) -> str:
        """The value it has there, as the broker writes it; ``none`` when it has none."""
        match = re.search(r"but current is (?:the value )?'?([^' ]+)", self.text)
        return match.group(1) if match else ""


async def ask(wire: Wire, request: Callable[[OpenChannel], Any]) -> tuple[Any, Refusal]:
    """Make one request on a channel of its own, which a refusal closes; return answer and refusal."""
    opened = await wire.open_channel()
    try:
        answer = await request(opened)
    except ChannelClosedByBroker as error:
        return None, Refusal(error.reply_code, error.reply_text)
    await opened.close()
    return answer, Refusal()


async def ask_publish(wire: Wire, exchange: str) -> Refusal:
    """Publish what cannot be taken; the refusal is either about the right or about the message."""

    async def publish(opened: OpenChannel) -> None:
        await opened.call(opened.channel.confirm_delivery, ack_nack_callback=lambda _: None)
        properties = pika.BasicProperties(expiration=IMPOSSIBLE_EXPIRATION)  # type: ignore[no-untyped-call]
        opened.channel.basic_publish(exchange, UNUSED_KEY, b"", properties)
        # The answer to this comes after whatever the broker has against the message.
        await opened.call(opened.channel.basic_qos, prefetch_count=1)

    _, refusal = await ask(wire, publish)
    return refusal
