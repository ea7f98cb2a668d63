"""An API whose streams are cut: a question's first answer ends after as many bytes as the question says."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers_http.behaviours import own_error, response, success
from tests.servers_http.misbehaving import MisbehavingServer, SeenRequest, Wire

_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=UTF-8\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def _frame(name: str, **data: Any) -> bytes:
    frame = f"event: {name}\ndata: {json.dumps({'status': name, **data})}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(frame), frame)


def stream_of(message_id: int) -> list[bytes]:
    """Return the pieces of a whole streamed answer; the second of them proves that the post was taken."""
    return [
        _HEAD,
        _frame("start", prompt="q"),
        _frame("progress", message="An ans"),
        _frame("progress", message="wer."),
        _frame("finish", id=message_id, created_at=None, session_id="s", citations=None),
        b"0\r\n\r\n",
    ]


#: Message ids have four digits, so that all streams are of one length.
FIRST_MESSAGE_ID = 1000
PIECES = stream_of(FIRST_MESSAGE_ID)
#: Bytes of a whole response, and those of it that a client has when it has seen ``start``: all but the end of
#: its chunk.
WHOLE_BYTES = sum(map(len, PIECES))
STARTED_BYTES = len(PIECES[0]) + len(PIECES[1]) - 2


@dataclass
class Stored:
    """One message."""

    message_id: int
    session_id: str
    question: str
    external_id: str


class CuttingApi:
    """Serves conversations and messages. A question is ``cut at N``, and a second post of it is not cut.

    ``stores_early``: the post is taken before its first byte is answered; else when ``start`` left whole.
    ``is_hiding``: no message is ever shown.
    """

    def __init__(self, *, stores_early: bool = True, is_hiding: bool = False) -> None:
        self.server = MisbehavingServer(self._behave)
        self.posts: dict[str, int] = defaultdict(int)
        self.stored: list[Stored] = []
        self._stores_early = stores_early
        self._is_hiding = is_hiding
        self._conversations: list[dict[str, Any]] = []

    async def _behave(self, request: SeenRequest, wire: Wire) -> None:
        address = urlsplit(request.target)
        parts = [unquote(part) for part in address.path.split("/")[5:]]
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        match request.method, parts:
            case "GET", ["conversations"]:
                found = [row for row in self._conversations if query["name"] in row["name"]]
                await _answer(wire, {"data": found, "next_page_url": None})
            case "POST", ["conversations"]:
                number = len(self._conversations) + 1
                row = {"id": number, "session_id": f"s-{number}", "name": json.loads(request.body)["name"]}
                self._conversations.append(row)
                await _answer(wire, row, status=201)
            case "POST", ["conversations", session_id, "messages"]:
                await self._post(wire, session_id, json.loads(request.body)["prompt"], query["external_id"])
            case "GET", ["conversations", session_id, "messages"]:
                shown = [self._row(each) for each in self._shown() if each.session_id == session_id]
                await _answer(wire, {"conversation": {"id": 1}, "messages": shown[::-1]})
            case "GET", ["conversations", _, "messages", number]:
                rows = [self._row(each) for each in self._shown() if each.message_id == int(number)]
                if rows:
                    await _answer(wire, rows[0])
                else:
                    await wire.send(response(404, own_error(404)))
            case _:
                await _answer(wire, {})

    async def _post(self, wire: Wire, session_id: str, question: str, external_id: str) -> None:
        self.posts[question] += 1
        message = Stored(FIRST_MESSAGE_ID + len(self.stored), session_id, question, external_id)
        whole = b"".join(stream_of(message.message_id))
        cut_at = int(question.rsplit(" ", 1)[1]) if self.posts[question] == 1 else len(whole)
        if self._stores_early or cut_at >= STARTED_BYTES:
            self.stored.append(message)
        await wire.send(whole[:cut_at])
        if cut_at < len(whole):
            if cut_at % 2:
                wire.reset()
            else:
                wire.close()

    def _shown(self) -> list[Stored]:
        return [] if self._is_hiding else self.stored

    def _row(self, stored: Stored) -> dict[str, Any]:
        return {
            "id": stored.message_id,
            "user_query": stored.question,
            "openai_response": "An answer.",
            "conversation_id": 1,
            "metadata": {"external_id": stored.external_id},
        }


async def _answer(wire: Wire, data: Any, *, status: int = 200) -> None:
    await wire.send(response(status, success(data)))
