"""Questions that are asked without a conversation: an unknown outcome can never be read back.

What becomes of it is the operator's choice at once (PROTOCOL 1): ask again, or hold it for a person.
"""

from __future__ import annotations

from worker.core.errors import OutcomeUnknown
from worker.core.model import Failed, GateNews, Snooze, Verdict
from worker.core.world import LOOK_FIRST_S, Turn

#: s. Pauses before it is asked again: doubling, to this. Each time may be billed, and nothing ever settles.
AGAIN_LONGEST_S = 300.0


def unknown_completion(turn: Turn, error: OutcomeUnknown) -> Verdict:
    """Return the verdict on a question of which nobody knows whether it was answered."""
    news = GateNews("failure") if error.is_server_error else turn.heard()
    posts = turn.question.posts + 1
    if (held := _held(turn, posts, news)) is not None:
        return held
    pause_s = min(LOOK_FIRST_S * 2.0 ** min(posts - 1, 10), AGAIN_LONGEST_S)
    return Snooze(error.code, pause_s, keeps_intent=True, news=news)


def ask_again(turn: Turn) -> Verdict | None:
    """Return why an outstanding question is not asked again, or None: ask."""
    held = _held(turn, turn.question.posts, None)
    turn.is_repost = held is None
    return held


def _held(turn: Turn, posts: int, news: GateNews | None) -> Failed | None:
    rules = turn.world.rules
    if rules.on_unknown == "hold" or posts >= rules.max_attempts:
        times = "once" if posts == 1 else f"{posts} times"
        detail = f"asked {times} by chat completions, which cannot be read back"
        return Failed(OutcomeUnknown.code, detail, news=news)
    return None
