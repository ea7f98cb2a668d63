"""A worker that does not wait for bytes on their way: ``python -m tests.brisk_worker [--after-restore]``.

Over loopback a peer that is there acknowledges at once, so that U of PROTOCOL 5, which no setting has, need
not be the 10 s that every test of an unknown outcome would otherwise wait for.
"""

from __future__ import annotations

import asyncio
import sys

from worker.bootstrap import run_worker
from worker.cli.loop import new_event_loop
from worker.settings import load_settings

#: s.
USER_TIMEOUT_S = 1.0


def main() -> None:
    """Run a worker until it is told to stop."""
    is_after_restore = sys.argv[1:] == ["--after-restore"]
    settings = load_settings(needs=frozenset({"api", "ledger"}))
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run_worker(settings, is_after_restore=is_after_restore, user_timeout_s=USER_TIMEOUT_S))


if __name__ == "__main__":
    main()
