"""The API that the bench talks to: as lean as one Python process can be, and the same for every contender.

    python -m tests.bench.api

The sandbox serves some 5,000 posts a second on one core of its own. On two cores that the broker and the
worker share with it, it would be what limits the faster contenders. This one answers the same calls in the
same shapes for a fraction of the CPU time, and does nothing else: no faults, no listing of what was
said. A session that nobody made is taken, message numbers grow over the whole life of the process, and only
posts take time.

The first line printed is the port. It stops when its standard input ends.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import uuid
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import parse_qs

import uvloop

#: As long as an answer of an agent that was told to be brief.
ANSWER = (
    "Thank you for asking. You can return any item within thirty days of delivery, as long as it is unused "
    "and in its own packaging. Open your order in the customer area, choose the item and a reason, and print "
    "the label that is shown. The money goes back to the way you paid within five working days of the parcel "
    "reaching our warehouse. If something arrived damaged, add a photo and we send another one at no cost."
)
DATE = "2026-11-20T20:00:00.000000Z"
EMPTY_PAGE = {
    "current_page": 1,
    "data": [],
    "last_page": 1,
    "next_page_url": None,
    "per_page": 10,
    "total": 0,
}
PROJECT = {"id": 123, "project_name": "Bench", "is_chat_active": True, "type": "SITEMAP"}
#: Above all numbers that a ledger was given before: an answer has a higher one than what was said so far.
FIRST_ID = 4 * 10**15
SETTINGS = {"no_answer_message": "No answer.", "chatbot_siesta_msg": "Siesta."}


@dataclass(slots=True)
class Counts:
    """What was asked of the API since the latency was last set."""

    posts: int = 0
    creates: int = 0
    #: Calls without an effect.
    reads: int = 0
    #: Calls that no contender should make.
    refused: int = 0
    #: Posts of a text that was posted before.
    repeats: int = 0
    in_flight: int = 0
    most_in_flight: int = 0


class World:
    """What all connections share."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.latency_s = 0.0
        self.counts = Counts()
        self._last_id = FIRST_ID
        self._asked: set[str] = set()

    def set_latency(self, seconds: float) -> None:
        """Begin anew with another latency."""
        self.latency_s = seconds
        self.counts = Counts()
        self._asked = set()

    def created(self, body: bytes) -> bytes:
        """Make a conversation and return the API's word of it."""
        self._last_id += 1
        self.counts.creates += 1
        made = {
            "project_id": 123,
            "name": json.loads(body)["name"],
            "created_by": 1,
            "session_id": str(uuid.uuid4()),
            "updated_at": DATE,
            "created_at": DATE,
            "id": self._last_id,
        }
        return response("201 Created", made)

    def answered(self, query: str, body: bytes) -> bytes:
        """Answer a question and return the API's word of it."""
        question = json.loads(body)["prompt"]
        self._last_id += 1
        counts = self.counts
        counts.posts += 1
        counts.in_flight += 1
        counts.most_in_flight = max(counts.most_in_flight, counts.in_flight)
        counts.repeats += question in self._asked
        self._asked.add(question)
        message = {
            "id": self._last_id,
            "user_id": 1,
            "user_query": question,
            "openai_response": ANSWER,
            "created_at": DATE,
            "updated_at": DATE,
            "conversation_id": 1,
            "citations": [12, 13],
            "metadata": {
                "user_ip": "127.0.0.1",
                "user_agent": "",
                "external_id": parse_qs(query).get("external_id", [""])[0],
                "request_source": "api",
            },
        }
        return response("200 OK", message)


class Connection(asyncio.Protocol):
    """One keep-alive connection; its requests come one after another."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._buffer = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (found := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:found]
            begin = found + 4
            _, named, rest = head.lower().partition(b"\r\ncontent-length:")
            end = begin + (int(rest.partition(b"\r\n")[0]) if named else 0)
            if len(self._buffer) < end:
                return
            body, self._buffer = self._buffer[begin:end], self._buffer[end:]
            method, target, _ = head.partition(b"\r\n")[0].decode("ascii").split(" ")
            self._serve(method, target, body)

    def _serve(self, method: str, target: str, body: bytes) -> None:
        world = self._world
        path, _, query = target.partition("?")
        if method == "POST" and path.endswith("/messages"):
            answer = world.answered(query, body)
            if world.latency_s:
                world.loop.call_later(world.latency_s, self._answer, answer, world.counts)
            else:
                self._answer(answer, world.counts)
        elif method == "POST" and path.endswith("/conversations"):
            self._transport.write(world.created(body))
        elif path == "/_counts":
            self._transport.write(response("200 OK", asdict(world.counts)))
        elif path == "/_latency":
            world.set_latency(float(query))
            self._transport.write(response("200 OK", {}))
        elif method == "GET" and (data := read(path)) is not None:
            world.counts.reads += 1
            self._transport.write(response("200 OK", data))
        else:
            world.counts.refused += 1
            self._transport.write(response("404 Not Found", {"code": 404, "message": path}, status="error"))

    def _answer(self, answer: bytes, counts: Counts) -> None:
        counts.in_flight -= 1
        if not self._transport.is_closing():
            self._transport.write(answer)


def read(path: str) -> dict[str, Any] | None:
    """Return what a call without effect finds; None when there is no such thing."""
    match path.rpartition("/")[2]:
        case "conversations":
            return EMPTY_PAGE
        case "messages":
            return {"conversation": {"id": 1}, "messages": EMPTY_PAGE}
        case "settings":
            return SETTINGS
        case "123":
            return PROJECT
    return None


def response(code: str, data: dict[str, Any], *, status: str = "success") -> bytes:
    """Write a whole response."""
    body = json.dumps({"data": data, "status": status}).encode("ascii")
    head = f"HTTP/1.1 {code}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode("ascii") + body


async def serve() -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    world = World(loop)
    # Nothing here has cycles; collecting over thousands of pending answers would show as latency.
    gc.disable()
    server = await loop.create_server(lambda: Connection(world), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    loop.remove_reader(sys.stdin.fileno())
    server.close()


if __name__ == "__main__":
    uvloop.run(serve())
