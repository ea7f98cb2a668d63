"""Which method and path is which call. A later group of endpoints adds its lines here."""

from __future__ import annotations

from typing import Literal
from urllib.parse import unquote

CallName = Literal[
    "list_projects",
    "create_project",
    "get_project",
    "update_project",
    "delete_project",
    "get_settings",
    "update_settings",
    "get_citation",
    "list",
    "create",
    "rename",
    "delete",
    "list_messages",
    "post",
    "get_message",
    "feedback",
    "user",
    "usage",
]

BASE_PATH = "/api/v1"

_PROJECT = "/projects/{projectId}"
_CONVERSATION = _PROJECT + "/conversations/{sessionId}"
_MESSAGE = _CONVERSATION + "/messages/{promptId}"

_TABLE: dict[CallName, tuple[str, str]] = {
    "list_projects": ("GET", "/projects"),
    "create_project": ("POST", "/projects"),
    "get_project": ("GET", _PROJECT),
    "update_project": ("POST", _PROJECT),
    "delete_project": ("DELETE", _PROJECT),
    "get_settings": ("GET", _PROJECT + "/settings"),
    "update_settings": ("POST", _PROJECT + "/settings"),
    "get_citation": ("GET", _PROJECT + "/citations/{citationId}"),
    "list": ("GET", _PROJECT + "/conversations"),
    "create": ("POST", _PROJECT + "/conversations"),
    "rename": ("PUT", _CONVERSATION),
    "delete": ("DELETE", _CONVERSATION),
    "list_messages": ("GET", _CONVERSATION + "/messages"),
    "post": ("POST", _CONVERSATION + "/messages"),
    "get_message": ("GET", _MESSAGE),
    "feedback": ("PUT", _MESSAGE + "/feedback"),
    "user": ("GET", "/user"),
    "usage": ("GET", "/limits/usage"),
}

Match = tuple[str, CallName | None, dict[str, str]]


def _by_shape() -> dict[int, dict[tuple[str, ...], dict[str, CallName]]]:
    table: dict[int, dict[tuple[str, ...], dict[str, CallName]]] = {}
    for name, (method, pattern) in _TABLE.items():
        segments = tuple(pattern.strip("/").split("/"))
        table.setdefault(len(segments), {}).setdefault(segments, {})[method] = name
    return table


_SHAPES = _by_shape()


def find_route(method: str, raw_path: str) -> Match | None:
    """Return pattern, call and the values of the names in the path.

    None when nothing has this path; the call is None when the path is there but not the method.
    ``raw_path`` is still percent-encoded: a session id may contain an encoded slash.
    """
    if not raw_path.startswith(BASE_PATH + "/"):
        return None
    segments = raw_path[len(BASE_PATH) + 1 :].split("/")
    for shape, methods in _SHAPES.get(len(segments), {}).items():
        pairs = list(zip(shape, segments, strict=True))
        if all(part == found or part[0] == "{" for part, found in pairs):
            params = {part[1:-1]: unquote(found) for part, found in pairs if part[0] == "{"}
            return f"{BASE_PATH}/{'/'.join(shape)}", methods.get(method), params
    return None
