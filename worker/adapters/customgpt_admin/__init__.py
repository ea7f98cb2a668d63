"""The calls to the CustomGPT API that a person makes, beside those of the ``Assistant`` port.

``client`` says which requests make up a call, ``requests`` how one is sent and what it means when it fails,
``shapes`` reads what comes back, and ``form`` writes a multipart body. Sending and sorting are the worker's
own, of ``worker.adapters.customgpt``: an operator's command sees the API exactly as a worker does.
"""

from worker.adapters.customgpt_admin.client import CustomGptAdmin, UserFilter
from worker.adapters.customgpt_admin.requests import RefusedError
from worker.adapters.customgpt_admin.shapes import (
    ConversationRow,
    IndexingState,
    Plan,
    ProjectRow,
    StoredConversation,
)

__all__ = [
    "ConversationRow",
    "CustomGptAdmin",
    "IndexingState",
    "Plan",
    "ProjectRow",
    "RefusedError",
    "StoredConversation",
    "UserFilter",
]
