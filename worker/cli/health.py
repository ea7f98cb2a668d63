"""``askrelay health``: a probe for those that run a command instead of asking over HTTP."""

from __future__ import annotations

import http.client
import json
from typing import Annotated, Any

import typer

from worker.cli.exit_codes import ExitCode
from worker.core.errors import SettingsError
from worker.settings import load_settings

#: s. A worker answers within 3, a ledger that is away included; one that is stopped never does.
ANSWER_S = 5.0
#: Addresses that mean every interface: a probe asks on loopback.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "*": "127.0.0.1"}  # noqa: S104 (compared, not bound)


def health(
    *,
    is_ready: Annotated[
        bool, typer.Option("--ready", help="Ask whether it is ready, and not only whether it is alive.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65_535, help="Instead of ASKRELAY_HEALTH_PORT."),
    ] = None,
) -> None:
    """Ask the worker on this host whether it is alive, or ready.

    Alive: every loop of it goes on. Ready: it reaches the broker and the ledger, and the gate is open.
    Restart a worker that is not alive; leave alone one that is not ready. Exits with 10 when it is not so.

    Example: askrelay health --ready
    """
    settings = load_settings()
    port = port or settings.health_port
    if port == 0:
        raise SettingsError(
            "ASKRELAY_HEALTH_PORT is 0, any free one: give the port of health.listening in the log as --port"
        )
    host = _EVERYWHERE.get(settings.health_host, settings.health_host)
    is_well, line = _ask(host, port, "ready" if is_ready else "live")
    typer.echo(line)
    raise typer.Exit(ExitCode.OK if is_well else ExitCode.CHECK_FAILED)


def _ask(host: str, port: int, question: str) -> tuple[bool, str]:
    """Return whether it is so, and the line that says it."""
    word = {"live": "alive", "ready": "ready"}[question]
    # Not urllib: it would ask the proxy of the environment.
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_S)
    try:
        connection.request("GET", f"/health/{question}")
        response = connection.getresponse()
        told = json.loads(response.read())
    except TimeoutError:
        return False, f"not {word}: no answer from {host}:{port} within {ANSWER_S:.0f} s"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return False, f"not {word}: no worker answers at {host}:{port} ({type(error).__name__})"
    finally:
        connection.close()
    if not isinstance(told, dict) or f"is_{word}" not in told:
        return False, f"not {word}: what answers at {host}:{port} is no worker"
    return (True, word) if told[f"is_{word}"] else (False, f"not {word}: {_why(told)}")


def _why(told: dict[str, Any]) -> str:
    stuck = [f"the loop {name} has been silent for {s:.0f} s" for name, s in told.get("stuck", {}).items()]
    missing = [f"{part} {why}" for part, why in told.get("missing", {}).items()]
    return ", ".join([*stuck, *missing]) or "it does not say why"
