"""Replay a file of questions through a running fleet and count, from outside, what came of them.

.venv/bin/python docs/how-to/replay.py FILE.csv         columns contact_id and question, in asking order

It knows nothing of the workers. It publishes as a CRM would, listens on a queue bound to the reply keys, and
reads the sandbox's ledger of effects. It exits with 0 only when every question has one post and one reply id
and every contact one conversation. It takes the same variables as the workers: RABBITMQ_URL,
ASKRELAY_EVENTS_EXCHANGE and CUSTOMGPT_API_URL, which must be a sandbox that nothing else uses.
"""
# ruff: noqa: INP001, T201, S310
# An example is no package and prints; the address it opens is the operator's own.

from __future__ import annotations

import csv
import json
import os
import secrets
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pika

RABBITMQ_URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
EXCHANGE = os.environ.get("ASKRELAY_EVENTS_EXCHANGE", "crm.events")
SANDBOX_URL = os.environ.get("CUSTOMGPT_API_URL", "http://127.0.0.1:8899/api/v1")
#: s. Without a new reply for this long, something is wrong: it is more than a settled outcome takes.
PATIENCE_S = 400.0
#: s. Between two lines of progress.
TELL_EVERY_S = 2.0


def main() -> int:
    """Publish, wait, count; return the exit code."""
    with Path(sys.argv[1]).open(newline="", encoding="utf-8") as file:
        rows = [(row["contact_id"], row["question"]) for row in csv.DictReader(file)]
    # A source of its own: the same file replayed tomorrow is a new set of events, not a set of repeats.
    source = f"replay/{secrets.token_hex(4)}"
    before = Counter(effect["kind"] for effect in effects())
    with pika.BlockingConnection(pika.URLParameters(RABBITMQ_URL)) as connection:
        channel = connection.channel()
        replies = channel.queue_declare("", exclusive=True).method.queue
        for kind in ("answered", "failed"):
            channel.queue_bind(replies, EXCHANGE, f"contact.question.{kind}")
        channel.confirm_delivery()
        for number, (contact_id, question) in enumerate(rows):
            event = {
                "specversion": "1.0",
                "id": str(number),
                "source": source,
                "type": "contact.question.asked",
                "data": {"contact_id": contact_id, "question": question},
            }
            # Mandatory and confirmed: an event that no queue takes is an error here, not a loss.
            channel.basic_publish(
                EXCHANGE,
                "contact.question.asked",
                json.dumps(event).encode(),
                pika.BasicProperties(content_type="application/cloudevents+json", delivery_mode=2),
                mandatory=True,
            )
        print(f"{len(rows)} questions published")
        received = collect(channel, replies, source, len(rows))
    done = Counter(effect["kind"] for effect in effects()) - before
    contacts = {contact_id for contact_id, _ in rows}
    print(f"questions {len(rows)}, posts {done['message']}")
    print(f"contacts {len(contacts)}, conversations {done['conversation_created']}")
    ids = {reply["id"] for reply in received}
    print(f"reply ids {len(ids)}, replies {len(received)} (a reply may come more than once, under its id)")
    outcomes = {reply["id"]: reply["data"].get("outcome", "failed") for reply in received}
    print("outcomes", dict(Counter(outcomes.values())))
    is_right = (
        done["message"] == len(ids) == len(rows)
        and done["conversation_created"] == len(contacts)
        and is_in_order(received, rows)
    )
    print("right" if is_right else "WRONG")
    return 0 if is_right else 1


def collect(channel: Any, queue: str, source: str, count: int) -> list[dict[str, Any]]:
    """Return the replies to this replay, once there are as many ids as questions or none comes any more."""
    received: list[dict[str, Any]] = []
    ids: set[str] = set()
    last = told = time.monotonic()
    for method, _, body in channel.consume(queue, auto_ack=True, inactivity_timeout=0.5):
        reply = json.loads(body) if method else None
        if reply and reply["data"]["question_source"] == source:
            received.append(reply)
            ids.add(reply["id"])
            last = time.monotonic()
        if time.monotonic() > told + TELL_EVERY_S:
            told = time.monotonic()
            print(f"{len(ids)} of {count} replies")
        if len(ids) == count or time.monotonic() > last + PATIENCE_S:
            break
    channel.cancel()
    return received


def is_in_order(received: list[dict[str, Any]], rows: list[tuple[str, str]]) -> bool:
    """Tell whether the first replies of every contact came in the order of its questions."""
    latest: dict[str, int] = {}
    seen: set[str] = set()
    for reply in received:
        number = int(reply["data"]["question_id"])
        if reply["id"] in seen:
            continue
        seen.add(reply["id"])
        if number < latest.get(rows[number][0], -1):
            return False
        latest[rows[number][0]] = number
    return True


def effects() -> Iterator[dict[str, Any]]:
    """Yield every entry of the sandbox's ledger: what the API really did."""
    parts = urlsplit(SANDBOX_URL)
    since, has_more = 0, True
    while has_more:
        with urllib.request.urlopen(f"{parts.scheme}://{parts.netloc}/_effects?since={since}") as answer:
            page = json.load(answer)
        yield from page["effects"]
        since, has_more = page["next"], page["has_more"]


if __name__ == "__main__":
    sys.exit(main())
