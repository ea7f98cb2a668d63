"""What is wrapped around every answer: envelopes, error bodies, pages and dates, as the API writes them."""

from __future__ import annotations

import json
import math
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.sandbox.switches import Switches

BodyStyle = Literal["envelope", "laravel", "html", "empty"]

JSON_TYPE = "application/json"
PROBLEM_TYPE = "application/problem+json"
HTML_TYPE = "text/html; charset=UTF-8"

WRONG_KEY_TEXT = "API Token is either missing or invalid"
CREDITS_TEXT = (
    "You have exhausted your current query credits. Please contact customer service for further assistance."
)


_DATE_FORMS = {"iso": "%Y-%m-%dT%H:%M:%S.000000Z", "plain": "%Y-%m-%d %H:%M:%S", "words": "%d %b %Y %H:%M:%S"}
#: As Inkeep's codes have them; Python has had other words for these since 3.13.
_PROBLEM_TITLES = {413: "Request Entity Too Large", 422: "Unprocessable Entity"}
_ENCODER = json.JSONEncoder(separators=(",", ":"))


class ApiError(Exception):
    """The API refuses a call. The text is what the API says; it never contains a question."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        style: BodyStyle = "envelope",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.style: BodyStyle = style
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes out: status, body and the headers beside Content-Length."""

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: dict[str, str] = field(default_factory=dict)


def succeed(status: int, data: Any, switches: Switches) -> Reply:
    """Wrap what a call found or made."""
    if switches.key_order == "data_first":
        envelope = {"data": data, "status": "success"}
    else:
        envelope = {"status": "success", "data": data}
    return Reply(status, encode(envelope))


def plain(status: int, data: Any) -> Reply:
    """Write what has no envelope."""
    return Reply(status, encode(data))


def refuse(error: ApiError, url: str, *, is_inkeep: bool = False) -> Reply:
    """Write the body of an error in the style it comes in; Inkeep's own is problem+json."""
    if is_inkeep and error.style == "envelope":
        return Reply(error.status, _problem(error, url), PROBLEM_TYPE, error.headers)
    match error.style:
        case "envelope":
            body = encode(
                {"status": "error", "url": url, "data": {"code": error.status, "message": error.message}}
            )
            return Reply(error.status, body, headers=error.headers)
        case "laravel":
            return Reply(error.status, encode({"message": error.message}), headers=error.headers)
        case "html":
            page = (
                f"<html>\r\n<head><title>{error.status} {error.message}</title></head>\r\n<body>\r\n"
                f"<center><h1>{error.status} {error.message}</h1></center>\r\n</body>\r\n</html>\r\n"
            )
            return Reply(error.status, page.encode(), HTML_TYPE, error.headers)
        case "empty":
            return Reply(error.status, b"", HTML_TYPE, error.headers)


def _problem(error: ApiError, url: str) -> bytes:
    title = _PROBLEM_TITLES.get(error.status) or HTTPStatus(error.status).phrase
    code = title.lower().replace(" ", "_")
    problem = {
        "title": title,
        "status": error.status,
        "detail": error.message,
        "instance": urlsplit(url).path,
        "requestId": f"req_{secrets.token_hex(5)}",
        "code": code,
        "error": {"code": code, "message": error.message},
    }
    return encode(problem)


def throttled(switches: Switches, wait_s: float, *, now: float) -> ApiError:
    """Make the 429 about pace; ``now`` is the wall clock, for a Retry-After that is a date."""
    seconds = max(1, math.ceil(wait_s))
    headers = {}
    if switches.throttle_retry_after == "seconds":
        headers["Retry-After"] = str(seconds)
    elif switches.throttle_retry_after == "date":
        headers["Retry-After"] = formatdate(math.ceil(now) + seconds, usegmt=True)
    if switches.requests_per_minute:
        headers["X-RateLimit-Limit"] = str(switches.requests_per_minute)
        headers["X-RateLimit-Remaining"] = "0"
    return ApiError(429, "Too Many Attempts.", style=switches.throttle_body, headers=headers)


def credits_exhausted() -> ApiError:
    """Make the other 429, the one that no waiting of minutes helps against."""
    return ApiError(429, CREDITS_TEXT)


def encode(value: Any) -> bytes:
    """Encode JSON as PHP does: no blanks, everything beyond ASCII escaped (lone surrogates too)."""
    return _ENCODER.encode(value).encode("ascii")


def page_number(text: str | None) -> int:
    """Read ``?page=``; whatever is not a positive number is page 1, as Laravel does it."""
    return max(1, int(text)) if text and text.isascii() and text.isdigit() and len(text) < 10 else 1


def paginate(
    rows: Sequence[Any], *, page: int, per_page: int, path: str, render: Callable[[Any], Any]
) -> dict[str, Any]:
    """Cut one page out of the rows. Its links keep no other query parameter, so they lose a filter."""
    last = max(1, math.ceil(len(rows) / per_page))
    first_index = (page - 1) * per_page
    cut = rows[first_index : first_index + per_page]
    return {
        "current_page": page,
        "data": [render(row) for row in cut],
        "first_page_url": f"{path}?page=1",
        "from": first_index + 1 if cut else None,
        "last_page": last,
        "last_page_url": f"{path}?page={last}",
        "next_page_url": f"{path}?page={page + 1}" if page < last else None,
        "path": path,
        "per_page": per_page,
        "prev_page_url": f"{path}?page={page - 1}" if page > 1 else None,
        "to": first_index + len(cut) if cut else None,
        "total": len(rows),
    }


def date_text(epoch_s: float, switches: Switches) -> str | None:
    """Write a timestamp in the form the switch names."""
    form = _DATE_FORMS.get(switches.dates)
    return None if form is None else _date_text(int(epoch_s), form)


@lru_cache(maxsize=64)
def _date_text(epoch_s: int, form: str) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime(form)
