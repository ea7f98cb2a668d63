"""The OpenAI-style call: one question, one answer, no conversation that anybody can look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worker.sandbox import answers, shapes
from worker.sandbox.envelope import ApiError, credits_exhausted
from worker.sandbox.messages import EXTERNAL_ID_CHARS, is_out_of_queries, kind_of_answer
from worker.sandbox.projects import project_of

if TYPE_CHECKING:
    from worker.sandbox.call import Call
    from worker.sandbox.state import Project
    from worker.sandbox.switches import AnswerKind
    from worker.sandbox.world import World

_ROLES = ("system", "user", "assistant")

#: As the real answer has it: nothing is counted.
_NO_USAGE = {
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "total_tokens": 0,
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


@dataclass(frozen=True, slots=True)
class Completion:
    """An answered question."""

    number: int
    created_s: int
    text: str | None


def accept(world: World, call: Call) -> str:
    """Check a request as the API does before its agent begins to think, and return the question."""
    project_of(world, call)
    modalities = call.body.get("modalities")
    if not isinstance(modalities, list | None):
        raise ApiError(400, "The modalities must be an array.")
    if call.body.get("audio") is not None or "audio" in (modalities or ()):
        raise ApiError(501, "audio is not yet supported. Please remove them from your request and try again.")
    call.text("external_id", longest=EXTERNAL_ID_CHARS)
    call.text("lang")
    question = question_of(call.body)
    if not question:
        raise ApiError(400, "The messages field is required.")
    if is_out_of_queries(world) and world.switches.out_of_queries == "refused":
        raise credits_exhausted()
    return question


def question_of(body: Any) -> str | None:
    """Return the last message of a user; None when the messages are not such as the API takes."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return None
    for each in messages:
        is_message = isinstance(each, dict) and each.get("role") in _ROLES
        if not is_message or not isinstance(each.get("content"), str):
            return None
    return next((str(each["content"]) for each in reversed(messages) if each["role"] == "user"), None)


def answer(world: World, call: Call, question: str, *, kind: AnswerKind | None = None) -> Completion:
    """Answer and bill it. ``kind`` overrides the switch for this one answer."""
    project = project_of(world, call)
    kind = kind or kind_of_answer(world, project)
    made = Completion(
        world.store.next_message_id(), int(world.clock.wall()), _spoken(project, question, kind)
    )
    call.message_id = made.number
    project.request_sources["api-openai"] += 1
    world.effects.record("completion", call)
    if kind != "out_of_queries":
        world.store.billed_queries += 1
        project.billed_queries += 1
        world.effects.record("billed_query", call)
    return made


def expected_answer(world: World, call: Call, question: str, *, kind: AnswerKind | None = None) -> str:
    """Return what will be said, before it is billed: a stream begins with it."""
    project = project_of(world, call)
    return _spoken(project, question, kind or kind_of_answer(world, project)) or ""


def shape(made: Completion) -> dict[str, Any]:
    """Shape an answer as OpenAI does: without the API's own envelope."""
    return {
        "id": str(made.number),
        "object": "chat.completion",
        "created": made.created_s,
        "model": None,
        "usage": _NO_USAGE,
        "choices": [
            {
                "message": {"role": "assistant", "content": made.text},
                "logprobs": None,
                "finish_reason": "stop",
                "index": 0,
            }
        ],
    }


def _spoken(project: Project, question: str, kind: AnswerKind) -> str | None:
    return answers.spoken(kind, question, shapes.settings(project))
