"""What the API says of an agent and of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from worker.adapters.customgpt.parsing import UnreadableError, text_or_none, whole_number
from worker.core.model import CannedTexts


@dataclass(frozen=True, slots=True)
class ProjectFacts:
    """What the API says of a project."""

    project_id: int
    name: str
    #: Whether the agent can answer; None for a new one.
    is_chat_active: bool | None


@dataclass(frozen=True, slots=True)
class PlanUsage:
    """How much of the plan is used up; None where the API does not say."""

    max_queries: int | None
    current_queries: int | None
    max_projects: int | None
    current_projects: int | None


def canned_texts_of(settings: Any) -> CannedTexts:
    """Read the agent's fixed texts from its settings."""
    if not isinstance(settings, dict):
        raise UnreadableError("no settings")
    return CannedTexts(
        no_answer=text_or_none(settings.get("no_answer_message")),
        agent_problem=text_or_none(settings.get("chatbot_siesta_msg")),
        out_of_queries=text_or_none(settings.get("account_out_of_queries_msg")),
    )


def project_of(project_id: int, row: Any) -> ProjectFacts:
    """Read what doctor wants to know of a project."""
    if not isinstance(row, dict):
        raise UnreadableError("no project")
    is_active = row.get("is_chat_active")
    name = row.get("project_name", row.get("name"))
    return ProjectFacts(
        project_id=whole_number(row.get("id")) or project_id,
        name=name if isinstance(name, str) else "",
        is_chat_active=None if is_active is None else is_active in (True, 1, "1", "true"),
    )


def usage_of(row: Any) -> PlanUsage:
    """Read how much of the plan is used up."""
    if not isinstance(row, dict):
        raise UnreadableError("no usage")
    return PlanUsage(
        max_queries=whole_number(row.get("max_queries")),
        current_queries=whole_number(row.get("current_queries")),
        max_projects=whole_number(row.get("max_projects_num")),
        current_projects=whole_number(row.get("current_projects_num")),
    )
