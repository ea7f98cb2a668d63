"""What goes over the socket: JSON objects, each behind its length. Bodies are base64."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import asdict
from typing import Any

from worker.core.model import Reply
from worker.core.ports import Delivery

Frame = dict[str, Any]

#: Bytes of the length before each frame, big end first.
LENGTH_BYTES = 4


def encode(frame: Frame) -> bytes:
    """Return a frame as it goes over the socket."""
    body = json.dumps(frame, separators=(",", ":")).encode()
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


async def read_frame(reader: asyncio.StreamReader) -> Frame | None:
    """Return the next frame; None when the other side is gone, in the middle of a frame too."""
    try:
        length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
        frame: Frame = json.loads(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return frame


def delivery_frame(delivery: Delivery, number: int) -> Frame:
    """Describe a delivery; its receipt stays behind, a number stands for it."""
    fields = {name: getattr(delivery, name) for name in Delivery.__slots__ if name != "receipt"}
    return {**fields, "body": _text(delivery.body), "receipt": number}


def delivery_of(frame: Frame) -> Delivery:
    """Return the delivery that a frame describes."""
    return Delivery(**{**frame, "body": _bytes(frame["body"])})


def reply_frame(reply: Reply) -> Frame:
    """Describe a reply."""
    return {**asdict(reply), "body": _text(reply.body)}


def reply_of(frame: Frame) -> Reply:
    """Return the reply that a frame describes."""
    return Reply(**{**frame, "body": _bytes(frame["body"])})


def _text(body: bytes) -> str:
    return base64.b64encode(body).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
