"""The assumptions of PROTOCOL 1, broken one at a time, and what may then happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.simulation.judge import Violation
from tests.simulation.simulation import Result, Scenario

#: What follows from a post that comes too late to be seen: the question is posted again, or given up (with
#: ``hold``, or since it expired meanwhile, or for lack of an answer); and where the contact's next question
#: has the same text, the late post may pass for that one's.
_POSTED_TWICE = frozenset({"double_post", "posted_and_failed", "failed", "twin_answer", "never_posted"})


@dataclass(frozen=True)
class Assumption:
    """One assumption."""

    name: str
    says: str
    #: The promises that may break with it, and no others.
    may_break: frozenset[str]
    rates: Mapping[str, float] = field(default_factory=dict)

    def scenario(self, *, has_trace: bool = False) -> Scenario:
        """Return runs in which it is broken now and then."""
        return Scenario(rates=self.rates, broken_assumption=self.name, has_trace=has_trace)

    def unexplained(self, result: Result) -> list[Violation]:
        """Return the violations that no break explains."""
        broken = {name for name, _ in result.breaks}
        subjects = {subject for _, subject in result.breaks}
        return [
            violation
            for violation in result.violations
            if violation.promise not in self.may_break
            or self.name not in broken
            or not ({violation.subject, "everything", *violation.concerns} & subjects)
        ]


ASSUMPTIONS = {
    each.name: each
    for each in (
        Assumption(
            "A1",
            "an accepted post can be read within T_srv",
            _POSTED_TWICE,
            {"response_lost": 0.3, "error_after": 0.2},
        ),
        Assumption(
            "A2",
            "no process is stopped for longer than G between its last check and the bytes leaving",
            # A creation that leaves after the healer has looked is not seen by it.
            # A post that leaves late may do so when a later one is known to have been taken.
            _POSTED_TWICE
            | {
                "second_conversation",
                "extra_conversation",
                "posted_out_of_order",
                "accepted_posted_again",
            },
        ),
        Assumption(
            "A3",
            "a created conversation can be listed within V",
            frozenset({"second_conversation"}),
            {"response_lost": 0.3, "crash_at_point": 0.1},
        ),
        Assumption("A4", "message ids grow within a conversation", _POSTED_TWICE),
        Assumption(
            "A6",
            "a 500 in the API's own envelope means that its work has ended",
            _POSTED_TWICE,
            {"error_after_own": 0.5},
        ),
        Assumption(
            "A7",
            "the ledger's clock does not jump forward by more than a lease",
            _POSTED_TWICE | {"second_conversation", "accepted_posted_again"},
            {"message_lag": 0.9, "response_lost": 0.5, "pause": 0.0},
        ),
    )
}
