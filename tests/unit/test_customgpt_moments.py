"""Dates and pauses in every form."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from worker.adapters.customgpt.moments import iso_moment, pause_of


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2025-07-24T15:03:21.000000Z", "2025-07-24T15:03:21Z"),
        ("2025-07-24T15:03:21.250000Z", "2025-07-24T15:03:21.250000Z"),
        ("2025-07-24T17:03:21+02:00", "2025-07-24T15:03:21Z"),
        ("2021-01-01 00:00:00", "2021-01-01T00:00:00Z"),
        ("25 Jun 2023 05:01:11", "2023-06-25T05:01:11Z"),
        ("Sun, 25 Jun 2023 05:01:11 +0200", "2023-06-25T03:01:11Z"),
        (1_700_000_000, "2023-11-14T22:13:20Z"),
    ],
)
def test_date_is_read_in_every_form_seen(value: object, expected: str) -> None:
    assert iso_moment(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "yesterday",
        True,
        [],
        {},
        1e300,
        float("nan"),
        "99 Jun 2023 05:01:11",
        "0001-01-01T00:00:00+05:00",
    ],
)
def test_what_is_no_date_is_none(value: object) -> None:
    assert iso_moment(value) is None


NOW = "Fri, 20 Nov 2026 20:00:00 GMT"


@pytest.mark.parametrize(
    ("retry_after", "pause_s"),
    [
        ("12", 12),
        (" 12.5 ", 12.5),
        ("0", 1),
        ("-5", 1),
        ("3601", 3600),
        ("9" * 400, 3600),
        ("inf", 3600),
        ("nan", 30),
        ("", 30),
        ("soon", 30),
        ("10, 20", 30),
        ("Fri, 20 Nov 2026 20:01:30 GMT", 90),
        ("Fri, 20 Nov 2026 19:00:00 GMT", 1),
        ("Fri, 20 Nov 2099 20:00:00 GMT", 3600),
        ("Fri, 99 Nov 2026 20:00:00 GMT", 30),
        ("Friday, 20-Nov-26 20:00:45 GMT", 45),
    ],
)
def test_pause_is_read_within_bounds(retry_after: str, pause_s: float) -> None:
    assert pause_of({"Retry-After": retry_after, "Date": NOW}) == pause_s


def test_pause_of_nothing_is_thirty_seconds() -> None:
    assert pause_of({}) == 30


@pytest.mark.parametrize("date", [{}, {"Date": "now"}])
def test_date_of_a_pause_is_read_against_our_clock_when_the_server_tells_no_time(
    date: dict[str, str],
) -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=2000), usegmt=True)
    assert 1000 < pause_of(date | {"Retry-After": until}) <= 2000
