"""The demo's worker processes."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from worker.adapters.local_bus import LocalBusServer
from worker.demo.plan import told_to_worker

#: s. A worker is up within two; a machine that does everything at once takes longer.
START_S = 60.0
#: s. A worker that was told to stop and does not is killed after this.
STOP_S = 8.0
#: s. Between two looks whether a process has ended.
LOOK_S = 0.05
#: Characters of a log's end that are shown when its worker ended by itself.
LOG_END_CHARS = 2000
#: What a worker logs when it begins to take questions.
READY = b'"worker.started"'


class WorkerFailedError(Exception):
    """A worker ended by itself or never started; the message holds the end of its log."""


class WorkerProcesses:
    """Starts, kills and stops workers; none of them lives longer than this process."""

    def __init__(self, *, settings: dict[str, str], folder: Path, server: LocalBusServer | None) -> None:
        self._settings = settings
        self._folder = folder
        self._server = server
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._serving: set[asyncio.Task[None]] = set()
        self._begun = time.monotonic()
        self.started = 0
        self.killed = 0

    @property
    def pids(self) -> list[int]:
        """The process ids of those that run."""
        return [process.pid for process in self._processes.values()]

    def start(self) -> int:
        """Start one more and return its number, from 1."""
        self.started += 1
        ours, theirs = socket.socketpair() if self._server is not None else (None, None)
        with self._log_of(self.started).open("wb") as log:
            process = subprocess.Popen(
                # -P: a worker.py in the folder where the user happens to be is none of ours.
                [sys.executable, "-P", "-m", "worker.demo.worker"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[] if theirs is None else [theirs.fileno()],
                # Ctrl-C goes to the demo alone, which ends its workers in order.
                start_new_session=True,
            )
        self._processes[self.started] = process
        line = told_to_worker(
            self._settings, folder=self._folder, socket_number=None if theirs is None else theirs.fileno()
        )
        assert process.stdin is not None
        process.stdin.write(line)
        process.stdin.flush()
        if self._server is not None and ours is not None and theirs is not None:
            theirs.close()
            serving = asyncio.create_task(self._server.serve(ours))
            self._serving.add(serving)
            serving.add_done_callback(self._serving.discard)
        return self.started

    def kill_oldest(self) -> int:
        """Kill the one that has been there longest, as a machine that fails would; returns its number."""
        number = min(self._processes)
        process = self._processes.pop(number)
        process.kill()
        _reap(process)
        self.killed += 1
        return number

    def is_ready(self) -> bool:
        """Tell whether every worker that was started says so in its log."""
        return all(READY in self._log_of(number).read_bytes() for number in self._processes)

    def check(self) -> None:
        """Raise WorkerFailedError when one has ended by itself, or takes too long to start."""
        is_late = time.monotonic() - self._begun > START_S and not self.is_ready()
        for number, process in self._processes.items():
            if process.poll() is not None or is_late:
                end = self._log_of(number).read_text(errors="replace")[-LOG_END_CHARS:]
                what = "did not start in time" if process.poll() is None else "ended by itself"
                raise WorkerFailedError(f"worker {number} {what}. The end of its log:\n{end}")

    async def stop(self) -> None:
        """Tell all to stop, and wait until they have: afterwards nothing more can happen."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        until = time.monotonic() + STOP_S
        while self._is_any_running() and time.monotonic() < until:  # noqa: ASYNC110 - they are processes
            await asyncio.sleep(LOOK_S)
        self.end()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def end(self) -> None:
        """Kill whatever still runs."""
        for process in self._processes.values():
            process.kill()
            _reap(process)
        self._processes.clear()

    def _is_any_running(self) -> bool:
        return any(process.poll() is None for process in self._processes.values())

    def _log_of(self, number: int) -> Path:
        return self._folder / f"worker-{number}.log"


def _reap(process: subprocess.Popen[Any]) -> None:
    process.wait()
    if process.stdin is not None:
        process.stdin.close()
