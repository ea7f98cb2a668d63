"""What the bus is told, and how a connection is asked for."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pika

if TYPE_CHECKING:
    from pathlib import Path

    from pika.connection import Parameters

#: Seconds between heartbeats. Half of the broker's default: a peer that vanished is noticed within a minute,
#: and a loop busy for a few seconds is not taken for dead.
HEARTBEAT_S = 30

#: Seconds to open TCP, and again TLS and AMQP on top of it. An address that swallows packets must not eat
#: the pauses between attempts.
OPEN_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class BusConfig:
    """Where the broker is and what the queues are called (DESIGN 4.1)."""

    #: ``amqp://`` or ``amqps://``; carries the password, so it is never shown.
    url: str = field(repr=False)
    #: PEM file of a private authority; None trusts the system's.
    ca_file: Path | str | None = None
    events_exchange: str = "crm.events"
    question_queue: str = "askrelay.questions"
    rejected_queue: str = "askrelay.rejected"
    asked_key: str = "contact.question.asked"
    answered_key: str = "contact.question.answered"
    failed_key: str = "contact.question.failed"
    progress_key: str = "contact.question.progress"
    rated_key: str = "contact.answer.rated"
    #: Create what is missing; False only looks whether it is there.
    declare: bool = True
    #: The name operators see in the broker's list of connections.
    connection_name: str = "askrelay"


def connection_parameters(url: str, *, ca_file: Path | str | None, connection_name: str) -> Parameters:
    """Build the parameters of one connection; ``amqps`` checks the certificate and the host name.

    Ask again for every connection: pika takes the TLS options off the object for a moment while it copies
    it, so two threads that share one may open a plain connection.
    """
    parameters = pika.URLParameters(url)
    if urlsplit(url).scheme == "amqps" and "ssl_options" not in urlsplit(url).query:
        parameters.ssl_options = pika.SSLOptions(
            ssl.create_default_context(cafile=None if ca_file is None else str(ca_file)), parameters.host
        )
    if parameters.heartbeat is None:
        parameters.heartbeat = HEARTBEAT_S
    parameters.socket_timeout = OPEN_TIMEOUT_S
    parameters.stack_timeout = OPEN_TIMEOUT_S
    parameters.client_properties = {
        **(parameters.client_properties or {}),
        "connection_name": connection_name,
        "product": "askrelay",
    }
    return parameters


def broker_address(url: str) -> str:
    """Return host, port and virtual host of a broker's URL: what may be shown of it."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or "localhost"
    port = parts.port or (5671 if parts.scheme == "amqps" else 5672)
    vhost = unquote(parts.path[1:])
    return f"{host}:{port}" if vhost in {"", "/"} else f"{host}:{port}/{vhost}"
