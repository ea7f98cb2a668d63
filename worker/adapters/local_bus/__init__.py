"""The bus and the doorbell within one machine: a memory broker in one process, reached by its children.

The demo needs worker *processes*, because it kills one, and no broker. Each child has one end of a socket
pair; the process with the broker serves the other end.
"""

from __future__ import annotations

from worker.adapters.local_bus.client import LocalBell, LocalBus
from worker.adapters.local_bus.server import LocalBusServer

__all__ = ["LocalBell", "LocalBus", "LocalBusServer"]
