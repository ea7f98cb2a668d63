"""Reads a contact from the ledger, from the API, and from the ledger again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from worker.cli.api_calls import ask_api, counted, project_id_of
from worker.cli.conversations_read import TAG, is_named_for, named_for
from worker.cli.lookup_audit import Finding, Remote, compare
from worker.core.conversations import tag_of
from worker.core.errors import ConversationGone
from worker.core.model import Conversation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.adapters.customgpt_admin import ConversationRow, CustomGptAdmin, StoredConversation
    from worker.adapters.ledger.audit import AuditedConversation, ContactRecord
    from worker.settings import Settings

#: The setting of an agent that holds its text for used up queries.
_OUT_OF_QUERIES = "account_out_of_queries_msg"


@dataclass(frozen=True, slots=True)
class Seen:
    """One conversation: what the ledger keeps of it, and what the API has."""

    project_id: int
    #: None: only the API has it.
    record: AuditedConversation | None
    #: None: only the ledger has it, or it does not exist yet.
    row: ConversationRow | None
    #: None: the API does not know the session.
    stored: StoredConversation | None
    findings: tuple[Finding, ...] = ()


@dataclass(slots=True)
class _Answers:
    """What the API said."""

    #: By session.
    rows: dict[str, tuple[int, ConversationRow]] = field(default_factory=dict)
    stored: dict[str, StoredConversation] = field(default_factory=dict)
    out_of_queries: dict[int, str | None] = field(default_factory=dict)


def look_up(
    settings: Settings, external_id: str, *, thread_id: str | None, project: int | None
) -> list[Seen]:
    """Return every conversation of a contact, or of one thread of it, each with what was noticed."""
    from worker.adapters.ledger.audit import Audit  # noqa: PLC0415 (slow)

    with Audit(settings.database_url) as audit:
        before = _wanted(audit.contact(external_id), thread_id)
        projects = {each.conversation.project_id or project_id_of(settings, project) for each in before}
        projects = projects or {project_id_of(settings, project)}
        answers = ask_api(settings, lambda api: _ask(api, external_id, before, projects))
        record = audit.contact(external_id)
    after = {each.conversation.number: each for each in _wanted(record, thread_id)}
    fresh_since = record.now - settings.list_lag_s
    fallback = min(projects)
    seen = [
        _compared(each, after.get(each.conversation.number, each), answers, fallback, fresh_since)
        for each in before
    ]
    unknown = _unknown_to_the_ledger(before, answers, projects)
    if thread_id is not None:
        unknown = (each for each in unknown if _is_of_thread(each, external_id, thread_id))
    return [*seen, *unknown]


def _wanted(record: ContactRecord, thread_id: str | None) -> list[AuditedConversation]:
    return [
        each for each in record.conversations if thread_id is None or each.conversation.thread_id == thread_id
    ]


async def _ask(
    api: CustomGptAdmin, external_id: str, before: list[AuditedConversation], projects: set[int]
) -> _Answers:
    answers = _Answers()
    fallback = min(projects)
    for project_id in sorted(projects):
        parts = [named_for(external_id)]
        # A conversation that was renamed still has its tag, or is known by its session.
        parts += [
            tag_of(project_id, each.conversation)
            for each in before
            if (each.conversation.project_id or fallback) == project_id
        ]
        for part in parts:
            for row in await api.conversations(project_id, name_part=part):
                is_tagged = part != parts[0] and row.name.endswith(part)
                if not row.is_deleted and (is_tagged or is_named_for(row.name, external_id)):
                    answers.rows[row.session_id] = (project_id, row)
        texts = await api.project_settings(project_id)
        text = texts.get(_OUT_OF_QUERIES)
        answers.out_of_queries[project_id] = text if isinstance(text, str) else None
    sessions = {session_id: project_id for session_id, (project_id, _) in answers.rows.items()}
    for each in before:
        if each.conversation.session_id is not None:
            sessions.setdefault(each.conversation.session_id, each.conversation.project_id or fallback)
    for session_id, project_id in sessions.items():
        try:
            answers.stored[session_id] = await api.messages(project_id, session_id)
        except ConversationGone:
            answers.rows.pop(session_id, None)
    return answers


def _compared(
    before: AuditedConversation,
    after: AuditedConversation,
    answers: _Answers,
    fallback: int,
    fresh_since: float,
) -> Seen:
    session_id = after.conversation.session_id
    project_id = after.conversation.project_id or fallback
    stored = answers.stored.get(session_id) if session_id is not None else None
    if session_id is not None and session_id != before.conversation.session_id and stored is None:
        note = Finding("changed_meanwhile", agrees=True, text="it got its session just now: look again")
        return Seen(project_id, after, None, None, (note,))
    remote = Remote(None if stored is None else stored.messages, answers.out_of_queries.get(project_id))
    findings = [*compare(before, after, remote, fresh_since=fresh_since)]
    findings += _extras(after, answers, project_id)
    named = answers.rows.get(session_id or "")
    row = named[1] if named else (stored.conversation if stored else None)
    return Seen(project_id, after, row, stored, tuple(findings))


def _extras(record: AuditedConversation, answers: _Answers, project_id: int) -> Iterator[Finding]:
    """Yield the conversations that carry the tag of this one and are not the one it uses."""
    conversation = record.conversation
    tag = tag_of(project_id, conversation)
    for session_id, (_, row) in answers.rows.items():
        if not row.name.endswith(tag) or session_id == conversation.session_id:
            continue
        if session_id in conversation.forgotten_session_ids:
            continue
        count = len(answers.stored[session_id].messages)
        if conversation.session_id is None:
            is_pending = conversation.create_intent_at is not None
            text = "the ledger has not saved it; the next turn takes it over"
            yield Finding("conversation_not_saved", is_pending, text, session_id)
        else:
            what = f"with {counted(count, 'message')}" if count else "empty; a worker deletes it"
            yield Finding(
                "extra_conversation", False, f"there is another one with this tag, {what}", session_id
            )


def _unknown_to_the_ledger(
    before: list[AuditedConversation], answers: _Answers, projects: set[int]
) -> Iterator[Seen]:
    used = {each.conversation.session_id for each in before}
    tags = {tag_of(project_id, each.conversation) for each in before for project_id in projects}
    for session_id, (project_id, row) in answers.rows.items():
        found = TAG.search(row.name)
        if session_id in used or (found and found.group(1) in tags):
            continue
        text = "the API has a conversation named for this contact that the ledger does not know"
        finding = Finding("conversation_unknown", agrees=False, text=text, session_id=session_id)
        yield Seen(project_id, None, row, answers.stored[session_id], (finding,))


def _is_of_thread(seen: Seen, external_id: str, thread_id: str) -> bool:
    """Tell whether a conversation that the ledger does not know has the tag of this thread."""
    wanted = Conversation(0, "", external_id, thread_id, external_id, None, None, None, 0, None)
    return seen.row is not None and seen.row.name.endswith(tag_of(seen.project_id, wanted))
