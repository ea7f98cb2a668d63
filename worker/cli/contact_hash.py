"""``askrelay contact-hash``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from worker.adapters.logs import ContactHash
from worker.core.errors import LedgerUnavailable
from worker.settings import Settings, load_settings


def contact_hash(
    contact_id: Annotated[str, typer.Argument(help="The contact id, exactly as events have it.")],
) -> None:
    """Print the hash that logs show for a contact.

    The key is ASKRELAY_LOG_KEY, or else the one that the ledger was made with.

    Example: askrelay contact-hash EXT_12345
    """
    typer.echo(ContactHash(_log_key(load_settings()))(contact_id))


def _log_key(settings: Settings) -> str:
    if settings.log_key is not None:
        return settings.log_key.get_secret_value()
    file = Path(settings.database_url.removeprefix("sqlite:///").partition("?")[0])
    if settings.database_url.startswith("sqlite:") and not file.exists():
        # Connecting would create an empty file, which then looks like a ledger.
        raise LedgerUnavailable(f"there is no ledger at {file} yet: set ASKRELAY_LOG_KEY, or start a worker")
    from worker.adapters.ledger import identity  # noqa: PLC0415 (slow, and not needed with a key of one's own)

    return identity(settings.database_url).log_key
