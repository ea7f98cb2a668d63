"""A whole worker inside the test's own process: real core, runtime, ledger and API adapter, bus in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.adapters.customgpt import CustomGpt
from worker.adapters.ledger import prepare
from worker.adapters.memory_bell import MemoryBell
from worker.adapters.memory_bus import MemoryBroker, MemoryBus, MemoryMessage, MemoryQueue
from worker.adapters.recovery_points import NoRecoveryPoints
from worker.bootstrap import api_config, make_ledger, make_process
from worker.core.meters import NoMeters
from worker.settings import load_settings

#: s. U of PROTOCOL 5; over loopback a peer that is there acknowledges at once.
USER_TIMEOUT_S = 0.2
#: s. Must not be reached on a busy machine.
WITHIN_S = 90.0

#: Nothing is paced, and what has to settle does so soon.
QUICK = {
    "CUSTOMGPT_API_KEY": "test",
    "CUSTOMGPT_PROJECT_ID": "123",
    "ASKRELAY_REQUESTS_PER_MINUTE": "0",
    "ASKRELAY_REQUESTS_AT_ONCE": "0",
    "ASKRELAY_SEND_GRACE_S": "2",
    "ASKRELAY_REQUEST_TIMEOUT_S": "2",
    "ASKRELAY_SETTLE_S": "4",
    "ASKRELAY_LIST_LAG_S": "0",
}


@dataclass
class InProcess:
    """What the CRM sees of the worker, and what it logs."""

    broker: MemoryBroker
    replies: MemoryQueue
    logged: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def ask(self, events: Sequence[dict[str, Any]]) -> None:
        """Publish events in order."""
        for event in events:
            self.broker.publish_event(json.dumps(event).encode())

    async def heard(self, count: int) -> list[MemoryMessage]:
        """Wait for this many final replies, and return everything that came until then."""
        messages: list[MemoryMessage] = []
        async with asyncio.timeout(WITHIN_S):
            while sum(is_final(message) for message in messages) < count:
                messages.append(await self.replies.get())
        return messages


@asynccontextmanager
async def worker(database: Path, api_url: str, **settings: str) -> AsyncIterator[InProcess]:
    """Run a worker with these settings, and stop it at the end."""
    loaded = load_settings(
        {
            **QUICK,
            "CUSTOMGPT_API_URL": api_url,
            "DATABASE_URL": f"sqlite:///{database}",
            "ASKRELAY_GRACE_S": "0",
            **settings,
        }
    )
    prepare(loaded.database_url)
    broker = MemoryBroker()
    here = InProcess(
        broker, broker.bind("contact.question.answered", "contact.question.failed", "*.*.progress")
    )

    def log(event: str, /, **fields: Any) -> None:
        here.logged.append((event, fields))

    ledger = make_ledger(loaded, "worker-a", log, on_state=lambda _: None, on_batch=lambda *_: None)
    assistant = CustomGpt(api_config(loaded, user_timeout_s=USER_TIMEOUT_S), key=loaded.key_source(), log=log)
    process = make_process(
        loaded,
        bus=MemoryBus(broker),
        bell=MemoryBell(),
        ledger=ledger,
        assistant=assistant,
        points=NoRecoveryPoints(),
        contact_hash=lambda _: "hash",
        log=log,
        meters=NoMeters(),
        user_timeout_s=USER_TIMEOUT_S,
    )
    stop = asyncio.Event()
    ledger.start()
    await assistant.start()
    running = asyncio.create_task(process.run(stop))
    try:
        yield here
    finally:
        stop.set()
        await running
        await assistant.close()
        await ledger.stop()


def is_final(message: MemoryMessage) -> bool:
    """Tell whether a message ends its question."""
    return not message.routing_key.endswith(".progress")


def asked(event_id: str, contact_id: str, question: str, **data: Any) -> dict[str, Any]:
    """Return an event that asks."""
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": "crm/test",
        "type": "contact.question.asked",
        "data": {"contact_id": contact_id, "question": question, **data},
    }
