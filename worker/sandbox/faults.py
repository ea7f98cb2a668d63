"""Faults, by script and by chance: which calls go wrong, and how.

A rule is JSON: ``{"match": {...}, "action": {...}}``. Rules are tried in order; the first that fires acts,
and the rules behind it do not see that call. So a list of rules with ``times`` 1 each is a script.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from worker.sandbox.accepts import NotAcceptedError, check_fields
from worker.sandbox.nearest import did_you_mean
from worker.sandbox.routes import CallName
from worker.sandbox.switches import AnswerKind

if TYPE_CHECKING:
    from worker.sandbox.call import Call

FaultKind = Literal[
    "reply",
    "throttle",
    "credits",
    "answer",
    "delay",
    "reset",
    "close",
    "hang",
    "trickle",
    "sse_truncated",
    "sse_error",
]
FaultBody = Literal["envelope", "laravel", "html", "empty", "garbage", "truncated", "wrong_schema"]
CutAt = Literal["before_headers", "after_headers", "mid_body"]
When = Literal["before_work", "after_work"]

#: What each kind understands beside ``kind``. Those without ``when`` change the work or its answer.
_KEYS: dict[str, frozenset[str]] = {
    "reply": frozenset({"when", "status", "body", "message", "retry_after", "location"}),
    "throttle": frozenset({"when", "retry_after"}),
    "credits": frozenset({"when"}),
    "answer": frozenset({"answer"}),
    "delay": frozenset({"seconds"}),
    "reset": frozenset({"when", "at"}),
    "close": frozenset({"when", "at"}),
    "hang": frozenset({"when", "seconds"}),
    "trickle": frozenset({"seconds"}),
    "sse_truncated": frozenset({"when"}),
    "sse_error": frozenset({"when"}),
}
_ONLY_POSTS = frozenset({"answer", "sse_truncated", "sse_error"})
_ONLY_STREAMS = frozenset({"sse_truncated", "sse_error"})


@dataclass(frozen=True, slots=True)
class Match:
    """Which calls a rule is about; a field that is not given matches everything."""

    call: CallName | None = None
    project_id: int | None = None
    session_id: str | None = None
    external_id: str | None = None
    question_contains: str | None = None
    stream: bool | None = None
    #: Fires from the n-th matching call on.
    nth: int | None = field(default=None, metadata={"least": 1})
    #: Fires so many times; not given: once with ``nth``, else always.
    times: int | None = field(default=None, metadata={"least": 1})
    #: Fires by chance, drawn from the seed.
    probability: float | None = field(default=None, metadata={"least": 0, "most": 1})
    #: Counts ``nth`` and ``times`` apart for each session, contact or question text.
    each: Literal["session_id", "external_id", "question"] | None = None

    def covers(self, call: Call) -> bool:
        """Whether this call is one of those."""
        return (
            self.call in (None, call.name)
            and self.project_id in (None, call.project_id)
            and self.session_id in (None, call.session_id)
            and self.external_id in (None, call.external_id)
            and (self.question_contains is None or self.question_contains in (call.question or ""))
            and (self.stream is None or self.stream == call.is_streamed)
        )


@dataclass(frozen=True, slots=True)
class Action:
    """What happens to the call."""

    kind: FaultKind
    #: Whether the API does what it was asked before it goes wrong.
    when: When = "before_work"
    status: int = field(default=500, metadata={"least": 200, "most": 599})
    #: Not given: as usual for the status (502, 503 and 504 come as HTML from a proxy).
    body: FaultBody | None = None
    message: str | None = None
    #: Sent as it is: seconds or a date.
    retry_after: str | None = None
    #: Where a redirect goes.
    location: str | None = None
    at: CutAt = "before_headers"
    #: Of a hang: how long (not given: until the caller leaves); of a trickle: per byte; of a delay: added.
    seconds: float | None = field(default=None, metadata={"least": 0})
    answer: AnswerKind = "empty"

    @property
    def disrupts(self) -> bool:
        """Whether the call does not get the reply that its work made."""
        return self.kind not in ("answer", "delay")

    @property
    def cuts_stream(self) -> bool:
        """Whether it acts in the middle of a stream of events."""
        return self.kind in _ONLY_STREAMS or (self.kind in ("reset", "close") and self.at != "before_headers")


class Rule:
    """A match, its action, and how often it was seen and fired."""

    def __init__(self, match: Match, action: Action, chance: random.Random) -> None:
        self.match = match
        self.action = action
        self._chance = chance
        self._times = match.times if match.nth is None or match.times is not None else 1
        self._seen: Counter[str | None] = Counter()
        self._fired: Counter[str | None] = Counter()

    def fires(self, call: Call) -> bool:
        """Count the call when it matches, and say whether it is hit."""
        kind, match = self.action.kind, self.match
        if (kind in _ONLY_POSTS and not call.asks) or (kind in _ONLY_STREAMS and not call.is_streamed):
            return False
        if not match.covers(call):
            return False
        key = None if match.each is None else getattr(call, match.each)
        self._seen[key] += 1
        if self._seen[key] < (match.nth or 1):
            return False
        if self._times is not None and self._fired[key] >= self._times:
            return False
        if match.probability is not None and self._chance.random() >= match.probability:
            return False
        self._fired[key] += 1
        return True

    def shown(self) -> dict[str, Any]:
        """Return the rule as it was given, with its counts."""
        return {
            "match": {name: value for name, value in asdict(self.match).items() if value is not None},
            "action": {
                name: value
                for name, value in asdict(self.action).items()
                if name == "kind" or (name in _KEYS[self.action.kind] and value is not None)
            },
            "seen": self._seen.total(),
            "fired": self._fired.total(),
        }


class Faults:
    """The rules in force."""

    def __init__(self, seed: int | None = None) -> None:
        self._seed = seed
        self._rules: list[Rule] = []

    def replace(self, rules: Any) -> None:
        """Take a JSON list of rules or, when one of them is wrong (NotAcceptedError), leave all as it is."""
        if not isinstance(rules, list):
            raise NotAcceptedError('Faults are a JSON list of {"match": {...}, "action": {...}}.')
        self._rules = [self._read(number, rule) for number, rule in enumerate(rules)]

    def choose(self, call: Call) -> Action | None:
        """Return what shall go wrong with this call, if anything."""
        for rule in self._rules:
            if rule.fires(call):
                call.fault = rule.action.kind
                return rule.action
        return None

    def shown(self) -> list[dict[str, Any]]:
        """Return the rules with their counts."""
        return [rule.shown() for rule in self._rules]

    def _read(self, number: int, rule: Any) -> Rule:
        if not isinstance(rule, dict) or not rule.keys() <= {"match", "action", "seen", "fired"}:
            raise NotAcceptedError(f'Fault {number} is not {{"match": {{...}}, "action": {{...}}}}.')
        match = Match(**check_fields(Match, rule.get("match", {}), label=f"Fault {number}: match '{{}}'"))
        given = check_fields(Action, rule.get("action", {}), label=f"Fault {number}: action '{{}}'")
        if "kind" not in given:
            raise NotAcceptedError(f"Fault {number} has no action kind. {did_you_mean('', _KEYS)}")
        keys = _KEYS[given["kind"]]
        for name in given.keys() - keys - {"kind"}:
            raise NotAcceptedError(
                f"Fault {number}: a {given['kind']} has no '{name}'. {did_you_mean(name, keys)}"
            )
        # Each rule has a stream of chance of its own: adding a rule must not change what the others do.
        chance = random.Random(None if self._seed is None else f"{self._seed}/fault/{number}")  # noqa: S311
        if "when" not in keys:
            given["when"] = "after_work"
        return Rule(match, Action(**given), chance)
