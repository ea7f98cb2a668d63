"""The API: reach, key, project, whether the agent answers, and what is left of the plan."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from worker.adapters.customgpt import CustomGpt, CustomGptConfig
from worker.adapters.customgpt.sorting import FOREIGN
from worker.adapters.customgpt_admin import CustomGptAdmin, IndexingState
from worker.bootstrap import api_config
from worker.cli.doctor_checks.finding import Finding, Say
from worker.core import errors
from worker.settings.urls import is_loopback

if TYPE_CHECKING:
    from worker.settings import Settings

#: s. For one plain GET; the API answers those within a second.
REQUEST_S = 8.0
#: Part of the plan's queries after which somebody should think of more.
NEARLY_USED_UP = 0.9

_PROJECT_ADVICE = "CUSTOMGPT_PROJECT_ID is the number in the agent's address at app.customgpt.ai"

#: What the transport's words for a failure mean to a person.
_TROUBLES = {
    "ECONNREFUSED": ("nothing listens there", "look at CUSTOMGPT_API_URL"),
    "DNS failed": ("its host name is not known here", "look at CUSTOMGPT_API_URL and at the name server"),
    "certificate not trusted": (
        "its certificate is not to be trusted",
        "look at CUSTOMGPT_API_URL, at this host's clock, and at CUSTOMGPT_CA_FILE (a private authority)",
    ),
    "TLS handshake failed": ("TLS failed", "look at CUSTOMGPT_API_URL and HTTPS_PROXY"),
    "time-out": ("no answer in time", "look at the network and at HTTPS_PROXY"),
    "connect time-out": ("no connection in time", "look at the network and at HTTPS_PROXY"),
}


def check_api(settings: Settings, say: Say) -> None:
    """Make plain GETs: the project, what it has read while it is not active, the plan's usage; all free."""
    asyncio.run(_check(settings, say))


async def _check(settings: Settings, say: Say) -> None:
    config = replace(api_config(settings), request_timeout_s=REQUEST_S)
    async with CustomGpt(config, key=settings.key_source(), log=_no_log) as assistant:
        if await _project(assistant, config, settings, say):
            await _usage(assistant, say)


async def _project(assistant: CustomGpt, config: CustomGptConfig, settings: Settings, say: Say) -> bool:
    number = settings.customgpt_project_id or 0
    try:
        project = await assistant.project(number)
    except errors.AssistantError as error:
        say(_refused(error, settings))
        return False
    how = "over TLS" if settings.customgpt_api_url.startswith("https://") else "without TLS"
    say(Finding("api", "ok", f"{settings.customgpt_api_url} takes the key ({how})"))
    if project.is_chat_active:
        say(Finding("api", "ok", f"project {number} is there and its chat is active"))
        return True
    indexing = await _indexing(config, settings, number)
    if project.is_chat_active is None or (indexing is not None and not indexing.is_done):
        text = f"project {number} is still indexing{_how_far(indexing)}: its chat is not active yet"
        say(Finding("api", "warning", text, "wait until that is done: answers are empty until then"))
    else:
        text = f"project {number} is there, but its chat is not active"
        say(Finding("api", "wrong", text, "switch it on at app.customgpt.ai, or every answer stays empty"))
    return True


async def _indexing(config: CustomGptConfig, settings: Settings, number: int) -> IndexingState | None:
    """Return how far the agent has come with its sources; None when the API does not tell."""
    try:
        async with CustomGptAdmin(config, key=settings.key_source(), on_pause=_no_pause) as api:
            return await api.indexing(number)
    except errors.AssistantError:
        return None


def _how_far(indexing: IndexingState | None) -> str:
    if indexing is None or indexing.pages_found is None:
        return ""
    return f" ({indexing.pages_indexed or 0:,} of {indexing.pages_found:,} documents)"


async def _usage(assistant: CustomGpt, say: Say) -> None:
    try:
        usage = await assistant.limits()
    except errors.AssistantError as error:
        say(Finding("api", "warning", f"the plan's usage cannot be read ({error.code})"))
        return
    used, limit = usage.current_queries, usage.max_queries
    if used is None or limit is None:
        say(Finding("api", "ok", "the API does not tell how much of the plan is used"))
        return
    text = f"{used:,} of the plan's {limit:,} queries are used"
    if used >= limit:
        say(Finding("api", "wrong", text, "buy more, or wait for the next month: nothing is answered"))
    elif used >= limit * NEARLY_USED_UP:
        say(Finding("api", "warning", text, "without queries nothing is answered"))
    else:
        say(Finding("api", "ok", text))


def _refused(error: errors.AssistantError, settings: Settings) -> Finding:
    """Say why the project could not be read; the error's detail names a call and its trouble, no content."""
    url, number = settings.customgpt_api_url, settings.customgpt_project_id
    match error:
        case errors.CredentialsRejected() if "403" in error.detail:
            text = f"{url} does not allow this key to use project {number}"
            return Finding("api", "wrong", text, f"use a key of its owner; {_PROJECT_ADVICE}")
        case errors.CredentialsRejected():
            advice = "make one at app.customgpt.ai/profile#api and put it into CUSTOMGPT_API_KEY"
            return Finding("api", "wrong", f"{url} refuses the key", advice)
        case errors.ProjectNotFound():
            return _not_found(error, url, number)
        case errors.Throttled():
            return Finding("api", "warning", f"{url} asks for a pause", "try again in a minute")
        case errors.CreditsExhausted():
            return Finding("api", "wrong", f"{url} says that the plan's queries are used up", "buy more")
        case _:
            return _unreachable(error, url)


def _not_found(error: errors.ProjectNotFound, url: str, number: int | None) -> Finding:
    if FOREIGN in error.detail:
        text = f"{url} does not answer as the API does: it says 404 in another form"
        return Finding("api", "wrong", text, "look at CUSTOMGPT_API_URL: CustomGPT's own ends with /api/v1")
    return Finding("api", "wrong", f"{url} knows no project {number}", _PROJECT_ADVICE)


def _unreachable(error: errors.AssistantError, url: str) -> Finding:
    trouble = error.detail.partition(": ")[2]
    said, advice = _TROUBLES.get(trouble, (f"no good answer ({trouble})", "look at CUSTOMGPT_API_URL"))
    address = urlsplit(url)
    if trouble == "ECONNREFUSED" and is_loopback(address.hostname or ""):
        advice = f"if it is to be the sandbox, start it: askrelay sandbox --port {address.port or 80}"
    return Finding("api", "wrong", f"{url} cannot be reached: {said}", advice)


def _no_pause(seconds: float) -> None:
    """Wait for no pause that the API asks for: how far the indexing is, is only a detail."""
    raise errors.Throttled(pause_s=seconds)


def _no_log(_event: str, /, **_fields: Any) -> None:
    """Log nothing: a command talks on its own."""
