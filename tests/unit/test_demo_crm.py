"""The demo's CRM: what goes wrong in it is told, and not waited for."""

from __future__ import annotations

import asyncio

import pytest

from worker.adapters.memory_bus import MemoryMessage
from worker.demo.crm import REPLY_KEYS, MemoryCrm
from worker.demo.crm_rabbitmq import RabbitmqCrm


class ShowingFailedError(Exception):
    """A screen that could not show a reply."""


def fail(_body: bytes) -> None:
    raise ShowingFailedError


async def test_reply_that_cannot_be_shown_ends_the_demo() -> None:
    crm = MemoryCrm()
    await crm.start(fail)
    crm.check()
    crm._broker.publish(MemoryMessage(REPLY_KEYS[0], b"{}"))
    assert crm._collecting is not None
    await asyncio.wait({crm._collecting})
    with pytest.raises(ShowingFailedError):
        crm.check()


async def test_reply_of_a_broker_that_cannot_be_shown_ends_the_demo_too() -> None:
    crm = RabbitmqCrm("amqp://localhost/", ca_file=None)
    crm._collect(fail, b"{}")
    with pytest.raises(ShowingFailedError):
        crm.check()


async def test_broker_whose_address_pika_does_not_take_is_no_broker() -> None:
    crm = RabbitmqCrm("amqp://guest@localhost/", ca_file=None)  # without a password
    with pytest.raises(TypeError):
        await crm.start(lambda _body: None)
    await crm.close()
