"""A contender's process, from its start to its end."""

from __future__ import annotations

import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.bench.contenders import PEERS, ROOT, Contender
from tests.servers.reaper import Reaper, end_group

#: s. For what should take a moment, on a machine that may be busy.
MOMENT_S = 60.0
#: s. Pause between two looks at something that is waited for.
LOOK_EVERY_S = 0.02


class Program:
    """A contender's process and those that it starts."""

    def __init__(
        self,
        contender: Contender,
        in_flight: int,
        environment: dict[str, str],
        *,
        log: Path,
        reaper: Reaper,
    ) -> None:
        self.contender = contender
        self.in_flight = in_flight
        self.environment = environment
        self._log = log
        self._reaper = reaper
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that was started; the others descend from it."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> float:
        """Start it and return when that was, monotonic seconds. What it logs goes to a file."""
        with self._log.open("wb") as log:
            begun = time.monotonic()
            self._process = subprocess.Popen(
                [*self.contender.under, *self.contender.command(self.in_flight)],
                env=self.environment,
                cwd=ROOT if self.contender.is_ours else PEERS,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._reaper.watch(self._process.pid)
        return begun

    def stop(self) -> None:
        """Ask it to stop and wait for that."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(MOMENT_S)

    def kill(self) -> None:
        """End what is left of it."""
        if self._process is not None:
            # A profiler writes down what it saw when it is interrupted.
            end_group(self._process.pid, signal.SIGINT if self.contender.under else signal.SIGKILL)
            self._process.wait(MOMENT_S)
            self._reaper.forget(self._process.pid)
            self._process = None

    def wait_until(self, is_so: Callable[[], object], what: str) -> None:
        """Wait for a condition; RuntimeError with the end of the log when it does not come about."""
        until = time.monotonic() + MOMENT_S
        while not is_so():
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{self.contender.name}: {what} did not happen\n{self.log_end()}")
            time.sleep(LOOK_EVERY_S)

    def log_end(self) -> str:
        """Return the end of what it printed."""
        return self._log.read_text(errors="replace")[-3000:]

    def metric(self, sample: str) -> float:
        """Return one number of the worker's own metrics, by its name with its labels."""
        page = f"http://127.0.0.1:{self.environment['ASKRELAY_HEALTH_PORT']}/metrics"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(page, timeout=MOMENT_S) as answer:
            for line in answer.read().decode().splitlines():
                name, _, value = line.rpartition(" ")
                if name == sample:
                    return float(value)
        raise KeyError(sample)
