"""Exchange and queues: looked for first, made when missing and allowed, and checked for what order needs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pika.exceptions import ChannelClosedByBroker

if TYPE_CHECKING:
    from worker.adapters.rabbitmq.config import BusConfig
    from worker.adapters.rabbitmq.wire import OpenChannel, Wire
    from worker.core.ports import Log

#: The highest delivery limit every broker from 3.10 to 4.x takes. Without one, 4.x drops a message after 20
#: returns to the queue; -1 lost events too when channels were closed often.
DELIVERY_LIMIT = 2**31 - 1

#: PROTOCOL 2: one consumer at a time is what makes arrival order one order for the fleet.
QUESTION_QUEUE_ARGUMENTS: dict[str, Any] = {
    "x-queue-type": "quorum",
    "x-single-active-consumer": True,
    "x-delivery-limit": DELIVERY_LIMIT,
}

#: What was rejected waits for a person, however long: no limit of time or number.
REJECTED_QUEUE_ARGUMENTS: dict[str, Any] = {"x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT}

NOT_FOUND = 404
ACCESS_REFUSED = 403
PRECONDITION_FAILED = 406

#: What it means when an existing question queue was made differently, by the argument the broker names.
CONSEQUENCES = {
    "x-single-active-consumer": "with more than one worker, questions may be answered out of order",
    "x-delivery-limit": "the broker may drop events after a number of redeliveries",
}


class TopologyError(Exception):
    """The exchange or a queue is missing or may not be used; the message says what to do."""


async def ensure_exchange(wire: Wire, config: BusConfig, log: Log) -> None:
    """See to it that the events exchange exists; raises TopologyError."""
    name = config.events_exchange
    if await _exists(wire, "exchange_declare", exchange=name):
        return
    _refuse_when_passive(config, f"exchange {name!r}")
    channel = await wire.open_channel()
    await _allowed(channel, f"exchange {name!r}", "exchange_declare", exchange=name, exchange_type="topic")
    await channel.close()
    log("bus.declared", kind="exchange", name=name)


async def ensure_question_queue(wire: Wire, config: BusConfig, log: Log) -> None:
    """See to it that the question queue exists and is bound; raises TopologyError.

    A queue that exists with other arguments is used as it is, and the log says what that costs: to refuse it
    would stop a stream that may have one worker and no need of more.
    """
    name = config.question_queue
    await _ensure_queue(wire, config, log, name=name, arguments=QUESTION_QUEUE_ARGUMENTS)
    if config.declare:
        channel = await wire.open_channel()
        try:
            for key in (config.asked_key, config.rated_key):
                await channel.call(
                    channel.channel.queue_bind,
                    queue=name,
                    exchange=config.events_exchange,
                    routing_key=key,
                )
        except ChannelClosedByBroker as error:
            if error.reply_code != ACCESS_REFUSED:
                raise
            raise TopologyError(
                f"may not bind queue {name!r} to exchange {config.events_exchange!r}: bind it and set"
                " ASKRELAY_DECLARE=false, or allow this user to write to the queue and read the exchange"
            ) from None
        await channel.close()


async def ensure_rejected_queue(wire: Wire, config: BusConfig, log: Log) -> None:
    """See to it that the rejected queue exists; raises TopologyError.

    The default exchange reaches it by its name, so it needs no binding.
    """
    await _ensure_queue(
        wire, config, log, name=config.rejected_queue, arguments=REJECTED_QUEUE_ARGUMENTS, compare=False
    )


async def _ensure_queue(
    wire: Wire, config: BusConfig, log: Log, *, name: str, arguments: dict[str, Any], compare: bool = True
) -> None:
    is_there = await _exists(wire, "queue_declare", queue=name)
    if not is_there:
        _refuse_when_passive(config, f"queue {name!r}")
    elif not compare or not config.declare:
        return
    channel = await wire.open_channel()
    try:
        await _allowed(channel, f"queue {name!r}", "queue_declare", queue=name, arguments=arguments)
    except ChannelClosedByBroker as error:
        if error.reply_code != PRECONDITION_FAILED:
            raise
        log("bus.topology_differs", queue=name, detail=difference_of(error.reply_text))
        return
    except TopologyError:
        if not is_there:
            raise
        return
    await channel.close()
    if not is_there:
        log("bus.declared", kind="queue", name=name)


def difference_of(reply_text: str) -> str:
    """Say what the broker's refusal of other arguments means for the questions."""
    match = re.search(r"inequivalent arg '([^']+)'", reply_text)
    argument = match.group(1) if match else "an argument"
    consequence = CONSEQUENCES.get(argument, "it is used as it is")
    return f"{argument} is not what askrelay declares: {consequence}; delete the queue when it is empty"


async def _exists(wire: Wire, method: str, **name: str) -> bool:
    """Look without making anything; a name that may not be looked at counts as there."""
    channel = await wire.open_channel()
    try:
        await channel.call(getattr(channel.channel, method), passive=True, **name)
    except ChannelClosedByBroker as error:
        if error.reply_code == NOT_FOUND:
            return False
        if error.reply_code == ACCESS_REFUSED:
            return True
        raise
    await channel.close()
    return True


async def _allowed(channel: OpenChannel, what: str, method: str, **arguments: Any) -> None:
    try:
        await channel.call(getattr(channel.channel, method), durable=True, **arguments)
    except ChannelClosedByBroker as error:
        if error.reply_code != ACCESS_REFUSED:
            raise
        raise TopologyError(
            f"may not declare {what}: declare it and set ASKRELAY_DECLARE=false,"
            " or allow this user to configure it"
        ) from None


def _refuse_when_passive(config: BusConfig, what: str) -> None:
    if not config.declare:
        raise TopologyError(f"{what} is missing: declare it, or set ASKRELAY_DECLARE=true")
