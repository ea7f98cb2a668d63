"""A sender that finds itself past its deadline after sending leaves evidence (PROTOCOL A2)."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.unit.core_cases import QUESTION
from tests.unit.fakes import Log
from tests.unit.test_runtime_turns import Bench, claims
from tests.unit.virtual_time import until
from worker.adapters.customgpt import CustomGpt, CustomGptConfig, sending
from worker.adapters.customgpt.sending import Sending
from worker.core.errors import LeaseLost, LedgerUnavailable
from worker.core.model import RemoteMessage
from worker.sandbox.process import SandboxProcess

PROJECT = 123
GRACE_S = 30.0


@pytest.mark.parametrize(("clock_s", "is_late"), [(9.9, False), (10.0, False), (10.1, True)])
def test_sending_is_late_when_the_deadline_passed_while_the_bytes_left(
    monkeypatch: pytest.MonkeyPatch, clock_s: float, is_late: bool
) -> None:
    told: list[bool] = []
    monkeypatch.setattr(sending, "boottime", lambda: clock_s)
    Sending(deadline=10.0, on_late=lambda: told.append(True)).end()
    assert bool(told) is is_late


def test_sending_that_nobody_asks_about_may_be_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "boottime", lambda: 11.0)
    Sending(deadline=10.0).end()


# The bytes of a body leave in a task of its own, which may begin when ``send`` has long returned.
@pytest.mark.parametrize("place", ["send", "write_bytes"])
@pytest.mark.parametrize("stopped_s", [0.0, 10 * GRACE_S])
async def test_post_whose_process_was_stopped_while_sending_is_told_and_answered(
    monkeypatch: pytest.MonkeyPatch, stopped_s: float, place: str
) -> None:
    right_boottime, right_place = sending.boottime, getattr(aiohttp.ClientRequest, place)

    async def stopped(request: aiohttp.ClientRequest, *arguments: Any) -> Any:
        # The check is behind it, and the process sleeps before the bytes leave.
        monkeypatch.setattr(sending, "boottime", lambda: right_boottime() + stopped_s)
        return await right_place(request, *arguments)

    told: list[bool] = []
    with SandboxProcess() as sandbox:
        config = CustomGptConfig(api_url=sandbox.url)
        async with CustomGpt(config, key=lambda: "1|any", log=Log()) as api:
            made = await api.create_conversation(PROJECT, "crm:late #1", connect_within_s=GRACE_S)
            monkeypatch.setattr(aiohttp.ClientRequest, place, stopped)
            message = await api.post_question(
                PROJECT,
                made.session_id,
                text="Late?",
                external_id="EXT_1",
                lang=None,
                traceparent=None,
                connect_within_s=GRACE_S,
                on_late=lambda: told.append(True),
            )
    assert isinstance(message, RemoteMessage)
    assert told == ([True] if stopped_s else [])


def late_bench(*endings: Any) -> Bench:
    """Return turns whose one post leaves late; ``endings`` script what recording the verdict does."""
    bench = Bench()
    usual = bench.assistant.post_question

    async def late(*arguments: Any, on_late: Any, **named: Any) -> RemoteMessage:
        on_late()
        return await usual(*arguments, **named)

    bench.assistant.post_question = late  # type: ignore[method-assign]
    bench.ledger.script("finish", *endings)
    bench.ledger.script("claim", claims(1))
    return bench


@pytest.mark.parametrize("endings", [(), (LeaseLost(),)], ids=["finished", "lease lost"])
def test_late_post_is_logged_and_kept_however_its_turn_ends(endings: tuple[Any, ...]) -> None:
    # A lost lease is the very case: somebody else may have read back before the bytes left.
    bench = late_bench(*endings)

    async def scenario() -> None:
        await until(lambda: bench.ledger.called("record_late_post"), "the evidence is kept")

    bench.run(scenario)
    assert bench.ledger.called("record_late_post") == [(1,)]
    (line,) = bench.log.of("late_post.found")
    assert (line["question_id"], line["event_source"]) == ("evt-1", QUESTION.source)
    assert "CANARY" not in str(bench.log.lines)


def test_late_post_is_kept_although_the_ledger_is_away_for_a_while() -> None:
    bench = late_bench()
    bench.ledger.script("record_late_post", LedgerUnavailable(), LedgerUnavailable())

    async def scenario() -> None:
        await until(lambda: len(bench.ledger.called("record_late_post")) == 3, "the evidence is kept")

    bench.run(scenario)


def test_post_in_time_leaves_no_such_evidence() -> None:
    bench = Bench()
    bench.ledger.script("claim", claims(1))

    async def scenario() -> None:
        await until(lambda: bench.finished, "it is finished")
        await asyncio.sleep(1.0)

    bench.run(scenario)
    assert bench.ledger.called("record_late_post") == []
    assert bench.log.of("late_post.found") == []
