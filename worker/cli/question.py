"""``askrelay question``: single questions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.exit_codes import ExitCode
from worker.cli.output import print_json, print_table
from worker.cli.question_story import Step, is_without_conversation, story_of
from worker.cli.spans import moment_json, moment_text, span_text
from worker.settings import Settings, load_settings

if TYPE_CHECKING:
    from worker.adapters.ledger.report import ErasedReport, QuestionReport

question = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@question.callback()
def _group() -> None:
    """Look at single questions, or let a conversation go on.

    Example: askrelay question show crm/acme evt-1
    """


@question.command()
def show(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="The event's source, exactly as the event has it.")
    ],
    event_id: Annotated[str, typer.Argument(metavar="ID", help="The event's id.")],
    *,
    content: Annotated[
        bool, typer.Option("--content", help="Also print contact, question, metadata and answer.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell the story of one question, step by step.

    What contacts wrote and what they were answered is printed only with --content. Exits with 7 when the
    ledger does not know the question.

    Example: askrelay question show crm/acme evt-1 --content
    """
    settings = load_settings()
    from worker.adapters.ledger.report import ErasedReport, Reports  # noqa: PLC0415 (settings are told first)

    with Reports(settings.database_url) as reports:
        found = reports.question(source, event_id)
    if found is None:
        advice = "Look at how source and id are spelt, in the rejected queue, and whether a worker runs."
        typer.echo(f"askrelay: the ledger knows no question {event_id!r} of {source!r}\n  {advice}", err=True)
        raise typer.Exit(ExitCode.NOT_FOUND)
    if isinstance(found, ErasedReport):
        _print_erased(found, source, event_id, as_json=as_json)
        return
    steps = story_of(found)
    facts = _facts(found, settings) | (_content(found) if content else {})
    if as_json:
        print_json({**facts, "steps": [_step_json(step) for step in steps]})
        return
    for name, value in facts.items():
        if value is not None:
            typer.echo(f"{name:<16} {value if isinstance(value, str) else json.dumps(value)}")
    typer.echo()
    begun = found.question["received_at"]
    rows = [(_moment(step), _after(step, begun), step.what, step.detail) for step in steps]
    print_table(("AT", "AFTER", "STEP", ""), rows)


@question.command()
def unblock(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="The event's source, exactly as the event has it.")
    ],
    event_id: Annotated[str, typer.Argument(metavar="ID", help="The event's id.")],
) -> None:
    """Let the conversation of a failed question go on.

    With ASKRELAY_AFTER_FAILURE=block a conversation waits for this after a question of it failed. The failed
    question stays failed. Exits with 7 when the ledger does not know the question.

    Example: askrelay question unblock crm/acme evt-1
    """
    settings = load_settings()
    from worker.adapters.ledger.operators import unblock as unblock_conversation  # noqa: PLC0415 (as above)

    match unblock_conversation(settings.database_url, source, event_id):
        case "unblocked":
            typer.echo("the conversation goes on; a worker takes its next question within seconds")
        case "not_blocked":
            typer.echo("the conversation was not blocked")
        case "unknown":
            typer.echo(f"askrelay: the ledger knows no question {event_id!r} of {source!r}", err=True)
            raise typer.Exit(ExitCode.NOT_FOUND)


def _print_erased(found: ErasedReport, source: str, event_id: str, *, as_json: bool) -> None:
    """Say what a hash can say: the question was there, and when it was finished."""
    if as_json:
        print_json(
            {
                "source": source,
                "question_id": event_id,
                "state": "erased",
                "finished_at": moment_json(found.finished_at),
            }
        )
        return
    typer.echo(
        f"known by its hash only: it was finished on {moment_text(found.finished_at)}, and its content was"
        " erased since (ASKRELAY_KEEP_DAYS)"
    )


def _facts(found: QuestionReport, settings: Settings) -> dict[str, Any]:
    row, conversation = found.question, found.conversation
    session_id = row["session_id"] or row["intent_session_id"] or conversation["session_id"]
    is_alone = is_without_conversation(row)
    return {
        "source": row["source"],
        "question_id": row["event_id"],
        "state": row["state"],
        "outcome": row["outcome"],
        "error_code": row["code"],
        "detail": row["detail"],
        "reply_id": row["reply_id"],
        "contact_hash": _contact_hash(found, settings),
        "project_id": conversation["project_id"],
        "session_id": None if is_alone else session_id,
        "conversation_id": None if is_alone else conversation["conversation_id"],
        "message_id": row["message_id"],
        "attempts": row["attempts"],
        "posts": row["posts"],
    }


def _contact_hash(found: QuestionReport, settings: Settings) -> str:
    """Return the hash under which the logs speak of this contact."""
    from worker.adapters.ledger import identity  # noqa: PLC0415 (slow)
    from worker.adapters.logs import ContactHash  # noqa: PLC0415

    key = settings.log_key.get_secret_value() if settings.log_key else identity(settings.database_url).log_key
    return ContactHash(key)(found.contact_id)


def _content(found: QuestionReport) -> dict[str, Any]:
    """Return what the contact wrote and what it was answered."""
    answers = [json.loads(reply.body)["data"].get("answer") for reply in found.replies]
    return {
        "contact_id": found.contact_id,
        "thread_id": found.conversation["thread_id"],
        "question": found.content["question"],
        "lang": found.content["lang"],
        "metadata": found.content["metadata"],
        "answer": next((answer for answer in reversed(answers) if answer is not None), None),
    }


def _moment(step: Step) -> str:
    return "" if step.at is None else moment_text(step.at)


def _after(step: Step, begun: float) -> str:
    return "" if step.at is None else f"+{span_text(step.at - begun)}"


def _step_json(step: Step) -> dict[str, Any]:
    return {"at": moment_json(step.at), "step": step.what, "detail": step.detail or None}
