"""Answered conversations are mirrored to Inkeep's API: beside answering, whole, once, whatever happens."""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.fleet import Fleet, generated
from tests.judge import Asked
from tests.servers.rabbitmq import AmqpNames, RabbitMQ

HANGS = {"match": {"call": "inkeep_upsert"}, "action": {"kind": "hang", "when": "before_work"}}
#: Looks for what is due every 2 s; a lease of a killed worker lasts for three requests.
QUICK = {"ASKRELAY_REQUEST_TIMEOUT_S": "2"}


def mirroring(
    rabbitmq: RabbitMQ, names: AmqpNames, database_url: str, folder: Path, **settings: str
) -> Fleet:
    """Return a fleet whose mirror is the sandbox that it asks."""
    return Fleet(
        rabbitmq=rabbitmq,
        names=names,
        database_url=database_url,
        folder=folder,
        settings={
            "ASKRELAY_MIRROR": "inkeep",
            "INKEEP_API_KEY": "api-key",
            **QUICK,
            **settings,
        },
    )


def start_worker(fleet: Fleet, **settings: str) -> Any:
    return fleet.start_worker(INKEEP_API_URL=fleet.sandbox.root, **settings)


def copies(fleet: Fleet) -> list[dict[str, Any]]:
    """Return everything that the mirror has."""
    found: list[dict[str, Any]] = []
    while True:
        request = urllib.request.Request(
            f"{fleet.sandbox.root}/conversations?limit=100&offset={len(found)}",
            headers={"Authorization": "Bearer api-key"},
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            page = json.load(answer)
        found += page["conversations"]
        if not page["conversations"] or len(found) >= page["total"]:
            return found


def is_mirrored(fleet: Fleet, asked: list[Asked]) -> bool:
    count = sum(len(each["messages"]) for each in copies(fleet))
    return count >= 2 * len(asked)


def check(fleet: Fleet, asked: list[Asked]) -> None:
    """Every contact has one copy, with each of its messages once, in order, as it was answered."""
    assert fleet.judge().broken() == {}
    answers = {reply["data"]["question_id"]: reply["data"]["answer"] for reply in fleet.replies}
    by_contact = {each["externalId"]: each for each in copies(fleet)}
    assert len(by_contact) == len(copies(fleet)) == len({each.contact_id for each in asked})
    for contact, copy in by_contact.items():
        said = [(each["role"], each["content"]) for each in copy["messages"]]
        wanted = []
        for each in asked:
            if each.contact_id == contact:
                wanted += [("user", each.question), ("assistant", answers[each.event_id])]
        assert said == wanted
        assert len({each["id"] for each in copy["messages"]}) == len(wanted)


def test_a_mirror_that_hangs_holds_up_no_answer_and_gets_everything_once_it_is_back(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, database_url: str, tmp_path: Path
) -> None:
    asked = generated(contacts=12, each=3)
    with mirroring(rabbitmq, amqp_names, database_url, tmp_path) as fleet:
        fleet.sandbox.set_faults(HANGS)
        worker = start_worker(fleet)
        fleet.ask(asked)
        fleet.wait_for_replies(len(asked))
        # All of them are answered, and the mirror, which has never said a word, has none of them.
        assert fleet.sandbox.summary()["mirrored"] == 0
        status = json.loads(fleet.askrelay("status", "--json"))
        assert status["mirror"]["waiting"] == 12
        assert " 12 " in next(line for line in fleet.askrelay("status").splitlines() if "mirror" in line)
        fleet.wait_until(
            lambda: any(line["event"] == "mirror.lost" for line in fleet.logs()), "the log says so"
        )
        fleet.sandbox.set_faults()
        fleet.wait_until(lambda: is_mirrored(fleet, asked), "everything is mirrored")
        fleet.wait_until(
            lambda: json.loads(fleet.askrelay("status", "--json"))["mirror"]["waiting"] == 0, "none waits"
        )
        check(fleet, asked)
        assert any(line["event"] == "mirror.restored" for line in fleet.logs())
        assert fleet.stop_worker(worker) == 0


def test_workers_killed_in_the_middle_leave_every_conversation_mirrored_once(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, database_url: str, tmp_path: Path
) -> None:
    asked = generated(contacts=10, each=6)
    slow = {"match": {"call": "inkeep_upsert"}, "action": {"kind": "delay", "seconds": 0.3}}
    with mirroring(rabbitmq, amqp_names, database_url, tmp_path) as fleet:
        fleet.sandbox.set_faults(slow)
        first = start_worker(fleet)
        fleet.ask(asked)
        fleet.wait_until(lambda: fleet.sandbox.summary()["mirrored"] >= 5, "some are mirrored")
        fleet.stop_worker(first, signal.SIGKILL)
        second = start_worker(fleet)
        fleet.wait_until(lambda: fleet.reply_ids() >= len(asked) // 2, "the second works")
        fleet.stop_worker(second, signal.SIGKILL)
        start_worker(fleet)
        fleet.wait_for_replies(len(asked))
        fleet.wait_until(lambda: is_mirrored(fleet, asked), "everything is mirrored")
        check(fleet, asked)


def test_a_refused_key_halts_the_mirror_only_and_a_new_one_opens_it(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, tmp_path: Path
) -> None:
    asked = generated(contacts=3, each=1)
    key = tmp_path / "key"
    key.write_text("wrong")
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with mirroring(rabbitmq, amqp_names, url, tmp_path, INKEEP_API_KEY_FILE=str(key)) as fleet:
        del fleet._environment["INKEEP_API_KEY"]
        first = start_worker(fleet)
        fleet.ask(asked)
        fleet.wait_for_replies(3)
        fleet.wait_until(
            lambda: any(line["event"] == "mirror.halted" for line in fleet.logs()), "the log says so"
        )
        fleet.wait_until(
            lambda: (
                json.loads(fleet.askrelay("status", "--json"))["mirror"]["trouble"].keys()
                == {"credentials_rejected"}
            ),
            "status says so",
        )
        # A probe comes once a minute; a worker that starts makes one at once.
        key.write_text("api-key")
        assert fleet.stop_worker(first) == 0
        start_worker(fleet)
        fleet.wait_until(lambda: is_mirrored(fleet, asked), "everything is mirrored")
        check(fleet, asked)


def test_lookup_shows_the_copy_of_a_contact(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, tmp_path: Path
) -> None:
    asked = [Asked("evt-1", "EXT 1/é", "May I?"), Asked("evt-2", "EXT 1/é", "May I still?")]
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with mirroring(rabbitmq, amqp_names, url, tmp_path) as fleet:
        fleet._environment["INKEEP_API_URL"] = fleet.sandbox.root
        fleet.start_worker()
        fleet.ask(asked)
        fleet.wait_for_replies(2)
        fleet.wait_until(lambda: is_mirrored(fleet, asked), "everything is mirrored")
        told = fleet.askrelay("lookup", "--inkeep", "EXT 1/é")
        assert "EXT 1/é" in told
        assert "evt-2" in told
        assert "May I" not in told, "contents only where they are asked for"
        assert "May I still?" in fleet.askrelay("lookup", "--inkeep", "EXT 1/é", "--content")
        found = json.loads(fleet.askrelay("lookup", "--inkeep", "EXT 1/é", "--json"))
        assert [each["properties"]["questionId"] for each in found["messages"]] == [
            "evt-1",
            "evt-1",
            "evt-2",
            "evt-2",
        ]
        assert "May I" not in json.dumps(found)
        with pytest.raises(AssertionError, match="Inkeep has no conversation of contact 'EXT_2'"):
            fleet.askrelay("lookup", "--inkeep", "EXT_2")
        fleet.sandbox.set_faults(
            {"match": {"call": "inkeep_get_external"}, "action": {"kind": "reply", "status": 401}}
        )
        with pytest.raises(AssertionError, match="Inkeep refuses the key"):
            fleet.askrelay("lookup", "--inkeep", "EXT 1/é")
