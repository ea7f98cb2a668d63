"""``askrelay sandbox``: a local CustomGPT to try things against."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from worker.sandbox.accepts import NotAcceptedError
from worker.sandbox.serve import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    EXIT_USAGE,
    Options,
    read_faults,
    read_switches,
    serve,
)


def sandbox(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = DEFAULT_HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = DEFAULT_PORT,
    latency: Annotated[
        float | None,
        typer.Option(
            min=0, help="Seconds an answer takes. Without it: log-normal, median 3 s, capped at 120 s."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Makes latencies and faults repeatable.")] = None,
    rpm: Annotated[
        int | None, typer.Option("--rpm", min=0, help="Plan limit: requests a minute; 0 = none.")
    ] = None,
    at_once: Annotated[
        int | None, typer.Option(min=0, help="Plan limit: requests at once; 0 = none.")
    ] = None,
    switch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Set a switch; can be repeated. GET /_switches/about lists all."
        ),
    ] = None,
    faults: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="What goes wrong, as PUT /_faults takes it."),
    ] = None,
) -> None:
    """Serve a faithful local CustomGPT and print its URL.

    Set the URL as CUSTOMGPT_API_URL. It takes any key but 'wrong', knows project 123, and keeps everything
    in memory. What it was made to do is at GET /_effects, how it behaves at /_switches, what goes wrong at
    /_faults.

    Example: askrelay sandbox --port 8899 --latency 0.05 --seed 1 --switch unknown_session=create
    """
    try:
        switches = read_switches(switch or [], latency_s=latency, per_minute=rpm, at_once=at_once)
        rules = [] if faults is None else read_faults(faults)
    except NotAcceptedError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_USAGE) from None
    raise typer.Exit(serve(Options(host, port, seed, switches, rules)))
