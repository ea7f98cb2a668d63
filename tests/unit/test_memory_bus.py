"""What the bus within the process has beyond the conformance suite."""

from __future__ import annotations

import asyncio

import pytest

from worker.adapters.memory_bus import MemoryBroker, MemoryBus, MemoryMessage, matches


@pytest.mark.parametrize(
    ("pattern", "key", "is_taken"),
    [
        ("contact.question.asked", "contact.question.asked", True),
        ("contact.question.asked", "contact.question.answered", False),
        ("contact.question.*", "contact.question.answered", True),
        ("contact.*", "contact.question.answered", False),
        ("*.*.*", "contact.question.answered", True),
        ("#", "contact.question.answered", True),
        ("#", "", True),
        ("contact.#", "contact", True),
        ("contact.#", "contact.question.answered", True),
        ("#.answered", "contact.question.answered", True),
        ("#.asked", "contact.question.answered", False),
        ("contact.#.answered", "contact.answered", True),
        ("*", "", True),
    ],
)
def test_topic_patterns_take_the_keys_that_rabbitmq_takes(pattern: str, key: str, is_taken: bool) -> None:
    assert matches(pattern, key) is is_taken


async def test_events_wait_for_a_bus_that_starts_later() -> None:
    broker = MemoryBroker()
    broker.publish_event(b"{}", message_id="m-1")
    assert broker.waiting_questions == 1
    bus = MemoryBus(broker)
    await bus.start()
    [delivery] = await bus.receive(10)
    assert (delivery.body, delivery.message_id) == (b"{}", "m-1")
    assert broker.waiting_questions == 0


async def test_a_message_bound_twice_comes_once() -> None:
    broker = MemoryBroker()
    queue = broker.bind("contact.#", "contact.question.*")
    broker.publish(MemoryMessage("contact.question.answered", b"1"))
    assert len(queue.messages) == 1


async def test_every_bound_queue_gets_its_own_copy() -> None:
    broker = MemoryBroker()
    queues = [broker.bind("#"), broker.bind("#")]
    broker.publish(MemoryMessage("contact.question.answered", b"1"))
    assert [(await queue.get()).body for queue in queues] == [b"1", b"1"]


async def test_a_message_nobody_takes_is_told() -> None:
    broker = MemoryBroker()
    assert not broker.publish(MemoryMessage("contact.question.answered", b"1"))
    assert broker.publish(MemoryMessage(broker.asked_key, b"2"))


async def test_get_waits_for_a_message() -> None:
    broker = MemoryBroker()
    queue = broker.bind("#")
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    broker.publish(MemoryMessage("x", b"1"))
    assert (await waiting).body == b"1"


async def test_a_reset_hands_the_queue_to_the_next_bus() -> None:
    broker = MemoryBroker()
    first, second = MemoryBus(broker), MemoryBus(broker)
    await first.start()
    await second.start()
    broker.publish_event(b"1")
    await first.receive(10)
    await first.reset_intake()
    [delivery] = await second.receive(10)
    assert (delivery.body, delivery.is_redelivered) == (b"1", True)


async def test_a_reset_after_the_stop_does_not_consume_again() -> None:
    broker = MemoryBroker()
    bus = MemoryBus(broker)
    await bus.start()
    await bus.stop_intake()
    await bus.reset_intake()
    broker.publish_event(b"1")
    assert await bus.receive(10) == []
    assert broker.waiting_questions == 1
