"""Ends the servers of a test run that can no longer end them itself.

A test process that is killed, or crashes, runs no fixture's clean-up. So a second process holds the reading
end of a pipe, knows what was started, and when the pipe ends, which the kernel sees to however the writer
died, it ends the servers and removes their folders. It has a session of its own: an interrupt from the
terminal must reach the tests and not the process that cleans up behind them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

#: How long a server may take to end when asked, before it is killed, seconds.
ASKED_S = 5.0


class Reaper:
    """The writing end. One per test process is enough for all of its servers."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            (sys.executable, "-I", "-S", __file__), stdin=subprocess.PIPE, start_new_session=True
        )

    @property
    def pid(self) -> int:
        """The process that reads."""
        return self._process.pid

    def watch(self, group: int, *, ask: signal.Signals = signal.SIGKILL) -> None:
        """End this process group, first with ``ask``, when this process is gone."""
        self._tell("watch", group, int(ask))

    def forget(self, group: int) -> None:
        """Leave a process group alone from now on: its number may soon be somebody else's."""
        self._tell("forget", group)

    def watch_folder(self, folder: Path) -> None:
        """Remove this folder when this process is gone. It may be gone by then."""
        self._tell("folder", folder)

    def close(self) -> None:
        """Let the reaper do what is left to do, and wait for it."""
        self._process.communicate()

    def _tell(self, *words: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self._process.stdin.flush()


def end_group(group: int, ask: signal.Signals = signal.SIGKILL) -> None:
    """Ask a process group to end, and kill what is left of it after a while."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, ask)
        deadline = time.monotonic() + ASKED_S
        while ask is not signal.SIGKILL and time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.05)
        os.killpg(group, signal.SIGKILL)


def main() -> None:
    """Read what is started and ended until the pipe ends, then clean up."""
    groups: dict[int, signal.Signals] = {}
    folders: list[str] = []
    for line in sys.stdin:
        match line.rstrip("\n").split(" ", 1):
            case ["watch", words]:
                group, ask = words.split(" ")
                groups[int(group)] = signal.Signals(int(ask))
            case ["forget", group]:
                groups.pop(int(group), None)
            case ["folder", folder]:
                folders.append(folder)
            case _:
                raise ValueError(f"Bug: the reaper was told {line!r}")
    for group, ask in groups.items():
        end_group(group, ask)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
