"""The bus between the processes of one machine: what the conformance suite cannot show."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from worker.adapters.local_bus import LocalBell, LocalBus, LocalBusServer
from worker.adapters.memory_bus import MemoryBroker
from worker.core.model import Reply
from worker.core.ports import PublishResult

WITHIN_S = 60.0

#: Takes three deliveries, acks the first and waits to be killed.
TAKER = """
import asyncio, socket, sys
from worker.adapters.local_bus import LocalBus

async def take():
    bus = LocalBus(socket.socket(fileno=int(sys.argv[1])))
    await bus.start()
    taken = []
    while len(taken) < 3:
        taken += await bus.receive(3 - len(taken))
    bus.ack(taken[:1])
    await bus.publish([])
    print("taken", flush=True)
    await asyncio.sleep(3600)

asyncio.run(take())
"""


class Machine:
    """A broker, its server, and lines to it."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.server = LocalBusServer(self.broker)
        self.serving: list[asyncio.Task[None]] = []

    def line(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        self.serving.append(asyncio.create_task(self.server.serve(ours)))
        return theirs

    async def bus(self) -> LocalBus:
        bus = LocalBus(self.line())
        await bus.start()
        return bus


@pytest.fixture
async def machine() -> AsyncIterator[Machine]:
    machine = Machine()
    yield machine
    async with asyncio.timeout(WITHIN_S):
        await asyncio.gather(*machine.serving)


async def take(bus: LocalBus, number: int) -> list[bytes]:
    taken: list[bytes] = []
    async with asyncio.timeout(WITHIN_S):
        while len(taken) < number:
            taken += [delivery.body for delivery in await bus.receive(number - len(taken))]
    return taken


async def test_deliveries_of_a_killed_process_come_again_in_order(machine: Machine) -> None:
    for number in range(5):
        machine.broker.publish_event(b"%d" % number)
    line = machine.line()
    process = await asyncio.to_thread(
        subprocess.Popen,
        [sys.executable, "-c", TAKER, str(line.fileno())],
        pass_fds=[line.fileno()],
        stdout=subprocess.PIPE,
    )
    line.close()
    assert process.stdout is not None
    assert await asyncio.to_thread(process.stdout.readline) == b"taken\n"
    heir = await machine.bus()
    process.kill()
    assert await take(heir, 4) == [b"1", b"2", b"3", b"4"]
    await asyncio.to_thread(process.wait)
    process.stdout.close()
    await heir.stop()


async def test_ring_is_heard_in_every_process(machine: Machine) -> None:
    buses = [await machine.bus() for _ in range(3)]
    bells = [LocalBell(bus) for bus in buses]
    heard = [asyncio.Event() for _ in bells]

    for bell, event in zip(bells, heard, strict=True):

        async def on_ring(event: asyncio.Event = event) -> None:
            event.set()

        await bell.start(on_ring)
    bells[0].ring()
    async with asyncio.timeout(WITHIN_S):
        await asyncio.gather(*(event.wait() for event in heard))
    for bell, bus in zip(bells, buses, strict=True):
        await bell.stop()
        await bus.stop()


async def test_ring_before_the_line_is_open_is_lost_and_does_no_harm(machine: Machine) -> None:
    bus = LocalBus(machine.line())
    LocalBell(bus).ring()
    await bus.start()
    await bus.stop()


async def test_receive_that_was_cancelled_loses_no_delivery(machine: Machine) -> None:
    bus = await machine.bus()
    waiting = asyncio.create_task(bus.receive(10))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    machine.broker.publish_event(b"1")
    assert await take(bus, 1) == [b"1"]
    await bus.stop()


async def test_nothing_is_confirmed_when_the_other_side_is_gone() -> None:
    ours, theirs = socket.socketpair()
    server = LocalBusServer(MemoryBroker())
    serving = asyncio.create_task(server.serve(ours))
    bus = LocalBus(theirs)
    await bus.start()
    serving.cancel()
    await asyncio.wait({serving})
    reply = Reply(event_id="r", kind="answered", body=b"{}", question_id="e")
    async with asyncio.timeout(WITHIN_S):
        assert await bus.publish([reply]) == [PublishResult.NOT_CONFIRMED]
        await bus.stop()
