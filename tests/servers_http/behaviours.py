"""The ways in which a server can misbehave, and the bytes of an API that behaves."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from tests.servers_http.misbehaving import Behaviour, SeenRequest, Wire

JSON_TYPE = "application/json"


def response(
    status: int, body: bytes, *, content_type: str = JSON_TYPE, headers: dict[str, str] | None = None
) -> bytes:
    """Return a whole response."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Type: {content_type}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def success(data: Any) -> bytes:
    """Return the body of a success."""
    return json.dumps({"data": data, "status": "success"}).encode()


def own_error(code: int, message: str = "Something") -> bytes:
    """Return the body of an error in the API's own envelope."""
    data = {"code": code, "message": message}
    return json.dumps({"status": "error", "url": "http://api.example/x", "data": data}).encode()


def answering(
    status: int, body: bytes, *, content_type: str = JSON_TYPE, headers: dict[str, str] | None = None
) -> Behaviour:
    """Answer every request with this response."""
    return sending(response(status, body, content_type=content_type, headers=headers))


def sending(data: bytes) -> Behaviour:
    """Send these bytes and keep the connection."""

    async def behave(_: SeenRequest, wire: Wire) -> None:
        await wire.send(data)

    return behave


def closing_after(data: bytes) -> Behaviour:
    """Send these bytes and close the connection in order."""

    async def behave(_: SeenRequest, wire: Wire) -> None:
        await wire.send(data)
        wire.close()

    return behave


def resetting_after(data: bytes) -> Behaviour:
    """Send these bytes and reset the connection, once the client had the time to read them."""

    async def behave(_: SeenRequest, wire: Wire) -> None:
        if data:
            await wire.send(data)
            await asyncio.sleep(0.05)  # a reset also throws away what the client's kernel has not handed out
        wire.reset()

    return behave


def silent_after(data: bytes = b"") -> Behaviour:
    """Send these bytes and nothing more, ever."""

    async def behave(_: SeenRequest, wire: Wire) -> None:
        if data:
            await wire.send(data)
        await asyncio.Event().wait()

    return behave


def trickling(data: bytes) -> Behaviour:
    """Send one byte a second."""

    async def behave(_: SeenRequest, wire: Wire) -> None:
        for number in range(len(data)):
            await wire.send(data[number : number + 1])
            await asyncio.sleep(1)

    return behave
