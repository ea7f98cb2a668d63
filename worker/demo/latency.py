"""How much later than the API alone the answers came."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from worker.demo.record import Record, ReplySeen, tag_of


@dataclass(frozen=True, slots=True)
class Latency:
    """The time of one answered question."""

    #: s. From its publish, or the answer to the contact's earlier question if that came later (the order of a
    #: conversation is kept), to its reply, less the API's own time.
    added_s: float
    #: s. The API's own time: of the request that stored the message.
    api_s: float
    #: A fault, a lost line or a killed worker came in between.
    is_hit: bool


def latencies(record: Record) -> list[Latency]:
    """Return the times of all answered questions, in asking order."""
    requests = {effect["request"]: effect for effect in record.of_kind("request")}
    stored = {
        (message["session_id"], message["message_id"]): requests.get(message["request"])
        for message in record.of_kind("message")
    }
    hit_questions, hit_sessions = _hit(requests.values())
    earlier: dict[str, float] = {}
    found = []
    for asked in record.asked:
        replies = record.replies.get(asked.event_id)
        if not replies or not replies[0].is_answer:
            continue
        reply, tag = replies[0], tag_of(asked)
        is_first = tag not in earlier
        begun = max(record.published[asked.event_id], earlier.get(tag, 0.0))
        earlier[tag] = max(reply.at, begun)
        request = stored.get((reply.data["session_id"], reply.data["message_id"]))
        if request is None:
            continue
        api_s = request["ended"] - request["begun"]
        is_hit = (
            reply.data["outcome"] != "posted"
            or (tag, asked.question) in hit_questions
            or (is_first and reply.data["session_id"] in hit_sessions)
            or _was_under_way(record, begun, reply)
        )
        found.append(Latency(max(reply.at - begun - api_s, 0.0), api_s, is_hit))
    return found


def _hit(requests: Any) -> tuple[set[tuple[str, str]], set[str]]:
    """Return the questions and the new conversations whose call went wrong, or whose caller was gone."""
    questions: set[tuple[str, str]] = set()
    sessions: dict[str, set[str]] = defaultdict(set)
    for request in requests:
        if request["fault"] is None and request["status"] is not None and not request["caller_gone"]:
            continue
        if request["call"] == "post":
            questions.add((request["external_id"], request["question"]))
        elif request["session_id"] is not None:
            sessions[request["call"]].add(request["session_id"])
    return questions, sessions["create"]


def _was_under_way(record: Record, begun: float, reply: ReplySeen) -> bool:
    """Tell whether a worker was killed meanwhile: it may have held this question."""
    return any(begun <= killed_at <= reply.at for killed_at in record.killed_at)
