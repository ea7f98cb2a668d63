"""``python -m worker.sandbox``: the same server as ``askrelay sandbox``, without the rest of the program."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from worker.sandbox.accepts import NotAcceptedError
from worker.sandbox.serve import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    EXIT_CANNOT_READ,
    Options,
    read_faults,
    read_switches,
    serve,
)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and serve; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m worker.sandbox", description=__doc__)
    parser.add_argument("--host", default=DEFAULT_HOST)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes any free one")
    parser.add_argument(
        "--latency", type=float, help="seconds an answer takes; default: log-normal, median 3"
    )
    parser.add_argument("--seed", type=int, help="makes latencies and faults repeatable")
    parser.add_argument("--rpm", type=int, help="plan limit: requests a minute")
    parser.add_argument("--at-once", type=int, help="plan limit: requests at once")
    parser.add_argument("--switch", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument(
        "--faults", type=Path, metavar="FILE.json", help="what goes wrong, as PUT /_faults takes it"
    )
    parser.add_argument("--stop-with-stdin", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    try:
        switches = read_switches(
            given.switch, latency_s=given.latency, per_minute=given.rpm, at_once=given.at_once
        )
        faults = [] if given.faults is None else read_faults(given.faults)
    except NotAcceptedError as error:
        parser.error(str(error))
    except OSError as error:
        parser.exit(EXIT_CANNOT_READ, f"{given.faults} cannot be read ({error.strerror}).\n")
    options = Options(given.host, given.port, given.seed, switches, faults, given.stop_with_stdin)
    return serve(options)


if __name__ == "__main__":
    sys.exit(main())
