"""The calls about messages: post (in two halves, the agent thinks in between), list, get, feedback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worker.sandbox import answers, shapes
from worker.sandbox.conversations import NAME_CHARS, add_conversation, conversation_of, missing_session
from worker.sandbox.envelope import ApiError, credits_exhausted, page_number, paginate
from worker.sandbox.projects import is_indexing, project_of

if TYPE_CHECKING:
    from worker.sandbox.call import Call
    from worker.sandbox.state import Conversation, Message, Project
    from worker.sandbox.switches import AnswerKind
    from worker.sandbox.world import World

#: As documented.
EXTERNAL_ID_CHARS = 128

_REACTIONS = ("liked", "disliked", "neutral")
_OPTIONS = ("custom_persona", "chatbot_model", "response_source", "custom_context")
_RESPONSE_SOURCES = ("default", "own_content", "openai_content")


@dataclass(slots=True)
class Pending:
    """A post that was accepted and has no answer yet."""

    conversation: Conversation
    question: str
    external_id: str | None
    lang: str | None
    #: Stored already, without an answer (the switch message_stored).
    message: Message | None = None
    #: An earlier exchange whose answer is given again (the switch response_cache).
    cached: Message | None = None


def accept(world: World, call: Call) -> Pending:
    """Check a post as the API does before its agent begins to think; refuse it with an ApiError."""
    conversation = _conversation_for_post(world, call)
    question = call.body.get("prompt")
    if not isinstance(question, str) or not question:
        raise ApiError(400, "The prompt field is required.")
    call.options = _options(call)
    pending = Pending(
        conversation=conversation,
        question=question,
        external_id=call.text("external_id", longest=EXTERNAL_ID_CHARS),
        lang=call.text("lang"),
        cached=_cached(world, call, conversation, question),
    )
    if pending.cached is None and is_out_of_queries(world) and world.switches.out_of_queries == "refused":
        raise credits_exhausted()
    if world.switches.message_stored == "before_answer":
        _store(world, call, pending)
    return pending


def _options(call: Call) -> dict[str, str]:
    """Return what the post says of how to answer. Any model is taken: the list of them changes often."""
    named = ((name, call.text(name)) for name in _OPTIONS)
    options = {name: value for name, value in named if value is not None}
    if options.get("response_source", "default") not in _RESPONSE_SOURCES:
        raise ApiError(400, "The selected response source is invalid.")
    return options


def answer(world: World, call: Call, pending: Pending, *, kind: AnswerKind | None = None) -> Message:
    """Store the exchange and bill it; 404 when its conversation was deleted meanwhile.

    ``kind`` overrides the switch for this one answer.
    """
    project = project_of(world, call)
    if project.conversations.get(pending.conversation.session_id) is not pending.conversation:
        raise missing_session(world, pending.conversation.session_id)
    cached = pending.cached
    if cached is not None and world.switches.response_cache == "same_message":
        call.message_id = cached.message_id
        return cached
    message = pending.message or _store(world, call, pending)
    message.updated_at = world.clock.wall()
    if cached is not None:
        message.answer, message.citation_ids = cached.answer, cached.citation_ids
        return message
    kind = kind or kind_of_answer(world, project)
    message.answer = answers.spoken(kind, pending.question, shapes.settings(project))
    if kind == "normal":
        message.citation_ids = answers.citations_of(pending.question)
    if kind != "out_of_queries":
        world.store.billed_queries += 1
        project.billed_queries += 1
        world.effects.record("billed_query", call)
    return message


def expected_answer(world: World, pending: Pending, *, kind: AnswerKind | None = None) -> str:
    """Return what will be said, before anything is stored: a stream begins with it."""
    if pending.cached is not None:
        return pending.cached.answer or ""
    project = world.store.projects.get(pending.conversation.project_id)
    if project is None:
        return ""
    kind = kind or kind_of_answer(world, project)
    return answers.spoken(kind, pending.question, shapes.settings(project)) or ""


def list_messages(world: World, call: Call) -> Any:
    """List one page of a conversation's messages, with the conversation itself."""
    conversation = conversation_of(world, call)
    switches = world.switches
    listable_until = world.clock.monotonic() - switches.message_list_lag_s
    rows = [each for each in conversation.messages.values() if each.stored <= listable_until]
    if call.query.get("order") != "asc":
        rows.reverse()
    return {
        "conversation": shapes.conversation(conversation, switches),
        "messages": paginate(
            rows,
            page=page_number(call.query.get("page")),
            per_page=switches.messages_per_page,
            path=call.path_url,
            render=lambda each: shapes.message(each, switches),
        ),
    }


def get_message(world: World, call: Call) -> Any:
    """Return one message."""
    return shapes.message(_message_of(world, call), world.switches)


def give_feedback(world: World, call: Call) -> Any:
    """Note whether somebody liked an answer."""
    message = _message_of(world, call)
    reaction = call.text("reaction")
    if reaction not in _REACTIONS:
        raise ApiError(400, "The selected reaction is invalid.")
    message.reaction, message.reacted_at = reaction, world.clock.wall()
    world.effects.record("feedback", call)
    return shapes.message(message, world.switches)


def _conversation_for_post(world: World, call: Call) -> Conversation:
    project = project_of(world, call)
    session_id = call.params["sessionId"]
    try:
        return conversation_of(world, call)
    except ApiError:
        is_deleted = session_id in project.deleted
        mode = world.switches.deleted_session if is_deleted else world.switches.unknown_session
        prompt = call.body.get("prompt")
        if mode != "create" or not isinstance(prompt, str) or not prompt:
            raise
        # Seen at the real API: the conversation comes into being and is called like its first prompt.
        return add_conversation(world, call, project, prompt[:NAME_CHARS], session_id=session_id)


def _store(world: World, call: Call, pending: Pending) -> Message:
    pending.message = world.store.add_message(
        pending.conversation,
        question=pending.question,
        stored_question=answers.stored_question(pending.question, world.switches),
        external_id=pending.external_id,
        lang=pending.lang,
        user_ip=call.remote,
        user_agent=call.headers.get("User-Agent", ""),
    )
    call.message_id = pending.message.message_id
    project_of(world, call).request_sources["api"] += 1
    world.effects.record("message", call)
    return pending.message


def _cached(world: World, call: Call, conversation: Conversation, question: str) -> Message | None:
    if world.switches.response_cache == "off" or call.headers.get("Cache-Control") == "no-cache":
        return None
    earlier = (each for each in conversation.messages.values() if each.question == question and each.answer)
    return next(earlier, None)


def is_out_of_queries(world: World) -> bool:
    """Whether the plan's queries are used up."""
    return world.store.billed_queries >= world.switches.max_queries


def kind_of_answer(world: World, project: Project) -> AnswerKind:
    """Return what an agent answers now, whoever asks."""
    if is_out_of_queries(world):
        return "out_of_queries"
    if is_indexing(world, project) or world.switches.is_chat_active == "false":
        return "null"
    return world.switches.answer


def _message_of(world: World, call: Call) -> Message:
    text = call.params["promptId"]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ApiError(400, "Prompt id must be integer")
    message = conversation_of(world, call).messages.get(int(text))
    if message is None:
        raise ApiError(404, f"Conversation message with id {text} not found")
    call.message_id = message.message_id
    return message
