"""What commands that talk to the API have in common: settings, the call itself, words for what goes wrong."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, NoReturn, TypeVar

import typer

from worker.cli.exit_codes import ExitCode
from worker.core.errors import (
    AssistantError,
    CredentialsRejected,
    OutcomeUnknown,
    ProjectNotFound,
    SettingsError,
)
from worker.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from worker.adapters.customgpt_admin import CustomGptAdmin
    from worker.settings import Settings

T = TypeVar("T")

_KEY_ADVICE = "make one at https://app.customgpt.ai/profile#api"
_PROJECT_ADVICE = "it is the agent's number, which `askrelay project list` shows; or give it to the command"
_REFUSED: dict[type[AssistantError], str] = {
    CredentialsRejected: "the API refuses the key, or does not allow it this",
    ProjectNotFound: "the API knows no such project",
}
_LOOK_AT_BOTH = "Look at CUSTOMGPT_API_KEY and at the project's number; `askrelay doctor` tells more."


def settings_with_key() -> Settings:
    """Return the settings; SettingsError when there is no API key. A project is not needed."""
    settings = load_settings()
    if settings.customgpt_api_key is None:
        raise SettingsError(f"CUSTOMGPT_API_KEY is not set: {_KEY_ADVICE}")
    return settings


def project_id_of(settings: Settings, given: int | None) -> int:
    """Return the project that was given, or the one in the settings; SettingsError when there is none."""
    project_id = settings.customgpt_project_id if given is None else given
    if project_id is None:
        raise SettingsError(f"CUSTOMGPT_PROJECT_ID is not set: {_PROJECT_ADVICE}")
    return project_id


def ask_api(settings: Settings, calls: Callable[[CustomGptAdmin], Awaitable[T]]) -> T:
    """Make calls to the API and return what they give; what the API refuses ends the command."""
    from worker.adapters.customgpt_admin import CustomGptAdmin, RefusedError  # noqa: PLC0415 (slow)
    from worker.bootstrap import api_config  # noqa: PLC0415

    async def ask() -> T:
        config, key = api_config(settings), settings.key_source()
        async with CustomGptAdmin(config, key=key, on_pause=_tell_pause) as api:
            return await calls(api)

    try:
        return asyncio.run(ask())
    except RefusedError as refused:
        end(ExitCode.API, f"the API does not take it: {refused}")
    except (CredentialsRejected, ProjectNotFound) as refused:
        end(ExitCode.API, f"{_REFUSED[type(refused)]} ({refused.detail})", _LOOK_AT_BOTH)
    except OutcomeUnknown as unknown:
        end(
            ExitCode.API,
            f"nobody knows whether it was done ({unknown.detail})",
            "Look whether it was, before you try again.",
        )


def confirm(question: str, *, is_sure: bool) -> None:
    """Go on only when the person says yes; where nobody can be asked, ``--yes`` has to say so."""
    if is_sure:
        return
    if not sys.stdin.isatty():
        end(ExitCode.USAGE, "this asks before it changes anything, and there is nobody to ask", "Add --yes.")
    try:
        is_sure = typer.confirm(question, err=True)
    except typer.Abort:
        typer.echo(err=True)
    if not is_sure:
        end(ExitCode.INTERRUPTED, "nothing was changed")


def end(code: ExitCode, message: str, advice: str = "") -> NoReturn:
    """Say on stderr what is so and what to do, and end the command."""
    typer.echo(f"askrelay: {message}" + (f"\n  {advice}" if advice else ""), err=True)
    raise typer.Exit(code)


def one_line(text: str | None, *, at_most: int | None = None) -> str:
    """Return a text as one cell of a table: no line ends, nothing that steers a terminal, not too long."""
    plain = "".join(each if each.isprintable() else " " for each in text or "")
    plain = " ".join(plain.split())
    return plain if at_most is None or len(plain) <= at_most else f"{plain[: at_most - 1]}…"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it needs one."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def moment_cell(iso: str | None) -> str:
    """Return a moment of the API as tables show it, to the second: ``2026-11-20 20:00:01Z``."""
    return "-" if iso is None else f"{iso[:19].replace('T', ' ')}Z"


def _tell_pause(seconds: float) -> None:
    typer.echo(f"askrelay: the API asks for a pause of {seconds:g} s", err=True)
