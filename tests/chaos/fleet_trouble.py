"""What befalls a fleet by itself: rolling restarts, kills and pauses at any moment, storms of duplicates."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time

import pika

from tests.chaos.crm import event_of
from tests.chaos.load import load, wait_for_progress
from tests.chaos.stage import Cell, Stage
from tests.judge import Asked

GROUP = "fleet"
#: The same event this often.
STORM = 1_000
#: Connections over which the storm comes.
STORM_CONNECTIONS = 4


def killed_anywhere(stage: Stage, *, times: int = 10, seed: int = 1) -> Cell:
    """Kill one worker after the other at any moment under load; each is replaced."""
    cell = stage.cell(GROUP, f"killed at any moment {times} times")
    chance = random.Random(seed)
    workers = [stage.start_worker(), stage.start_worker()]
    with load(stage, cell):
        wait_for_progress(stage, cell)
        for _ in range(times):
            time.sleep(chance.uniform(0.2, 1.5))
            victim = workers.pop(0)
            stage.fleet.stop_worker(victim, signal.SIGKILL)
            cell.hits += 1
            workers.append(stage.start_worker())
    return cell


def paused_anywhere(stage: Stage, *, times: int = 8, seed: int = 2) -> Cell:
    """Stop workers at any moment for longer than a lease, under load, and let them go on."""
    cell = stage.cell(GROUP, f"paused at any moment {times} times")
    chance = random.Random(seed)
    workers = [stage.start_worker(), stage.start_worker()]
    with load(stage, cell):
        wait_for_progress(stage, cell)
        for number in range(times):
            victim = workers[number % len(workers)]
            victim.send_signal(signal.SIGSTOP)
            time.sleep(chance.uniform(2.5, 5.0))
            victim.send_signal(signal.SIGCONT)
            cell.hits += 1
            time.sleep(chance.uniform(0.5, 2.0))
    return cell


def rolling_restart(stage: Stage, *, rounds: int = 2) -> Cell:
    """End workers in order, one after the other, under load, each after its successor is up."""
    cell = stage.cell(GROUP, "rolling restart")
    workers = [stage.start_worker() for _ in range(3)]
    codes = []
    longest_s = 0.0
    with load(stage, cell):
        wait_for_progress(stage, cell)
        for _ in range(rounds * len(workers)):
            workers.append(stage.start_worker())
            begun = time.monotonic()
            codes.append(stage.fleet.stop_worker(workers.pop(0)))
            longest_s = max(longest_s, time.monotonic() - begun)
            cell.hits += 1
    waited = [line["waited_s"] for line in stage.events("turn.finished") if line["attempt"] == 1]
    cell.note = (
        f"a stop took {longest_s:.1f} s at most, a start came {max(waited, default=0):.1f} s late at most"
    )
    if any(codes):
        cell.other.append(f"exit codes {codes}")
    if late := stage.events("lease.lost"):
        cell.other.append(f"{len(late)} leases lost although everybody ended in order")
    return cell


def storm(stage: Stage) -> Cell:
    """Publish one event a thousand times at once; kill the worker that takes it, in the middle."""
    cell = stage.cell(GROUP, f"one event {STORM} times")
    workers: list[subprocess.Popen[bytes]] = [stage.start_worker() for _ in range(3)]
    (question,) = cell.questions(range(1))
    cell.asked.append(question)

    threads = [
        threading.Thread(target=_publish, args=(stage, question, STORM // STORM_CONNECTIONS))
        for _ in range(STORM_CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    stage.fleet.stop_worker(workers[0], signal.SIGKILL)
    for thread in threads:
        thread.join()
    cell.hits = STORM
    # And again when it is answered: the stored reply comes out once more, under its id.
    stage.wait_for_replies(cell)
    _publish(stage, question, STORM // STORM_CONNECTIONS)
    stage.fleet.wait_until(lambda: len(stage.fleet.replies) > 1, "the repeated reply")
    cell.note = f"{len(stage.fleet.replies)} replies, {len(stage.events('event.repeated'))} repeats seen"
    return cell


def _publish(stage: Stage, question: Asked, times: int) -> None:
    properties = pika.BasicProperties(content_type="application/cloudevents+json", delivery_mode=2)
    with stage.rabbitmq.connect() as connection:
        channel = connection.channel()
        for _ in range(times):
            channel.basic_publish(
                stage.names.events_exchange, "contact.question.asked", event_of(question), properties
            )
