"""Rights: whether this user may do what a worker does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from worker.cli.doctor_checks.finding import Finding, Say
from worker.cli.doctor_checks.refused import IMPOSSIBLE_CONSUMER, UNUSED_KEY, ask, ask_publish

if TYPE_CHECKING:
    from worker.adapters.rabbitmq.wire import OpenChannel, Wire
    from worker.settings import Settings

#: The name under which rights on the exchange without a name are given.
DEFAULT_EXCHANGE = "amq.default"


async def look_at_rights(wire: Wire, settings: Settings, say: Say) -> None:
    """Say what this user may not do; what is not there yet is left out."""
    lacking = [right async for right in _lacking(wire, settings)]
    if not lacking:
        say(Finding("broker", "ok", "this user may publish, consume and bind"))
    for right, reason in lacking:
        say(Finding("broker", "wrong", f"this user may not {reason}", f"give it the right to {right}"))


async def _lacking(wire: Wire, settings: Settings) -> AsyncIterator[tuple[str, str]]:
    """Yield the right that is lacking and what cannot be done without it."""
    exchange, queue = settings.events_exchange, settings.question_queue
    if (await ask_publish(wire, exchange)).is_forbidden:
        yield f"write to the exchange {exchange!r}", "publish replies"
    if (await ask_publish(wire, "")).is_forbidden:
        yield f"write to {DEFAULT_EXCHANGE!r}", f"put events aside in {settings.rejected_queue!r}"

    async def consume(at: OpenChannel) -> None:
        await at.call(
            at.channel.basic_consume,
            queue=queue,
            on_message_callback=lambda *_: None,
            arguments=IMPOSSIBLE_CONSUMER,
        )

    _, refusal = await ask(wire, consume)
    if refusal.is_forbidden:
        yield f"read the queue {queue!r}", "take questions"
    if settings.declare:
        # Taking away a binding that is not there does nothing, and needs the rights that making one needs.
        _, refusal = await ask(
            wire,
            lambda at: at.call(
                at.channel.queue_unbind, queue=queue, exchange=exchange, routing_key=UNUSED_KEY
            ),
        )
        if refusal.is_forbidden:
            yield f"write to the queue {queue!r} and read the exchange {exchange!r}", "bind the queue"
