"""What follows from a failure: the rows of the table in PROTOCOL 7."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.core_cases import LEASE, NEW, Bench, in_flight
from worker.core.errors import (
    CredentialsRejected,
    CreditsExhausted,
    GateClosed,
    LeaseLost,
    LedgerUnavailable,
    OutcomeUnknown,
    ProjectNotFound,
    QuestionRejected,
    Throttled,
    Unreachable,
)
from worker.core.model import Answered, Failed, GateNews, Halt, Retry, Snooze
from worker.core.policy import look_again_in_s
from worker.core.turn import take_turn


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(
    ("attempts", "bound_s"), [(0, 1.0), (1, 2.0), (2, 4.0), (5, 32.0), (8, 256.0), (9, 300.0), (10, 300.0)]
)
async def test_an_unreachable_api_is_tried_again_with_a_bound_that_doubles_to_five_minutes(
    bench: Bench, attempts: int, bound_s: float
) -> None:
    bench.assistant.script("post_question", Unreachable())
    verdict = await bench.taken(attempts=attempts)
    # The fake chance gives the upper bound.
    assert verdict == Retry("unreachable", bound_s, GateNews("failure"))


async def test_the_twelfth_counted_attempt_is_the_last(bench: Bench) -> None:
    bench.assistant.script("post_question", Unreachable(), Unreachable())
    assert isinstance(await bench.taken(attempts=10), Retry)
    verdict = await bench.finished(attempts=11)
    assert isinstance(verdict, Failed)
    assert verdict.code == "attempts_exhausted"
    assert bench.reply_data["reason"] == "attempts_exhausted"
    assert bench.reply_data["attempts"] == 12


async def test_attempts_are_not_exhausted_while_a_post_is_outstanding(bench: Bench) -> None:
    bench.assistant.script("list_messages", Unreachable())
    verdict = await bench.taken(attempts=11, **in_flight(10.0))
    assert isinstance(verdict, Snooze)
    assert verdict.keeps_intent
    assert verdict.news == GateNews("failure")


async def test_a_probe_counts_no_attempt(bench: Bench) -> None:
    # Else an outage that lasts long enough would turn the questions that probe into failures.
    bench.assistant.script("post_question", Unreachable())
    verdict = await take_turn(bench.turn(probes="breaker", attempts=11))
    assert isinstance(verdict, Snooze)
    assert verdict.news == GateNews("failure")


async def test_a_throttle_closes_the_gate_for_as_long_as_told_and_counts_nothing(bench: Bench) -> None:
    bench.assistant.script("post_question", Throttled(pause_s=42.0))
    verdict = await bench.taken(attempts=11)
    assert verdict == Snooze("throttled", 42.0, news=GateNews("pause", "throttled", 42.0))


async def test_exhausted_credits_halt_with_a_probe_every_quarter_of_an_hour(bench: Bench) -> None:
    bench.assistant.script("post_question", CreditsExhausted())
    assert await bench.taken(attempts=11) == Halt("credits_exhausted", 900.0)


@pytest.mark.parametrize("refused", [CredentialsRejected(), ProjectNotFound()])
async def test_a_refusal_halts_when_a_plain_get_is_refused_too(bench: Bench, refused: Exception) -> None:
    bench.assistant.script("create_conversation", refused)
    bench.assistant.script("check_project", refused)
    verdict = await bench.taken(NEW, attempts=11)
    assert verdict == Halt(refused.code, 60.0)
    assert len(bench.assistant.called("check_project")) == 1


async def test_a_refusal_fails_the_question_when_a_plain_get_succeeds(bench: Bench) -> None:
    bench.assistant.script("post_question", CredentialsRejected("post_question: 403"))
    verdict = await bench.finished(attempts=2)
    assert verdict == Failed("question_rejected", "post_question: 403", news=GateNews("answered"))
    assert bench.reply_data["reason"] == "question_rejected"


@pytest.mark.parametrize("attempts", [0, 1])
async def test_a_refusal_while_the_key_is_being_mended_fails_nothing(bench: Bench, attempts: int) -> None:
    bench.assistant.script("post_question", CredentialsRejected("post_question: 401"))
    verdict = await bench.taken(attempts=attempts)
    assert isinstance(verdict, Retry)


@pytest.mark.parametrize(
    ("other", "news"),
    [
        (Unreachable(), GateNews("failure")),
        (Throttled(pause_s=9), GateNews("pause", "throttled", 9)),
        (GateClosed("breaker", retry_in_s=3), None),
    ],
)
async def test_a_refusal_waits_while_a_plain_get_tells_nothing(
    bench: Bench, other: Exception, news: GateNews | None
) -> None:
    # Failing the question would be for good, and halting would stop the fleet for one refusal.
    bench.assistant.script("post_question", CredentialsRejected())
    bench.assistant.script("check_project", other)
    verdict = await bench.taken()
    assert isinstance(verdict, Snooze)
    assert verdict.news == news


async def test_a_lease_lost_at_the_plain_get_ends_the_turn(bench: Bench) -> None:
    bench.assistant.script("post_question", CredentialsRejected())
    bench.ledger.script("admit_read", LeaseLost())
    with pytest.raises(LeaseLost):
        await bench.taken()


async def test_a_halt_while_a_post_is_outstanding_keeps_its_intent(bench: Bench) -> None:
    bench.assistant.script("list_messages", CredentialsRejected())
    bench.assistant.script("check_project", CredentialsRejected())
    assert await bench.taken(**in_flight(10.0)) == Halt("credentials_rejected", 60.0, keeps_intent=True)


async def test_a_rejected_question_fails_without_further_attempts(bench: Bench) -> None:
    bench.assistant.script("post_question", QuestionRejected("post_question: 413"))
    verdict = await bench.finished()
    assert verdict == Failed("question_rejected", "post_question: 413", news=GateNews("answered"))
    assert bench.assistant.posts == 1


async def test_a_server_error_tells_the_breaker(bench: Bench) -> None:
    bench.assistant.script("post_question", OutcomeUnknown(is_server_error=True))
    verdict = await bench.taken()
    assert isinstance(verdict, Snooze)
    assert verdict.news == GateNews("failure")


async def test_a_server_error_of_a_creation_tells_the_breaker(bench: Bench) -> None:
    bench.assistant.script("create_conversation", OutcomeUnknown(is_server_error=True))
    verdict = await bench.taken(NEW)
    assert isinstance(verdict, Snooze)
    assert verdict.news == GateNews("failure")


async def test_an_answer_tells_the_gate_nothing_that_its_verdict_does_not(bench: Bench) -> None:
    assert isinstance(await bench.taken(), Answered)
    assert not bench.ledger.called("report")


async def test_reading_back_in_vain_tells_the_gate_that_the_api_answers(bench: Bench) -> None:
    verdict = await bench.taken(**in_flight(10.0))
    assert isinstance(verdict, Snooze)
    assert verdict.news == GateNews("answered")


async def test_a_turn_that_asked_the_api_nothing_tells_the_gate_nothing(bench: Bench) -> None:
    bench.ledger.script("begin_post", GateClosed("breaker", retry_in_s=3.0))
    verdict = await bench.taken()
    assert isinstance(verdict, Snooze)
    assert verdict.news is None


async def test_a_ledger_that_is_away_is_waited_for_within_the_turn(bench: Bench) -> None:
    bench.ledger.script("begin_create", LedgerUnavailable(), LedgerUnavailable())
    assert isinstance(await bench.taken(NEW), Answered)
    assert len(bench.ledger.called("begin_create")) == 3


async def test_a_mistake_of_ours_is_no_verdict(bench: Bench) -> None:
    bench.assistant.script("post_question", ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await bench.finished()
    assert not bench.ledger.called("finish"), "the lease ends by itself, and its end is counted"


def test_looks_come_after_one_two_four_and_at_most_twenty_seconds() -> None:
    assert [look_again_in_s(looks) for looks in range(8)] == [1, 2, 4, 8, 16, 20, 20, 20]
    assert look_again_in_s(10_000) == 20


@pytest.mark.parametrize(("leases", "is_given_up"), [(4, False), (5, True), (9, True)])
async def test_a_question_on_which_workers_died_five_times_fails_before_it_is_posted(
    bench: Bench, leases: int, *, is_given_up: bool
) -> None:
    verdict = await bench.finished(expired_leases=leases)
    assert isinstance(verdict, Failed if is_given_up else Answered)
    assert bench.assistant.posts == (not is_given_up)
    if is_given_up:
        assert bench.reply_data["reason"] == "crash_poison"


async def test_a_poisonous_question_in_flight_is_read_back_before_it_fails(bench: Bench) -> None:
    look = await bench.taken(expired_leases=5, **in_flight(10.0))
    assert isinstance(look, Snooze)
    verdict = await bench.taken(expired_leases=5, **in_flight(1_000.0))
    assert isinstance(verdict, Failed)
    assert verdict.code == "crash_poison"
    bench.assistant.store("session-1", bench.turn().question.text, "EXT_1")
    assert isinstance(await bench.taken(expired_leases=5, **in_flight(1_000.0)), Answered)


async def test_every_write_of_a_turn_names_its_lease(bench: Bench) -> None:
    await bench.finished(replace(NEW, project_id=None))
    writes = [arguments[0] for name, arguments in bench.ledger.calls if name != "unclaimed"]
    assert writes
    assert set(writes) == {LEASE}
