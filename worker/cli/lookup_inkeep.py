"""``askrelay lookup --inkeep``: what Inkeep has of a contact."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import typer

from worker.cli.api_calls import end, moment_cell, one_line
from worker.cli.exit_codes import ExitCode
from worker.cli.output import print_json, print_table
from worker.core.errors import CredentialsRejected, MirrorRefused, Throttled, Unreachable

if TYPE_CHECKING:
    from worker.settings import Settings

_FACTS = ("id", "externalId", "type", "createdAt", "updatedAt", "visibility")


def look_up_copy(settings: Settings, external_id: str, *, has_content: bool, as_json: bool) -> None:
    """Print the conversation that Inkeep finds for this external id."""
    try:
        found = asyncio.run(_ask(settings, external_id))
    except CredentialsRejected as refused:
        end(
            ExitCode.API,
            f"Inkeep refuses the key, or does not allow it to read ({refused.detail})",
            "Look at INKEEP_API_KEY: it has to be the key of an API integration, not of a Web one.",
        )
    except (Unreachable, Throttled, MirrorRefused) as failure:
        end(ExitCode.API, f"Inkeep gave no answer: {failure.code} ({failure.detail})", "Try again later.")
    if found is None:
        end(
            ExitCode.NOT_FOUND,
            f"Inkeep has no conversation of contact {one_line(external_id)!r}",
            "A conversation is copied after its next answer; `askrelay status` shows what waits.",
        )
    shown = found if has_content else _without_content(found)
    if as_json:
        print_json(shown)
        return
    for name in _FACTS:
        typer.echo(f"{name:<16} {one_line(_text(found.get(name))) or '-'}")
    for group in ("userProperties", "properties"):
        for name, value in (found.get(group) or {}).items():
            if value is not None:
                typer.echo(f"{group}.{one_line(str(name))} {one_line(_text(value))}")
    typer.echo()
    rows = [_row(each) for each in found.get("messages") or [] if isinstance(each, dict)]
    print_table(
        ("AT", "ROLE", "MESSAGE", "QUESTION ID", "TEXT")[: None if has_content else 4],
        [row if has_content else row[:4] for row in rows],
    )


async def _ask(settings: Settings, external_id: str) -> dict[str, Any] | None:
    from worker.bootstrap import inkeep  # noqa: PLC0415 (slow)

    async with inkeep(settings) as api:
        return await api.by_external_id(external_id)


def _without_content(found: dict[str, Any]) -> dict[str, Any]:
    messages = found.get("messages")
    kept = {name: value for name, value in found.items() if name != "messagesOpenAIFormat"}
    if isinstance(messages, list):
        kept["messages"] = [
            {name: value for name, value in each.items() if name != "content"}
            for each in messages
            if isinstance(each, dict)
        ]
    return kept


def _row(message: dict[str, Any]) -> tuple[str, ...]:
    properties = message.get("properties")
    about = properties if isinstance(properties, dict) else {}
    return (
        moment_cell(message.get("createdAt")),
        one_line(_text(message.get("role"))),
        one_line(_text(about.get("messageId"))) or "-",
        one_line(_text(about.get("questionId"))) or "-",
        one_line(_text(message.get("content"))),
    )


def _text(value: object) -> str:
    return "" if value is None else str(value)
