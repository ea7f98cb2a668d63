"""How one setting is declared: its names, unit and bounds, read back from the model for docs and messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import Field, SecretStr
from pydantic.fields import FieldInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pydantic_settings import BaseSettings

Kind = Literal["plain", "secret", "url", "path"]


def setting(
    default: Any,
    *names: str,
    unit: str = "",
    about: str,
    kind: Kind = "plain",
    default_text: str = "",
    **bounds: Any,
) -> Any:
    """Declare a field of Settings.

    ``names`` are its environment variables, the first one that is set wins; ``default_text`` stands for a
    default that depends on the machine; ``bounds`` are pydantic's (``ge``, ``le``).
    """
    extra: dict[str, Any] = {
        "names": list(names),
        "unit": unit,
        "kind": kind,
        "default_text": default_text,
    }
    return Field(default, description=about, json_schema_extra=extra, repr=kind == "plain", **bounds)


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of one setting without loading it."""

    field: str
    #: Environment variables, the first one that is set wins.
    names: tuple[str, ...]
    unit: str
    about: str
    #: As a person would write it; empty for "not set".
    default: str
    kind: Kind
    #: What a value must be, as a phrase: "a whole number from 1 to 100".
    must_be: str

    @property
    def name(self) -> str:
        """The environment variable to recommend."""
        return self.names[0]

    @property
    def file_names(self) -> tuple[str, ...]:
        """The variables that name a file with the value in it; a path has none, it is one already."""
        return () if self.kind == "path" else tuple(f"{name}_FILE" for name in self.names)


def declared(model: type[BaseSettings]) -> tuple[Setting, ...]:
    """Return every setting of the model, in its order."""
    return tuple(_described(field, info) for field, info in model.model_fields.items() if _extra(info))


def as_text(value: object) -> str:
    """Return a value as one would write it in the environment."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))
        case SecretStr():
            return "***"
        case _:
            return str(value)


def _described(field: str, info: FieldInfo) -> Setting:
    extra = _extra(info)
    default = "" if info.is_required() else as_text(info.default)
    return Setting(
        field=field,
        names=tuple(extra["names"]),
        unit=extra["unit"],
        about=info.description or "",
        default=extra["default_text"] or ("off" if extra["unit"].endswith("or off") else default),
        kind=extra["kind"],
        must_be=_must_be(info, extra["unit"]),
    )


def _extra(info: FieldInfo) -> Mapping[str, Any]:
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}


def _must_be(info: FieldInfo, unit: str) -> str:
    types = set(_flat(info.annotation))
    if bool in types:
        return "true or false"
    if choices := [choice for choice in types if isinstance(choice, str)]:
        return "one of " + ", ".join(choice for choice in _flat(info.annotation) if choice in choices)
    if not types & {int, float}:
        return "text"
    noun = "a whole number" if int in types else "a number"
    low, high = _bound(info.metadata, "ge"), _bound(info.metadata, "le")
    ends = f" from {as_text(low)} to {as_text(high)}" if low is not None and high is not None else ""
    if low is not None and high is None:
        ends = f" of at least {as_text(low)}"
    return f"{noun}{ends}" + (f" ({unit})" if unit else "")


def _flat(annotation: Any) -> Iterable[Any]:
    """Yield the members of a union, and the choices of a Literal in their order."""
    if get_origin(annotation) is None:
        yield annotation
    for member in get_args(annotation):
        yield from _flat(member) if get_origin(annotation) is not Literal else (member,)


def _bound(metadata: Iterable[Any], name: str) -> Any:
    return next((getattr(part, name) for part in metadata if hasattr(part, name)), None)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from."""

    kind: Literal["default", "environment", "file"]
    #: The variable that decided; empty for a default.
    name: str = ""
    #: The file that was read.
    path: Path | None = None

    def __str__(self) -> str:
        """Say it in a word or two, fit for a table."""
        return self.kind if self.kind == "default" else self.name
