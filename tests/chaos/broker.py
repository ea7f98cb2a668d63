"""What a broker can do to a fleet."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator

from pika.exceptions import AMQPError

from tests.chaos.load import load, wait_for_progress
from tests.chaos.stage import Cell, Stage

GROUP = "broker"
#: s. Between two blows, so that the next one meets a fleet at work.
REST_S = 1.0
#: s. What people are told: with every doorbell lost a question starts at most 5 s late; a busy machine adds.
START_AT_MOST_S = 5.0
SLACK_S = 3.0


def killed(stage: Stage, *, times: int = 10) -> Cell:
    """Kill the broker and start it again, over and over, under load."""
    cell = stage.cell(GROUP, f"killed and restarted {times} times")
    with load(stage, cell):
        wait_for_progress(stage, cell)
        for _ in range(times):
            stage.rabbitmq.kill()
            stage.rabbitmq.start()
            cell.hits += 1
            time.sleep(REST_S)
    return cell


def connections_closed(stage: Stage, *, times: int = 10) -> Cell:
    """Have the broker close every connection, over and over, under load."""
    cell = stage.cell(GROUP, f"all connections closed {times} times")
    with load(stage, cell):
        wait_for_progress(stage, cell)
        for _ in range(times):
            stage.rabbitmq.rabbitmqctl("close_all_connections", "chaos")
            cell.hits += 1
            time.sleep(REST_S)
    return cell


def out_of_memory(stage: Stage, *, alarm_s: float = 8.0) -> Cell:
    """Raise the broker's memory alarm for some seconds under load: it blocks whoever publishes."""
    cell = stage.cell(GROUP, f"memory alarm of {alarm_s:g} s")
    with load(stage, cell):
        wait_for_progress(stage, cell)
        stage.rabbitmq.rabbitmqctl("set_vm_memory_high_watermark", "absolute", "1")
        try:
            time.sleep(alarm_s)
        finally:
            stage.rabbitmq.rabbitmqctl("set_vm_memory_high_watermark", "absolute", "1GB")
        cell.hits = len(stage.events("bus.blocked"))
        wait_for_progress(stage, cell)
    return cell


def queue_deleted(stage: Stage, *, times: int = 3) -> Cell:
    """Delete the question queue under load. What was in it is gone with it; what was accepted is not.

    The CRM asks again, under the same ids, what it has no reply for: as one must who deletes a queue.
    """
    cell = stage.cell(GROUP, f"question queue deleted {times} times")
    with load(stage, cell):
        for _ in range(times):
            wait_for_progress(stage, cell, within_s=90)
            with _nobody_at_work(stage), stage.rabbitmq.connect() as connection:
                time.sleep(REST_S)  # something is to be in it
                connection.channel().queue_delete(stage.names.question_queue)
            cell.hits += 1
            stage.fleet.wait_until(lambda: _has_queue(stage), "the queue's return")
    accepted = _accepted(stage)
    stage.fleet.wait_until(
        lambda: stage.fleet.reply_ids() >= accepted, f"the replies to {accepted} accepted questions"
    )
    missing = [question for question in cell.asked if not stage.is_answered([question])]
    cell.note = f"{accepted} accepted, {len(missing)} gone with the queue and asked again"
    # They arrive behind the others of their contacts: that is their order now.
    cell.asked = [question for question in cell.asked if question not in missing] + missing
    stage.ask(cell, missing)
    return cell


def doorbells_lost(stage: Stage) -> Cell:
    """Take every doorbell away before a worker hears it."""
    cell = stage.cell(GROUP, "every doorbell thrown away")
    with _thief(stage, cell):
        for number in range(8):
            stage.ask(cell, cell.questions(range(number * 10, number * 10 + 10)))
            time.sleep(1.7)
        stage.wait_for_replies(cell)
    waited = [line["waited_s"] for line in stage.events("turn.finished") if line["attempt"] == 1]
    longest_s = max(waited, default=0.0)
    cell.note = f"{cell.hits} rings stolen, a start at most {longest_s:.1f} s late"
    if longest_s > START_AT_MOST_S + SLACK_S:
        cell.other.append(f"a question started {longest_s:.1f} s late")
    return cell


@contextlib.contextmanager
def _nobody_at_work(stage: Stage) -> Iterator[None]:
    """Stop all workers for a moment."""
    workers = [worker for worker in stage.fleet.workers if worker.poll() is None]
    for worker in workers:
        worker.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGCONT)


def _has_queue(stage: Stage) -> bool:
    try:
        with stage.rabbitmq.connect() as connection:
            connection.channel().queue_declare(stage.names.question_queue, passive=True)
    except AMQPError:
        return False
    return True


def _accepted(stage: Stage) -> int:
    """Count what intake wrote down, when it has become quiet."""
    counts = [-1, 0]
    while counts[-1] != counts[-2]:
        time.sleep(1.0)
        counts.append(sum(line["new"] for line in stage.events("intake.batch_accepted")))
    return counts[-1]


@contextlib.contextmanager
def _thief(stage: Stage, cell: Cell) -> Iterator[None]:
    """Consume the doorbell queue before everybody else, by a higher priority."""
    is_over = threading.Event()
    is_there = threading.Event()

    def steal() -> None:
        with stage.rabbitmq.connect() as connection:
            channel = connection.channel()

            def take(*_: object) -> None:
                cell.hits += 1

            channel.basic_consume(
                stage.names.doorbell_queue, take, auto_ack=True, arguments={"x-priority": 100}
            )
            is_there.set()
            while not is_over.is_set():
                connection.process_data_events(0.1)

    thread = threading.Thread(target=steal, name="thief of doorbells", daemon=True)
    thread.start()
    try:
        if not is_there.wait(30):
            raise TimeoutError("the doorbell queue could not be consumed")
        yield
    finally:
        is_over.set()
        thread.join(30)
