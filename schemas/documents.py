"""The JSON Schemas of the events, generated from the models."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from schemas.asked import AskedEvent
from schemas.event_names import ANSWERED, ASKED, FAILED, PROGRESS, RATED
from schemas.examples import (
    ANSWERED_EXAMPLE,
    ASKED_EXAMPLE,
    FAILED_EXAMPLE,
    PROGRESS_EXAMPLE,
    RATED_EXAMPLE,
)
from schemas.rated import RatedEvent
from schemas.reply_models import AnsweredEvent, FailedEvent, ProgressEvent

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_EVENTS: Final[tuple[tuple[str, type[BaseModel], JsonSchemaMode, dict[str, Any]], ...]] = (
    ("asked", AskedEvent, "validation", ASKED_EXAMPLE),
    ("answered", AnsweredEvent, "serialization", ANSWERED_EXAMPLE),
    ("failed", FailedEvent, "serialization", FAILED_EXAMPLE),
    ("progress", ProgressEvent, "serialization", PROGRESS_EXAMPLE),
    ("rated", RatedEvent, "validation", RATED_EXAMPLE),
)
_TYPES: Final = {"asked": ASKED, "answered": ANSWERED, "failed": FAILED, "progress": PROGRESS, "rated": RATED}


class _Untitled(GenerateJsonSchema):
    """Leaves out the titles that only repeat a field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


def json_schema() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema (2020-12) of each event by its short name, such as asked.

    ``asked`` and ``rated`` say what to publish, the others what to expect.
    """
    documents = {}
    for name, model, mode, example in _EVENTS:
        documents[name] = {
            "$schema": _DIALECT,
            "$id": f"urn:askrelay:schema:{_TYPES[name]}",
            **model.model_json_schema(mode=mode, schema_generator=_Untitled),
            "examples": [example],
        }
    return documents
