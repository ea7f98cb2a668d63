"""Hashes on PostgreSQL, which keeps them as 16 bytes (tables.Hash): here they are hex digits again."""

from __future__ import annotations

from typing import Any

from psycopg.adapt import Buffer, Loader


class _Digits(Loader):
    def load(self, data: Buffer) -> str:
        return bytes(data).replace(b"-", b"").decode("ascii")


def read_hashes_as_digits(connection: Any) -> None:
    """Have psycopg's connection return hashes as digest_of writes them."""
    connection.adapters.register_loader("uuid", _Digits)
