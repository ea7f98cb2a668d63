"""What the agent says: made from the question, so that an answer given to another question shows."""

from __future__ import annotations

import hashlib
import html
import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.sandbox.switches import AnswerKind, Switches

#: Names of the settings that hold the agent's own fixed texts.
SIESTA = "chatbot_siesta_msg"
NO_ANSWER = "no_answer_message"
OUT_OF_QUERIES = "account_out_of_queries_msg"
MODERATION = "chatbot_failed_moderation_msg"

_SETTINGS: dict[AnswerKind, str] = {
    "siesta": SIESTA,
    "no_answer": NO_ANSWER,
    "out_of_queries": OUT_OF_QUERIES,
    "moderation": MODERATION,
}

_OPENINGS = (
    "Thanks for asking. Here is what our documents say.",
    "Good question. Our help pages have a chapter on this.",
    "Happy to help. This is what we know about that.",
    "Let me look that up. Our pages put it like this.",
    "That comes up often. In short, it goes like this.",
    "Here is what applies in your case.",
    "I found something on that for you.",
    "Of course. These are the details.",
)


@lru_cache(maxsize=256)
def digest(question: str) -> str:
    """Return 12 hex digits that stand for this question."""
    return hashlib.sha256(question.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def answer_to(question: str) -> str:
    """Answer a question: an opening, its digest, its own text."""
    mark = digest(question)
    opening = _OPENINGS[int(mark[:4], 16) % len(_OPENINGS)]
    return f"{opening} [sandbox answer {mark}] You asked: {question}"


def citations_of(question: str) -> tuple[int, ...]:
    """Return the sources an answer names, always the same ones for one question."""
    mark = int(digest(question)[:6], 16)
    return (10 + mark % 90, 100 + mark % 900)


def spoken(kind: AnswerKind, question: str, texts: Mapping[str, str]) -> str | None:
    """Return what the agent says to a question; ``texts`` are its settings."""
    match kind:
        case "normal":
            return answer_to(question)
        case "empty":
            return ""
        case "null":
            return None
        case _:
            return texts[_SETTINGS[kind]]


def stored_question(question: str, switches: Switches) -> str:
    """Return the text as the API keeps it."""
    match switches.stored_question:
        case "as_sent":
            return question
        case "trimmed":
            return question.strip()
        case "html_escaped":
            return html.escape(question)
        case "collapsed":
            return re.sub(r"\s+", " ", question).strip()


def stored_external_id(external_id: str | None, switches: Switches) -> str | None:
    """Return the tag as the API keeps it; None as if none had been sent."""
    if external_id is None:
        return None
    match switches.stored_external_id:
        case "as_sent":
            return external_id
        case "trimmed":
            return external_id.strip()
        case "lower_case":
            return external_id.lower()
        case "dropped":
            return None
