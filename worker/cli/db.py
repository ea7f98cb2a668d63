"""``askrelay db``: the ledger's tables."""

from __future__ import annotations

import typer

from worker.settings import load_settings, make_state_folder

db = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@db.callback()
def _group() -> None:
    """Bring the ledger's tables up to date.

    Example: askrelay db upgrade
    """


@db.command()
def upgrade() -> None:
    """Bring the tables to the revision this program needs.

    Safe to run from several places at once, and again when nothing is to do. Run it before the workers of a
    new version start; `askrelay run` does it by itself on SQLite. Tables that are one revision newer are left
    as they are: this program works on them.

    Example: DATABASE_URL=postgresql://localhost/askrelay askrelay db upgrade
    """
    settings = load_settings(needs=frozenset({"ledger"}))
    make_state_folder(settings)
    from worker.adapters import ledger  # noqa: PLC0415 (wrong settings are told first)

    revision, own = ledger.upgrade(settings.database_url), ledger.latest_revision()
    newer = "" if revision == own else f", the next one after this program's ({own}): there is nothing to do"
    typer.echo(f"the ledger is at revision {revision}{newer}")
