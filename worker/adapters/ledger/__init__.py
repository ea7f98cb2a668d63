"""The ledger: our tables on SQLite or PostgreSQL, behind a group commit."""

from worker.adapters.ledger.database import reason_of
from worker.adapters.ledger.durability import weaknesses
from worker.adapters.ledger.gate import GateChange
from worker.adapters.ledger.ledger import LedgerConfig, SqlLedger, open_ledger
from worker.adapters.ledger.schema import (
    Identity,
    current_revision,
    identity,
    latest_revision,
    prepare,
    upgrade,
)

__all__ = [
    "GateChange",
    "Identity",
    "LedgerConfig",
    "SqlLedger",
    "current_revision",
    "identity",
    "latest_revision",
    "open_ledger",
    "prepare",
    "reason_of",
    "upgrade",
    "weaknesses",
]
