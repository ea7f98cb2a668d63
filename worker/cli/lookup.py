"""``askrelay lookup``: one contact, in the ledger and at the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.api_calls import counted, end, moment_cell, one_line, settings_with_key
from worker.cli.conversations_read import AsJson, Project
from worker.cli.exit_codes import ExitCode
from worker.cli.lookup_gather import Seen, look_up
from worker.cli.lookup_inkeep import look_up_copy
from worker.cli.output import print_json, print_table
from worker.core.model import external_id_of
from worker.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.adapters.ledger.audit import AuditedQuestion
    from worker.core.model import RemoteMessage


def lookup(
    external_id: Annotated[
        str, typer.Argument(metavar="EXTERNAL_ID", help="The contact's id, as the CRM names it.")
    ],
    *,
    thread: Annotated[str | None, typer.Option(help="Only the conversation of this case or ticket.")] = None,
    content: Annotated[
        bool, typer.Option("--content", help="Also print the questions and their answers.")
    ] = False,
    inkeep: Annotated[
        bool, typer.Option("--inkeep", help="Look at Inkeep's copy instead, with ASKRELAY_MIRROR.")
    ] = False,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Look a contact up in ledger and API: do they agree?

    Shows the contact's conversation, its messages with their external_id, and the audit of the CRM guide:
    each question of the ledger posted once, under the same message id, nothing beside it. Exits with 10 when
    they do not agree, and with 7 when neither knows the contact.

    Example: askrelay lookup EXT_12345
    """
    tag = external_id_of(external_id)
    if inkeep:
        look_up_copy(load_settings(), tag, has_content=content, as_json=as_json)
        return
    settings = settings_with_key()
    seen = look_up(settings, tag, thread_id=thread, project=project)
    if not seen:
        end(
            ExitCode.NOT_FOUND,
            f"neither the ledger nor the API knows a conversation of contact {one_line(external_id)!r}",
            "Look at how the id is spelt: upper and lower case, blanks and accents all count.",
        )
    agrees = all(finding.agrees for each in seen for finding in each.findings)
    if as_json:
        print_json(
            {
                "external_id": tag,
                "agrees": agrees,
                "conversations": [_as_json(each, has_content=content) for each in seen],
            }
        )
    else:
        for each in seen:
            _print(each, has_content=content)
        count = sum(not finding.agrees for each in seen for finding in each.findings)
        typer.echo(
            "ledger and API agree" if agrees else f"ledger and API differ in {counted(count, 'point')}"
        )
    if not agrees:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _print(each: Seen, *, has_content: bool) -> None:
    for label, value in _facts(each).items():
        if value is not None:
            typer.echo(f"{label:<16} {one_line(str(value))}")
    typer.echo()
    headings = ("MESSAGE", "AT", "EXTERNAL_ID", "QUESTION ID", "STATE")
    rows = [_row(message, question) for message, question in _pairs(each)]
    if has_content:
        texts = [_texts(message, question) for message, question in _pairs(each)]
        both = [(*row, *(one_line(text) for text in pair)) for row, pair in zip(rows, texts, strict=True)]
        print_table((*headings, "QUESTION", "ANSWER"), both)
    else:
        print_table(headings, rows)
    typer.echo()
    for finding in each.findings:
        of = " ".join(
            [
                *([f"message {finding.message_id}"] if finding.message_id is not None else []),
                *([f"question {one_line(finding.question_id)}"] if finding.question_id is not None else []),
                *([f"session {finding.session_id}"] if finding.message_id is None else []),
            ]
        )
        typer.echo(f"{'note' if finding.agrees else 'WRONG':<6} {finding.kind}: {finding.text} ({of})")
    if each.findings:
        typer.echo()


def _facts(each: Seen) -> dict[str, Any]:
    conversation = None if each.record is None else each.record.conversation
    return {
        "project_id": each.project_id,
        "thread_id": None if conversation is None else conversation.thread_id,
        "session_id": each.row.session_id if conversation is None and each.row else _session_of(each),
        "conversation_id": each.row.conversation_id if each.row else None,
        "name": each.row.name if each.row else None,
        "created_at": each.row.created_at if each.row else None,
    }


def _session_of(each: Seen) -> str | None:
    return None if each.record is None else each.record.conversation.session_id


def _pairs(each: Seen) -> Iterator[tuple[RemoteMessage | None, AuditedQuestion | None]]:
    """Yield messages and questions beside one another: oldest message first, then what has no message."""
    questions = () if each.record is None else each.record.questions
    session_id = _session_of(each)
    by_message = {each.message_id: each for each in questions if each.session_id == session_id}
    by_message.pop(None, None)
    messages = () if each.stored is None else each.stored.messages
    for message in reversed(messages):
        yield message, by_message.get(message.message_id)
    listed = {message.message_id for message in messages}
    for question in questions:
        if question.message_id not in listed or question.session_id != session_id:
            yield None, question


def _row(message: RemoteMessage | None, question: AuditedQuestion | None) -> tuple[str, ...]:
    number = message.message_id if message else question.message_id if question else None
    return (
        "-" if number is None else str(number),
        "-" if message is None else moment_cell(message.created_at),
        "-" if message is None else one_line(message.external_id) or "-",
        "-" if question is None else one_line(question.event_id),
        "-" if question is None else question.state,
    )


def _texts(message: RemoteMessage | None, question: AuditedQuestion | None) -> tuple[str, str]:
    text = message.question if message else question.text if question else ""
    return text, (message.answer or "") if message else ""


def _as_json(each: Seen, *, has_content: bool) -> dict[str, Any]:
    return {
        **_facts(each),
        "is_in_ledger": each.record is not None,
        "is_at_api": each.stored is not None,
        "messages": [
            _pair_json(message, question, has_content=has_content) for message, question in _pairs(each)
        ],
        "findings": [
            {
                "kind": finding.kind,
                "agrees": finding.agrees,
                "text": finding.text,
                "session_id": finding.session_id,
                "message_id": finding.message_id,
                "question_id": finding.question_id,
            }
            for finding in each.findings
        ],
    }


def _pair_json(
    message: RemoteMessage | None, question: AuditedQuestion | None, *, has_content: bool
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "message_id": message.message_id if message else None,
        "created_at": message.created_at if message else None,
        "external_id": message.external_id if message else None,
        "request_source": message.metadata.get("request_source") if message else None,
        "question_source": question.source if question else None,
        "question_id": question.event_id if question else None,
        "state": question.state if question else None,
        "ledger_message_id": question.message_id if question else None,
    }
    if has_content:
        told["question"], told["answer"] = _texts(message, question)
    return told
