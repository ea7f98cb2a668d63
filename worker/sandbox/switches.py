"""Every behaviour of the real API that is undocumented, contradictory or seen in several forms.

The defaults are what the documentation says or, where it says nothing, what was seen last.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from worker.sandbox.accepts import NotAcceptedError, accepted_by, check_fields

AnswerKind = Literal["normal", "empty", "null", "siesta", "no_answer", "out_of_queries", "moderation"]

_LABEL = "Switch '{}'"

#: Words a person types for no value, yes and no on a command line.
_NONE_WORDS = frozenset({"", "none", "null"})
_TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
_FALSE_WORDS = frozenset({"0", "false", "no", "off"})


def _switch(default: Any, about: str, *, least: float | None = None) -> Any:
    return field(default=default, metadata={"about": about, "least": least})


@dataclass(slots=True)
class Switches:
    """How the sandbox behaves now; changed at start and while it runs."""

    latency_s: float | None = _switch(None, "seconds an answer takes; none = log-normal", least=0)
    latency_median_s: float = _switch(3.0, "median of the log-normal", least=0)
    latency_sigma: float = _switch(1.0, "spread of the log-normal", least=0)
    latency_cap_s: float = _switch(120.0, "longest answer", least=0)
    other_latency_share: float = _switch(0.1, "how long other calls take, as a share of an answer", least=0)
    requests_per_minute: int = _switch(0, "plan limit in a sliding minute; 0 = none", least=0)
    requests_at_once: int = _switch(0, "calls served at one time; 0 = no limit", least=0)
    throttle_retry_after: Literal["seconds", "date", "absent"] = _switch("seconds", "Retry-After of a 429")
    throttle_body: Literal["envelope", "laravel"] = _switch("laravel", "body of a 429 about pace")
    max_queries: int = _switch(1_000_000, "query credits of the plan", least=0)
    out_of_queries: Literal["refused", "canned_answer"] = _switch("refused", "a 429, or a text as the answer")

    name_filter: Literal["substring", "prefix", "exact", "ignored"] = _switch(
        "substring", "how ?name= selects conversations"
    )
    name_filter_ignores_case: bool = _switch(default=True, about="?name= compares without case")
    create_requires_name: bool = _switch(default=False, about="a create without a name is refused with 400")
    conversations_per_page: int = _switch(10, "page size", least=1)
    messages_per_page: int = _switch(20, "page size", least=1)
    projects_per_page: int = _switch(10, "page size", least=1)
    unknown_session: Literal["not_found", "create"] = _switch(
        "not_found", "a post to a session nobody created; create = implicitly"
    )
    deleted_session: Literal["not_found", "create"] = _switch("not_found", "a post to a deleted session")
    missing_session_text: str = _switch("Conversation with session id {session_id} not found", "its 404 text")
    conversation_list_lag_s: float = _switch(
        0.0, "seconds until a created conversation can be listed", least=0
    )
    message_list_lag_s: float = _switch(0.0, "seconds until a stored message can be listed", least=0)
    list_shows_deleted: bool = _switch(default=False, about="listings contain deleted rows with deleted_at")
    ended_field: Literal["ended_at", "deleted_at", "absent"] = _switch(
        "ended_at", "the extra key when reading"
    )
    retention_s: float | None = _switch(None, "conversations older than this are gone; none = keep", least=0)

    answer: AnswerKind = _switch("normal", "what the agent answers")  # noqa: RUF009  # it is a field
    message_stored: Literal["with_answer", "before_answer"] = _switch(
        "with_answer", "when a message becomes visible; before_answer = first without an answer"
    )
    on_disconnect: Literal["finish", "abandon"] = _switch(
        "finish", "what happens to a post whose caller left"
    )
    response_cache: Literal["off", "new_message", "same_message"] = _switch(
        "off", "a prompt repeated in one session is not asked again, unless Cache-Control: no-cache"
    )
    answer_has_conversation_id: bool = _switch(default=True, about="PromptHistory carries conversation_id")
    citations: Literal["ints", "strings", "empty", "null"] = _switch("ints", "form of citations")
    missing_external_id: Literal["empty", "null", "absent"] = _switch(
        "empty", "metadata.external_id when none was sent"
    )
    stored_question: Literal["as_sent", "trimmed", "html_escaped", "collapsed"] = _switch(
        "as_sent", "what becomes of the text; collapsed = runs of white space are one blank"
    )
    stored_external_id: Literal["as_sent", "trimmed", "lower_case", "dropped"] = _switch(
        "as_sent", "what becomes of external_id"
    )
    user_id_is_null: bool = _switch(default=False, about="PromptHistory.user_id is null")
    stream_event_lines: bool = _switch(default=True, about="SSE frames carry 'event:' lines")
    stream_pause_s: float = _switch(0.0, "seconds between two SSE frames", least=0)

    is_chat_active: Literal["true", "one", "false", "null"] = _switch(
        "true", "of every project; false and null also leave answers empty"
    )
    indexing_s: float = _switch(
        0.0, "seconds a created project reads its sources; until then it is not active", least=0
    )
    pages_per_project: int = _switch(12, "documents of a project, as its stats tell", least=0)
    max_projects: int = _switch(100, "projects of the plan", least=0)
    dates: Literal["iso", "plain", "words", "null"] = _switch("iso", "form of timestamps")
    ids_as_strings: bool = _switch(
        default=False, about="project_id and created_by are strings, as the spec says"
    )
    key_order: Literal["data_first", "status_first"] = _switch("data_first", "order in the success envelope")

    def update(self, changes: dict[str, Any]) -> None:
        """Set several switches or, when one of them is wrong, none (NotAcceptedError)."""
        for name, value in check_fields(Switches, changes, label=_LABEL).items():
            setattr(self, name, value)

    def values(self) -> dict[str, Any]:
        """Return all switches; what comes out can be put back."""
        return asdict(self)


def describe() -> dict[str, dict[str, Any]]:
    """Return what each switch means, its default and what it can be."""
    return {
        each.name: {
            "about": each.metadata["about"],
            "default": each.default,
            "accepts": accepted_by(Switches)[each.name].words(),
        }
        for each in fields(Switches)
    }


def parse_assignment(text: str) -> tuple[str, Any]:
    """Read ``NAME=VALUE`` as typed on a command line; NotAcceptedError says what is wrong with it."""
    name, sign, word = (part.strip() for part in text.partition("="))
    if not sign:
        raise NotAcceptedError(f"'{text}' is not NAME=VALUE.")
    wanted = accepted_by(Switches).get(name)
    value: Any = word
    if wanted is None:
        pass
    elif wanted.is_optional and word.lower() in _NONE_WORDS:
        value = None
    elif wanted.kind is bool and word.lower() in _TRUE_WORDS | _FALSE_WORDS:
        value = word.lower() in _TRUE_WORDS
    elif wanted.kind in (int, float):
        with suppress(ValueError):
            value = wanted.kind(word)
    return name, check_fields(Switches, {name: value}, label=_LABEL)[name]
