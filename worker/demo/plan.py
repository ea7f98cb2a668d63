"""How long things take in the demo, what goes wrong in it, and when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.demo.questions import Asked
from worker.sandbox.state import FIRST_PROJECT_ID

#: s. Between two questions of the story: a busy shop, and still to be followed by eye.
STORY_PAUSE_S = 0.2
#: The agent's thinking in the story, as the sandbox's switches: a real one takes some 3 s, up to two minutes.
STORY_LATENCY = {"latency_median_s": 0.7, "latency_sigma": 0.5, "latency_cap_s": 2.0}

#: s. Settle times of the demo; a real worker's are in the table of settings, and minutes long.
LEASE_S = 2.0
SEND_GRACE_S = 0.5
LIST_LAG_S = 1.0
#: s. U of PROTOCOL 5, which no setting has: over loopback a peer that is there acknowledges at once.
USER_TIMEOUT_S = 1.0
#: s. The deadline of a call, above the longest latency.
REQUEST_TIMEOUT_S = 3.0

#: One in so many posts of the story is hit.
POSTS_PER_FAULT = 8
#: In a long file this many are hit in all: each costs seconds of waiting, and shows nothing new.
MOST_FAULTS = 30
#: One in so many events is handed in twice.
QUESTIONS_PER_DUPLICATE = 10
#: s. Every other duplicate comes so late that its question was answered meanwhile.
DUPLICATE_LATE_S = 4.0
#: Part of the replies after which a worker is killed.
KILL_AT_PART = 0.4

#: What happens to a post, in turn. The one before the work comes once: that nothing was posted is certain
#: only after some seconds, and every later question of the contact waits for it.
_AFTER_WORK: tuple[dict[str, Any], ...] = (
    {"kind": "reset", "when": "after_work"},
    {"kind": "reply", "when": "after_work", "status": 500},
)
_BEFORE_WORK = {"kind": "reply", "when": "before_work", "status": 500}


@dataclass(frozen=True, slots=True)
class Plan:
    """One demo as it was asked for."""

    asked: Sequence[Asked]
    #: The story is asked at a pace that can be followed, a file as fast as it goes.
    is_story: bool = True
    #: s. None draws each answer's from a distribution.
    latency_s: float | None = None
    workers: int = 2
    #: Nothing goes wrong: no fault, no duplicate, no kill.
    is_calm: bool = False
    #: RabbitMQ's URL and the file of its authority; None is the bus within the machine.
    rabbitmq_url: str | None = field(default=None, repr=False)
    rabbitmq_ca_file: Path | None = None

    @property
    def pause_s(self) -> float:
        """Seconds between two questions."""
        return STORY_PAUSE_S if self.is_story else 0.0

    @property
    def request_timeout_s(self) -> float:
        """The deadline of a call, in seconds."""
        return REQUEST_TIMEOUT_S + 1.5 * (self.latency_s or 0.0)

    @property
    def settle_s(self) -> float:
        """PROTOCOL A1: twice the deadline."""
        return 2 * self.request_timeout_s

    @property
    def kills(self) -> bool:
        """Tell whether a worker is killed: not when it would be over before anything is under way."""
        return not self.is_calm and len(self.asked) > 1

    def is_duplicated(self, number: int) -> bool:
        """Tell whether the event at this place, from 0, is handed in twice."""
        return not self.is_calm and number % QUESTIONS_PER_DUPLICATE == QUESTIONS_PER_DUPLICATE // 2

    def switches(self) -> dict[str, Any]:
        """Return the sandbox's switches: its latency, unless the user gave one."""
        return dict(STORY_LATENCY) if self.latency_s is None else {}

    def faults(self) -> list[dict[str, Any]]:
        """Return the sandbox's faults: a script, so that every run shows each of them."""
        if self.is_calm:
            return []
        count = min(max(len(self.asked) // POSTS_PER_FAULT, 1), MOST_FAULTS)
        step = max(len(self.asked) // count, 1)
        actions = [_AFTER_WORK[number % len(_AFTER_WORK)] for number in range(count)]
        if count > len(_AFTER_WORK):
            actions[1] = _BEFORE_WORK
        posts = [
            {"match": {"call": "post", "nth": step // 2 + 1 + number * step}, "action": action}
            for number, action in enumerate(actions)
        ]
        lost_create = {"match": {"call": "create", "nth": 3}, "action": _AFTER_WORK[0]}
        return [lost_create, *posts]

    def worker_settings(self, *, folder: Path, api_url: str, amqp: dict[str, str]) -> dict[str, str]:
        """Return a worker's settings, as the environment would have them; nothing else is in force."""
        return {
            "DATABASE_URL": f"sqlite:///{folder / 'ledger.db'}",
            "CUSTOMGPT_API_URL": api_url,
            "CUSTOMGPT_API_KEY": "demo",
            "CUSTOMGPT_PROJECT_ID": str(FIRST_PROJECT_ID),
            "ASKRELAY_REQUESTS_PER_MINUTE": "0",
            "ASKRELAY_REQUESTS_AT_ONCE": "0",
            "ASKRELAY_LEASE_S": str(LEASE_S),
            "ASKRELAY_SEND_GRACE_S": str(SEND_GRACE_S),
            "ASKRELAY_LIST_LAG_S": str(LIST_LAG_S),
            "ASKRELAY_REQUEST_TIMEOUT_S": str(self.request_timeout_s),
            "ASKRELAY_SETTLE_S": str(self.settle_s),
            "ASKRELAY_HEALTH_PORT": "0",
            "ASKRELAY_LOG_FORMAT": "json",
            **amqp,
        }


def told_to_worker(settings: dict[str, str], *, folder: Path, socket_number: int | None) -> bytes:
    """Return the line on which a worker process is told everything."""
    told = {"settings": settings, "folder": str(folder), "socket": socket_number}
    return json.dumps(told).encode() + b"\n"
