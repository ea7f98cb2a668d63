"""How many posts a second the sandbox serves on one core.

    python tests/bench/sandbox_speed.py [--posts 20000] [--connections 50] [--conversations 200]

The load comes from one process over raw keep-alive connections, so that it costs less than what it measures.
The sandbox has a process of its own. Its CPU time per post is shown too,
because on a busy machine the rate says less.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any

import uvloop

from worker.sandbox.process import SandboxProcess

#: Clock ticks of /proc/PID/stat a second; the same on every Linux this runs on.
TICKS = 100
QUESTION = "I still have not received my new card, I ordered it over a week ago. What can I do?"


class Poster(asyncio.Protocol):
    """One connection that posts again as soon as the last answer is complete."""

    def __init__(self, requests: list[bytes], ended: asyncio.Semaphore) -> None:
        self._requests = requests
        self._ended = ended
        self._buffer = b""
        self._transport: Any = None
        self.answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._post()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, blank, body = self._buffer.partition(b"\r\n\r\n")
        if not blank:
            return
        assert head.startswith(b"HTTP/1.1 200"), head
        _, _, rest = head.partition(b"Content-Length: ")
        if len(body) >= int(rest.partition(b"\r\n")[0]):
            self._buffer = b""
            self.answers += 1
            self._post()

    def connection_lost(self, error: Exception | None) -> None:
        self._ended.release()

    def _post(self) -> None:
        if self._requests:
            self._transport.write(self._requests.pop())
        else:
            self._transport.close()


def build_requests(*, posts: int, conversations: int) -> list[bytes]:
    """Make the posts beforehand: building them must not be measured."""
    body = json.dumps({"prompt": QUESTION}).encode()
    path = "/api/v1/projects/123/conversations/s{session}/messages?external_id=E{number}"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer k\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return [
        head.format(session=number % conversations, number=number).encode() + body for number in range(posts)
    ]


async def run_load(port: int, requests: list[bytes], *, connections: int) -> float:
    """Send everything and return the seconds it took."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Semaphore(0)
    begun = time.perf_counter()
    for _ in range(connections):
        await loop.create_connection(lambda: Poster(requests, ended), "127.0.0.1", port)
    for _ in range(connections):
        await ended.acquire()
    return time.perf_counter() - begun


def cpu_seconds(pid: int) -> float | None:
    """CPU time of a process so far, where the system has /proc."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return None
    values = stat.read_text().rpartition(") ")[2].split()
    return (int(values[11]) + int(values[12])) / TICKS


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--posts", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--conversations", type=int, default=200)
    given = parser.parse_args()
    requests = build_requests(posts=given.posts, conversations=given.conversations)
    with SandboxProcess(switches={"unknown_session": "create"}) as sandbox:
        port = int(sandbox.root.rpartition(":")[2])
        before = cpu_seconds(sandbox.pid)
        seconds = uvloop.run(run_load(port, requests, connections=given.connections))
        after = cpu_seconds(sandbox.pid)
        stored = sandbox.summary()["posts"]
    print(f"{given.posts} posts, {stored} stored, {given.connections} connections: {seconds:.2f} s")
    print(f"{given.posts / seconds:,.0f} posts a second")
    if before is not None and after is not None:
        cpu = (after - before) / given.posts
        print(f"{cpu * 1000:.3f} ms CPU a post, that is {1 / cpu:,.0f} posts a second on one core")


if __name__ == "__main__":
    main()
