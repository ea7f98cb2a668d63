"""The small parts of the sandbox: pace, latency, answers, pages, routes, the ledger."""

from __future__ import annotations

import random
from statistics import median

import pytest

from worker.sandbox.answers import answer_to, citations_of, spoken, stored_question
from worker.sandbox.clock import Clock
from worker.sandbox.effects import Effects
from worker.sandbox.envelope import date_text, page_number, paginate, throttled
from worker.sandbox.latency import answer_latency_s, other_latency_s
from worker.sandbox.pace import Pace
from worker.sandbox.routes import find_route
from worker.sandbox.server import url_of
from worker.sandbox.state import Store
from worker.sandbox.switches import Switches


class Time:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.clock = Clock(lambda: self.now, lambda: self.now)


def test_pace_admits_so_many_in_any_minute_and_says_how_long_to_wait() -> None:
    time = Time()
    pace = Pace(time.clock)

    def admit() -> float | None:
        return pace.admit(per_minute=2, at_once=0, being_served=1)

    assert admit() is None
    time.now += 50
    assert admit() is None
    assert admit() == 10.0
    time.now += 10
    assert admit() is None
    assert admit() == 50.0


def test_pace_counts_calls_at_once() -> None:
    pace = Pace(Time().clock)
    assert pace.admit(per_minute=0, at_once=5, being_served=5) is None
    assert pace.admit(per_minute=0, at_once=5, being_served=6) is not None


def test_pace_waits_for_several_when_the_limit_was_lowered() -> None:
    time = Time()
    pace = Pace(time.clock)
    for _ in range(3):
        pace.admit(per_minute=3, at_once=0, being_served=1)
        time.now += 1
    assert pace.admit(per_minute=1, at_once=0, being_served=1) == 59.0


def test_latency_is_log_normal_with_its_median_and_a_capped_tail() -> None:
    switches, chance = Switches(), random.Random(1)
    drawn = [answer_latency_s(switches, chance) for _ in range(20_000)]
    assert median(drawn) == pytest.approx(3.0, rel=0.05)
    assert max(drawn) <= 120.0
    assert sum(each > 10 for each in drawn) > 500


def test_latency_is_capped() -> None:
    switches = Switches(latency_cap_s=1.0, latency_median_s=100.0)
    assert answer_latency_s(switches, random.Random(1)) == 1.0


def test_fixed_latency_is_fixed_and_other_calls_take_their_share() -> None:
    switches = Switches(latency_s=2.0, other_latency_share=0.25)
    assert answer_latency_s(switches, random.Random(1)) == 2.0
    assert other_latency_s(switches, random.Random(1)) == 0.5


def test_answer_names_its_question_and_differs_for_any_other() -> None:
    assert "Where is it? " in answer_to("Where is it? ")
    assert answer_to("Where is it?") != answer_to("Where is it? ")
    assert answer_to("a\ud800b") == answer_to("a\ud800b")
    assert citations_of("q") == citations_of("q")


def test_agent_says_what_the_switch_says() -> None:
    texts = {"no_answer_message": "Pass."}
    assert spoken("no_answer", "q", texts) == "Pass."
    assert spoken("empty", "q", texts) == ""
    assert spoken("null", "q", texts) is None
    assert spoken("normal", "q", texts) == answer_to("q")


@pytest.mark.parametrize(
    ("mode", "kept"),
    [
        ("as_sent", " a <b>\n c "),
        ("trimmed", "a <b>\n c"),
        ("html_escaped", " a &lt;b&gt;\n c "),
        ("collapsed", "a <b> c"),
    ],
)
def test_question_is_kept_as_the_switch_says(mode: str, kept: str) -> None:
    switches = Switches()
    switches.update({"stored_question": mode})
    assert stored_question(" a <b>\n c ", switches) == kept


def test_page_in_the_middle_links_to_its_neighbours() -> None:
    page = paginate(list(range(25)), page=2, per_page=10, path="http://x/list", render=str)
    assert page["data"] == [str(number) for number in range(10, 20)]
    assert (page["from"], page["to"], page["total"], page["last_page"]) == (11, 20, 25, 3)
    assert page["next_page_url"] == "http://x/list?page=3"
    assert page["prev_page_url"] == "http://x/list?page=1"
    assert list(page)[:2] == ["current_page", "data"]


@pytest.mark.parametrize(("rows", "page"), [(0, 1), (5, 2)])
def test_page_beyond_the_end_is_empty_with_null_bounds(rows: int, page: int) -> None:
    shown = paginate(list(range(rows)), page=page, per_page=10, path="p", render=str)
    assert (shown["data"], shown["from"], shown["to"], shown["next_page_url"]) == ([], None, None, None)
    assert shown["last_page"] == 1


@pytest.mark.parametrize(("text", "number"), [(None, 1), ("3", 3), ("0", 1), ("-2", 1), ("x", 1), ("²", 1)])
def test_page_number_is_read_as_laravel_does(text: str | None, number: int) -> None:
    assert page_number(text) == number


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("iso", "2023-06-25T05:01:11.000000Z"),
        ("plain", "2023-06-25 05:01:11"),
        ("words", "25 Jun 2023 05:01:11"),
        ("null", None),
    ],
)
def test_date_is_written_in_the_form_of_the_switch(form: str, text: str | None) -> None:
    switches = Switches()
    switches.update({"dates": form})
    assert date_text(1687669271.9, switches) == text


def test_throttle_names_its_wait_in_whole_seconds_or_as_a_date() -> None:
    switches = Switches()
    assert throttled(switches, 1.2, now=0.0).headers["Retry-After"] == "2"
    switches.throttle_retry_after = "date"
    assert throttled(switches, 1.2, now=0.0).headers["Retry-After"] == "Thu, 01 Jan 1970 00:00:02 GMT"
    switches.throttle_retry_after = "absent"
    assert "Retry-After" not in throttled(switches, 1.2, now=0.0).headers


def test_route_gives_call_pattern_and_decoded_values() -> None:
    found = find_route("POST", "/api/v1/projects/123/conversations/a%2Fb/messages")
    assert found == (
        "/api/v1/projects/{projectId}/conversations/{sessionId}/messages",
        "post",
        {"projectId": "123", "sessionId": "a/b"},
    )


def test_route_with_another_method_is_known_but_no_call() -> None:
    found = find_route("PATCH", "/api/v1/user")
    assert found is not None
    assert found[1] is None


@pytest.mark.parametrize("path", ["/", "/api/v1", "/api/v1/nothing", "/api/v2/user", "/api/v1/user/"])
def test_route_that_is_not_there_is_none(path: str) -> None:
    assert find_route("GET", path) is None


def test_ledger_counts_what_is_served_at_once() -> None:
    effects = Effects(Time().clock)
    assert effects.arrive() == (1, 1)
    assert effects.arrive() == (2, 2)
    assert effects.summary()["max_at_once"] == 2
    assert effects.summary()["open_requests"] == 2


def test_conversation_older_than_retention_is_gone() -> None:
    time = Time()
    store = Store(time.clock)
    project = store.projects[123]
    old = store.add_conversation(project, "old")
    time.now += 10
    young = store.add_conversation(project, "young")
    assert store.expire_conversations(project, None) == []
    assert store.expire_conversations(project, 10.0) == [old]
    assert list(project.conversations.values()) == [young]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80/api/v1"),
        ("0.0.0.0", "http://127.0.0.1:80/api/v1"),
        ("::1", "http://[::1]:80/api/v1"),
        ("::", "http://[::1]:80/api/v1"),
    ],
)
def test_url_can_be_used_from_this_machine(host: str, url: str) -> None:
    assert url_of(host, 80) == url


def test_name_index_finds_every_name_beyond_one_block_and_each_once() -> None:
    store = Store(Clock())
    project = store.projects[123]
    made = [store.add_conversation(project, f"Crm:E{number} #tag{number:05}") for number in range(1500)]
    assert project.names.candidates("#TAG01234") == [made[1234]]
    store.rename_conversation(project, made[7], "other #tag00007")
    assert project.names.candidates("#tag00007") == [made[7]]
    assert project.names.candidates("crm:e7 ") == []
    assert len(project.names.candidates("tag")) == 1500
