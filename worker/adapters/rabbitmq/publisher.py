"""Publishing with pipelined confirms: everything is written at once, then every confirm is awaited."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

from pika import spec
from pika.exceptions import AMQPError

from worker.adapters.rabbitmq.topology import TopologyError, ensure_exchange, ensure_rejected_queue
from worker.adapters.rabbitmq.wire import BrokerSilent
from worker.core.ports import PublishResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pika
    from pika.channel import Channel

    from worker.adapters.rabbitmq.config import BusConfig
    from worker.adapters.rabbitmq.wire import Wire
    from worker.core.ports import Log

#: Seconds a publish waits for a connection that is down or blocked. A restart of the broker takes longer, so
#: more patience would only hold back the caller, whose outbox keeps the reply anyway.
READY_TIMEOUT_S = 5.0

#: Seconds to wait for confirms. A quorum queue under load takes a second or two; after this the reply counts
#: as not confirmed and is published again under the same id.
CONFIRM_TIMEOUT_S = 30.0


class Outgoing(NamedTuple):
    """One message to publish."""

    exchange: str
    routing_key: str
    body: bytes
    properties: pika.BasicProperties


class Batch:
    """What became of the messages that were published together."""

    def __init__(self, size: int) -> None:
        self.results = [PublishResult.NOT_CONFIRMED] * size
        self.is_settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unsettled = size

    def settle(self, index: int, result: PublishResult) -> None:
        """Note one result."""
        self.results[index] = result
        self._unsettled -= 1
        if not self._unsettled and not self.is_settled.done():
            self.is_settled.set_result(None)


class Outstanding:
    """One message on its way."""

    __slots__ = ("batch", "index", "is_returned", "message_id", "routing_key")

    def __init__(self, batch: Batch, index: int, message: Outgoing) -> None:
        self.batch = batch
        self.index = index
        self.message_id = message.properties.message_id
        self.routing_key = message.routing_key
        self.is_returned = False


class Publisher:
    """The publishing half of the bus."""

    def __init__(self, config: BusConfig, *, log: Log) -> None:
        self._config = config
        self._log = log
        self._wire: Wire | None = None
        self._channel: Channel | None = None
        self._is_blocked = False
        self._ready = asyncio.Event()
        #: Messages without a confirm by the number the broker counts them under, oldest first.
        self._outstanding: dict[int, Outstanding] = {}
        self._published = 0
        self._frame_max: int = spec.FRAME_MAX_SIZE

    @property
    def largest_header_bytes(self) -> int:
        """The bytes a message's properties may take: they must fit into one frame."""
        # 8 bytes of frame around 14 bytes of the content header's own fields.
        return self._frame_max - 22

    async def serve(self, wire: Wire, is_up: Callable[[], None]) -> None:
        """Publish on this connection until it or the channel is lost, which raises the reason."""
        await ensure_exchange(wire, self._config, self._log)
        await ensure_rejected_queue(wire, self._config, self._log)
        opened = await wire.open_channel()
        opened.channel.add_on_return_callback(self._on_return)
        await opened.call(opened.channel.confirm_delivery, ack_nack_callback=self._on_confirm)
        wire.connection.add_on_connection_blocked_callback(self._on_blocked)
        wire.connection.add_on_connection_unblocked_callback(self._on_unblocked)
        self._wire, self._channel, self._published, self._is_blocked = wire, opened.channel, 0, False
        self._frame_max = wire.connection.params.frame_max or spec.FRAME_MAX_SIZE
        self._ready.set()
        is_up()
        try:
            await asyncio.wait({opened.closed})
            raise opened.closed.result()
        finally:
            self._wire = self._channel = None
            self._ready.clear()
            self._settle_all()

    async def publish(self, messages: Sequence[Outgoing]) -> list[PublishResult]:
        """Publish mandatory and wait for every confirm. Never raises."""
        if not messages:
            return []
        batch = Batch(len(messages))
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self._ready.wait()
        if self._wire is None or self._is_blocked:
            # Written to a blocked connection it would only pile up in memory.
            return batch.results
        first = self._published + 1
        with self._wire.connection.gathering():
            for index, message in enumerate(messages):
                try:
                    self._write(batch, index, message)
                except (AMQPError, ValueError, AttributeError):
                    batch.settle(index, PublishResult.NOT_CONFIRMED)
        try:
            async with asyncio.timeout(CONFIRM_TIMEOUT_S):
                await batch.is_settled
        except TimeoutError:
            self._log("bus.confirm_missed", count=self._give_up(batch, first))
        return batch.results

    def tell(self, message: Outgoing) -> None:
        """Publish a message that may be lost; nobody waits for its confirm. Never raises."""
        if self._channel is None or self._is_blocked:
            return
        try:
            self._channel.basic_publish(
                message.exchange, message.routing_key, message.body, message.properties, mandatory=False
            )
        except (AMQPError, ValueError, AttributeError):
            return
        # The broker counts and confirms it like the others.
        self._published += 1

    def stop(self) -> None:
        """Let nobody wait any more for a connection that will not come."""
        self._ready.set()

    async def mend_rejected_queue(self) -> None:
        """Make the rejected queue again when it is gone; raises nothing that concerns the caller."""
        if self._wire is not None:
            with suppress(AMQPError, TopologyError, BrokerSilent):
                await ensure_rejected_queue(self._wire, self._config, self._log)

    def _write(self, batch: Batch, index: int, message: Outgoing) -> None:
        assert self._channel is not None
        self._channel.basic_publish(
            message.exchange, message.routing_key, message.body, message.properties, mandatory=True
        )
        # Counted only now: what raised was not sent, and the broker does not count it either.
        self._published += 1
        self._outstanding[self._published] = Outstanding(batch, index, message)

    def _on_confirm(self, confirm: Any) -> None:
        method = confirm.method
        tags = [method.delivery_tag]
        if method.multiple:
            tags = list(takewhile(lambda tag: tag <= method.delivery_tag, self._outstanding))
        is_ack = isinstance(method, spec.Basic.Ack)
        for tag in tags:
            message = self._outstanding.pop(tag, None)
            if message is None:
                continue
            if not is_ack:
                result = PublishResult.NOT_CONFIRMED
            elif message.is_returned:
                result = PublishResult.RETURNED
            else:
                result = PublishResult.CONFIRMED
            message.batch.settle(message.index, result)

    def _on_return(self, _: Any, method: Any, properties: Any, __: bytes) -> None:
        """Mark the oldest message this can be: returns keep the order, and each comes before its ack."""
        for message in self._outstanding.values():
            if (
                not message.is_returned
                and message.message_id == properties.message_id
                and message.routing_key == method.routing_key
            ):
                message.is_returned = True
                return

    def _on_blocked(self, *_: Any) -> None:
        self._is_blocked = True
        self._ready.clear()
        self._log("bus.blocked")

    def _on_unblocked(self, *_: Any) -> None:
        self._is_blocked = False
        if self._channel is not None:
            self._ready.set()
        self._log("bus.unblocked")

    def _settle_all(self) -> None:
        outstanding, self._outstanding = self._outstanding, {}
        for message in outstanding.values():
            message.batch.settle(message.index, PublishResult.NOT_CONFIRMED)

    def _give_up(self, batch: Batch, first: int) -> int:
        """Forget the unconfirmed messages of a batch and return how many they were."""
        tags = [tag for tag, message in self._outstanding.items() if tag >= first and message.batch is batch]
        for tag in tags:
            del self._outstanding[tag]
        return len(tags)
