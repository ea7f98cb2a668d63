"""The folder of the ledger that is used when DATABASE_URL is not set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.settings.model import Settings

#: The file holds what contacts wrote: nobody else of this machine may read it.
FOLDER_MODE = 0o700


def make_state_folder(settings: Settings) -> None:
    """Create the default ledger's folder; one that a person named is theirs to create. Raises OSError."""
    if settings.origin_of("database_url").kind == "default":
        file = Path(settings.database_url.removeprefix("sqlite:///"))
        file.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
