"""The tables of docs/reference/events.md, made from the schemas, so that the page cannot fall behind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from schemas.documents import json_schema

#: A table's place in the page. What stands between the two comments is written anew.
_PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def with_tables(page: str) -> str:
    """Return the page with its tables as they should be; raises ValueError when one has no place in it."""
    schemas = json_schema()
    places = [name for _, name, _ in _PLACE.findall(page)]
    if sorted(places) != sorted(schemas):
        raise ValueError(
            f"the page must have one place for each table ({', '.join(schemas)}), it has {places}"
        )
    return _PLACE.sub(lambda place: f"{place[1]}{_table(schemas[place[2]])}{place[3]}", page)


def _table(schema: dict[str, Any]) -> str:
    third = "Required" if schema["title"] in {"AskedEvent", "RatedEvent"} else "Always there"
    rows = [("Field", "Value", third, "Meaning"), ("---",) * 4, *_rows(schema, schema)]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |\n" for row in rows)


def _rows(described: dict[str, Any], root: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, ...]]:
    for name, rule in described["properties"].items():
        place = prefix + name
        inner, mark = _object_in(rule, root)
        if inner is None or mark:
            is_required = "yes" if name in described.get("required", ()) else "no"
            meaning = re.sub(r"``(.*?)``", r"`\1`", rule["description"])
            yield f"`{place}`", "list" if mark else _value(rule), is_required, meaning
        if inner is not None:
            yield from _rows(inner, root, f"{place}{mark}.")


def _object_in(rule: dict[str, Any], root: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """Return the object a field holds, and ``[]`` when it holds a list of them."""
    mark = "[]" if "items" in rule else ""
    reference = rule.get("items", rule).get("$ref")
    return (root["$defs"][reference.rpartition("/")[2]] if reference else None), mark


def _value(rule: dict[str, Any]) -> str:
    """Say what a field may hold, for people."""
    if "anyOf" in rule:
        return " or ".join(text for each in rule["anyOf"] if (text := _value(each)))
    if "const" in rule:
        return f"`{rule['const']}`" if rule["const"] != "" else ""
    if "enum" in rule:
        return ", ".join(f"`{each}`" for each in rule["enum"])
    kinds = rule.get("type", "any JSON")
    text = " or ".join([kinds] if isinstance(kinds, str) else kinds)
    return {"date-time": "RFC 3339", "uuid": "UUID"}.get(rule.get("format", ""), text)
