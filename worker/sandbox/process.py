"""A sandbox in a process of its own, for tests and the demo."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import tempfile
import time
import urllib.request
from typing import IO, TYPE_CHECKING, Any, Self

from worker.sandbox.routes import BASE_PATH

if TYPE_CHECKING:
    from types import TracebackType

#: A cold start imports aiohttp; on a busy machine that takes its time. Seconds.
_START_S = 30.0
#: After that a sandbox that does not stop is killed. Seconds.
_STOP_S = 5.0
#: Longest wait for one of its own endpoints. Seconds.
_CONTROL_S = 30.0


class SandboxError(RuntimeError):
    """The sandbox did not start, or refused what it was told. The message is what it said."""


class SandboxProcess:
    """Start, question and stop a sandbox; also a context manager.

    It stops by itself when the process that started it ends, however that ends.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        latency_s: float | None = 0.0,
        seed: int | None = 1,
        switches: dict[str, Any] | None = None,
    ) -> None:
        self._arguments = ["--host", host, "--port", str(port)]
        if latency_s is not None:
            self._arguments += ["--latency", str(latency_s)]
        if seed is not None:
            self._arguments += ["--seed", str(seed)]
        self._switches = switches or {}
        self._process: subprocess.Popen[str] | None = None
        self._url = ""
        # A file, because a pipe that nobody reads fills up, and then the sandbox would stand still.
        self._complaints: IO[str] | None = None

    @property
    def url(self) -> str:
        """What to set as CUSTOMGPT_API_URL."""
        return self._url

    @property
    def root(self) -> str:
        """Where the sandbox's own endpoints are, and what the vendor's client wants as its base."""
        return self._url.removesuffix(BASE_PATH)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running().pid

    def start(self) -> str:
        """Start it and return its URL; SandboxError when it does not come up."""
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed by stop()
        self._process = subprocess.Popen(  # noqa: S603
            # -P: a worker.py in the folder where the user happens to be is none of ours.
            [sys.executable, "-P", "-m", "worker.sandbox", *self._arguments, "--stop-with-stdin"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            # Ctrl-C goes to a whole group; whoever started this wants to read the ledger before it stops.
            start_new_session=True,
        )
        try:
            self._url = self._read_url()
            if self._switches:
                self.set_switches(**self._switches)
        except SandboxError:
            self.stop()
            raise
        return self._url

    def stop(self) -> int | None:
        """Stop it and return its exit code; None when it was not running."""
        if self._process is None:
            return None
        process, self._process = self._process, None
        process.terminate()
        try:
            process.communicate(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        finally:
            if self._complaints is not None:
                self._complaints.close()
        return process.returncode

    def effects(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return the whole ledger of effects, or all entries of one kind, oldest first."""
        found: list[dict[str, Any]] = []
        since, has_more = 0, True
        while has_more:
            page = self._ask("GET", f"/_effects?since={since}" + (f"&kind={kind}" if kind else ""))
            found += page["effects"]
            since, has_more = page["next"], page["has_more"]
        return found

    def summary(self) -> dict[str, Any]:
        """Return the counts of the ledger."""
        return self._object("GET", "/_effects/summary")

    def switches(self) -> dict[str, Any]:
        """Return all switches."""
        return self._object("GET", "/_switches")

    def set_switches(self, **changes: Any) -> dict[str, Any]:
        """Change switches and return them all; SandboxError when one is wrong."""
        return self._object("PUT", "/_switches", changes)

    def faults(self) -> list[dict[str, Any]]:
        """Return the rules in force with their counts."""
        return list(self._ask("GET", "/_faults"))

    def set_faults(self, *rules: dict[str, Any]) -> None:
        """Replace the rules; none at all clears them. SandboxError when one is wrong."""
        self._ask("PUT", "/_faults", list(rules))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise SandboxError("The sandbox is not running.")
        return self._process

    def _read_url(self) -> str:
        process = self._running()
        assert process.stdout is not None
        until = time.monotonic() + _START_S
        while not select.select([process.stdout], [], [], 0.1)[0]:
            if time.monotonic() > until:
                raise SandboxError("The sandbox did not start in time.")
        line = process.stdout.readline().strip()
        if not line.startswith("http://"):
            assert self._complaints is not None
            self._complaints.seek(0)
            raise SandboxError(self._complaints.read().strip() or "The sandbox ended without a word.")
        return line

    def _object(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        return dict(self._ask(method, path, body))

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        self._running()
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.root + path, data, method=method)  # noqa: S310
        # No proxy of the environment may come between a test and its own machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_CONTROL_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refusal:
            with refusal:
                raise SandboxError(json.load(refusal)["error"]) from None
