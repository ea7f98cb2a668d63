"""Ratings off the bus reach the feedback of the message that answered, once."""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path
from typing import Any

from tests.fleet import Fleet, generated
from tests.servers.rabbitmq import AmqpNames, RabbitMQ


def rate(fleet: Fleet, *ratings: tuple[str, str, str], repeats: int = 1) -> None:
    """Publish ratings: id, question id, rating."""
    with fleet.publishing() as channel:
        for event_id, question_id, rating in ratings:
            body = {
                "specversion": "1.0",
                "id": event_id,
                "source": "crm/test",
                "type": "contact.answer.rated",
                "data": {"question_id": question_id, "rating": rating},
            }
            for _ in range(repeats):
                fleet.publish_raw(channel, json.dumps(body).encode(), "application/cloudevents+json")


def feedback(fleet: Fleet) -> list[dict[str, Any]]:
    return fleet.sandbox.effects("feedback")


def reaction(fleet: Fleet, message: tuple[str, int]) -> str:
    """Return what the API has for a message: its session and its number."""
    session_id, message_id = message
    url = f"{fleet.sandbox.url}/projects/123/conversations/{session_id}/messages/{message_id}"
    request = urllib.request.Request(url, headers={"Authorization": "Bearer test"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return str(json.load(answer)["data"]["response_feedback"]["reaction"])


def rejected(fleet: Fleet) -> int:
    return sum(line["event"] == "event.rejected" for line in fleet.logs())


def a_fleet(rabbitmq: RabbitMQ, names: AmqpNames, url: str, folder: Path) -> Fleet:
    # A rating that a killed worker had in hand is sent by another after a lease and a request.
    quick = {"ASKRELAY_REQUEST_TIMEOUT_S": "1"}
    return Fleet(rabbitmq=rabbitmq, names=names, database_url=url, folder=folder, settings=quick)


def test_ratings_reach_the_feedback_of_the_message_once(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, database_url: str, tmp_path: Path
) -> None:
    asked = generated(contacts=8, each=1)
    with a_fleet(rabbitmq, amqp_names, database_url, tmp_path) as fleet:
        fleet.start_worker()
        fleet.start_worker()
        fleet.ask(asked)
        fleet.wait_for_replies(len(asked))
        words = ("liked", "disliked", "neutral")
        ratings = [(f"r-{n}", each.event_id, words[n % 3]) for n, each in enumerate(asked)]
        rate(fleet, *ratings, repeats=3)
        fleet.wait_until(lambda: len(feedback(fleet)) >= len(asked), "all ratings are there")
        rate(fleet, *ratings)
        rate(fleet, ("r-last", asked[0].event_id, "disliked"))
        fleet.wait_until(lambda: len(feedback(fleet)) > len(asked), "the last one is there")
        messages = {
            reply["data"]["question_id"]: (reply["data"]["session_id"], reply["data"]["message_id"])
            for reply in fleet.replies
        }
        wanted = [messages[each.event_id] for each in (*asked, asked[0])]
        assert sorted((each["session_id"], each["message_id"]) for each in feedback(fleet)) == sorted(wanted)
        assert [reaction(fleet, each) for each in wanted[1:3]] == ["disliked", "neutral"]
        assert reaction(fleet, wanted[0]) == "disliked", "the last one stays"
        assert sum(line["event"] == "rating.sent" for line in fleet.logs()) == len(wanted)
        assert rejected(fleet) == 0
        assert fleet.judge().broken() == {}


def test_a_rating_that_no_answer_fits_is_rejected_with_a_reason(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, tmp_path: Path
) -> None:
    asked = generated(contacts=2, each=1)
    refusal = {"kind": "reply", "status": 400}
    match = {"call": "post", "external_id": asked[0].contact_id}
    with a_fleet(rabbitmq, amqp_names, f"sqlite:///{tmp_path}/ledger.db", tmp_path) as fleet:
        fleet.sandbox.set_faults({"match": match, "action": refusal})
        fleet.start_worker()
        fleet.ask(asked)
        fleet.wait_for_replies(2)
        rate(
            fleet,
            ("r-1", asked[0].event_id, "liked"),
            ("r-2", "evt-unknown", "liked"),
            ("r-3", asked[1].event_id, "great"),
            ("r-4", asked[1].event_id, "liked"),
            ("r-4", asked[1].event_id, "disliked"),
        )
        fleet.wait_until(lambda: rejected(fleet) >= 4, "four are rejected")
        fleet.wait_until(lambda: len(feedback(fleet)) == 1, "one is sent")
        found: list[tuple[str, str]] = []
        with rabbitmq.connect() as connection:
            channel = connection.channel()
            while (got := channel.basic_get(amqp_names.rejected_queue, auto_ack=True))[0] is not None:
                found.append((json.loads(got[2])["id"], got[1].headers["x-askrelay-reason"]))
        assert sorted(found) == [
            ("r-1", "unmatched_rating"),
            ("r-2", "unmatched_rating"),
            ("r-3", "invalid_rating"),
            ("r-4", "id_conflict"),
        ]


def test_a_rating_that_the_api_refuses_is_not_sent_again(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, tmp_path: Path
) -> None:
    asked = generated(contacts=1, each=1)
    refusal = {"kind": "reply", "status": 422}
    with a_fleet(rabbitmq, amqp_names, f"sqlite:///{tmp_path}/ledger.db", tmp_path) as fleet:
        fleet.sandbox.set_faults({"match": {"call": "feedback"}, "action": refusal})
        fleet.start_worker()
        fleet.ask(asked)
        fleet.wait_for_replies(1)
        rate(fleet, ("r-1", asked[0].event_id, "liked"))
        fleet.wait_until(
            lambda: any(line["event"] == "rating.refused" for line in fleet.logs()), "it is refused"
        )
        (line,) = [line for line in fleet.logs() if line["event"].startswith("rating.")]
        assert line["error_code"] == "question_rejected"
        fleet.wait_until(
            lambda: json.loads(fleet.askrelay("status", "--json"))["ratings"]["waiting"] == 0, "none waits"
        )


def test_a_rating_outlives_its_worker_and_an_api_that_is_away(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, database_url: str, tmp_path: Path
) -> None:
    asked = generated(contacts=3, each=1)
    away = {"match": {"call": "feedback"}, "action": {"kind": "reset", "at": "before_headers"}}
    with a_fleet(rabbitmq, amqp_names, database_url, tmp_path) as fleet:
        fleet.sandbox.set_faults(away)
        first = fleet.start_worker()
        fleet.ask(asked)
        # Before they are answered: they wait for that too.
        rate(fleet, *((f"r-{each.event_id}", each.event_id, "liked") for each in asked))
        fleet.wait_for_replies(3)
        fleet.wait_until(
            lambda: any(effect["call"] == "feedback" for effect in fleet.sandbox.effects("request")), "a try"
        )
        fleet.stop_worker(first, signal.SIGKILL)
        ratings = json.loads(fleet.askrelay("status", "--json"))["ratings"]
        assert ratings["waiting"] == 3
        assert ratings["trouble"].keys() <= {"outcome_unknown"}
        assert " 3 " in next(line for line in fleet.askrelay("status").splitlines() if "ratings" in line)
        fleet.sandbox.set_faults()
        assert feedback(fleet) == []
        fleet.start_worker()
        fleet.wait_until(lambda: len({each["message_id"] for each in feedback(fleet)}) == 3, "all are there")
        assert fleet.judge().broken() == {}
