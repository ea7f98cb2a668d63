"""The settings: what is wrong with them, and what deserves a look."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from worker.cli.doctor_checks.finding import Finding, Say
from worker.settings.urls import is_loopback

if TYPE_CHECKING:
    from worker.core.errors import SettingsError
    from worker.settings import Settings

#: Requests a minute of the largest plan that is known (API-FACTS 1.8).
LARGEST_PLAN = 120


def wrong_settings(error: SettingsError) -> list[Finding]:
    """Return a line for each problem; its text says what to do."""
    return [Finding("settings", "wrong", line) for line in error.detail.splitlines()]


def check_settings(settings: Settings, say: Say) -> None:
    """Say what is allowed but seldom meant."""
    findings = [
        Finding("settings", "warning", f"{name} is {text}" if text.startswith("not ") else f"{name}: {text}")
        for name, text in settings.warnings
    ]
    broker = urlsplit(settings.rabbitmq_url)
    if broker.scheme == "amqp" and not is_loopback(broker.hostname or ""):
        text = "RABBITMQ_URL is amqp:// to another host: questions and the password travel unencrypted"
        findings.append(Finding("settings", "warning", text, "use amqps:// unless the network is your own"))
    is_sandbox = is_loopback(urlsplit(settings.customgpt_api_url).hostname or "")
    if not is_sandbox and not 0 < settings.requests_per_minute <= LARGEST_PLAN:
        text = f"ASKRELAY_REQUESTS_PER_MINUTE is {settings.requests_per_minute}, more than known plans allow"
        findings.append(Finding("settings", "warning", text, "the API may answer 429, which costs time only"))
    if settings.lease_s <= settings.send_grace_s:
        text = "ASKRELAY_SEND_GRACE_S is not less than ASKRELAY_LEASE_S"
        findings.append(Finding("settings", "warning", text, "a post may begin after its lease has ended"))
    for finding in findings or [Finding("settings", "ok", "all are in range and agree with each other")]:
        say(finding)
