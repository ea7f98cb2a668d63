"""One run: a contender under a regime, from outside, and what it used meanwhile."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pika.adapters.blocking_connection import BlockingChannel

from tests.bench import kernel
from tests.bench.contenders import Contender
from tests.bench.figures import Use, percentile, rate_of
from tests.bench.program import Program
from tests.bench.regimes import Regime
from tests.bench.stage import REPLIES, Stage, depth, publish
from tests.bench.traffic import Wrap, event

#: s. Longest time without a single reply before a run is given up.
STALL_S = 60.0
#: s. Pause between two looks at the number of replies: a thousandth of a run, at a hundredth of a core.
LOOK_EVERY_S = 0.05
#: With one process, what it hears is what was sent; rings that became one are not counted twice.
DOORBELLS = 'askrelay_doorbells_total{fate="heard"}'


@dataclass(frozen=True, slots=True)
class Moment:
    """What everybody had used until now, CPU seconds."""

    at_s: float
    worker: float
    broker: float
    database: float
    api: float
    harness: float
    machine: float

    def until(self, later: Moment) -> Use:
        """Return what was used from here to a later moment."""
        ours = sum(
            getattr(later, name) - getattr(self, name)
            for name in ("worker", "broker", "database", "api", "harness")
        )
        seconds = later.at_s - self.at_s
        return Use(
            seconds=seconds,
            worker_s=later.worker - self.worker,
            broker_s=later.broker - self.broker,
            database_s=later.database - self.database,
            api_s=later.api - self.api,
            foreign_cores=(later.machine - self.machine - ours) / seconds,
        )


@dataclass(slots=True)
class Replies:
    """Replies as they come in, by question, with the moment of each."""

    at_s: dict[str, float] = field(default_factory=dict)

    def take(self, stage: Stage, is_ending: threading.Event) -> None:
        """Take replies until told to end."""
        with stage.channel() as channel:
            for method, _, body in channel.consume(REPLIES, auto_ack=True, inactivity_timeout=0.2):
                if method is not None:
                    now = time.monotonic()
                    self.at_s.setdefault(json.loads(body)["data"]["question_id"], now)
                if is_ending.is_set():
                    break


@contextmanager
def collecting(stage: Stage) -> Iterator[Replies]:
    """Collect replies in a thread until the block ends."""
    replies, is_ending = Replies(), threading.Event()
    thread = threading.Thread(target=replies.take, args=(stage, is_ending), daemon=True)
    thread.start()
    try:
        yield replies
    finally:
        is_ending.set()
        thread.join()


def run(stage: Stage, contender: Contender, regime: Regime, *, name: str) -> dict[str, Any]:
    """Measure a contender under a regime once; ``name`` is where the ids of its questions begin."""
    in_flight = contender.in_flight.get(regime.name, regime.in_flight)
    stage.api.set_latency(regime.latency_s)
    with stage.set_up(contender, in_flight=in_flight) as program:
        measure = {"backlog": backlog, "rate": at_rate, "start": start}[regime.kind]
        found = measure(stage, program, regime, name)
        counts = stage.api.counts()
    if counts.refused or counts.repeats:
        raise RuntimeError(f"{contender.name} asked the API for what it should not: {counts}")
    if contender.ledger != "postgresql":
        # Whatever an idle database does is not theirs.
        found.pop("database_ms", None)
    return {"contender": contender.name, "regime": regime.name, "in_flight": in_flight, **found}


def backlog(stage: Stage, program: Program, regime: Regime, name: str) -> dict[str, Any]:
    """Let a full queue be answered: all work of all questions counts, from the first post to the last reply.

    A window in the middle would flatter whoever reads ahead of what it answers, as our intake does.
    """
    expected = program.contender.expected_per_s
    count = regime.questions(in_flight=program.in_flight, expected_per_s=expected)
    stage.fill(program.contender.wrap, _events(stage, name, range(count)))
    program.start()
    program.wait_until(lambda: stage.api.counts().posts, "the first post")
    began = _now(stage, program)
    # Pairs of time and replies so far.
    seen = [(began.at_s, 0)]
    with stage.channel() as channel:
        while seen[-1][1] < count:
            time.sleep(LOOK_EVERY_S)
            so_far = depth(channel, REPLIES)
            if so_far > seen[-1][1]:
                seen.append((time.monotonic(), so_far))
            elif time.monotonic() - seen[-1][0] > STALL_S + regime.latency_s:
                raise RuntimeError(
                    f"{program.contender.name}: {so_far} of {count} replies\n{program.log_end()}"
                )
        ended = _now(stage, program)
        method, properties, body = channel.basic_get(REPLIES, auto_ack=True)
    assert method is not None
    counts = stage.api.counts()
    return {
        "questions": count,
        "per_s": rate_of(seen, after=program.in_flight),
        **began.until(ended).per_question(count),
        "peak_mb": kernel.peak_mb(program.pid),
        "most_in_flight": counts.most_in_flight,
        "api_calls": (counts.posts + counts.creates + counts.reads) / count,
        "reply_bytes": len(body),
        "is_persistent": properties.delivery_mode == 2,
        **_doorbells(program, count),
    }


def at_rate(stage: Stage, program: Program, regime: Regime, name: str) -> dict[str, Any]:
    """Ask at an even rate and see how much longer each reply takes than the API does."""
    wrap = program.contender.wrap
    with collecting(stage) as replies:
        program.start()
        with stage.channel() as channel:
            # A few before, so that nobody is measured connecting.
            _ask(channel, wrap, _events(stage, f"{name}-warm", range(4)), regime.rate)
            program.wait_until(lambda: len(replies.at_s) == 4, "the first replies")
            rung = _rung(program)
            first = int(regime.rate * regime.warm_s)
            before = _ask(channel, wrap, _events(stage, name, range(first)), regime.rate)
            began = _now(stage, program)
            numbers = range(first, first + int(regime.rate * regime.counted_s))
            asked = _ask(channel, wrap, _events(stage, name, numbers), regime.rate)
            ended = _now(stage, program)
        count = len(before) + len(asked)
        program.wait_until(lambda: len(replies.at_s) == 4 + count, "the last replies")
        rung = _rung(program) - rung
    added = sorted(1000 * (replies.at_s[each] - at_s - regime.latency_s) for each, at_s in asked.items())
    use = began.until(ended)
    # Of those that were answered meanwhile: who falls behind has used less than the questions will cost.
    answered = sum(began.at_s < at_s <= ended.at_s for at_s in replies.at_s.values())
    return {
        "questions": len(asked),
        "per_s": answered / use.seconds,
        "added_p50_ms": percentile(added, 0.5),
        "added_p99_ms": percentile(added, 0.99),
        "added_max_ms": added[-1],
        **use.per_question(max(1, answered)),
        "peak_mb": kernel.peak_mb(program.pid),
        **({"doorbells": rung / count} if program.contender.is_ours else {}),
    }


def start(stage: Stage, program: Program, _regime: Regime, name: str) -> dict[str, Any]:
    """Start the program while a question waits, and see when its reply is there."""
    stage.fill(program.contender.wrap, _events(stage, name, range(1)))
    with collecting(stage) as replies:
        begun = program.start()
        program.wait_until(lambda: replies.at_s, "the first reply")
        used = kernel.cpu_s(program.pid)
    return {"start_s": min(replies.at_s.values()) - begun, "start_cpu_s": used}


def _ask(
    channel: BlockingChannel, wrap: Wrap, events: Iterable[dict[str, Any]], rate: float
) -> dict[str, float]:
    """Ask questions at an even rate from now on and return when each was asked, by its id."""
    asked = {}
    begun = time.monotonic()
    for place, made in enumerate(events):
        message = wrap(made)
        time.sleep(max(0.0, begun + place / rate - time.monotonic()))
        asked[made["id"]] = time.monotonic()
        publish(channel, message)
    return asked


def _events(stage: Stage, name: str, numbers: range) -> Iterator[dict[str, Any]]:
    return (event(number, run=name, known=stage.known) for number in numbers)


def _now(stage: Stage, program: Program) -> Moment:
    return Moment(
        at_s=time.monotonic(),
        worker=kernel.cpu_s(program.pid),
        broker=kernel.cpu_s(stage.rabbitmq.pid),
        database=kernel.cpu_s(stage.postgres.pid if stage.postgres else None),
        api=kernel.cpu_s(stage.api.pid),
        harness=time.process_time(),
        machine=kernel.machine_busy_s(),
    )


def _rung(program: Program) -> float:
    return program.metric(DOORBELLS) if program.contender.is_ours else 0.0


def _doorbells(program: Program, count: int) -> dict[str, float]:
    return {"doorbells": _rung(program) / count} if program.contender.is_ours else {}
