"""The single values that events are made of, each with its rule and its JSON Schema.

A validator's message never repeats the value: it goes into logs and headers.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from schemas.event_names import MAX_ID_BYTES
from schemas.timestamps import epoch_of

#: The error type of every check in here; its message may be shown.
OWN_PROBLEM = "askrelay"

_CONTROL = r"\u0000-\u001f\u007f-\u009f"
_BIDI = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_HAS_CONTROL = re.compile(f"[{_CONTROL}]")
_HAS_FORBIDDEN = re.compile(f"[{_CONTROL}{_BIDI}\ud800-\udfff]")

#: A language tag: en, pt-BR, zh_Hant_TW. Characters: 35 is what RFC 5646 tells implementers to have room for.
LANG_PATTERN = r"^(?=.{2,35}$)[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*$"
_LANG = re.compile(LANG_PATTERN.removesuffix("$").removeprefix("^"))

#: The name of an agent's model: gpt-4-1-mini, claude-3.5-sonnet. Not a list, which changes every few months.
MODEL_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$"
_MODEL_NAME = re.compile(MODEL_NAME_PATTERN.removesuffix("$").removeprefix("^"))


def has_forbidden_characters(text: str) -> bool:
    """Tell whether the text has control, surrogate or bidirectional-format characters."""
    return _HAS_FORBIDDEN.search(text) is not None


def _event_id(value: str) -> str:
    if not value.strip():
        raise PydanticCustomError(OWN_PROBLEM, "is blank")
    if len(value.encode("utf-8")) > MAX_ID_BYTES:
        raise PydanticCustomError(OWN_PROBLEM, "is over {limit} bytes", {"limit": MAX_ID_BYTES})
    if _HAS_CONTROL.search(value):
        raise PydanticCustomError(OWN_PROBLEM, "has control characters")
    return value


def _decimal_form(value: Any) -> Any:
    """Turn an integer into its decimal form. A boolean is no integer here, whatever Python says."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise PydanticCustomError(OWN_PROBLEM, "is neither a string nor an integer")


def _key(value: str) -> str:
    if not value.strip():
        raise PydanticCustomError(OWN_PROBLEM, "is blank")
    if has_forbidden_characters(value):
        raise PydanticCustomError(OWN_PROBLEM, "has control, surrogate or bidirectional characters")
    return value


def _question(value: str) -> str:
    if not value.strip():
        raise PydanticCustomError(OWN_PROBLEM, "is blank")
    return value


def _lang(value: str) -> str:
    if not _LANG.fullmatch(value):
        raise PydanticCustomError(OWN_PROBLEM, "is not a language tag")
    return value


def _model_name(value: str) -> str:
    if not _MODEL_NAME.fullmatch(value):
        raise PydanticCustomError(OWN_PROBLEM, "is not a model's name")
    return value


def _timestamp(value: str) -> str:
    with suppress(ValueError):
        epoch_of(value)
        return value
    raise PydanticCustomError(OWN_PROBLEM, "is not an RFC 3339 timestamp")


def _empty_is_unset(value: Any) -> Any:
    return None if value == "" else value


_KEY_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": r"\S", "not": {"pattern": f"[{_CONTROL}{_BIDI}]"}},
        {"type": "integer"},
    ]
}

EventId = Annotated[
    str,
    AfterValidator(_event_id),
    WithJsonSchema(
        {
            "type": "string",
            "maxLength": MAX_ID_BYTES,
            "pattern": r"\S",
            "not": {"pattern": f"[{_CONTROL}]"},
        }
    ),
]

ContactId = Annotated[str, BeforeValidator(_decimal_form), AfterValidator(_key), WithJsonSchema(_KEY_SCHEMA)]

ThreadId = Annotated[
    Annotated[str, BeforeValidator(_decimal_form), AfterValidator(_key)] | None,
    BeforeValidator(_empty_is_unset),
    WithJsonSchema({"anyOf": [*_KEY_SCHEMA["anyOf"], {"const": ""}, {"type": "null"}]}),
]

QuestionText = Annotated[str, AfterValidator(_question), WithJsonSchema({"type": "string", "pattern": r"\S"})]

Lang = Annotated[
    Annotated[str, AfterValidator(_lang)] | None,
    BeforeValidator(_empty_is_unset),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": LANG_PATTERN}, {"const": ""}, {"type": "null"}],
        }
    ),
]

#: Text that goes along with a question; empty is as good as absent.
OptionText = Annotated[
    Annotated[str, AfterValidator(_question)] | None,
    BeforeValidator(_empty_is_unset),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": r"^$|\S"}, {"type": "null"}]}),
]

ModelName = Annotated[
    Annotated[str, AfterValidator(_model_name)] | None,
    BeforeValidator(_empty_is_unset),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": MODEL_NAME_PATTERN}, {"const": ""}, {"type": "null"}]}
    ),
]

Timestamp = Annotated[
    str, AfterValidator(_timestamp), WithJsonSchema({"type": "string", "format": "date-time"})
]
