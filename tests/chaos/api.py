"""What the sandbox knew before the worker came: conversations that somebody else made."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from worker.core.conversations import name_of
from worker.core.model import Conversation
from worker.sandbox.process import SandboxProcess

PROJECT_ID = 123


def make_conversation(sandbox: SandboxProcess, contact_id: str, *, says: str | None = None) -> None:
    """Make a contact's conversation at the API, as a worker would, optionally with a message in it."""
    name = name_of(PROJECT_ID, _nobody(contact_id))
    created = _call(sandbox, "conversations", {"name": name})
    if says is not None:
        session_id = created["data"]["session_id"]
        _call(sandbox, f"conversations/{session_id}/messages", {"prompt": says}, external_id=contact_id)


def _nobody(contact_id: str) -> Conversation:
    return Conversation(0, "default", contact_id, None, contact_id, PROJECT_ID, None, None, 0, None)


def _call(sandbox: SandboxProcess, path: str, body: dict[str, Any], **query: str) -> Any:
    text = f"?external_id={query['external_id']}" if query else ""
    request = urllib.request.Request(
        f"{sandbox.url}/projects/{PROJECT_ID}/{path}{text}",
        json.dumps(body).encode(),
        headers={"Authorization": "Bearer test", "Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as answer:
        return json.load(answer)
