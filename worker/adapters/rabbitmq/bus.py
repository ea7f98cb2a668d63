"""The Bus port on RabbitMQ: one connection consumes, another publishes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from worker.adapters.rabbitmq.intake import Intake
from worker.adapters.rabbitmq.link import Link
from worker.adapters.rabbitmq.messages import progress_message, rejection_message, reply_message
from worker.adapters.rabbitmq.publisher import Publisher
from worker.core.ports import PublishResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.adapters.rabbitmq.config import BusConfig
    from worker.adapters.rabbitmq.wire import Wire
    from worker.core.model import Progress, Reply
    from worker.core.ports import Delivery, Log


class RabbitmqBus:
    """Takes events from and publishes replies to RabbitMQ 3.10 to 4.x.

    The connections are apart: a broker short of memory blocks those that publish, and acks must go on.
    """

    def __init__(self, config: BusConfig, *, log: Log) -> None:
        self._config = config
        self._intake = Intake(config, log=log)
        self._publisher = Publisher(config, log=log)
        self._consume_link = Link("consume", config, serve=self._serve_intake, log=log)
        self._publish_link = Link("publish", config, serve=self._serve_publisher, log=log)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Connect in the background and keep connected; a broker that is away is no error."""
        self._tasks = {
            "consume": asyncio.create_task(self._consume_link.run(), name="bus consume"),
            "publish": asyncio.create_task(self._publish_link.run(), name="bus publish"),
        }

    async def receive(self, limit: int) -> list[Delivery]:
        """Wait for at least one delivery; an empty list means that the intake was stopped."""
        return await self._intake.receive(limit)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Settle deliveries; those of a channel that is gone are left to the broker."""
        self._intake.ack(deliveries)

    async def publish(self, replies: Sequence[Reply]) -> list[PublishResult]:
        """Publish mandatory and persistent, and wait for every confirm. Never raises."""
        return await self._publisher.publish([reply_message(reply, self._config) for reply in replies])

    def tell(self, progress: Progress) -> None:
        """Publish an event that may be lost; on the channel of the replies, so that none overtakes it."""
        self._publisher.tell(progress_message(progress, self._config))

    async def reject(self, delivery: Delivery, *, reason: str, detail: str) -> PublishResult:
        """Publish the original bytes to the rejected queue. Never raises; does not ack."""
        message = rejection_message(
            delivery,
            reason=reason,
            detail=detail,
            queue=self._config.rejected_queue,
            largest_header_bytes=self._publisher.largest_header_bytes,
        )
        [result] = await self._publisher.publish([message])
        if result is PublishResult.RETURNED:
            # Somebody deleted the queue: without it nothing could be rejected until the next reconnect.
            await self._publisher.mend_rejected_queue()
            [result] = await self._publisher.publish([message])
        return result

    async def reset_intake(self) -> None:
        """Close the intake channel, so that what is unacked goes to whoever is next, and open another."""
        await self._intake.reset()

    async def stop_intake(self) -> None:
        """Close the intake channel for good, without a cancel; what is unacked returns to the queue."""
        await self._intake.stop()
        await self._end("consume")

    async def stop(self) -> None:
        """Close everything."""
        await self.stop_intake()
        await self._end("publish")
        self._publisher.stop()

    async def _serve_intake(self, wire: Wire) -> None:
        await self._intake.serve(wire, self._consume_link.is_up)

    async def _serve_publisher(self, wire: Wire) -> None:
        await self._publisher.serve(wire, self._publish_link.is_up)

    async def _end(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
