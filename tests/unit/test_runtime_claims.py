"""Claims record the intent to post while that is safe and the ledger is quick (PROTOCOL 5.1)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.core_cases import RULES
from tests.unit.turns_cases import NOTHING, Bench, claim
from tests.unit.virtual_time import until
from worker.core.errors import LedgerUnavailable
from worker.core.model import Claims, Intent


def begins(bench: Bench) -> list[bool]:
    """Return of each claim whether it was to begin posts."""
    return [begins_posts for _, begins_posts in bench.ledger.called("claim")]


@pytest.mark.parametrize(
    ("rules", "is_asked_for"),
    [
        (RULES, True),
        (replace(RULES, api="chat_completions"), False),
        # Every question is looked for before it is posted.
        (replace(RULES, is_after_restore=True), False),
    ],
)
def test_claims_begin_posts_where_nothing_comes_before_the_post(rules: Any, is_asked_for: bool) -> None:
    bench = Bench(rules=rules)

    async def scenario() -> None:
        await until(lambda: bench.limits, "the first look")

    bench.run(scenario)
    assert begins(bench) == [is_asked_for]


def test_a_post_that_was_begun_with_its_claim_is_sent_within_the_grace_of_the_claim() -> None:
    bench = Bench()

    async def begun(*_: Any) -> Claims:
        await asyncio.sleep(0.4)
        return Claims((replace(claim(1), begun=Intent(1_000.0, "session-1", 0)),), None, has_more=False)

    async def scenario() -> None:
        bench.ledger.script("claim", begun)
        await until(lambda: bench.finished, "it is finished")

    bench.run(scenario)
    assert bench.ledger.called("begin_post") == []
    ((*_, connect_within_s),) = bench.assistant.called("post_question")
    assert connect_within_s == pytest.approx(RULES.send_grace_s - 0.4)


@pytest.mark.parametrize("answer", [NOTHING, LedgerUnavailable()])
def test_while_claims_take_long_posts_are_begun_by_themselves(answer: Any) -> None:
    bench = Bench()

    async def slow(*_: Any) -> Claims:
        await asyncio.sleep(RULES.send_grace_s)
        if isinstance(answer, Exception):
            raise answer
        return NOTHING

    async def scenario() -> None:
        bench.ledger.script("claim", slow, slow)
        await until(lambda: len(bench.limits) == 4, "two slow looks and two quick ones")

    bench.run(scenario)
    assert begins(bench) == [True, False, False, True]
