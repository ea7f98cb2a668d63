"""The API by urllib3, for peers that block a thread or a greenlet: a quarter of the cost of requests."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import urllib3
from work import (
    CONVERSATIONS_URL,
    HEADERS,
    IN_FLIGHT,
    TIMEOUT_S,
    Answered,
    Asked,
    Conversations,
    answered,
    messages_url,
)

_pool = urllib3.PoolManager(maxsize=IN_FLIGHT, headers=HEADERS, timeout=TIMEOUT_S, retries=False)


def post(url: str, body: dict[str, str], **parameters: str) -> Any:
    """Make a call to the API and return its data."""
    # urllib3 sends the pool's headers only when a request has none of its own.
    response = _pool.request("POST", f"{url}?{urlencode(parameters)}" if parameters else url, json=body)
    if response.status >= 400:
        raise RuntimeError(f"the API said {response.status}")
    return response.json()["data"]


def answer(asked: Asked, conversations: Conversations) -> Answered:
    """Answer one question."""
    contact = asked.data.contact_id
    session_id = conversations.session_of(contact)
    if session_id is None:
        session_id = str(post(CONVERSATIONS_URL, {"name": contact})["session_id"])
        conversations.remember(contact, session_id)
    said = post(messages_url(session_id), {"prompt": asked.data.question}, external_id=contact)
    return answered(asked, session_id, said)
