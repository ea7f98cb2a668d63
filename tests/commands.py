"""Runs ``askrelay`` as a user does: a process of its own, with exactly the settings that it is given."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from worker.cli.exit_codes import ExitCode

ROOT = Path(__file__).parents[1]
#: Stands for every secret: it must never be printed.
CANARY = "canary-secret"
#: s. A command that takes longer hangs; a loaded machine needs far less.
LONGEST_S = 90.0


@dataclass(frozen=True)
class Ran:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Everything a person saw."""
        return self.out + self.err


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings with what a process needs to start, and none of this machine's own settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), **settings}


def askrelay(
    settings: Mapping[str, str], *arguments: str, program: tuple[str, ...] = (), cwd: Path = ROOT
) -> Ran:
    """Run one command to its end; ``program`` replaces the plain interpreter with ``-m worker``."""
    done = subprocess.run(
        [sys.executable, *(program or ("-m", "worker")), *arguments],
        env=environment(settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
        cwd=cwd,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def examine(settings: dict[str, str]) -> tuple[int, list[dict[str, Any]]]:
    """Run doctor and return its exit code and its findings."""
    ran = askrelay(settings, "doctor", "--json")
    assert "Traceback" not in ran.text
    assert CANARY not in ran.text
    told = json.loads(ran.out)
    assert told["is_well"] == (ran.code == ExitCode.OK)
    return ran.code, told["findings"]


def said(findings: list[dict[str, Any]], check: str, state: str | None = None) -> str:
    """Return what one check said, advice included."""
    return "\n".join(
        f"{each['finding']}: {each['advice']}"
        for each in findings
        if each["check"] == check and state in (None, each["state"])
    )


class Worker:
    """``askrelay run`` with its log; a context manager that leaves nothing running."""

    def __init__(self, settings: Mapping[str, str], folder: Path, *, program: tuple[str, ...] = ()) -> None:
        self._settings = {"ASKRELAY_LOG_FORMAT": "json", **settings}
        self._program = program or ("-m", "worker")
        self._log = folder / "run.log"

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._program, "run"],
                env=environment(self._settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def text(self) -> str:
        """Everything it printed so far."""
        return self._log.read_text()

    def lines(self) -> list[dict[str, Any]]:
        """Return its log lines so far."""
        whole = [line for line in self.text.splitlines(keepends=True) if line.endswith("\n")]
        return [json.loads(line) for line in whole if line.startswith("{")]

    def wait_for(self, event: str, **fields: Any) -> dict[str, Any]:
        """Wait for a log line with these fields, while the worker goes on, and return it."""
        until = time.monotonic() + LONGEST_S
        while True:
            is_over = self._process.poll() is not None
            for line in self.lines():
                if line["event"] == event and fields.items() <= line.items():
                    return line
            assert not is_over, f"it ended by itself:\n{self.text}"
            assert time.monotonic() < until, f"no {event} {fields} within {LONGEST_S} s:\n{self.text}"
            time.sleep(0.05)

    def stop(self) -> int:
        """Ask it to stop and return its exit code; it told everything without a traceback or a secret."""
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(LONGEST_S)
        assert "Traceback" not in self.text
        assert CANARY not in self.text
        return code
