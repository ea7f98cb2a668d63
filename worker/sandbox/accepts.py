"""Checks values from outside against the types of a dataclass, with messages a person can act on."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from worker.sandbox.nearest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping


class NotAcceptedError(ValueError):
    """A name that is not known or a value it cannot have. The message says what it can."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What one field accepts: a Literal, bool, int, float or str, each perhaps ``| None``."""

    kind: type
    choices: tuple[str, ...]
    is_optional: bool
    #: Lowest and highest number, None for no limit.
    least: float | None
    most: float | None

    def words(self) -> str:
        """Say it for people."""
        if self.choices:
            text = " | ".join(self.choices)
        elif self.kind in (bool, str):
            text = "true | false" if self.kind is bool else "text"
        else:
            text = "whole number" if self.kind is int else "number"
            text += "" if self.least is None else f" from {self.least:g}"
            text += "" if self.most is None else f" to {self.most:g}"
        return f"{text} | none" if self.is_optional else text

    def check(self, label: str, value: Any) -> Any:
        """Return the value, an int as a float or text where that is wanted, or raise NotAcceptedError."""
        if value is None and self.is_optional:
            return None
        if type(value) is int and self.kind in (float, str):
            value = self.kind(value)
        if not self._is_right(value):
            hint = did_you_mean(value, self.choices) if self.choices and isinstance(value, str) else ""
            raise NotAcceptedError(f"{label} accepts {self.words()}. {hint}".rstrip())
        return value

    def _is_right(self, value: Any) -> bool:
        # Not isinstance: True is an int as well.
        is_of_kind: bool = type(value) is self.kind
        if not is_of_kind or (self.choices and value not in self.choices):
            return False
        # Infinity and NaN are floats too, and no latency.
        is_too_much = self.most is not None and value > self.most
        return self.least is None or (bool(self.least <= value < float("inf")) and not is_too_much)


@cache
def accepted_by(cls: type) -> Mapping[str, Accepted]:
    """Read what the fields of a dataclass accept; metadata ``least`` and ``most`` limit numbers."""
    hints = get_type_hints(cls)
    table = {}
    for each in fields(cls):
        hint = hints[each.name]
        is_optional = NoneType in get_args(hint)
        kind = get_args(hint)[0] if is_optional else hint
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        table[each.name] = Accepted(
            str if choices else kind,
            choices,
            is_optional,
            each.metadata.get("least"),
            each.metadata.get("most"),
        )
    return table


def check_fields(cls: type, values: Any, *, label: str) -> dict[str, Any]:
    """Check a JSON object against the fields of a dataclass; ``label`` names a field: ``Switch '{}'``."""
    if not isinstance(values, dict):
        raise NotAcceptedError(f"{label.format('...')}: a JSON object is needed here.")
    table = accepted_by(cls)
    checked = {}
    for name, value in values.items():
        if name not in table:
            raise NotAcceptedError(f"{label.format(name)} is not known. {did_you_mean(name, table)}")
        checked[name] = table[name].check(label.format(name), value)
    return checked
