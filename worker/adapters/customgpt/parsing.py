"""Bodies of the API, read tolerantly, as the core's models.

Unknown fields are ignored and missing ones are None, but a row that cannot be identified makes a listing of
messages unreadable: to skip it would let a posted question look as if it had not been posted.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic_core import from_json

from worker.adapters.customgpt.moments import iso_moment
from worker.core.model import Citation, RemoteConversation, RemoteMessage

#: What the API stores beside a message about the machine that sent it: ours, and nobody's business.
PRIVATE_METADATA = frozenset({"user_ip", "user_agent"})
#: What a number such as 1e999 is read as; it could not be written as JSON again.
_ENDLESS = (math.inf, -math.inf)

_Row = TypeVar("_Row")
_WHOLE_NUMBER = re.compile(r"(-?[0-9]{1,18})(?:\.0*)?", re.ASCII)


class UnreadableError(Exception):
    """The body is not what the API is known to send; the message says what is wrong, without contents."""


@dataclass(frozen=True, slots=True)
class Page(Generic[_Row]):
    """One page of a listing."""

    rows: list[_Row]
    has_next: bool
    #: The conversation whose messages these are, where the page names it.
    conversation_id: int | None = None


def _finite(text: str) -> float | None:
    """Read a number; 1e999 is none, because it could not be written as JSON again."""
    number = float(text)
    return number if math.isfinite(number) else None


def _no_number(_text: str) -> None:
    """Read NaN and Infinity, which are no JSON, as null."""


#: Made once: ``json.loads`` builds one for every call that is not plain.
_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_no_number)


def data_of(body: bytes) -> Any:
    """Return what is in the success envelope."""
    try:
        tree = _tree_of(body)
    except (ValueError, RecursionError):
        raise UnreadableError("no JSON") from None
    if not isinstance(tree, dict) or "data" not in tree or tree.get("status", "success") != "success":
        raise UnreadableError("no success envelope")
    return tree["data"]


def _tree_of(body: bytes) -> Any:
    """Read JSON; what this reader refuses and the other can mend is rare, so it may take both."""
    try:
        # A third of the time. The cache outlives the answer, so it must not hold what was said.
        return from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError:
        text = body.decode("utf-8")
    tree = _DECODER.decode(text)
    if "\\ud" in text or "\\uD" in text:
        # PHP escapes all that is not ASCII, so escaped surrogates are common. Lone ones are not, but they
        # cannot be encoded again and would stop the reply from being recorded.
        tree = _without_lone_surrogates(tree)
    return tree


def _without_lone_surrogates(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [_without_lone_surrogates(item) for item in value]
        case dict():
            return {_without_lone_surrogates(k): _without_lone_surrogates(v) for k, v in value.items()}
        case _:
            return value


def whole_number(value: Any) -> int | None:
    """Return a number that came as 12061, 12061.0, "12061" or "12061.0"; None for anything else."""
    if isinstance(value, bool):
        return None
    number = None
    if isinstance(value, int):
        number = value
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
    elif isinstance(value, str) and (match := _WHOLE_NUMBER.fullmatch(value.strip())):
        number = int(match[1])
    # What does not fit a database column is no id of theirs.
    return number if number is not None and abs(number) < 2**63 else None


def _page_of(number: int, paginator: Any) -> Page[Any]:
    """Read one page of Laravel's paginator, or a plain list, which is the only page."""
    if isinstance(paginator, list):
        return Page(paginator, has_next=False)
    if not isinstance(paginator, dict) or not isinstance(paginator.get("data"), list):
        raise UnreadableError("no page of rows")
    last_page = whole_number(paginator.get("last_page"))
    has_next = bool(paginator.get("next_page_url")) or (last_page is not None and number < last_page)
    return Page(paginator["data"], has_next=has_next)


def conversations_page_of(number: int, data: Any) -> Page[RemoteConversation]:
    """Read one page of conversations; rows that name no session are left out, since nobody can use them."""
    page = _page_of(number, data)
    rows = [conversation for row in page.rows if (conversation := _conversation(row)) is not None]
    return Page(rows, page.has_next)


def messages_page_of(number: int, data: Any) -> Page[RemoteMessage]:
    """Read one page of messages."""
    if not isinstance(data, dict):
        raise UnreadableError("no page of messages")
    page = _page_of(number, data.get("messages"))
    conversation = data.get("conversation")
    named = whole_number(conversation.get("id")) if isinstance(conversation, dict) else None
    return Page([message_of(row) for row in page.rows], page.has_next, named)


def conversation_of(row: Any) -> RemoteConversation:
    """Read the one conversation that was asked for."""
    if (conversation := _conversation(row)) is None:
        raise UnreadableError("no session_id")
    return conversation


def _conversation(row: Any) -> RemoteConversation | None:
    if not isinstance(row, dict):
        return None
    session_id, name = row.get("session_id"), row.get("name")
    if not isinstance(session_id, str) or not session_id:
        return None
    return RemoteConversation(
        conversation_id=whole_number(row.get("id")),
        session_id=session_id,
        name=name if isinstance(name, str) else "",
        is_deleted=bool(row.get("deleted_at")),
        created_at=iso_moment(row.get("created_at")),
    )


def message_of(row: Any) -> RemoteMessage:
    """Read one exchange; an empty answer is None."""
    if not isinstance(row, dict) or (message_id := whole_number(row.get("id"))) is None:
        raise UnreadableError("a message without an id")
    question, answer = row.get("user_query"), row.get("openai_response")
    metadata = row.get("metadata")
    kept = _kept(metadata) if isinstance(metadata, dict) else {}
    return RemoteMessage(
        message_id=message_id,
        question=question if isinstance(question, str) else "",
        answer=answer if isinstance(answer, str) and answer.strip() else None,
        external_id=_tag(kept.get("external_id")),
        conversation_id=whole_number(row.get("conversation_id")),
        citations=citations_of(row.get("citations")),
        metadata=kept,
        created_at=iso_moment(row.get("created_at")),
    )


def answered_message_of(row: Any) -> RemoteMessage:
    """Read one exchange that has its answer."""
    message = message_of(row)
    if message.answer is None:
        # Seen while the agent still indexes. The question is stored, and may yet be answered.
        raise UnreadableError("empty answer")
    return message


def _kept(metadata: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is private, and what is nested, since its depth would be the API's to choose."""
    return {
        key: None if value in _ENDLESS else value
        for key, value in metadata.items()
        if key not in PRIVATE_METADATA and not isinstance(value, (dict, list))
    }


def _tag(value: Any) -> str | None:
    """Read an external_id; the API gives "" when none was sent."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def citations_of(value: Any) -> tuple[Citation, ...]:
    """Read citations that came as null, numbers, strings with numbers, or objects; leave out what is none."""
    if not isinstance(value, list):
        return ()
    return tuple(citation for entry in value if (citation := _citation(entry)) is not None)


def _citation(entry: Any) -> Citation | None:
    if isinstance(entry, dict):
        found = Citation(
            id=whole_number(entry.get("id")),
            title=text_or_none(entry.get("title")),
            url=text_or_none(entry.get("url")),
        )
        return None if found == Citation(id=None) else found
    number = whole_number(entry)
    return None if number is None else Citation(id=number)


def text_or_none(value: Any) -> str | None:
    """Read a text; a blank one is none."""
    return value if isinstance(value, str) and value.strip() else None


def check_deletion(data: Any) -> None:
    """Read that a deletion was done."""
    if not isinstance(data, dict) or data.get("deleted", True) is not True:
        raise UnreadableError("not deleted")


def check_reaction(data: Any) -> None:
    """Read that a reaction was noted: the API gives the message back."""
    if not isinstance(data, dict) or whole_number(data.get("id")) is None:
        raise UnreadableError("no message")
