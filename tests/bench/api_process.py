"""The bench's API in a process of its own, and what it counted."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from typing import Any, Self

from tests.bench.api import Counts

#: s. It answers in microseconds, unless the machine is very busy.
ANSWER_S = 30.0


class ApiProcess:
    """Start, question and stop it; also a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.api"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._root = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        # No proxy of the environment may come between.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def url(self) -> str:
        """What stands for the API's base address."""
        return f"{self._root}/api/v1"

    def set_latency(self, seconds: float) -> None:
        """Set the time of an answer, and count from zero."""
        self._ask(f"/_latency?{seconds}")

    def counts(self) -> Counts:
        """Return what was asked since the latency was set."""
        return Counts(**self._ask("/_counts"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def _ask(self, path: str) -> dict[str, Any]:
        with self._opener.open(self._root + path, timeout=ANSWER_S) as answer:
            data = json.load(answer)["data"]
        assert isinstance(data, dict)
        return data
