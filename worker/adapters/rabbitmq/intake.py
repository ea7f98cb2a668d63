"""Taking events off the question queue: deliveries gathered in order, acked in bulk, never cancelled."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from pika.exceptions import ChannelWrongStateError, ConnectionWrongStateError

from worker.adapters.rabbitmq.topology import ensure_exchange, ensure_question_queue
from worker.core.ports import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pika
    from pika.channel import Channel

    from worker.adapters.rabbitmq.config import BusConfig
    from worker.adapters.rabbitmq.wire import OpenChannel, Wire
    from worker.core.ports import Log

#: Messages the broker sends ahead of our acks: one batch of 256 under way and the next one already here.
PREFETCH = 512


class Receipt(NamedTuple):
    """What settles a delivery, and the properties a rejection passes on."""

    generation: Generation
    tag: int
    properties: pika.BasicProperties


class Generation:
    """The deliveries of one intake channel. Their tags mean nothing on any other."""

    def __init__(self, opened: OpenChannel) -> None:
        self.opened = opened
        self._is_over = asyncio.Event()
        #: The lowest tag that is not settled.
        self._lowest = 1
        #: Settled tags above it.
        self._settled: set[int] = set()

    def give_up(self) -> None:
        """Ask for another channel although this one is open."""
        self._is_over.set()

    async def until_over(self) -> None:
        """Wait until the channel is given up, and close it; raises the reason when it is lost instead."""
        is_over = asyncio.ensure_future(self._is_over.wait())
        ends: set[asyncio.Future[Any]] = {is_over, self.opened.closed}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_over.cancel()
        if not self._is_over.is_set():
            raise self.opened.closed.result()
        await self.opened.close()

    def settle(self, tags: Iterable[int]) -> None:
        """Ack these tags, those that end the settled beginning at once, the others one by one."""
        fresh = sorted({tag for tag in tags if tag >= self._lowest and tag not in self._settled})
        self._settled.update(fresh)
        while self._lowest in self._settled:
            self._settled.remove(self._lowest)
            self._lowest += 1
        beginning = [tag for tag in fresh if tag < self._lowest]
        channel = self.opened.channel
        try:
            # The tag named with ``multiple`` must itself be unacked, else the broker closes the channel.
            if beginning:
                channel.basic_ack(beginning[-1], multiple=True)
            for tag in fresh[len(beginning) :]:
                channel.basic_ack(tag)
        except (ChannelWrongStateError, ConnectionWrongStateError):
            # The channel is gone, and with it the tags: the broker delivers again.
            self._settled.clear()


class Intake:
    """The consuming half of the bus."""

    def __init__(self, config: BusConfig, *, log: Log) -> None:
        self._config = config
        self._log = log
        self._waiting: deque[Delivery] = deque()
        self._something = asyncio.Event()
        self._generation: Generation | None = None
        self._is_stopped = False

    async def serve(self, wire: Wire, is_up: Callable[[], None]) -> None:
        """Consume on this connection until it or the channel is lost, which raises the reason."""
        while not self._is_stopped:
            await ensure_exchange(wire, self._config, self._log)
            await ensure_question_queue(wire, self._config, self._log)
            # The tags are this channel's from now on: the first delivery may come with the answer to consume.
            generation = self._generation = Generation(await wire.open_channel())
            try:
                await self._consume(generation)
                is_up()
                await generation.until_over()
            finally:
                self._forget(generation)

    async def _consume(self, generation: Generation) -> None:
        opened = generation.opened

        def on_cancel(_: Any) -> None:
            self._log("bus.queue_lost", queue=self._config.question_queue)
            generation.give_up()

        def on_message(
            _: Channel, method: pika.spec.Basic.Deliver, properties: pika.BasicProperties, body: bytes
        ) -> None:
            if self._generation is generation:
                self._waiting.append(_delivery(generation, method, properties, body))
                self._something.set()

        opened.channel.add_on_cancel_callback(on_cancel)
        await opened.call(opened.channel.basic_qos, prefetch_count=PREFETCH)
        await opened.call(
            opened.channel.basic_consume,
            queue=self._config.question_queue,
            on_message_callback=on_message,
        )

    def _forget(self, generation: Generation) -> None:
        """Drop what this channel delivered and nobody took: it comes again."""
        if self._generation is generation:
            self._generation = None
            self._waiting.clear()
            if not self._is_stopped:
                self._something.clear()

    async def receive(self, limit: int) -> list[Delivery]:
        """Return up to ``limit`` deliveries, at least one; none at all only after the intake was stopped."""
        while not self._waiting:
            if self._is_stopped:
                await asyncio.sleep(0)
                return []
            await self._something.wait()
            if not self._waiting and not self._is_stopped:
                self._something.clear()
        taken = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        if not self._waiting and not self._is_stopped:
            self._something.clear()
        return taken

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Settle deliveries of the open channel; those of an earlier one come again anyway."""
        generation = self._generation
        tags = [each.receipt.tag for each in deliveries if each.receipt.generation is generation]
        if generation is not None and tags:
            generation.settle(tags)

    async def reset(self) -> None:
        """Give the channel up, wait until it is closed, and let ``serve`` open another."""
        generation = self._generation
        if generation is not None:
            self._forget(generation)
            generation.give_up()
            await generation.opened.close()

    async def stop(self) -> None:
        """Close the channel for good; whoever waits in ``receive`` gets nothing."""
        self._is_stopped = True
        self._something.set()
        await self.reset()


def _delivery(
    generation: Generation, method: pika.spec.Basic.Deliver, properties: pika.BasicProperties, body: bytes
) -> Delivery:
    headers: dict[Any, Any] = properties.headers or {}
    if not all(type(name) is str for name in headers):
        headers = {_text(name): value for name, value in headers.items()}
    return Delivery(
        body=body,
        content_type=_text(properties.content_type),
        content_encoding=_text(properties.content_encoding),
        message_id=_text(properties.message_id),
        app_id=_text(properties.app_id),
        type=_text(properties.type),
        headers=headers,
        is_redelivered=bool(method.redelivered),
        receipt=Receipt(generation, int(method.delivery_tag), properties),
    )


def _text(value: str | bytes | None) -> str | None:
    """Return a short string as text, bad UTF-8 included.

    pika hands out bytes when they are no UTF-8. Each bad byte becomes a lone surrogate, which no valid id
    has, so that the event is refused instead of mistaken for another.
    """
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
