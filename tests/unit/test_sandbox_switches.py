from __future__ import annotations

from dataclasses import fields

import pytest

from worker.sandbox.accepts import NotAcceptedError
from worker.sandbox.serve import read_switches
from worker.sandbox.switches import Switches, describe, parse_assignment


def test_switches_round_trip_through_their_values() -> None:
    switches = Switches()
    switches.update({"citations": "strings", "retention_s": 3})
    other = Switches()
    other.update(switches.values())
    assert other == switches
    assert other.retention_s == 3.0


def test_unknown_switch_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(NotAcceptedError, match="Did you mean 'name_filter'"):
        Switches().update({"name_filtre": "exact"})


def test_wrong_choice_is_refused_with_all_choices_and_the_nearest() -> None:
    with pytest.raises(NotAcceptedError, match=r"substring \| prefix \| exact.*Did you mean 'exact'"):
        Switches().update({"name_filter": "exakt"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latency_s", "fast"),
        ("latency_s", -1),
        ("latency_s", float("inf")),
        ("latency_s", float("nan")),
        ("requests_per_minute", 1.5),
        ("requests_per_minute", True),
        ("conversations_per_page", 0),
        ("conversations_per_page", None),
        ("list_shows_deleted", 1),
        ("missing_session_text", ["x"]),
        ("citations", None),
    ],
)
def test_ill_typed_switch_is_refused(name: str, value: object) -> None:
    with pytest.raises(NotAcceptedError, match=f"Switch '{name}' accepts"):
        Switches().update({name: value})


def test_switches_stay_as_they_were_when_one_of_several_is_wrong() -> None:
    switches = Switches()
    with pytest.raises(NotAcceptedError):
        switches.update({"citations": "empty", "dates": "stardate"})
    assert switches == Switches()


def test_switches_that_are_no_object_are_refused() -> None:
    with pytest.raises(NotAcceptedError, match="JSON object"):
        Switches().update([])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("latency_s=0.5", ("latency_s", 0.5)),
        ("latency_s=none", ("latency_s", None)),
        ("citations=null", ("citations", "null")),
        ("list_shows_deleted=yes", ("list_shows_deleted", True)),
        ("list_shows_deleted = off", ("list_shows_deleted", False)),
        ("max_queries=0", ("max_queries", 0)),
        ("missing_session_text=a=b", ("missing_session_text", "a=b")),
    ],
)
def test_assignment_is_read_by_the_type_of_the_switch(text: str, expected: tuple[str, object]) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize(
    "text", ["latency_s", "latency_s=soon", "no_such=1", "list_shows_deleted=maybe", "=1"]
)
def test_wrong_assignment_is_refused(text: str) -> None:
    with pytest.raises(NotAcceptedError):
        parse_assignment(text)


def test_named_switch_wins_over_its_option() -> None:
    switches = read_switches(["latency_s=2"], latency_s=1.0, per_minute=60, at_once=5)
    assert (switches.latency_s, switches.requests_per_minute, switches.requests_at_once) == (2.0, 60, 5)


def test_every_switch_is_described_and_has_an_acceptable_default() -> None:
    assert set(describe()) == {each.name for each in fields(Switches)}
    assert all(each["about"] and each["accepts"] for each in describe().values())
    Switches().update({name: each["default"] for name, each in describe().items()})
