"""RFC 3339 timestamps."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings, strategies as st

from schemas import epoch_of, timestamp_of


@pytest.mark.parametrize(
    ("timestamp", "epoch_s"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("2026-11-20T21:00:00Z", 1795208400.0),
        ("2026-11-20t21:00:00z", 1795208400.0),
        ("2026-11-20T22:30:00+01:30", 1795208400.0),
        ("2026-11-20T21:00:00-00:00", 1795208400.0),
        ("2026-11-20T21:00:00.5Z", 1795208400.5),
        ("2026-11-20T21:00:00.123456789Z", 1795208400.123456),
        ("2016-12-31T23:59:60Z", 1483228800.0),
        ("2016-12-31t18:59:60.25-05:00", 1483228800.25),
        ("0001-01-01T00:00:00+23:59", -62135683140.0),
        ("9999-12-31T23:59:60Z", 253402300800.0),
    ],
)
def test_epoch_of_reads_every_form_of_rfc_3339(timestamp: str, epoch_s: float) -> None:
    assert epoch_of(timestamp) == epoch_s


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-20",
        "2026-11-20T21:00:00",
        "2026-11-20 21:00:00Z",
        "2026-11-20T21:00Z",
        "2026-11-20T24:00:00Z",
        "2026-11-20T21:60:00Z",
        "2026-11-20T21:00:61Z",
        "2026-02-29T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-11-20T21:00:00+24:00",
        "2026-11-20T21:00:00+0100",
        "2026-11-20T21:00:00,5Z",
        "2026-11-20T21:00:00.Z",
        "2026-11-20T21:00:00." + "1" * 31 + "Z",
        "2026-11-20T21:00:00Z\n",
        "२०२६-11-20T21:00:00Z",
        "20261120T210000Z",
        "1795208400",
    ],
)
def test_epoch_of_refuses_other_texts_without_repeating_them(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not an RFC 3339 timestamp$"):
        epoch_of(text)


def test_timestamp_of_writes_utc_to_the_millisecond() -> None:
    assert timestamp_of(1795208400.25) == "2026-11-20T21:00:00.250Z"
    assert timestamp_of(0) == "1970-01-01T00:00:00.000Z"
    assert timestamp_of(0.9996) == "1970-01-01T00:00:01.000Z"


@settings(deadline=None, database=None)
@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001
def test_timestamp_of_is_read_back_to_the_same_millisecond(moment: datetime) -> None:
    epoch_s = round(moment.timestamp(), 3)
    assert epoch_of(timestamp_of(epoch_s)) == pytest.approx(epoch_s, abs=0.001)
