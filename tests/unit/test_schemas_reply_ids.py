"""The ids of replies, which must never change."""

from __future__ import annotations

from uuid import UUID, uuid5

import pytest
from hypothesis import given, settings, strategies as st

from schemas import REPLY_NAMESPACE, reply_id

# Written down once. If one of these changes, every consumer gets a second reply to an old question.
GOLDEN = {
    ("crm/acme", "evt-1", 0): "aaba07ea-8f3f-53be-8fd7-fc5a62848d51",
    ("crm/acme", "evt-1", 1): "04aa2a2f-9849-5506-968a-b7a611d19691",
    ("café", "客户-😀", 0): "a6408d88-0415-5d7c-81a8-4b1ae5afad7d",
    ("crm", 'a"b\\c', 0): "3cbdca5f-de39-5f75-a7ce-b91039fb1f8c",
    ("s" * 255, "e" * 255, 12): "f310b15d-bb5d-5448-80b1-fb5bc69b5412",
}


@pytest.mark.parametrize(("question", "expected"), GOLDEN.items())
def test_reply_id_is_what_it_has_always_been(question: tuple[str, str, int], expected: str) -> None:
    assert reply_id(*question) == expected


def test_reply_namespace_is_what_it_has_always_been() -> None:
    assert UUID("ff6ba827-9d1e-45ae-a245-82aa0c08390e") == REPLY_NAMESPACE


@pytest.mark.parametrize(
    ("source", "event_id", "redrive", "name"),
    [
        ("crm/acme", "evt-1", 0, '["crm/acme","evt-1"]'),
        ("crm/acme", "evt-1", 2, '["crm/acme","evt-1",2]'),
        ("crm", 'a"b\\c', 0, r'["crm","a\"b\\c"]'),
        ("café", "客户-😀", 0, '["café","客户-😀"]'),
        ("crm", "\u2028", 0, '["crm","\u2028"]'),
    ],
)
def test_reply_id_is_the_uuid5_of_a_json_array_as_javascript_writes_it(
    source: str, event_id: str, redrive: int, name: str
) -> None:
    assert reply_id(source, event_id, redrive) == str(uuid5(REPLY_NAMESPACE, name))


def test_reply_id_refuses_a_redrive_before_the_first() -> None:
    with pytest.raises(ValueError, match=r"^Bug: "):
        reply_id("crm", "evt-1", -1)


@settings(deadline=None, database=None)
@given(st.lists(st.tuples(st.text('a"\\,[]1 '), st.text('a"\\,[]1 '), st.integers(0, 2)), unique=True))
def test_reply_id_differs_for_every_question_and_redrive(questions: list[tuple[str, str, int]]) -> None:
    assert len({reply_id(*question) for question in questions}) == len(questions)
