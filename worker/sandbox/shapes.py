"""How conversations, messages and projects look on the wire: keys, their order, their types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.sandbox import answers
from worker.sandbox.envelope import date_text
from worker.sandbox.state import OWNER_ID

if TYPE_CHECKING:
    from worker.sandbox.state import Conversation, Message, Project
    from worker.sandbox.switches import Switches

_CHAT_ACTIVE: dict[str, Any] = {"true": True, "one": 1, "false": False, "null": None}

DEFAULT_SETTINGS: dict[str, Any] = {
    "chatbot_avatar": None,
    "chatbot_background_type": "image",
    "chatbot_background": None,
    "chatbot_background_color": "#F5F5F5",
    "default_prompt": "What would you like to know?",
    "example_questions": ["What can you help me with?"],
    "response_source": "own_content",
    "chatbot_msg_lang": "en",
    "chatbot_color": "#000000",
    "chatbot_toolbar_color": "#000000",
    "persona_instructions": None,
    "hang_in_there_msg": "One moment, I am looking it up.",
    answers.SIESTA: "The sandbox agent is asleep because of a problem. Please come back later.",
    "is_loading_indicator_enabled": True,
    "enable_citations": 3,
    "enable_feedbacks": True,
    "citations_view_type": "user",
    answers.NO_ANSWER: "I am sorry, the sandbox agent knows nothing about that.",
    answers.OUT_OF_QUERIES: "This account has used up its queries.",
    answers.MODERATION: "The sandbox agent does not answer this kind of message.",
    "ending_message": "Please rephrase your question.",
    "remove_branding": False,
    "private_deployment": False,
    "enable_recaptcha_for_public_chatbots": False,
    "chatbot_model": "gpt-4-o",
    "is_selling_enabled": False,
    "license_slug": False,
    "selling_url": None,
    "conversation_time_window": False,
    "conversation_retention_period": "year",
    "conversation_retention_days": 0,
    "markdown_enabled": True,
}


def conversation_created(each: Conversation, switches: Switches) -> dict[str, Any]:
    """Shape the answer to a create: other keys, in another order, than a later read."""
    return {
        "project_id": _id(each.project_id, switches),
        "name": each.name,
        "created_by": _id(OWNER_ID, switches),
        "session_id": each.session_id,
        "updated_at": date_text(each.updated_at, switches),
        "created_at": date_text(each.created_at, switches),
        "id": each.conversation_id,
    }


def conversation(each: Conversation, switches: Switches) -> dict[str, Any]:
    """Shape a conversation as list, rename and the messages listing show it."""
    shape = {
        "id": each.conversation_id,
        "created_at": date_text(each.created_at, switches),
        "updated_at": date_text(each.updated_at, switches),
        "session_id": each.session_id,
        "project_id": _id(each.project_id, switches),
        "created_by": _id(OWNER_ID, switches),
        "name": each.name,
    }
    if each.deleted_at is not None:
        shape["deleted_at"] = date_text(each.deleted_at, switches)
    elif switches.ended_field != "absent":
        shape[switches.ended_field] = None
    return shape


def message(each: Message, switches: Switches) -> dict[str, Any]:
    """Shape a PromptHistory."""
    shape: dict[str, Any] = {
        "id": each.message_id,
        "user_id": None if switches.user_id_is_null else OWNER_ID,
        "user_query": each.stored_question,
        "openai_response": each.answer,
        "created_at": date_text(each.created_at, switches),
        "updated_at": date_text(each.updated_at, switches),
    }
    if switches.answer_has_conversation_id:
        shape["conversation_id"] = each.conversation.conversation_id
    shape["citations"] = citations(each, switches)
    shape["metadata"] = _metadata(each, switches)
    reacted_at = None if each.reacted_at is None else date_text(each.reacted_at, switches)
    shape["response_feedback"] = {
        "created_at": reacted_at,
        "updated_at": reacted_at,
        "user_id": None if each.reaction is None else OWNER_ID,
        "reaction": each.reaction or "neutral",
    }
    return shape


def citations(each: Message, switches: Switches) -> list[int] | list[str] | None:
    """Shape the citations of an answer in the form the switch names."""
    match switches.citations:
        case "ints":
            return list(each.citation_ids)
        case "strings":
            return [f"{number}.0" for number in each.citation_ids]
        case "empty":
            return []
        case "null":
            return None


def project(each: Project, switches: Switches, *, is_indexing: bool) -> dict[str, Any]:
    """Shape a project (an agent)."""
    return {
        "id": each.project_id,
        "project_name": each.name,
        "sitemap_path": each.sitemap_path,
        "is_chat_active": None if is_indexing else _CHAT_ACTIVE[switches.is_chat_active],
        "user_id": OWNER_ID,
        "team_id": OWNER_ID,
        "created_at": date_text(each.created_at, switches),
        "updated_at": date_text(each.updated_at, switches),
        "deleted_at": None,
        "type": "SITEMAP",
        "is_shared": each.is_shared,
        "shareable_slug": None,
        "shareable_link": None,
        "embed_code": None,
        "live_chat_code": None,
        "are_licenses_allowed": False,
    }


def settings(each: Project) -> dict[str, Any]:
    """Shape a project's settings, its fixed texts among them."""
    return DEFAULT_SETTINGS | each.settings


def _metadata(each: Message, switches: Switches) -> dict[str, Any]:
    shape: dict[str, Any] = {"user_ip": each.user_ip, "user_agent": each.user_agent}
    external_id = answers.stored_external_id(each.external_id, switches)
    if external_id is not None:
        shape["external_id"] = external_id
    elif switches.missing_external_id != "absent":
        shape["external_id"] = "" if switches.missing_external_id == "empty" else None
    shape["request_source"] = "api"
    if each.lang is not None:
        shape["lang"] = each.lang
    return shape


def _id(number: int, switches: Switches) -> int | str:
    return str(number) if switches.ids_as_strings else number
