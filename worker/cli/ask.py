"""``askrelay ask``: one question, as a CRM would ask it."""

from __future__ import annotations

import json
import secrets
import sys
from typing import Annotated, Any, NoReturn

import typer

from schemas import EventRefused, RawEvent, decode_event
from worker.cli.ask_once import SOURCE, NotTakenError, ask_once, event_of
from worker.cli.exit_codes import ExitCode
from worker.cli.output import print_json
from worker.settings import load_settings

#: Bytes of chance in an event id: no two of them are ever the same.
ID_BYTES = 8


def ask(
    *,
    contact: Annotated[str, typer.Option(help="The contact who asks, as the CRM names it.")],
    question: Annotated[str, typer.Option(help="What the contact asks.")],
    thread: Annotated[
        str | None, typer.Option(help="The case or ticket, which has a conversation of its own.")
    ] = None,
    lang: Annotated[str | None, typer.Option(help="Language tag of the question.")] = None,
    metadata: Annotated[
        str | None, typer.Option(metavar="JSON", help="Anything; it comes back with the answer.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for the reply.")] = 120,
    as_json: Annotated[bool, typer.Option("--json", help="Print the reply event as it came.")] = False,
) -> None:
    """Ask one question through the broker and print its answer.

    Publishes the event that a CRM would publish and waits for the reply; a worker has to be running. Exits
    with 9 when the reply says that the question failed, and with 8 when none came in time.

    Example: askrelay ask --contact EXT_12345 --question "What are your support hours?"
    """
    settings = load_settings()
    event_id = f"ask-{secrets.token_hex(ID_BYTES)}"
    event = _checked_event(
        event_id,
        {
            "contact_id": contact,
            "question": question,
            "thread_id": thread,
            "lang": lang,
            "metadata": _decoded(metadata),
        },
    )

    def on_taken(listeners: int | None) -> None:
        if listeners == 0:
            typer.echo(
                f"askrelay: no worker listens to {settings.question_queue!r}; the question waits there."
                "\n  Start one: askrelay run",
                err=True,
            )
        elif sys.stderr.isatty():
            typer.echo(f"Asked as {SOURCE} {event_id}; waiting up to {timeout:g} s.", err=True)

    try:
        reply = ask_once(settings, event_id, event, timeout_s=timeout, on_taken=on_taken)
    except NotTakenError as error:
        _end(
            ExitCode.BROKER,
            f"nothing takes questions yet: {error}",
            "A worker makes what is missing: askrelay run. Then ask again.",
        )
    if reply is None:
        _end(
            ExitCode.NO_ANSWER,
            f"no reply within {timeout:g} s; the question stays accepted and will get one",
            f"See how far it is, once a worker has taken it: askrelay question show {SOURCE} {event_id}",
        )
    _print(reply, as_json=as_json)
    if not _is_answer(reply):
        raise typer.Exit(ExitCode.FAILED_REPLY)


def _decoded(metadata: str | None) -> Any:
    if metadata is None:
        return None
    try:
        return json.loads(metadata)
    except (ValueError, RecursionError):
        raise typer.BadParameter(
            "is not JSON; strings need quotes: '\"T-9\"'", param_hint="--metadata"
        ) from None


def _checked_event(event_id: str, data: dict[str, Any]) -> bytes:
    """Return the event, or say what a worker would reject it for."""
    try:
        event = event_of(event_id, data)
        decode_event(RawEvent(event))
    except EventRefused as refused:
        _end(ExitCode.USAGE, f"that would be rejected: {refused.detail} ({refused.reason})", "")
    except ValueError:
        _end(ExitCode.USAGE, "that would be rejected: metadata has a number that JSON does not know", "")
    return event


def _print(reply: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(reply)
        return
    data = reply["data"]
    if not _is_answer(reply):
        detail = f": {data['detail']}" if data.get("detail") else ""
        _tell(
            f"the question failed, {data['reason']}{detail}",
            f"What the code means: docs/reference/errors.md. The story: askrelay question show {SOURCE}"
            f" {data['question_id']}",
        )
        return
    typer.echo(_shown(data["answer"]))
    facts = [*_place(data), data["outcome"]]
    if data["fallback"]:
        facts.append(f"the agent's own text: {data['fallback']}")
    typer.echo(f"\n({', '.join(facts)})")


def _place(data: dict[str, Any]) -> list[str]:
    """Say where the answer can be found at the API, if it can."""
    if data["api"] == "chat_completions":
        return ["by chat completions"]
    number = data["conversation_id"]
    conversation = "a conversation without a number" if number is None else f"conversation {number}"
    return [conversation, f"message {data['message_id']}"]


def _is_answer(reply: dict[str, Any]) -> bool:
    return str(reply["type"]).endswith(".answered")


def _shown(text: str) -> str:
    """Return the text without what would steer a terminal."""
    return "".join(character for character in text if character.isprintable() or character in "\n\t")


def _tell(message: str, advice: str) -> None:
    typer.echo(f"askrelay: {message}" + (f"\n  {advice}" if advice else ""), err=True)


def _end(code: ExitCode, message: str, advice: str) -> NoReturn:
    _tell(message, advice)
    raise typer.Exit(code)
