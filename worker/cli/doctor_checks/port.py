"""The port that health and metrics are served on."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from worker.cli.doctor_checks.finding import Finding, Say

if TYPE_CHECKING:
    from worker.settings import Settings


def check_port(settings: Settings, say: Say) -> None:
    """Try whether the port can be had, and give it back at once."""
    host, port = settings.health_host, settings.health_port
    where = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As a server does it: a port that was in use a moment ago is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        say(
            Finding(
                "port", "wrong", f"the host name {host} is not known here", "look at ASKRELAY_HEALTH_HOST"
            )
        )
    except OSError as error:
        say(_refused(where, error))
    else:
        say(Finding("port", "ok", "any free one" if port == 0 else f"{where} is free"))


def _refused(where: str, error: OSError) -> Finding:
    match error.errno:
        case errno.EADDRINUSE:
            # A warning: a worker that runs here already is the most usual holder.
            advice = "unless that is your worker, or for a second one, choose another ASKRELAY_HEALTH_PORT"
            return Finding("port", "warning", f"{where} is taken", advice)
        case errno.EADDRNOTAVAIL:
            text = f"this machine does not have the address of {where}"
            return Finding("port", "wrong", text, "look at ASKRELAY_HEALTH_HOST")
        case errno.EACCES:
            text = f"this user may not listen on {where}"
            return Finding("port", "wrong", text, "choose an ASKRELAY_HEALTH_PORT above 1023")
        case _:
            return Finding("port", "wrong", f"{where}: {error.strerror}", "look at ASKRELAY_HEALTH_PORT")
