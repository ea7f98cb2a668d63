"""The ledger's revision: reading it, and bringing it up to date with Alembic."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from worker.adapters.ledger.database import Database
from worker.adapters.ledger.durability import refuse_network_file_system
from worker.adapters.ledger.transaction import Transaction
from worker.core.errors import LedgerOutdated, LedgerUnavailable

_MIGRATIONS = Path(__file__).parent / "migrations"
_REVISION = sa.text("select version_num from alembic_version")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a ledger is."""

    ledger_id: str
    log_key: str


def known_revisions() -> list[str]:
    """Return the revisions this program knows, oldest first; the names of their files begin with them."""
    return sorted(file.name.partition("_")[0] for file in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def latest_revision() -> str:
    """Return the revision this program was written for."""
    return known_revisions()[-1]


def current_revision(url: str) -> str | None:
    """Return the revision of the ledger at this URL; None when it has no tables."""
    database = Database(url)
    try:
        with database.transaction() as transaction:
            return _revision_in(transaction)
    finally:
        database.close()


def upgrade(url: str) -> str:
    """Bring the ledger up to date and return its revision. Safe to run from several processes at once.

    One newer revision is left as it is: this program works on it. Raises LedgerOutdated for any other that it
    does not know.
    """
    # 12 MB and a tenth of a second that a worker whose ledger is up to date need not pay.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    database = Database(url)
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    try:
        with database.transaction() as transaction:
            connection = transaction.connection
            # For SQLAlchemy's own account, so that Alembic leaves the end of the transaction to us.
            connection.begin()
            if database.dialect == "postgresql":
                # One migration at a time; the others wait here and then find nothing to do.
                connection.execute(sa.text("set local lock_timeout = 0"))
                connection.execute(sa.text("select pg_advisory_xact_lock(hashtext('askrelay upgrade'))"))
            revision = _revision_in(transaction)
            if revision is not None and _is_next(revision):
                return revision
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.execute(
                sa.text(
                    "insert into identity (id, ledger_id, log_key) values (1, :ledger_id, :log_key)"
                    " on conflict (id) do nothing"
                ),
                {"ledger_id": str(uuid.uuid4()), "log_key": secrets.token_hex(32)},
            )
    finally:
        database.close()
    return latest_revision()


def identity(url: str) -> Identity:
    """Return who the ledger at this URL is."""
    database = Database(url)
    try:
        with database.transaction() as transaction:
            row = transaction.rows(sa.text("select ledger_id, log_key from identity"))[0]
            return Identity(row["ledger_id"], row["log_key"])
    finally:
        database.close()


def prepare(url: str) -> Identity:
    """Make the ledger ready for ``run``: SQLite is migrated, PostgreSQL has to be up to date already.

    One newer revision is accepted, so that the old workers go on during a rolling deploy.
    Raises LedgerOutdated with the command to run, SettingsError or LedgerUnavailable.
    """
    is_sqlite = sa.make_url(url).get_backend_name() == "sqlite"
    if is_sqlite:
        refuse_network_file_system(url)
    revision, latest = current_revision(url), latest_revision()
    if revision != latest and (revision is None or not _is_next(revision)):
        if not is_sqlite:
            raise LedgerOutdated(
                f"the ledger is at revision {revision or 'none'}, this program needs {latest}."
                " Run: askrelay db upgrade"
            )
        upgrade(url)
    return identity(url)


def _revision_in(transaction: Transaction) -> str | None:
    if not sa.inspect(transaction.connection).has_table("alembic_version"):
        return None
    revision: str | None = transaction.scalar(_REVISION)
    return revision


def _is_next(revision: str) -> bool:
    """Tell whether this is the revision after this program's; LedgerOutdated when it is known to nobody here.

    They are numbered 0001, 0002 and so on.
    """
    if revision in known_revisions():
        return False
    latest = latest_revision()
    if revision != f"{int(latest) + 1:04d}":
        raise LedgerOutdated(
            f"the ledger is at revision {revision}, which is newer than this program knows ({latest})."
            " Install a newer askrelay."
        )
    return True


__all__ = [
    "Identity",
    "LedgerUnavailable",
    "current_revision",
    "identity",
    "latest_revision",
    "prepare",
    "upgrade",
]
