"""A worker process of the demo: ``python -m worker.demo.worker``, told on stdin what to be.

Its settings come on the first line of stdin, so that nothing of the user's environment gets in. The end of
stdin is the end of the demo, however that came about: a worker must not outlive it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sys
import threading
from typing import Any, NoReturn

from worker.adapters.local_bus import LocalBell, LocalBus
from worker.bootstrap import run_worker
from worker.cli.loop import new_event_loop
from worker.demo.plan import USER_TIMEOUT_S
from worker.settings import load_settings


def main() -> None:
    """Run one worker until SIGTERM, or until the demo is gone."""
    told = json.loads(sys.stdin.buffer.readline() or b"null")
    if told is None:
        return  # the demo ended before it had said anything
    threading.Thread(target=_end_with_stdin, args=[told["folder"]], daemon=True).start()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_run(told))


async def _run(told: dict[str, Any]) -> None:
    settings = load_settings(told["settings"], needs=frozenset({"api", "ledger"}))
    if told["socket"] is None:
        await run_worker(settings, user_timeout_s=USER_TIMEOUT_S)
        return
    bus = LocalBus(socket.socket(fileno=told["socket"]))
    await run_worker(settings, bus=bus, bell=LocalBell(bus), user_timeout_s=USER_TIMEOUT_S)


def _end_with_stdin(folder: str) -> NoReturn:
    """Wait until the demo lets go of our stdin; then nobody needs this process nor the demo's folder."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    main()
