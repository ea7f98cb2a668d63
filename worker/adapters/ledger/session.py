"""Settings of a PostgreSQL session.

They are statements and no ``options`` of the connection: poolers such as PgBouncer refuse those.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def set_session(connection: Any, settings: Mapping[str, str]) -> None:
    """Give a connection of psycopg's, just made, these settings for as long as it lasts; one way there."""
    was_autocommit = connection.autocommit
    # In a transaction they would be gone with a rollback.
    connection.autocommit = True
    connection.execute("; ".join(f"set {name} = {value}" for name, value in settings.items()))
    connection.autocommit = was_autocommit
