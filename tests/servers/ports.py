"""Picks ports for private servers."""

from __future__ import annotations

import random
import socket

#: Below the range that Linux and macOS lend to outgoing connections: a server that is killed and started
#: again on its port must not find that somebody's connection has been given the port meanwhile.
LOWEST, HIGHEST = 20_000, 29_999


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on; raise RuntimeError when a hundred were taken.

    Chosen at random from a wide range rather than handed out in order, so that the workers of one test run,
    and two runs on one machine, need not agree with each other.
    """
    choose = random.SystemRandom()
    for _ in range(100):
        port = choose.randint(LOWEST, HIGHEST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port between {LOWEST} and {HIGHEST}")
