"""``askrelay demo``: see it work, and survive, without a key or a broker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from worker.cli.exit_codes import ExitCode
from worker.cli.output import print_json
from worker.demo.plan import Plan
from worker.demo.questions import QuestionsError, built_in, read_questions


def demo(
    *,
    questions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv", help="Play this file (columns contact_id, question) as fast as it goes."
        ),
    ] = None,
    latency: Annotated[
        float | None,
        typer.Option(min=0, max=60, help="Seconds an answer takes; 0 = none. Without it: 0.7 s, varying."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=16, help="Worker processes.")] = 2,
    bus: Annotated[
        Literal["memory", "rabbitmq"],
        typer.Option(
            help="rabbitmq: the broker of RABBITMQ_URL, with an exchange and queues of the demo's own that"
            " are removed afterwards."
        ),
    ] = "memory",
    calm: Annotated[
        bool, typer.Option("--calm", help="Nothing goes wrong: no faults, no duplicates, no kill.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print only the summary, as JSON.")] = False,
    svg: Annotated[Path | None, typer.Option(hidden=True, help="Write a picture of the run.")] = None,
) -> None:
    """Watch workers answer while requests fail and one is killed.

    Needs no key, no broker and no network: a sandbox stands in for CustomGPT, and everything is in a
    temporary folder that is gone afterwards. Some events are handed in twice, some requests end in a 500 or
    a cut line after the work was done, and a worker process is killed in the middle. The summary is counted
    from outside. Ends with 0 only when every question has one post and one reply, and every contact one
    conversation.

    Example: askrelay demo --questions questions.csv --latency 0 --json
    """
    from worker.demo.fleet import WorkerFailedError  # noqa: PLC0415 (help answers at once)
    from worker.demo.play import Shown, play  # noqa: PLC0415
    from worker.sandbox.process import SandboxError  # noqa: PLC0415

    plan = _plan(questions, latency_s=latency, workers=workers, is_calm=calm, bus=bus)
    try:
        summary = play(plan, Shown(as_json=as_json, svg=svg))
    except (SandboxError, WorkerFailedError) as error:
        typer.echo(f"askrelay: the demo broke off: {error}", err=True)
        raise typer.Exit(ExitCode.CHECK_FAILED) from None
    if as_json:
        print_json(summary.as_json())
    raise typer.Exit(ExitCode.OK if summary.is_good else ExitCode.CHECK_FAILED)


def _plan(
    file: Path | None,
    *,
    latency_s: float | None,
    workers: int,
    is_calm: bool,
    bus: Literal["memory", "rabbitmq"],
) -> Plan:
    try:
        asked = built_in() if file is None else read_questions(file)
    except QuestionsError as error:
        raise typer.BadParameter(str(error), param_hint="--questions") from None
    url, ca_file = _broker() if bus == "rabbitmq" else (None, None)
    return Plan(
        asked,
        is_story=file is None,
        latency_s=latency_s,
        workers=workers,
        is_calm=is_calm,
        rabbitmq_url=url,
        rabbitmq_ca_file=ca_file,
    )


def _broker() -> tuple[str, Path | None]:
    """Return where the broker is: the only thing that the demo takes from the environment."""
    from worker.settings import load_settings  # noqa: PLC0415 (as above)

    settings = load_settings()
    return settings.rabbitmq_url, settings.rabbitmq_ca_file
