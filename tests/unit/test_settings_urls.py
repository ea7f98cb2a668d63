"""Addresses are shown without what is secret in them."""

from __future__ import annotations

import pytest

from worker.settings import masked_url
from worker.settings.urls import is_loopback


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://user:secret@host:5672/vhost", "amqp://user:***@host:5672/vhost"),
        ("amqp://user@host/", "amqp://user@host/"),
        ("amqp://host/", "amqp://host/"),
        ("amqp://user:se/cr@et@host/", "amqp://user:***@host/"),
        ("amqp://user:se\ncret@host/", "amqp://user:***@host/"),
        ("postgresql://host/db?user=u&password=secret&x=1", "postgresql://host/db?user=u&password=***&x=1"),
        ("postgresql://u:secret@h/d?sslpassword=secret", "postgresql://u:***@h/d?sslpassword=***"),
        ("sqlite:////var/lib/a.db", "sqlite:////var/lib/a.db"),
        ("100", "100"),
    ],
)
def test_masked_url_hides_passwords_and_nothing_else(url: str, shown: str) -> None:
    assert masked_url(url) == shown


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("localhost.example.com", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("127.0.0.1.example.com", False),
    ],
)
def test_loopback_is_told_without_looking_anything_up(host: str, is_local: bool) -> None:
    assert is_loopback(host) is is_local
