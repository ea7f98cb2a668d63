"""``askrelay doctor``."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.exit_codes import ExitCode
from worker.cli.output import print_json, print_table
from worker.core.errors import SettingsError
from worker.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.cli.doctor_checks.finding import Finding, Say
    from worker.settings import Settings

_WORDS = {"ok": "OK", "warning": "LOOK", "wrong": "WRONG"}


def doctor(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check everything a worker needs, and say what to do.

    Looks at the settings, the broker, the ledger, the API, the clock and the port, side by side, and changes
    nothing. OK is well, LOOK works and deserves a look, WRONG would keep a worker from its job. Exits with 10
    when something is WRONG.

    Example: askrelay doctor --json
    """
    findings, has_hung = _examine()
    is_well = all(finding.state != "wrong" for finding in findings)
    if as_json:
        print_json({"is_well": is_well, "findings": [_as_json(finding) for finding in findings]})
    else:
        rows = [(_WORDS[finding.state], finding.check, finding.line) for finding in findings]
        print_table(("STATE", "CHECK", "FINDING"), rows)
    code = ExitCode.OK if is_well else ExitCode.CHECK_FAILED
    if has_hung:
        # An ordinary exit waits for name servers asked in threads, and those may take minutes.
        sys.stdout.flush()
        os._exit(code)
    raise typer.Exit(code)


def _examine() -> tuple[Sequence[Finding], bool]:
    from worker.cli.doctor_checks.settings import wrong_settings  # noqa: PLC0415 (--help needs none of these)
    from worker.cli.doctor_checks.side_by_side import run_side_by_side  # noqa: PLC0415

    try:
        settings = load_settings(needs=frozenset({"api", "ledger"}))
    except SettingsError as error:
        return wrong_settings(error), False
    results = run_side_by_side({name: partial(check, settings) for name, check in _checks().items()})
    return results.findings, results.has_hung


def _checks() -> dict[str, Callable[[Settings, Say], None]]:
    from worker.cli.doctor_checks.api import check_api  # noqa: PLC0415 (slow)
    from worker.cli.doctor_checks.broker import check_broker  # noqa: PLC0415
    from worker.cli.doctor_checks.clock import check_clock  # noqa: PLC0415
    from worker.cli.doctor_checks.ledger import check_ledger  # noqa: PLC0415
    from worker.cli.doctor_checks.port import check_port  # noqa: PLC0415
    from worker.cli.doctor_checks.settings import check_settings  # noqa: PLC0415

    return {
        "settings": check_settings,
        "broker": check_broker,
        "ledger": check_ledger,
        "api": check_api,
        "clock": check_clock,
        "port": check_port,
    }


def _as_json(finding: Finding) -> dict[str, str | None]:
    return {
        "check": finding.check,
        "state": finding.state,
        "finding": finding.text,
        "advice": finding.advice or None,
    }
