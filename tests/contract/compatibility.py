"""Would a change of the published language break somebody who relies on the one before?

Every JSON Schema is read as the set of values it takes. A producer is safe when the new set holds the old
one; a consumer is safe when the old set holds the new one. Only the keywords our schemas use are understood,
and any other is an error: a rule that is not understood must not pass for no rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator

Schema = dict[str, Any]

#: Say nothing about which values are taken. ``default`` is what is assumed for a field that is not there.
WORDS = {"$schema", "$id", "$defs", "title", "description", "examples", "default"}
#: Must be the same, or new where the set may shrink: whether one pattern holds another is not decided here.
OPAQUE = ("pattern", "not", "format", "uniqueItems", "multipleOf")
UPPER = ("maxLength", "maximum", "maxItems", "maxProperties")
LOWER = ("minLength", "minimum", "minItems", "minProperties")
SHAPE = {"type", "const", "enum", "anyOf", "$ref", "properties", "required", "items", "additionalProperties"}
KNOWN = WORDS | SHAPE | {*OPAQUE, *UPPER, *LOWER}


class NotUnderstood(Exception):
    """A schema uses a keyword that has no rule here yet."""


@dataclass(frozen=True)
class Side:
    """A schema and the document it stands in."""

    schema: Any
    root: Schema

    def of(self, schema: Any) -> Side:
        """Return another schema of the same document."""
        return Side(schema, self.root)

    def resolved(self) -> Side:
        """Follow references; ``true`` and ``{}`` take everything."""
        schema = {} if self.schema is True else self.schema
        if unknown := set(schema) - KNOWN:
            raise NotUnderstood(f"no rule for {sorted(unknown)}")
        if "$ref" in schema:
            return self.of(self.root["$defs"][schema["$ref"].rpartition("/")[2]]).resolved()
        return self.of({key: value for key, value in schema.items() if key not in WORDS})

    def alternatives(self) -> list[Side]:
        """Return schemas without a choice of types, whose sets together are this one's."""
        here = self.resolved()
        schema = here.schema
        if "anyOf" in schema:
            rest = {key: value for key, value in schema.items() if key != "anyOf"}
            inner = [one for each in schema["anyOf"] for one in here.of(each).alternatives()]
            return [here.of({**rest, **one.schema}) for one in inner]
        if isinstance(kinds := schema.get("type"), list):
            return [here.of({**schema, "type": kind}) for kind in kinds]
        return [here]

    def takes(self, value: Any) -> bool:
        """Tell whether a value is in the set."""
        schema = {**self.resolved().schema, "$defs": self.root.get("$defs", {})}
        return Draft202012Validator(schema).is_valid(value)


def broken_for_producers(old: Schema, new: Schema) -> list[str]:
    """Name what of the old events would not be taken any more, or would be taken and not be read."""
    return [*_outside(Side(old, old), Side(new, new), ""), *_lost(Side(old, old), Side(new, new), "")]


def broken_for_consumers(old: Schema, new: Schema) -> list[str]:
    """Name what of the new replies a reader of the old ones would miss or not expect."""
    return [*_outside(Side(new, new), Side(old, old), ""), *_lost(Side(old, old), Side(new, new), "")]


def changed(old: Any, new: Any, place: str = "") -> list[str]:
    """Name what of the old document is gone or another in the new one; texts for people may change."""
    if isinstance(old, dict) and isinstance(new, dict):
        told = {key: value for key, value in old.items() if key not in {"description", "summary", "examples"}}
        missing = [f"{place}.{key}: is gone" for key in told if key not in new]
        return missing + [
            each for key in told if key in new for each in changed(told[key], new[key], f"{place}.{key}")
        ]
    return [] if old == new else [f"{place}: is another"]


def _outside(inner: Side, outer: Side, place: str) -> Iterator[str]:
    """Yield why the inner set is not within the outer one."""
    choices = outer.alternatives()
    for one in inner.alternatives():
        reasons = [list(_outside_one(one, choice, place)) for choice in choices]
        if all(reasons):
            same_type = [
                why for why, c in zip(reasons, choices, strict=True) if c.schema.get("type") == _type_of(one)
            ]
            yield from min(same_type or reasons, key=len)


def _type_of(side: Side) -> Any:
    return side.schema.get("type")


def _outside_one(inner: Side, outer: Side, place: str) -> Iterator[str]:
    a, b = inner.schema, outer.schema
    values = [a["const"]] if "const" in a else a.get("enum")
    if values is not None:
        yield from (f"{place}: {value!r} is not taken" for value in values if not outer.takes(value))
        return
    if "const" in b or "enum" in b:
        yield f"{place}: is limited to certain values"
        return
    if "type" in b and a.get("type") != b["type"] and (a.get("type"), b["type"]) != ("integer", "number"):
        yield f"{place}: {a.get('type', 'anything')} is not {b['type']}"
        return
    yield from (f"{place}: another {key}" for key in OPAQUE if key in b and a.get(key) != b[key])
    yield from (f"{place}: {key}" for key in UPPER if key in b and a.get(key, float("inf")) > b[key])
    yield from (f"{place}: {key}" for key in LOWER if key in b and a.get(key, 0) < b[key])
    yield from _outside_object(inner, outer, place)
    if b.get("items", True) is not True:
        yield from _outside(inner.of(a.get("items", True)), outer.of(b["items"]), f"{place}[]")


def _outside_object(inner: Side, outer: Side, place: str) -> Iterator[str]:
    a, b = inner.schema, outer.schema
    yield from (
        f"{place}.{name}: is required" for name in sorted({*b.get("required", ())} - {*a.get("required", ())})
    )
    known = a.get("properties", {})
    # A field that only the outer side knows may have been there unread: to read it is how a language grows.
    for name, rule in b.get("properties", {}).items():
        if name in known:
            yield from _outside(inner.of(known[name]), outer.of(rule), f"{place}.{name}")
    if (
        b.get("additionalProperties", True) is not True
        and a.get("additionalProperties") != b["additionalProperties"]
    ):
        yield f"{place}: other fields are not taken"


def _lost(old: Side, new: Side, place: str) -> Iterator[str]:
    """Yield the fields that the new side does not know any more: nobody reads them, or nobody writes them."""
    for was in old.alternatives():
        for name, rule in was.schema.get("properties", {}).items():
            homes = [each for each in new.alternatives() if name in each.schema.get("properties", {})]
            if not homes:
                yield f"{place}.{name}: is gone"
            for home in homes:
                yield from _lost(was.of(rule), home.of(home.schema["properties"][name]), f"{place}.{name}")
        if isinstance(was.schema.get("items"), dict):
            for home in new.alternatives():
                yield from _lost(
                    was.of(was.schema["items"]), home.of(home.schema.get("items", True)), f"{place}[]"
                )
