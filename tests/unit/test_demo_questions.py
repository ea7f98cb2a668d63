"""What the demo asks: its story, and files of the user's."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from schemas import AskedQuestion, RawEvent, decode_event
from worker.demo.plan import Plan
from worker.demo.questions import QuestionsError, built_in, read_questions


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "questions.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_story_has_about_sixty_questions_of_twenty_contacts_and_none_twice() -> None:
    asked = built_in()
    assert len({each.contact_id for each in asked}) == 20
    assert 55 <= len(asked) <= 65
    assert len({each.event_id for each in asked}) == len(asked)
    assert max(Counter((each.contact_id, each.question) for each in asked).values()) == 1


@pytest.mark.parametrize("asked", built_in(), ids=lambda asked: asked.event_id)
def test_event_of_the_story_is_one_that_a_worker_accepts(asked: object) -> None:
    decoded = decode_event(RawEvent(asked.event()))  # type: ignore[attr-defined]
    assert isinstance(decoded, AskedQuestion)


def test_file_is_read_in_order_with_event_ids_that_tell_equal_rows_apart(tmp_path: Path) -> None:
    asked = read_questions(written(tmp_path, "contact_id,question\na,Why?\nb,When?\na,Why?\n"))
    assert [(each.contact_id, each.question) for each in asked] == [
        ("a", "Why?"),
        ("b", "When?"),
        ("a", "Why?"),
    ]
    assert len({each.event_id for each in asked}) == 3


def test_byte_order_mark_other_columns_and_blank_lines_do_no_harm(tmp_path: Path) -> None:
    text = '\ufeffteam,question,contact_id\r\nblue,"What, now?",a\r\n\r\n'
    [asked] = read_questions(written(tmp_path, text))
    assert (asked.contact_id, asked.question) == ("a", "What, now?")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no column contact_id and no column question"),
        ("contact,question\na,canary\n", "has no column contact_id: its first row must name the columns"),
        ("a,canary\n", "has no column contact_id and no column question"),
        ("contact_id,question\n", "has no questions"),
        ("contact_id,question\na\n", "row 1 of questions.csv is too short"),
        ("contact_id,question\na,fine\n ,canary\n", "row 2 of questions.csv cannot be asked: contact_id"),
        ('contact_id,question\na,"canary\n', "is not CSV"),
        (b"contact_id,question\na,canary\xff\n", "is not text in UTF-8"),
    ],
)
def test_file_that_cannot_be_played_is_told_plainly_and_without_its_contents(
    tmp_path: Path, text: str | bytes, told: str
) -> None:
    with pytest.raises(QuestionsError) as raised:
        read_questions(written(tmp_path, text))
    assert told in str(raised.value)
    assert "canary" not in str(raised.value)


def test_plan_of_the_story_has_every_kind_of_trouble() -> None:
    plan = Plan(built_in())
    actions = {(rule["match"]["call"], *sorted(rule["action"].items())) for rule in plan.faults()}
    kinds = {(action["kind"], action["when"]) for action in (rule["action"] for rule in plan.faults())}
    assert kinds == {("reset", "after_work"), ("reply", "after_work"), ("reply", "before_work")}
    assert ("create", ("kind", "reset"), ("when", "after_work")) in actions
    assert plan.kills
    assert sum(plan.is_duplicated(number) for number in range(60)) == 6


def test_calm_plan_has_no_trouble() -> None:
    plan = Plan(built_in(), is_calm=True)
    assert plan.faults() == []
    assert not plan.kills
    assert not any(plan.is_duplicated(number) for number in range(60))


@pytest.mark.parametrize("count", [1, 2, 7, 3080])
def test_faults_of_a_plan_hit_posts_that_take_place(count: int) -> None:
    asked = (built_in() * 60)[:count]
    places = [rule["match"]["nth"] for rule in Plan(asked, is_story=False).faults()[1:]]
    assert places
    assert all(1 <= place <= count for place in places)
    assert len(set(places)) == len(places)
