"""One API call: who asks what, and which effect it had so far."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from worker.sandbox.envelope import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiohttp import web

#: The calls that ask the agent something.
_ASKING = frozenset({"post", "complete"})
#: A form's name for a part of a list.
_LISTED = re.compile(r"(.+)\[\d*\]")
_TRUE_WORDS = frozenset({"1", "true", "yes", "on"})


@dataclass(slots=True)
class Call:
    """A request as the handlers see it. The ledger of effects copies its facts from here."""

    #: Counts requests; the effects of one request share it.
    number: int
    method: str
    #: Scheme, host and path, as the links of a page need it.
    path_url: str
    query_string: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    remote: str
    begun: float
    begun_wall: float
    #: Calls being served when this one began, itself included.
    at_once: int

    #: Name of the call and its path with names instead of values; set when a route was found.
    name: str = "unknown"
    pattern: str = ""
    params: dict[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)

    project_id: int | None = None
    session_id: str | None = None
    conversation_id: int | None = None
    message_id: int | None = None
    question: str | None = None
    external_id: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    #: The fault that was chosen for this call.
    fault: str | None = None
    is_ended: bool = False
    #: It goes to Inkeep's API and not to CustomGPT's.
    is_inkeep: bool = False

    @property
    def url(self) -> str:
        """The address as the caller wrote it; errors quote it."""
        return f"{self.path_url}?{self.query_string}" if self.query_string else self.path_url

    def value(self, name: str) -> Any:
        """Return a parameter from the query or, when it is not there, from the body; None when absent."""
        found = self.query.get(name)
        return self.body.get(name) if found is None else found

    def text(self, name: str, *, longest: int | None = None) -> str | None:
        """Return a text parameter; anything that is no text, or too long a one, is refused with 400."""
        found = self.value(name)
        if found is None:
            return None
        if not isinstance(found, str):
            raise ApiError(400, f"The {name} must be a string.")
        if longest is not None and len(found) > longest:
            raise ApiError(400, f"The {name} may not be greater than {longest} characters.")
        return found

    @property
    def asks(self) -> bool:
        """Whether it asks the agent something: it is billed, and takes as long as the agent thinks."""
        return self.name in _ASKING

    @property
    def is_streamed(self) -> bool:
        """Whether the answer is asked for as server-sent events; seen as bool, int and text."""
        return self.asks and str(self.value("stream")).lower() in _TRUE_WORDS


async def read_body(request: web.BaseRequest) -> Mapping[str, Any]:
    """Read a JSON, urlencoded or multipart body; what cannot be read counts as empty, as Laravel has it."""
    if not request.can_read_body:
        return {}
    kind = request.content_type
    if kind == "multipart/form-data":
        return await _read_multipart(request)
    raw = await request.read()
    if kind == "application/x-www-form-urlencoded":
        return _fields(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True))
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


async def _read_multipart(request: web.BaseRequest) -> dict[str, Any]:
    form: list[tuple[str, str]] = []
    try:
        for name, value in (await request.post()).items():
            if isinstance(value, str):
                form.append((name, value))
            elif not isinstance(value, (bytes, bytearray)):
                # Of an upload only the name is kept; left open it would leak a descriptor per request.
                value.file.close()
                form.append((name, value.filename))
    except ValueError:
        return {}
    return _fields(form)


def _fields(form: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return a form's fields as PHP has them: ``name[]`` and ``name[0]`` are parts of a list."""
    fields: dict[str, Any] = {}
    for name, value in form:
        listed = _LISTED.fullmatch(name)
        if listed is None:
            fields[name] = value
        elif isinstance(parts := fields.setdefault(listed[1], []), list):
            parts.append(value)
    return fields
