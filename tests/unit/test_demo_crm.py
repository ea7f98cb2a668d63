"""The demo's CRM: what goes wrong in it is told, and not waited for."""

from __future__ import annotations

import pytest

from worker.demo.crm_rabbitmq import RabbitmqCrm


async def test_broker_whose_address_pika_does_not_take_is_no_broker() -> None:
    crm = RabbitmqCrm("amqp://guest@localhost/", ca_file=None)  # without a password
    with pytest.raises(TypeError):
        await crm.start(lambda _body: None)
    await crm.close()
