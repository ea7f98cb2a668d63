"""The doorbell within the process."""

from __future__ import annotations

import asyncio

from worker.adapters.memory_bell import MemoryBell


async def test_a_ring_reaches_the_listener() -> None:
    bell = MemoryBell()
    heard = asyncio.Event()

    async def listen() -> None:
        heard.set()

    await bell.start(listen)
    bell.ring()
    async with asyncio.timeout(10):
        await heard.wait()
    await bell.stop()


async def test_rings_while_the_listener_is_busy_become_one() -> None:
    bell = MemoryBell()
    heard = 0
    may_go_on = asyncio.Semaphore(0)

    async def listen() -> None:
        nonlocal heard
        heard += 1
        await may_go_on.acquire()

    await bell.start(listen)
    bell.ring()
    while heard < 1:  # noqa: ASYNC110 - the loop turns until the task has run
        await asyncio.sleep(0)
    for _ in range(100):
        bell.ring()
    for _ in range(3):
        may_go_on.release()
    for _ in range(20):
        await asyncio.sleep(0)
    assert heard == 2
    await bell.stop()


async def test_a_ring_before_the_start_is_heard_after_it() -> None:
    bell = MemoryBell()
    heard = asyncio.Event()

    async def listen() -> None:
        heard.set()

    bell.ring()
    await bell.start(listen)
    async with asyncio.timeout(10):
        await heard.wait()
    await bell.stop()


async def test_stop_without_start_is_no_error() -> None:
    await MemoryBell().stop()
