"""JSON as RFC 8259 means it, with nothing left to chance.

The standard parser takes NaN, keeps the last of two equal keys, guesses UTF-16, turns 1e400 into infinity,
hands out lone surrogates that no database stores, and stops at its recursion limit. A body that needs any of
that is refused: two readers would not agree on what it says.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Never

from schemas.event_names import MAX_EVENT_DEPTH
from schemas.refusal import EventRefused

#: A string, closed or not, or a bracket. Possessive, and a string always matches to its end: otherwise a body
#: of nothing but escaped quotes costs quadratic time.
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.?+)*+(?:"|\Z)|[\[\]{}]', re.DOTALL)

#: Only an escape can bring a surrogate in, because UTF-8 itself cannot.
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_object(body: bytes, *, name: str = "body") -> dict[str, Any]:
    """Parse bytes that must hold exactly one JSON object.

    Raises EventRefused, ``malformed_event``, for everything else; ``name`` is what its detail calls them.
    """
    text = _decoded(body, name)
    if text.count("[") + text.count("{") > MAX_EVENT_DEPTH:
        _check_depth(text, name)
    value = _parsed(text, name)
    if not isinstance(value, dict):
        _refuse(f"{name} is not a JSON object")
    if _SURROGATE_ESCAPE.search(text) and _LONE_SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        _refuse(f"{name} has a lone surrogate")
    return value


def _decoded(body: bytes, name: str) -> str:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        position = error.start
    else:
        if text.startswith("\ufeff"):
            _refuse(f"{name} starts with a byte order mark")
        return text
    # Raised out here, because an exception keeps the one it was raised in, and that one holds the body.
    return _refuse(f"{name} is not UTF-8 at byte {position}")


def _check_depth(text: str, name: str) -> None:
    """Count brackets before parsing, so that no input ever reaches the parser's recursion limit."""
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        token = match.group()
        if token in {"[", "{"}:
            depth += 1
            if depth > MAX_EVENT_DEPTH:
                _refuse(f"{name} is nested deeper than {MAX_EVENT_DEPTH} levels at character {match.start()}")
        elif token in {"]", "}"}:
            depth -= 1


def _parsed(text: str, name: str) -> Any:
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        problem = f"{name} is not JSON at character {error.pos}"
    except ValueError:
        # The interpreter's own limit for turning digits into an integer, 4300 unless it was changed.
        problem = f"{name} has an integer of too many digits"
    return _refuse(problem)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        _refuse("an object has the same key twice")
    return value


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        _refuse("a number is too large")
    return value


def _no_constant(_: str) -> Never:
    _refuse("NaN and Infinity are not JSON")


def _refuse(detail: str) -> Never:
    raise EventRefused("malformed_event", detail)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant)
