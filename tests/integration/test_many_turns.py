"""Hundreds of turns wait in one process for little memory."""

from __future__ import annotations

from pathlib import Path

from tests.fleet import Fleet, generated
from tests.servers.rabbitmq import AmqpNames, RabbitMQ

#: A thread per turn needs some 250 MB for as many.
MOST_BYTES = 200 * 1024 * 1024


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process ever had resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def test_five_hundred_turns_wait_at_once_under_200_mb(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, tmp_path: Path
) -> None:
    settings = {
        "ASKRELAY_CONCURRENCY": "500",
        "ASKRELAY_LEASE_S": "30",
        "ASKRELAY_REQUEST_TIMEOUT_S": "60",
        "ASKRELAY_SETTLE_S": "120",
    }
    with Fleet(
        rabbitmq=rabbitmq,
        names=amqp_names,
        database_url=f"sqlite:///{tmp_path}/ledger.db",
        folder=tmp_path,
        latency_s=6,
        settings=settings,
    ) as fleet:
        worker = fleet.start_worker()
        fleet.ask(generated(contacts=600, each=1))
        fleet.wait_for_replies(600)
        peak = peak_bytes(worker.pid)
        summary = fleet.sandbox.summary()
        judgement = fleet.judge()
    assert judgement.broken() == {}
    assert summary["max_posts_at_once"] >= 450
    assert peak < MOST_BYTES
