from __future__ import annotations

from typing import Any

import pytest

from worker.sandbox.accepts import NotAcceptedError
from worker.sandbox.call import Call
from worker.sandbox.faults import Faults

RESET = {"kind": "reset", "when": "after_work"}


def call(name: str = "post", *, session: str = "s1", question: str = "why?", **more: Any) -> Call:
    return Call(
        number=1,
        method="POST",
        path_url="",
        query=more.pop("query", {}),
        query_string="",
        headers={},
        remote="",
        begun=0.0,
        begun_wall=0.0,
        at_once=1,
        name=name,
        session_id=session,
        question=question,
        **more,
    )


def fired(faults: Faults, *calls: Call) -> list[str | None]:
    return [action and action.kind for action in map(faults.choose, calls)]


def rules(*given: dict[str, Any], seed: int = 1) -> Faults:
    faults = Faults(seed)
    faults.replace(list(given))
    return faults


def test_third_post_to_a_session_is_hit_once() -> None:
    faults = rules({"match": {"call": "post", "session_id": "s1", "nth": 3}, "action": RESET})
    calls = [call(), call(session="s2"), call(), call("list"), call(), call()]
    assert fired(faults, *calls) == [None, None, None, None, "reset", None]
    assert calls[4].fault == "reset"


def test_fault_fires_as_often_as_it_says() -> None:
    faults = rules({"match": {"nth": 2, "times": 2}, "action": RESET})
    assert fired(faults, *[call() for _ in range(5)]) == [None, "reset", "reset", None, None]


def test_fault_without_counts_always_fires() -> None:
    assert fired(rules({"action": RESET}), *[call() for _ in range(3)]) == ["reset"] * 3


def test_rules_in_a_row_are_a_script() -> None:
    faults = rules(
        {"match": {"times": 1}, "action": {"kind": "throttle"}},
        {"match": {"times": 1}, "action": {"kind": "hang"}},
    )
    assert fired(faults, call(), call(), call()) == ["throttle", "hang", None]


def test_fault_counts_apart_for_each_session() -> None:
    faults = rules({"match": {"nth": 2, "each": "session_id"}, "action": RESET})
    calls = [call(session=name) for name in "abbaab"]
    assert fired(faults, *calls) == [None, None, "reset", "reset", None, None]


def test_fault_matches_text_tag_and_stream() -> None:
    match = {"question_contains": "card", "external_id": "E1", "stream": True}
    faults = rules({"match": match, "action": {"kind": "sse_error"}})
    right = {"external_id": "E1", "query": {"stream": "1"}}
    assert fired(faults, call(question="my card", **right)) == ["sse_error"]
    assert fired(faults, call(question="my car", **right)) == [None]
    assert fired(faults, call(question="my card", external_id="E2", query={"stream": "1"})) == [None]
    assert fired(faults, call(question="my card", external_id="E1")) == [None]


def test_fault_of_answers_and_streams_leaves_other_calls_alone() -> None:
    assert fired(rules({"action": {"kind": "answer"}}), call("list"), call()) == [None, "answer"]
    assert fired(rules({"action": {"kind": "sse_truncated"}}), call()) == [None]


def test_chance_is_repeatable_by_seed_and_differs_between_seeds() -> None:
    def drawn(seed: int) -> list[str | None]:
        faults = rules({"match": {"probability": 0.3}, "action": RESET}, seed=seed)
        return fired(faults, *[call() for _ in range(200)])

    assert drawn(7) == drawn(7) != drawn(8)
    assert 30 < sum(each is not None for each in drawn(7)) < 90


def test_shown_rules_can_be_put_back_and_carry_their_counts() -> None:
    faults = rules({"match": {"nth": 2}, "action": {"kind": "hang", "seconds": 1}})
    fired(faults, call(), call())
    shown = faults.shown()
    assert (shown[0]["seen"], shown[0]["fired"]) == (2, 1)
    faults.replace(shown)
    assert faults.shown()[0]["match"] == {"nth": 2}
    assert faults.shown()[0]["fired"] == 0


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"action": {"kind": "rest"}}, "Did you mean 'reset'"),
        ({"match": {"sesion_id": "x"}, "action": RESET}, "Did you mean 'session_id'"),
        ({"match": {"call": "psot"}, "action": RESET}, "Did you mean 'post'"),
        ({"match": {"nth": 0}, "action": RESET}, "whole number from 1"),
        ({"match": {"probability": 7}, "action": RESET}, "number from 0 to 1"),
        ({"action": {"kind": "reply", "status": 99999}}, "whole number from 200 to 599"),
        ({"action": {"kind": "reset", "status": 500}}, "a reset has no 'status'"),
        ({"action": {"kind": "trickle", "when": "before_work"}}, "a trickle has no 'when'"),
        ({"action": {}}, "no action kind"),
        ({"actoin": RESET}, "Fault 0"),
        ("reset", "Fault 0"),
    ],
)
def test_wrong_rule_is_refused_and_the_old_ones_stay(rule: Any, message: str) -> None:
    faults = rules({"action": RESET})
    with pytest.raises(NotAcceptedError, match=message):
        faults.replace([rule])
    assert len(faults.shown()) == 1


def test_faults_that_are_no_list_are_refused() -> None:
    with pytest.raises(NotAcceptedError, match="JSON list"):
        Faults().replace({"action": RESET})
