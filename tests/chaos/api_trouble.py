"""What the API can do to a fleet under load, judged by the API's own ledger of effects."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from tests.chaos.load import load, wait_for_progress
from tests.chaos.stage import Cell, Stage

GROUP = "api"
#: Part of the posts that go wrong. Five failures in a row across the fleet open the breaker, so not too many.
SHARE = 0.15
#: s. How long it lasts.
LASTS_S = 10.0

#: Each by its name: what goes wrong with a part of the posts.
TROUBLES: Mapping[str, Mapping[str, Any]] = {
    "500 in the envelope, before the work": {"kind": "reply", "status": 500, "body": "envelope"},
    "500 in the envelope, after the work": {
        "kind": "reply",
        "status": 500,
        "body": "envelope",
        "when": "after_work",
    },
    "502 of a proxy, before the work": {"kind": "reply", "status": 502, "body": "html"},
    "502 of a proxy, after the work": {"kind": "reply", "status": 502, "body": "html", "when": "after_work"},
    "reset before the work": {"kind": "reset"},
    "reset after the work": {"kind": "reset", "when": "after_work"},
    "reset in the middle of the answer": {"kind": "reset", "when": "after_work", "at": "mid_body"},
    "hangs before the work": {"kind": "hang"},
    "hangs after the work": {"kind": "hang", "when": "after_work"},
    "garbage after the work": {"kind": "reply", "status": 200, "body": "garbage", "when": "after_work"},
    "truncated after the work": {"kind": "reply", "status": 200, "body": "truncated", "when": "after_work"},
    "429 with Retry-After": {"kind": "throttle", "retry_after": "2"},
}
#: The same for creations, where a lost answer may leave a conversation behind.
CREATIONS: Sequence[str] = (
    "500 in the envelope, after the work",
    "reset before the work",
    "reset after the work",
    "hangs after the work",
)


def faulty(stage: Stage, name: str, *, call: str = "post", lasts_s: float = LASTS_S) -> Cell:
    """Let a part of the calls go wrong under load."""
    cell = stage.cell(GROUP, f"{call}: {name}")
    sandbox = stage.fleet.sandbox
    share = SHARE if call == "post" else 0.3
    sandbox.set_faults({"match": {"call": call, "probability": share}, "action": TROUBLES[name]})
    # A creation is a contact's first: many contacts with few questions each.
    contacts = 40 if call == "post" else 120
    with load(stage, cell, contacts=contacts):
        time.sleep(lasts_s)
    cell.hits = sandbox.faults()[0]["fired"]
    sandbox.set_faults()
    stage.wait_for_replies(cell)
    return cell


def lists_late(stage: Stage) -> Cell:
    """Let the listings lag as far as the settings allow for, while answers and creations get lost."""
    cell = stage.cell(GROUP, "listings lag, answers and creations are lost")
    sandbox = stage.fleet.sandbox
    sandbox.set_switches(conversation_list_lag_s=0.8, message_list_lag_s=4.0)
    sandbox.set_faults(
        {"match": {"call": "post", "probability": SHARE}, "action": TROUBLES["reset after the work"]},
        {"match": {"call": "create", "probability": 0.5}, "action": TROUBLES["reset after the work"]},
    )
    with load(stage, cell, contacts=60):
        wait_for_progress(stage, cell)
        time.sleep(LASTS_S)
    cell.hits = min(fault["fired"] for fault in sandbox.faults())
    sandbox.set_faults()
    stage.wait_for_replies(cell)
    sandbox.set_switches(conversation_list_lag_s=0.0, message_list_lag_s=0.0)
    return cell
