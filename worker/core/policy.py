"""What follows from a failure (PROTOCOL 7)."""

from __future__ import annotations

from worker.core.errors import (
    AnswerUnreadable,
    AskrelayError,
    AttemptsExhausted,
    ConversationGone,
    CreationPending,
    CredentialsRejected,
    CreditsExhausted,
    GateClosed,
    LeaseLost,
    OutcomeUnknown,
    ProjectNotFound,
    QuestionRejected,
    SettingsError,
    Throttled,
    Unreachable,
)
from worker.core.model import Failed, GateNews, Halt, Retry, Snooze, Verdict
from worker.core.world import LOOK_FIRST_S, Turn

#: s. Pauses between attempts: full jitter below a bound that doubles from the first to the second.
RETRY_S = (1.0, 300.0)
#: s. Looks for an unknown outcome: 1, 2, 4 ... up to this.
LOOK_LONGEST_S = 20.0
#: s. Exhausted credits come back with a new month or a purchase: no need to ask often.
CREDITS_PROBE_S = 900.0
#: Attempts until a question is given up that the API refuses although it takes the key: one or two refusals
#: may come from a key that was being mended.
REFUSALS = 3
#: s. A key or a project is mended by a person, who then wants to see it work.
MEND_PROBE_S = 60.0


def pause_of(error: Exception) -> GateNews | None:
    """Return what the gate has to hear of an answer that holds up the whole fleet; None for any other."""
    match error:
        case Throttled(pause_s=pause_s):
            return GateNews("pause", error.code, pause_s)
        case CreditsExhausted():
            return GateNews("pause", error.code, CREDITS_PROBE_S)
        case _:
            return None


async def verdict_on(turn: Turn, error: Exception) -> Verdict:
    """Return the verdict on an error that ended the turn. LeaseLost and our own mistakes are raised again."""
    keeps_intent = turn.has_intent
    match error:
        case LeaseLost():
            raise error
        case GateClosed(retry_in_s=retry_in_s):
            return Snooze(error.code, retry_in_s, keeps_intent=keeps_intent, news=turn.heard())
        case CreationPending(for_s=for_s):
            return Snooze(
                error.code, min(for_s, LOOK_LONGEST_S / 4), keeps_intent=keeps_intent, news=turn.heard()
            )
        case Throttled(pause_s=pause_s):
            return Snooze(error.code, pause_s, keeps_intent=keeps_intent, news=pause_of(error))
        case CreditsExhausted():
            return Halt(error.code, CREDITS_PROBE_S, keeps_intent=keeps_intent)
        case CredentialsRejected() | ProjectNotFound():
            return await _refused(turn, error, keeps_intent=keeps_intent)
        case AnswerUnreadable() if not keeps_intent:
            return Failed(error.code, error.detail, news=GateNews("answered"))
        case QuestionRejected() if not keeps_intent:
            # A refusal is an answer: the API is up.
            return Failed(error.code, error.detail, news=GateNews("answered"))
        case OutcomeUnknown(is_server_error=is_server_error):
            # A creation: its intent stands in the conversation.
            heard = GateNews("failure") if is_server_error else turn.heard()
            return Snooze(error.code, LOOK_FIRST_S, keeps_intent=keeps_intent, news=heard)
        case Unreachable() | ConversationGone() | QuestionRejected():
            return _again(turn, error, keeps_intent=keeps_intent)
        case SettingsError():
            return Snooze(error.code, MEND_PROBE_S, keeps_intent=keeps_intent)
        case _:
            raise error


async def _refused(
    turn: Turn, error: CredentialsRejected | ProjectNotFound, *, keeps_intent: bool
) -> Verdict:
    """Halt when a plain GET is refused too; else it is this question that the API does not want."""
    try:
        await turn.read(lambda _: turn.world.assistant.check_project(turn.project_id))
    except (CredentialsRejected, ProjectNotFound) as refused:
        return Halt(refused.code, MEND_PROBE_S, keeps_intent=keeps_intent)
    except (GateClosed, Throttled, CreditsExhausted) as held:
        return await verdict_on(turn, held)
    except Unreachable:
        # Nobody knows yet whose fault it is: one refusal stops no fleet, and counts against no question.
        return Snooze(error.code, LOOK_LONGEST_S, keeps_intent=keeps_intent, news=GateNews("failure"))
    if keeps_intent or not turn.is_write_refused or turn.question.attempts + 1 < REFUSALS:
        # The key may have been mended between the two calls, and a refused read says nothing of the question.
        return _again(turn, error, keeps_intent=keeps_intent)
    return Failed(QuestionRejected.code, error.detail, news=turn.heard())


def _again(turn: Turn, error: AskrelayError, *, keeps_intent: bool) -> Verdict:
    """Try again after a pause; counts as an attempt unless a post is outstanding or this is a probe."""
    news = GateNews("failure") if isinstance(error, Unreachable) else turn.heard()
    question = turn.question
    if keeps_intent or turn.claim.probes is not None:
        looks = question.intent.looks if question.intent else 0
        return Snooze(
            error.code, look_again_in_s(looks), keeps_intent=keeps_intent, is_look=keeps_intent, news=news
        )
    attempts = question.attempts + 1
    if attempts >= turn.world.rules.max_attempts:
        return Failed(AttemptsExhausted.code, f"the last one: {error.code}")
    shortest, longest = RETRY_S
    bound_s = min(shortest * 2 ** (attempts - 1), longest)
    return Retry(error.code, turn.world.randomness.uniform(0, bound_s), news)


def look_again_in_s(looks: int) -> float:
    """Return the pause before the next look: 1, 2, 4 ... s."""
    return min(LOOK_FIRST_S * 2.0 ** min(looks, 10), LOOK_LONGEST_S)
