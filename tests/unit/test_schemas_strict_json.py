"""The JSON that is taken, and the JSON on which two readers would not agree."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import example, given, settings, strategies as st

from schemas.event_names import MAX_EVENT_DEPTH
from schemas.refusal import EventRefused
from schemas.strict_json import parse_object

QUICK = settings(deadline=None, database=None, max_examples=200)

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def nested(levels: int) -> bytes:
    """An object in which lists lie, so many levels in all."""
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


#: Python 3.13 points at a comma too many, its elders behind it.
COMMA = 6 if sys.version_info >= (3, 13) else 7
REFUSED = {
    "empty body": (b"", "body is not JSON at character 0"),
    "no JSON": (b"hello", "body is not JSON at character 0"),
    "cut off": (b'{"a":', "body is not JSON at character 5"),
    "two values": (b"{} {}", "body is not JSON at character 3"),
    "single quotes": (b"{'a':1}", "body is not JSON at character 1"),
    "trailing comma": (b'{"a":1,}', f"body is not JSON at character {COMMA}"),
    "raw control character": (b'{"a":"x\ny"}', "body is not JSON at character 7"),
    "list": (b"[1]", "body is not a JSON object"),
    "text": (b'"{}"', "body is not a JSON object"),
    "null": (b"null", "body is not a JSON object"),
    "number": (b"1", "body is not a JSON object"),
    "bad UTF-8": (b'{"a":"\xff"}', "body is not UTF-8 at byte 6"),
    "surrogate in UTF-8": (b'{"a":"\xed\xa0\x80"}', "body is not UTF-8 at byte 6"),
    "UTF-16": ('{"a":1}'.encode("utf-16"), "body is not UTF-8 at byte 0"),
    "byte order mark": (b"\xef\xbb\xbf{}", "body starts with a byte order mark"),
    "lone high surrogate": (rb'{"a":"\ud800"}', "body has a lone surrogate"),
    "lone low surrogate": (rb'{"a":"\uDC00x"}', "body has a lone surrogate"),
    "lone surrogate in a key": (rb'{"\udfff":1}', "body has a lone surrogate"),
    "lone surrogate deep inside": (rb'{"a":[{"b":["\ud83d"]}]}', "body has a lone surrogate"),
    "surrogates the wrong way round": (rb'{"a":"\ude00\ud83d"}', "body has a lone surrogate"),
    "same key twice": (b'{"a":1,"a":1}', "an object has the same key twice"),
    "same key twice, once escaped": (rb'{"a":1,"\u0061":2}', "an object has the same key twice"),
    "same key twice deep inside": (b'{"a":[{"b":1,"b":2}]}', "an object has the same key twice"),
    "NaN": (b'{"a":NaN}', "NaN and Infinity are not JSON"),
    "Infinity": (b'{"a":Infinity}', "NaN and Infinity are not JSON"),
    "-Infinity": (b'{"a":-Infinity}', "NaN and Infinity are not JSON"),
    "float that overflows": (b'{"a":1e400}', "a number is too large"),
    "negative float that overflows": (b'{"a":-1e999999999}', "a number is too large"),
    "integer of 5000 digits": (b'{"a":' + b"9" * 5000 + b"}", "body has an integer of too many digits"),
    "33 levels": (nested(33), "body is nested deeper than 32 levels at character 36"),
    "60,000 levels, never closed": (b"[" * 60_000, "body is nested deeper than 32 levels at character 32"),
    "60,000 levels of objects": (b'{"":' * 15_000, "body is nested deeper than 32 levels at character 128"),
    "quotes escaped to the end": (
        b'{"' + rb"\"" * 30_000 + b"[" * 40 + b"\\",
        "body is not JSON at character 1",
    ),
}


@pytest.mark.parametrize(("body", "detail"), REFUSED.values(), ids=REFUSED)
def test_parse_object_refuses_what_is_not_strict_json(body: bytes, detail: str) -> None:
    with pytest.raises(EventRefused) as refused:
        parse_object(body)
    assert (refused.value.reason, refused.value.detail) == ("malformed_event", detail)


def test_parse_object_takes_as_many_levels_as_are_allowed() -> None:
    assert parse_object(nested(MAX_EVENT_DEPTH))


def test_parse_object_does_not_count_brackets_in_strings_as_levels() -> None:
    assert parse_object(json.dumps({"a": "[{" * 500, '\\"[': "]\\"}).encode())


def test_parse_object_does_not_count_lists_side_by_side_as_levels() -> None:
    assert parse_object(json.dumps({"a": [[]] * 500}).encode())


def test_parse_object_takes_escaped_pairs_of_surrogates() -> None:
    assert parse_object(rb'{"a":"\ud83d\ude00"}') == {"a": "😀"}


def test_parse_object_takes_nul_and_every_other_escaped_control_character() -> None:
    assert parse_object(rb'{"a":"\u0000\u001f"}') == {"a": "\x00\x1f"}


def test_parse_object_keeps_large_integers_exact() -> None:
    assert parse_object(b'{"a":' + b"9" * 4000 + b"}") == {"a": int("9" * 4000)}


def test_parse_object_keeps_no_trace_of_the_body_in_what_it_raises() -> None:
    for body in (b'{"a": "canary', b'{"a": "canary\xff"}', b'{"canary":1,"canary":1}', b'{"canary":1e999}'):
        with pytest.raises(EventRefused) as refused:
            parse_object(body)
        assert "canary" not in str(refused.value)
        assert refused.value.__context__ is None


@QUICK
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON_VALUES))
def test_parse_object_gives_back_what_was_written(value: dict[str, object]) -> None:
    assert parse_object(json.dumps(value).encode()) == value
    assert parse_object(json.dumps(value, ensure_ascii=False).encode()) == value


@QUICK
@given(st.binary() | st.text('{}[]",:\\ud8aneE+-10 \n').map(str.encode))
@example(b'{"a":' * 100)
def test_parse_object_gives_an_object_or_refuses_and_nothing_else(body: bytes) -> None:
    try:
        value = parse_object(body)
    except EventRefused as refused:
        reason = refused.reason
    else:
        reason = None
        assert isinstance(value, dict)
    assert reason in {None, "malformed_event"}
