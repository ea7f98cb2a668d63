"""The end of the socket in the process that has the broker."""

from __future__ import annotations

import asyncio
import socket
from itertools import count
from typing import Any

from worker.adapters.local_bus.frames import Frame, delivery_frame, encode, read_frame, reply_of
from worker.adapters.memory_bus import MemoryBroker, MemoryBus
from worker.core.ports import Delivery, PublishResult


class LocalBusServer:
    """Serves a memory broker to other processes, and carries their rings to all of them."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._lines: set[_Line] = set()

    async def serve(self, end: socket.socket) -> None:
        """Serve one process until it is gone; what it had not acked returns to its place in the queue."""
        reader, writer = await asyncio.open_unix_connection(sock=end)
        line = _Line(MemoryBus(self._broker), writer, self.ring)
        self._lines.add(line)
        try:
            while (frame := await read_frame(reader)) is not None:
                await line.take(frame)
        finally:
            self._lines.discard(line)
            await line.close()

    def ring(self) -> None:
        """Ring in every process: one that was just killed would swallow a ring meant for one alone."""
        for line in self._lines:
            line.send({"op": "ring"})


class _Line:
    """One process as the server sees it."""

    def __init__(self, bus: MemoryBus, writer: asyncio.StreamWriter, ring: Any) -> None:
        self._bus = bus
        self._writer = writer
        self._ring = ring
        self._numbers = count()
        #: Deliveries that were not acked yet, by the number the process knows them by.
        self._delivered: dict[int, Delivery] = {}
        self._receiving: asyncio.Task[None] | None = None

    def send(self, frame: Frame) -> None:
        """Write a frame; one to a process that is gone is lost, as it would be on any wire."""
        if not self._writer.is_closing():
            self._writer.write(encode(frame))

    async def take(self, frame: Frame) -> None:
        """Do what a frame asks for."""
        match frame["op"]:
            case "ring":
                self._ring()
            case "receive":
                self._receiving = asyncio.create_task(self._receive(frame["limit"]))
            case "ack":
                self._bus.ack([self._delivered.pop(n) for n in frame["numbers"] if n in self._delivered])
            case operation:
                self.send({"op": operation, "call": frame["call"], "answer": await self._answer(frame)})

    async def close(self) -> None:
        """Give back what is unacked, and end the line."""
        if self._receiving is not None:
            self._receiving.cancel()
        await self._bus.stop()
        self._writer.close()

    async def _answer(self, frame: Frame) -> Any:
        match frame["op"]:
            case "start":
                return await self._bus.start()
            case "publish":
                return await self._bus.publish([reply_of(each) for each in frame["replies"]])
            case "reject":
                return await self._reject(frame)
            case "reset_intake":
                return await self._bus.reset_intake()
            case "stop_intake":
                return await self._bus.stop_intake()
            case unknown:
                raise AssertionError(f"Bug: no operation {unknown!r} on the local bus.")

    async def _reject(self, frame: Frame) -> PublishResult:
        delivery = self._delivered.get(frame["number"])
        if delivery is None:
            return PublishResult.NOT_CONFIRMED
        return await self._bus.reject(delivery, reason=frame["reason"], detail=frame["detail"])

    async def _receive(self, limit: int) -> None:
        deliveries = await self._bus.receive(limit)
        numbered = [(next(self._numbers), delivery) for delivery in deliveries]
        self._delivered.update(numbered)
        self.send({"op": "receive", "deliveries": [delivery_frame(d, n) for n, d in numbered]})
