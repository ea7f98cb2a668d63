"""The ledger: whether it can be reached, has the right tables, and keeps what was committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.cli.doctor_checks.finding import Finding, Say

if TYPE_CHECKING:
    from worker.settings import Settings


def check_ledger(settings: Settings, say: Say) -> None:
    """Look at the database of DATABASE_URL; nothing is made, migrated or locked."""
    if settings.database_url.startswith("sqlite:"):
        from worker.cli.doctor_checks.ledger_sqlite import look_at_sqlite  # noqa: PLC0415 (one of the two)

        look_at_sqlite(settings.database_url, say)
    else:
        from worker.cli.doctor_checks.ledger_postgresql import look_at_postgresql  # noqa: PLC0415

        look_at_postgresql(settings.database_url, say)


def revision_finding(revision: str | None, *, is_sqlite: bool) -> Finding:
    """Judge the revision of the tables as the start of a worker does."""
    from worker.adapters.ledger import latest_revision  # noqa: PLC0415 (slow)

    latest = latest_revision()
    number, ours = _number_of(revision), int(latest[:4])
    if revision == latest:
        return Finding("ledger", "ok", f"its tables are at revision {revision}")
    if number is not None and number == ours + 1:
        text = f"its tables are at revision {revision}, one newer than this program's {latest}"
        return Finding("ledger", "warning", text, "fine during a rolling deploy; install the newer askrelay")
    if revision is not None and (number is None or number > ours):
        text = f"its tables are at revision {revision}, newer than this program knows ({latest})"
        return Finding("ledger", "wrong", text, "install a newer askrelay")
    state = f"are at revision {revision}, older than {latest}" if revision else "are not there yet"
    if is_sqlite:
        return Finding("ledger", "ok", f"its tables {state}; `askrelay run` sees to it")
    return Finding("ledger", "wrong", f"its tables {state}", "run: askrelay db upgrade")


def _number_of(revision: str | None) -> int | None:
    return int(revision[:4]) if revision and revision[:4].isdigit() else None
