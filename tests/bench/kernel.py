"""What the kernel knows of processes: CPU time of whole trees, peak memory, how busy the machine is.

Linux only: no other system tells as much without privileges.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from tests.servers.processes import descendants

PROC = Path("/proc")
#: Clock ticks a second.
TICKS = os.sysconf("SC_CLK_TCK")
MB = 1024


def cpu_s(pid: int | None) -> float:
    """Return the CPU seconds of a process and all its descendants, those included that have ended.

    All threads count. 0.0 without a process.
    """
    if pid is None:
        return 0.0
    total = 0
    for each in (pid, *descendants(pid)):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = (PROC / str(each) / "stat").read_text().rpartition(")")[2].split()
            # utime, stime, and the same of children that were waited for.
            total += sum(map(int, fields[11:15]))
    return total / TICKS


def peak_mb(pid: int) -> float:
    """Return the most memory that a process and its descendants had resident, each at its own worst."""
    total = 0
    for each in (pid, *descendants(pid)):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for line in (PROC / str(each) / "status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1])
    return total / MB


def processor() -> str:
    """Name the processor, as far as the kernel can."""
    for line in (PROC / "cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "an unnamed processor"


def machine_busy_s() -> float:
    """Return the seconds in which the machine's cores worked for anybody, since it started."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(
        int, (PROC / "stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / TICKS
