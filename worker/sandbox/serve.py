"""Runs a sandbox in this process until it is told to stop."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import signal
import socket
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from worker.sandbox.accepts import NotAcceptedError
from worker.sandbox.faults import Faults
from worker.sandbox.server import WRONG_KEY, listening, url_of
from worker.sandbox.state import FIRST_PROJECT_ID
from worker.sandbox.switches import Switches, parse_assignment
from worker.sandbox.world import make_world

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: Stopped by a signal, as asked.
EXIT_OK = 0
#: The host or port cannot be had.
EXIT_CANNOT_LISTEN = 11
#: The file of faults cannot be read.
EXIT_CANNOT_READ = 11
#: An option, switch or fault is wrong; the same number that argparse and typer use.
EXIT_USAGE = 2

_HIGHEST_PORT = 65535

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8899


@dataclass(frozen=True, slots=True)
class Options:
    """What a sandbox is started with."""

    host: str = DEFAULT_HOST
    #: 0 takes any free one.
    port: int = DEFAULT_PORT
    #: Draws latencies and faults; None draws others each time.
    seed: int | None = None
    switches: Switches = field(default_factory=Switches)
    #: What goes wrong from the start on, as PUT /_faults takes it.
    faults: Sequence[Any] = ()
    #: Also stop when standard input ends: a sandbox must not outlive the test that started it.
    stops_with_stdin: bool = False


def read_switches(
    assignments: Sequence[str],
    *,
    latency_s: float | None = None,
    per_minute: int | None = None,
    at_once: int | None = None,
) -> Switches:
    """Make the switches of a command line; ``NAME=VALUE`` wins. NotAcceptedError says what is wrong."""
    switches = Switches()
    options = {"latency_s": latency_s, "requests_per_minute": per_minute, "requests_at_once": at_once}
    switches.update({name: value for name, value in options.items() if value is not None})
    switches.update(dict(parse_assignment(text) for text in assignments))
    return switches


def read_faults(file: Path) -> list[Any]:
    """Read the rules of a JSON file; NotAcceptedError says what is wrong with them. Raises OSError."""
    try:
        rules = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        raise NotAcceptedError(f"{file.name} is not JSON.") from None
    Faults().replace(rules)
    return list(rules)


def serve(options: Options, *, out: TextIO | None = None, err: TextIO | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the first line printed is the base URL. Returns the exit code."""
    out, err = out or sys.stdout, err or sys.stderr
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(options, out))
    except (OSError, OverflowError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        is_host = isinstance(error, (socket.gaierror, UnicodeError)) or (
            isinstance(error, OSError) and error.errno == errno.EADDRNOTAVAIL
        )
        advice = "--host" if is_host else "--port; --port 0 takes any free one"
        print(
            f"The sandbox cannot listen on {options.host}:{options.port} ({reason}).\n"
            f"Choose another with {advice}.",
            file=err,
        )
        return EXIT_CANNOT_LISTEN
    return EXIT_OK


async def _serve(options: Options, out: TextIO) -> None:
    if not 0 <= options.port <= _HIGHEST_PORT:
        # uvloop would take the remainder and listen somewhere else.
        raise OverflowError(f"a port is at most {_HIGHEST_PORT}")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    world = make_world(options.switches, seed=options.seed)
    world.faults.replace(list(options.faults))
    # The ledger only grows and has no cycles: collecting it over and over would cost more than serving.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    async with listening(world, host=options.host, port=options.port) as port:
        print(url_of(options.host, port), file=out)
        print(
            f"Set it as CUSTOMGPT_API_URL. Any key but '{WRONG_KEY}' is taken, project {FIRST_PROJECT_ID} "
            "is there. Ctrl-C stops it.",
            file=out,
            flush=True,
        )
        if options.stops_with_stdin:
            loop.add_reader(sys.stdin.fileno(), _read_stdin, stop)
        await stop.wait()
        if options.stops_with_stdin:
            loop.remove_reader(sys.stdin.fileno())


def _read_stdin(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        stop.set()


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  # not there on every platform
    except ImportError:
        return None
    return uvloop.Loop
