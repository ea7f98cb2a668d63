"""The clock of this host, against those of the ledger and of the API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import aiohttp
import sqlalchemy as sa

from worker.adapters.ledger.database import Database
from worker.bootstrap import api_config
from worker.cli.doctor_checks.finding import Finding, Say
from worker.core.errors import LedgerUnavailable

if TYPE_CHECKING:
    from worker.settings import Settings

#: s. The API's date has whole seconds, and a question's expiry is judged by this host's clock: by less than
#: this nobody is hurt, by more questions expire too early or are answered too late.
FAR_S = 10.0
#: s. For one small request.
REQUEST_S = 8.0

_ADVICE = "set this host's clock (NTP): questions expire by it"


def check_clock(settings: Settings, say: Say, *, wall: Callable[[], float] = time.time) -> None:
    """Compare this host's wall clock with those that can be reached; ``wall`` is for tests."""
    found: list[tuple[str, float]] = []
    if not settings.database_url.startswith("sqlite:"):
        found += _postgresql(settings.database_url, wall)
    found += asyncio.run(_api(settings, wall))
    for name, ahead_s in found:
        say(_judged(name, ahead_s))
    if not found:
        say(Finding("clock", "warning", "there is no other clock to compare with", "see above"))


def _judged(name: str, ahead_s: float) -> Finding:
    if abs(ahead_s) <= FAR_S:
        return Finding("clock", "ok", f"this host's clock agrees with {name} (within {FAR_S:g} s)")
    how = "ahead of" if ahead_s > 0 else "behind"
    return Finding("clock", "wrong", f"this host's clock is {abs(ahead_s):,.0f} s {how} {name}", _ADVICE)


def _postgresql(url: str, wall: Callable[[], float]) -> list[tuple[str, float]]:
    """Return by how many seconds this clock is ahead; nothing when the ledger is away, which others say."""
    database = Database(url)
    try:
        with database.transaction() as transaction:
            before = wall()
            theirs = transaction.scalar(sa.text("select extract(epoch from clock_timestamp())"))
            return [("PostgreSQL's", (before + wall()) / 2 - float(theirs))]
    except LedgerUnavailable:
        return []
    finally:
        database.close()


async def _api(settings: Settings, wall: Callable[[], float]) -> list[tuple[str, float]]:
    """Return by how many seconds this clock is ahead, from the date of any answer; no key is sent."""
    timeout = aiohttp.ClientTimeout(total=REQUEST_S)
    config = api_config(settings)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(config.api_url, proxy=config.proxy_in_use(), allow_redirects=False) as answer,
        ):
            theirs = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (aiohttp.ClientError, TimeoutError, OSError, KeyError, ValueError):
        return []
    # Half a second: the date's fraction is cut off.
    return [("the API's", wall() - theirs - 0.5)]
