"""See that every contender does the work: a new contact and a known one, each answered once, as agreed."""

from __future__ import annotations

import json
import time

from rich.console import Console

from tests.bench.contenders import Contender
from tests.bench.stage import QUEUE, REPLIES, Stage, depth
from tests.bench.traffic import event

#: What every reply says, whoever wrote it.
FIELDS = {"question_id", "contact_id", "external_id", "session_id", "message_id", "answer", "metadata"}


def check(console: Console, stage: Stage, who: list[Contender]) -> int:
    """Let each answer two questions; print what is wrong and return the exit code."""
    is_fine = True
    for contender in who:
        try:
            wrong = faults(stage, contender)
        except RuntimeError as failure:
            wrong = [str(failure)]
        console.print(f"{contender.name:30}{'; '.join(wrong) or 'fine'}")
        is_fine = is_fine and not wrong
    return 0 if is_fine else 1


def faults(stage: Stage, contender: Contender) -> list[str]:
    """Return what a contender did wrong with two questions."""
    asked = [event(number, run=f"check{time.monotonic_ns()}", known=stage.known) for number in (0, 1)]
    stage.api.set_latency(0)
    with stage.set_up(contender, in_flight=8) as program, stage.channel() as channel:
        stage.fill(contender.wrap, asked)
        program.start()
        program.wait_until(lambda: depth(channel, REPLIES) >= 2, "two replies")
        counts = stage.api.counts()
        program.stop()
        wrong = [f"{depth(channel, QUEUE)} questions left"] if depth(channel, QUEUE) else []
        if (counts.posts, counts.creates, counts.repeats, counts.refused) != (2, 1, 0, 0):
            wrong.append(f"the API saw {counts}")
        replies = {}
        for _ in asked:
            _, properties, body = channel.basic_get(REPLIES, auto_ack=True)
            data = json.loads(body)["data"]
            replies[data["question_id"]] = data
            wrong += [f"a reply without {name}" for name in FIELDS - data.keys()]
            if properties.delivery_mode != 2:
                wrong.append("a reply that is not persistent")
        for each in asked:
            data = replies.get(each["id"], {})
            if data.get("contact_id") != each["data"]["contact_id"]:
                wrong.append(f"no reply to {each['id']}")
            if data.get("metadata") != each["data"]["metadata"]:
                wrong.append("metadata did not come back")
    return wrong
