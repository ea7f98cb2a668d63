"""Looks at processes that need not be children of this one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

#: Small containers have no ``ps``, and macOS has no ``/proc``.
PROC = Path("/proc")


def is_running(pid: int) -> bool:
    """Tell whether a process is there, and not only waiting to be collected by its parent."""
    return any(pid == number for number, _ in _processes())


def descendants(pid: int) -> list[int]:
    """Return the processes that this one started and those that they started, as far as they run."""
    pairs = list(_processes())
    found = [pid]
    for ancestor in found:
        found += [number for number, parent in pairs if parent == ancestor]
    return found[1:]


def _processes() -> Iterator[tuple[int, int]]:
    """Yield the number and the parent's number of every process that runs."""
    if (PROC / "self").exists():
        for folder in PROC.glob("[0-9]*"):
            try:
                # The name stands in parentheses and may hold anything, parentheses and blanks included.
                state, parent, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state not in "ZX":
                yield int(folder.name), int(parent)
        return
    listing = subprocess.run(
        ("ps", "-A", "-o", "pid=,ppid=,stat="), check=True, capture_output=True, text=True
    )
    for line in listing.stdout.splitlines():
        number, parent, state = line.split()
        if not state.startswith("Z"):
            yield int(number), int(parent)
