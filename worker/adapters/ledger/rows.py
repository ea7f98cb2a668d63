"""Many rows as one parameter: the same statement serves one waiting operation or two hundred."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

Dialect = Literal["sqlite", "postgresql"]

_SQL_TYPES = {
    "int": "bigint",
    "float": "double precision",
    "text": "text",
    "bool": "boolean",
    # As tables.Hash.
    "hash": "uuid",
}


def rows_from(dialect: Dialect, **columns: str) -> str:
    """Return the FROM item ``r`` for ``:rows``: the named columns (int, float, text, bool, hash) and ord."""
    if dialect == "sqlite":
        fields = ", ".join(f"json_extract(value, '$[{i}]') as {name}" for i, name in enumerate(columns))
        return f"(select key as ord, {fields} from json_each(:rows)) as r"
    fields = ", ".join(
        f"cast(value->>{i} as {_SQL_TYPES[kind]}) as {name}" for i, (name, kind) in enumerate(columns.items())
    )
    # The limit cuts nothing off. It says that the rows are few: the planner believes in a hundred, and reads
    # whole tables for them while these are small, or were never analysed and seem to be (seen: 3 ms for 20).
    return (
        f"(select ord, {fields} from json_array_elements(cast(:rows as json))"
        " with ordinality as e(value, ord) limit json_array_length(cast(:rows as json))) as r"
    )


def as_rows(rows: Sequence[Sequence[Any]]) -> str:
    """Encode rows for ``:rows``. Floats keep every bit; text keeps NUL only inside nested JSON."""
    return _encode(rows)


# One encoder for all: json.dumps with options makes a new one every time.
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode
