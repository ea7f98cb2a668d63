"""A body of ``multipart/form-data``, as the documentation sends it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

#: Bytes of chance in a boundary: no value holds it.
_BOUNDARY_BYTES = 16


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent, and the ``Content-Type`` that says how to read it."""

    content_type: str
    data: bytes


def form_of(fields: Mapping[str, str]) -> Body:
    """Write text fields as a form; the names are ours, the values anybody's."""
    boundary = f"askrelay-{secrets.token_hex(_BOUNDARY_BYTES)}"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode("ascii")
        + value.encode("utf-8", "replace")
        + b"\r\n"
        for name, value in fields.items()
    ]
    return Body(
        f"multipart/form-data; boundary={boundary}", b"".join(parts) + f"--{boundary}--\r\n".encode("ascii")
    )
