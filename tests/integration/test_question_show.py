"""``askrelay question show``: the story of one question."""

from __future__ import annotations

import json

import pytest

from tests.commands import askrelay
from tests.integration.test_status import asked, begin, filled, ledger_url, make_ledger, reply_to, settings
from worker.adapters.ledger import identity
from worker.adapters.ledger.database import Database
from worker.adapters.logs import ContactHash
from worker.cli.exit_codes import ExitCode
from worker.core.model import NO_SESSION, Answered, RemoteMessage, digest_of

__all__ = ["asked", "begin", "ledger_url", "make_ledger", "reply_to"]


def steps_of(out: str) -> list[str]:
    return [step["step"] for step in json.loads(out)["steps"]]


@pytest.mark.parametrize(
    ("event_id", "state", "steps"),
    [
        (
            "evt-0",
            "answered",
            ["received", "conversation", "posted", "answered", "reply recorded", "reply published"],
        ),
        (
            "evt-1",
            "answered",
            ["received", "conversation", "posted", "answered", "reply recorded", "reply to be published"],
        ),
        ("evt-3", "failed", ["received", "failed", "reply recorded", "reply to be published"]),
        ("evt-4", "posting", ["received", "conversation", "post begun", "read back", "waiting"]),
        ("evt-5", "posting", ["received", "conversation", "post begun", "in work"]),
        ("evt-7", "waiting", ["received", "conversation", "waiting"]),
    ],
)
async def test_show_tells_the_story_as_far_as_it_has_come(
    ledger_url: str, event_id: str, state: str, steps: list[str]
) -> None:
    await filled(ledger_url)
    ran = askrelay(settings(ledger_url), "question", "show", "crm/test", event_id, "--json")
    assert ran.code == ExitCode.OK, ran.err
    assert json.loads(ran.out)["state"] == state
    assert steps_of(ran.out) == steps


async def test_show_prints_times_ids_and_the_contact_hash_but_no_content(ledger_url: str) -> None:
    await filled(ledger_url)
    ran = askrelay(settings(ledger_url), "question", "show", "crm/test", "evt-0")
    assert ran.code == ExitCode.OK, ran.err
    assert "canary" not in ran.text
    assert "EXT_0" not in ran.text
    assert ContactHash(identity(ledger_url).log_key)("EXT_0") in ran.out
    for text in (
        "session-",
        "message_id       5",
        "conversation_id  7",
        "asked 2026-11-20T20:00:00Z",
        "+0.0 s",
    ):
        assert text in ran.out


async def test_show_prints_the_content_when_it_is_asked_for(ledger_url: str) -> None:
    await filled(ledger_url)
    ran = askrelay(settings(ledger_url), "question", "show", "crm/test", "evt-0", "--content", "--json")
    told = json.loads(ran.out)
    assert told["question"] == "canary question 0"
    assert told["answer"] == "canary answer"
    assert told["contact_id"] == "EXT_0"
    assert told["metadata"] == {"ticket": "canary metadata"}


async def test_show_says_how_many_come_before_a_waiting_question(ledger_url: str) -> None:
    await filled(ledger_url)
    ran = askrelay(settings(ledger_url), "question", "show", "crm/test", "evt-7")
    assert "2 of its conversation come before it" in ran.out


@pytest.mark.parametrize("is_known", [True, False], ids=["known contact", "new contact"])
async def test_show_of_a_question_asked_by_chat_completions_names_no_numbers(
    ledger_url: str, is_known: bool
) -> None:
    ledger = make_ledger(ledger_url)
    ledger.start()
    try:
        await ledger.accept([asked(0)])
        (claim,) = (await ledger.claim(1)).turns
        if is_known:
            await begin(ledger, claim)
        await ledger.begin_post(claim.lease, claim.question.number, session_id=NO_SESSION)
        answered = Answered(RemoteMessage(0, "", "canary answer", None), NO_SESSION, "posted", None)
        await ledger.finish(claim.lease, claim.question.number, answered, reply_to(claim))
    finally:
        await ledger.stop()
    ran = askrelay(settings(ledger_url), "question", "show", "crm/test", "evt-0", "--json")
    told = json.loads(ran.out)
    assert (told["session_id"], told["conversation_id"], told["message_id"]) == (None, None, None)
    steps = {step["step"]: step["detail"] for step in told["steps"]}
    assert list(steps)[:3] == ["received", "posted", "answered"]
    assert steps["posted"].startswith("by chat completions")
    assert steps["answered"].endswith("posted")
    assert "message" not in str(steps)


async def test_show_of_a_question_that_the_ledger_does_not_know_is_not_found(ledger_url: str) -> None:
    ran = askrelay(settings(ledger_url), "question", "show", "crm/test", "evt-99")
    assert ran.code == ExitCode.NOT_FOUND
    assert "knows no question 'evt-99' of 'crm/test'" in ran.err
    assert ran.out == ""


async def test_show_recognises_an_erased_question_by_its_hash(ledger_url: str) -> None:
    database = Database(ledger_url)
    with database.transaction() as transaction:
        transaction.connection.exec_driver_sql(
            "insert into erased (event_hash, finished_at) values"
            f" ('{digest_of('crm/test', 'evt-50')}', 1795000000)"
        )
    database.close()
    ran = askrelay(settings(ledger_url), "question", "show", "crm/test", "evt-50")
    assert ran.code == ExitCode.OK
    assert "known by its hash only: it was finished on 2026-11-18" in ran.out
    told = askrelay(settings(ledger_url), "question", "show", "crm/test", "evt-50", "--json").out
    assert json.loads(told)["state"] == "erased"
