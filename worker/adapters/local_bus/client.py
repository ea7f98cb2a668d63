"""The Bus and Bell ports of a process that reaches the broker over a socket."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any

from worker.adapters.local_bus.frames import Frame, delivery_of, encode, read_frame, reply_frame
from worker.adapters.memory_bell import MemoryBell
from worker.core.model import Progress, Reply
from worker.core.ports import Delivery, PublishResult


class LocalBus:
    """One process's end of a broker that lives in another."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._numbers = count()
        self._calls: dict[int, asyncio.Future[Any]] = {}
        #: What was delivered and not yet handed out.
        self._arrived: deque[Delivery] = deque()
        self._something = asyncio.Event()
        #: One request for deliveries is enough, however often a receive is cancelled and begun anew.
        self._is_asking = False
        self._is_intake_stopped = False
        #: Called for every ring of the fleet.
        self.on_ring: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Open the line and consume from now on."""
        reader, self._writer = await asyncio.open_unix_connection(sock=self._end)
        self._reading = asyncio.create_task(self._read(reader), name="local bus")
        await self._call("start")

    async def receive(self, limit: int) -> list[Delivery]:
        """Wait for at least one delivery; an empty list means that the intake was stopped."""
        while not self._is_intake_stopped:
            if self._arrived:
                return [self._arrived.popleft() for _ in range(min(limit, len(self._arrived)))]
            if not self._is_asking:
                self._is_asking = True
                self.send({"op": "receive", "limit": limit})
            self._something.clear()
            await self._something.wait()
        await asyncio.sleep(0)
        return []

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Settle deliveries; those from before a reset are in the queue again."""
        self.send({"op": "ack", "numbers": [delivery.receipt for delivery in deliveries]})

    async def publish(self, replies: Sequence[Reply]) -> list[PublishResult]:
        """Publish and wait for every confirm; nothing is confirmed over a line that is gone."""
        results = await self._call("publish", replies=[reply_frame(reply) for reply in replies])
        return [PublishResult(each) for each in results or [PublishResult.NOT_CONFIRMED] * len(replies)]

    def tell(self, progress: Progress) -> None:
        """Drop it, as such an event allows: nobody listens for it on this bus."""

    async def reject(self, delivery: Delivery, *, reason: str, detail: str) -> PublishResult:
        """Put the original bytes into the rejected queue with the reason; does not ack."""
        result = await self._call("reject", number=delivery.receipt, reason=reason, detail=detail)
        return PublishResult(result or PublishResult.NOT_CONFIRMED)

    async def reset_intake(self) -> None:
        """Give back what is unacked, and stand behind the other consumers."""
        await self._call("reset_intake")

    async def stop_intake(self) -> None:
        """Give back what is unacked and consume no more."""
        self._is_intake_stopped = True
        self._something.set()
        await self._call("stop_intake")

    async def stop(self) -> None:
        """Stop the intake and close the line."""
        await self.stop_intake()
        if self._writer is not None and self._reading is not None:
            self._writer.close()
            await asyncio.wait({self._reading})
            self._writer = None

    def send(self, frame: Frame) -> None:
        """Write a frame; one that cannot be written is lost."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encode(frame))

    async def _call(self, operation: str, **arguments: Any) -> Any:
        """Ask for something and wait for its answer; None when the line is gone."""
        if self._reading is None or self._reading.done():
            return None
        number = next(self._numbers)
        self._calls[number] = asyncio.get_running_loop().create_future()
        self.send({"op": operation, "call": number, **arguments})
        try:
            return await self._calls[number]
        finally:
            del self._calls[number]

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while (frame := await read_frame(reader)) is not None:
            self._take(frame)
        for answered in self._calls.values():
            if not answered.done():
                answered.set_result(None)

    def _take(self, frame: Frame) -> None:
        match frame["op"]:
            case "ring":
                self.on_ring()
            case "receive":
                self._is_asking = False
                self._arrived.extend(delivery_of(each) for each in frame["deliveries"])
                self._something.set()
            case operation:
                if operation == "reset_intake":
                    # Here and not after the call: what comes behind this frame belongs to the new channel.
                    self._arrived.clear()
                answered = self._calls.get(frame["call"])
                if answered is not None and not answered.done():
                    answered.set_result(frame["answer"])


class LocalBell:
    """The doorbell over the same line."""

    def __init__(self, bus: LocalBus) -> None:
        self._bus = bus
        self._heard = MemoryBell()
        bus.on_ring = self._heard.ring

    async def start(self, on_ring: Callable[[], Awaitable[None]]) -> None:
        """Listen; rings until the listener has returned become one."""
        await self._heard.start(on_ring)

    def ring(self) -> None:
        """Ring in every process of the fleet, this one included."""
        self._bus.send({"op": "ring"})

    async def stop(self) -> None:
        """Stop listening."""
        await self._heard.stop()
