"""Nothing that contacts write, and no secret, is ever logged: canaries down every path, faults included."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fleet import Fleet
from tests.servers.rabbitmq import AmqpNames, RabbitMQ

#: In every field but the event's id and source, which the logs may name.
CANARY = "Kanarienvogel"
#: The sandbox does these to one post after the other.
FAULTS = (
    {"kind": "reply", "status": 500, "body": "html", "when": "after_work"},
    {"kind": "reply", "status": 500, "body": "envelope", "when": "before_work", "message": CANARY},
    {"kind": "reply", "status": 422, "body": "envelope", "message": CANARY},
    {"kind": "reply", "status": 400, "body": "envelope", "message": CANARY},
    {"kind": "reply", "status": 200, "body": "garbage", "when": "after_work"},
    {"kind": "reply", "status": 200, "body": "truncated", "when": "after_work"},
    {"kind": "reply", "status": 200, "body": "wrong_schema", "when": "after_work"},
    {"kind": "reset", "at": "mid_body", "when": "after_work"},
    {"kind": "reply", "status": 302, "location": f"http://127.0.0.1:1/{CANARY}"},
)


def event(number: int, **changes: object) -> bytes:
    data = {
        "contact_id": f"{CANARY}-{number % 9}",
        "question": f"{CANARY} {number}?",
        "thread_id": f"{CANARY}-thread",
        "lang": "en",
        "metadata": {CANARY: CANARY},
        CANARY: CANARY,
    }
    body = {
        "specversion": "1.0",
        "id": f"evt-{number}",
        "source": "crm",
        "type": "contact.question.asked",
        "subject": CANARY,
        "data": data,
        **changes,
    }
    return json.dumps(body).encode()


def test_no_canary_comes_out_of_logs_details_or_headers(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, database_url: str, tmp_path: Path
) -> None:
    settings = {"CUSTOMGPT_API_KEY": f"key-{CANARY}", "ASKRELAY_LOG_LEVEL": "debug"}
    with Fleet(
        rabbitmq=rabbitmq,
        names=amqp_names,
        database_url=database_url,
        folder=tmp_path,
        latency_s=0,
        settings=settings,
    ) as fleet:
        fleet.sandbox.set_faults(
            *(
                {"match": {"call": "post", "nth": n + 1}, "action": dict(fault)}
                for n, fault in enumerate(FAULTS)
            )
        )
        fleet.start_worker()
        bad = (
            event(100, type=CANARY),
            event(101, data={"contact_id": CANARY}),
            event(102, data={"contact_id": f"{CANARY}\x07", "question": CANARY}),
            event(103, time=CANARY),
            event(0, data={"contact_id": CANARY, "question": f"{CANARY} other data"}),
            b'{"' + CANARY.encode() + b'": NaN}',
            CANARY.encode() * 6000,
        )
        with fleet.publishing() as channel:
            for number in range(36):
                fleet.publish_raw(channel, event(number), "application/cloudevents+json")
            for body in bad:
                fleet.publish_raw(channel, body, "application/cloudevents+json", headers={CANARY: CANARY})
            fleet.wait_for_replies(36)
            details = [reply["data"].get("detail", "") for reply in fleet.replies]
            rejected = []

            def are_all_rejected() -> bool:
                method, properties, _ = channel.basic_get(amqp_names.rejected_queue, auto_ack=True)
                if method is not None:
                    rejected.append(properties.headers)
                return len(rejected) == len(bad)

            fleet.wait_until(are_all_rejected, "rejecting")
        lines = list(fleet.logs())
    logs = "".join((tmp_path / f"worker-{number}.log").read_text() for number in range(len(fleet.workers)))
    assert sum(line["event"] == "turn.finished" for line in lines) >= 36
    assert {line.get("verdict") for line in lines} >= {"answered", "failed", "snooze"}
    assert CANARY not in logs
    assert CANARY.lower() not in "".join(details).lower()
    for headers in rejected:
        assert CANARY not in f"{headers['x-askrelay-reason']}{headers['x-askrelay-detail']}"
