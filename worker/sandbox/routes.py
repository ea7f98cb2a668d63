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
    "stats",
    "traffic",
    "complete",
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
    "inkeep_upsert",
    "inkeep_list",
    "inkeep_get",
    "inkeep_get_external",
    "inkeep_delete",
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
    "stats": ("GET", _PROJECT + "/stats"),
    "traffic": ("GET", _PROJECT + "/reports/traffic"),
    "complete": ("POST", _PROJECT + "/chat/completions"),
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

#: Inkeep's Analytics API has its paths at the root, as at its own address.
_INKEEP: dict[CallName, tuple[str, str]] = {
    "inkeep_upsert": ("POST", "/conversations"),
    "inkeep_list": ("GET", "/conversations"),
    "inkeep_get": ("GET", "/conversations/{id}"),
    "inkeep_delete": ("DELETE", "/conversations/{id}"),
    "inkeep_get_external": ("GET", "/conversations/external/{externalId}"),
}
_INKEEP_ROOT = "/conversations"

Match = tuple[str, CallName | None, dict[str, str]]


def _by_shape(
    calls: dict[CallName, tuple[str, str]],
) -> dict[int, dict[tuple[str, ...], dict[str, CallName]]]:
    table: dict[int, dict[tuple[str, ...], dict[str, CallName]]] = {}
    for name, (method, pattern) in calls.items():
        segments = tuple(pattern.strip("/").split("/"))
        table.setdefault(len(segments), {}).setdefault(segments, {})[method] = name
    return table


_SHAPES = _by_shape(_TABLE)
_INKEEP_SHAPES = _by_shape(_INKEEP)


def is_inkeep(raw_path: str) -> bool:
    """Tell a path of Inkeep's API from one of CustomGPT's."""
    return raw_path == _INKEEP_ROOT or raw_path.startswith(_INKEEP_ROOT + "/")


def find_route(method: str, raw_path: str) -> Match | None:
    """Return pattern, call and the values of the names in the path.

    None when nothing has this path; the call is None when the path is there but not the method.
    ``raw_path`` is still percent-encoded: a session id may contain an encoded slash.
    """
    base, shapes = ("", _INKEEP_SHAPES) if is_inkeep(raw_path) else (BASE_PATH, _SHAPES)
    if not raw_path.startswith(base + "/"):
        return None
    segments = raw_path[len(base) + 1 :].split("/")
    for shape, methods in shapes.get(len(segments), {}).items():
        pairs = list(zip(shape, segments, strict=True))
        if all(part == found or part[0] == "{" for part, found in pairs):
            params = {part[1:-1]: unquote(found) for part, found in pairs if part[0] == "{"}
            return f"{base}/{'/'.join(shape)}", methods.get(method), params
    return None
