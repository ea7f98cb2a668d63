"""How connections are asked for."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from worker.adapters.rabbitmq.config import broker_address, connection_parameters


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://user:secret@broker", "broker:5672"),
        ("amqp://user:secret@broker/", "broker:5672"),
        ("amqp://user:secret@broker:5673/%2F", "broker:5673"),
        ("amqp://user:secret@broker:5673/team", "broker:5673/team"),
        ("amqps://user:secret@broker/team", "broker:5671/team"),
        ("amqp://user:secret@[::1]:5673/", "[::1]:5673"),
    ],
)
def test_an_address_shows_no_user_and_no_password(url: str, shown: str) -> None:
    assert broker_address(url) == shown


def test_amqps_checks_certificate_and_host_name() -> None:
    parameters = connection_parameters("amqps://u:p@broker/team", ca_file=None, connection_name="x")
    assert parameters.port == 5671
    assert parameters.ssl_options.context.verify_mode is ssl.CERT_REQUIRED
    assert parameters.ssl_options.context.check_hostname
    assert parameters.ssl_options.server_hostname == "broker"


def test_a_private_authority_is_read_from_its_file(tmp_path: Path) -> None:
    missing = tmp_path / "ca.pem"
    with pytest.raises(FileNotFoundError):
        connection_parameters("amqps://u:p@broker/", ca_file=missing, connection_name="x")


def test_plain_amqp_asks_for_no_tls() -> None:
    parameters = connection_parameters("amqp://u:p@broker/", ca_file=None, connection_name="x")
    assert parameters.ssl_options is None


def test_a_connection_has_a_name_and_a_heartbeat() -> None:
    parameters = connection_parameters("amqp://u:p@broker/", ca_file=None, connection_name="askrelay consume")
    assert parameters.client_properties["connection_name"] == "askrelay consume"
    assert parameters.heartbeat == 30


def test_the_url_may_set_the_heartbeat() -> None:
    parameters = connection_parameters("amqp://u:p@broker/?heartbeat=7", ca_file=None, connection_name="x")
    assert parameters.heartbeat == 7
