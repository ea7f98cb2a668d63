"""Addresses in settings: checked, brought to one form, and shown without their passwords."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

#: The SQLAlchemy name of psycopg 3; the bare scheme would pick psycopg2, which is not installed.
POSTGRESQL = "postgresql+psycopg"
#: Greedy up to the last @: an unquoted / or @ in a password must not show its second half.
_PASSWORD = re.compile(r"(://[^:/?#@]*):.*@", re.DOTALL)
_SECRET_PARAMETER = re.compile(r"([?&][^=&]*(?:pass|secret|key|token)[^=&]*=)[^&#]*", re.IGNORECASE)


def masked_url(url: str) -> str:
    """Return the address with its password and secret parameters as ``***``."""
    return _SECRET_PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1:***@", url))


def amqp_url(url: str) -> str:
    """Return an AMQP address as it is, or raise ValueError with what it must be."""
    parts = _split(url)
    if parts.scheme not in {"amqp", "amqps"} or not parts.hostname:
        raise ValueError("must look like amqp://user:password@host:5672/vhost, or amqps:// for TLS")
    host_name(parts.hostname)
    if parts.username is not None and parts.password is None:
        raise ValueError("must have a password after its user: amqp://user:password@host:5672/vhost")
    if parts.query and not _are_known_to_pika(url):
        raise ValueError(
            "must have no query parameters but pika's own (heartbeat=30 and the like), each once and with a"
            " value that pika takes"
        )
    return url


def database_url(url: str) -> str:
    """Return a ledger address in SQLAlchemy's form, or raise ValueError with what it must be."""
    scheme, colon, rest = url.partition(":")
    match scheme:
        case "sqlite":
            path = rest.removeprefix("///").partition("?")[0]
            if not rest.startswith("///") or path in {"", ":memory:"} or path.startswith("file::memory:"):
                raise ValueError(
                    "must name a file, such as sqlite:////var/lib/askrelay/askrelay.db"
                    " (in memory, a restart would lose every question)"
                )
            return url
        case "postgres" | "postgresql" | "postgresql+psycopg":
            _split(url)
            if not rest.startswith("//"):
                raise ValueError("must look like postgresql://user:password@host:5432/database")
            return f"{POSTGRESQL}{colon}{rest}"
        case _:
            raise ValueError("must start with postgresql:// or sqlite:///; other databases are not supported")


def api_url(url: str) -> str:
    """Return the base address of the API without a final slash; plain http only to this machine."""
    parts = _split(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must look like https://app.customgpt.ai/api/v1")
    host_name(parts.hostname)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must be a plain address, without a user, a query or a fragment")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("must be https://: plain http would show the key to the network (only loopback may)")
    return url.rstrip("/")


def proxy_url(url: str) -> str:
    """Return a proxy's address; a bare host:port is taken as http."""
    url = url if "://" in url else f"http://{url}"
    parts = _split(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must look like http://proxy.example:3128")
    host_name(parts.hostname)
    return url


def collector_url(url: str) -> str:
    """Return the address of a collector of traces as it is."""
    parts = _split(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must look like http://127.0.0.1:4318")
    host_name(parts.hostname)
    return url


def host_name(host: str) -> str:
    """Return a host name or address as it is, or raise ValueError when nobody could be asked for it."""
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError("must name a host whose parts between the dots have 1 to 63 letters") from None
    return host


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine by definition; nothing is looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _are_known_to_pika(url: str) -> bool:
    """Let pika read the address; some of its parameters are Python literals, so it may raise anything."""
    import pika  # noqa: PLC0415 - slow, and few addresses have parameters

    try:
        pika.URLParameters(url)
    except Exception:  # noqa: BLE001 - its text may repeat a secret
        return False
    return True


def _split(url: str) -> SplitResult:
    """Split an address, or raise ValueError with the usual reason: a password that is not percent-encoded."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(
            "is not an address: percent-encode what is special in a password (@ as %40, / as %2F, : as %3A)"
        ) from None
    return parts
