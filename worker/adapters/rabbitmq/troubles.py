"""What keeps the broker away: a closed list of codes, each with what to do, and which one an exception is."""

from __future__ import annotations

from dataclasses import dataclass

from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import (
    AMQPConnectionError,
    AuthenticationError,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    StreamLostError,
)

from worker.adapters.rabbitmq.topology import TopologyError
from worker.adapters.rabbitmq.wire import BrokerSilent


@dataclass(frozen=True, slots=True)
class Trouble:
    """One kind of trouble with the broker; a line in the log has the detail beside its code."""

    code: str
    #: One sentence for the reference page.
    meaning: str
    #: For doctor and the page; no sentence, so that it can stand behind a colon.
    to_do: str


UNREACHABLE = Trouble(
    "broker_unreachable",
    "No connection could be made: nothing listens there, or the host name is not known.",
    "look at RABBITMQ_URL, and whether RabbitMQ runs there",
)
TLS_FAILED = Trouble(
    "broker_tls_failed",
    "The broker's certificate or the broker's TLS was not accepted.",
    "look at RABBITMQ_CA_FILE and at the host in RABBITMQ_URL",
)
CREDENTIALS_REJECTED = Trouble(
    "broker_credentials_rejected",
    "The broker refused the user name or the password.",
    "put the right ones into RABBITMQ_URL",
)
VHOST_REFUSED = Trouble(
    "broker_vhost_refused",
    "The virtual host does not exist, or this user may not use it.",
    "look at the end of RABBITMQ_URL, or: rabbitmqctl add_vhost, set_permissions",
)
TOPOLOGY = Trouble(
    "broker_topology",
    "The exchange or a queue is missing, and this user may not declare it, or may not use it.",
    "declare it and set ASKRELAY_DECLARE=false, or give the user the right to; the detail names it",
)
CLOSED = Trouble(
    "broker_closed",
    "The broker closed the connection or a channel, with a number and a text of its own.",
    "look at the detail and at the broker's log; a broker that is stopped closes connections too",
)
SILENT = Trouble(
    "broker_silent",
    "The broker takes the connection but gives no answer.",
    "look whether RabbitMQ hangs or has an alarm, and what stands between it and the worker",
)
CONNECTION_LOST = Trouble(
    "broker_connection_lost",
    "A connection that stood was lost.",
    "look at the broker's log and at the network, when it does not come back by itself",
)
#: In the order of the page: from the first step of a connection to the last.
TROUBLES = (
    UNREACHABLE,
    TLS_FAILED,
    CREDENTIALS_REJECTED,
    VHOST_REFUSED,
    TOPOLOGY,
    CLOSED,
    SILENT,
    CONNECTION_LOST,
)


def describe(error: Exception) -> tuple[Trouble, str]:
    """Return what keeps the broker away, and a sentence of detail, which never holds a secret."""
    match error:
        case TopologyError():
            answer = TOPOLOGY, str(error)
        case ProbableAuthenticationError() | AuthenticationError():
            answer = CREDENTIALS_REJECTED, "the broker refused the user name or the password"
        case ProbableAccessDeniedError():
            answer = VHOST_REFUSED, "the virtual host does not exist or this user may not use it"
        case ConnectionClosedByBroker() | ChannelClosedByBroker():
            answer = CLOSED, f"the broker closed it: {error.reply_code} {error.reply_text[:200]}"
        case BrokerSilent():
            answer = SILENT, "the broker takes the connection but gives no answer"
        case StreamLostError():
            answer = CONNECTION_LOST, "the connection was lost"
        case AMQPConnectionError() | AMQPConnectorException() | OSError():
            answer = _describe_unreachable(repr(error))
        case _:
            answer = CONNECTION_LOST, type(error).__name__
    return answer


def _describe_unreachable(text: str) -> tuple[Trouble, str]:
    """Tell from the text: pika wraps the cause in up to three exceptions that do not chain."""
    if "SSL" in text or "ssl." in text:
        return TLS_FAILED, "TLS failed: check the certificate, the host name and RABBITMQ_CA_FILE"
    if "gaierror" in text:
        return UNREACHABLE, "the host name is not known"
    if "ConnectionRefusedError" in text:
        return UNREACHABLE, "the connection was refused"
    return UNREACHABLE, "no connection could be made"
