"""What this process has told of the gate: each closing and each opening once, whoever brought it about.

The worker that finds out that the key is wrong says so. One that starts later finds the gate closed, and
would otherwise do nothing without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from worker.adapters.ledger.claims import TakeTurns
from worker.adapters.ledger.gate import GateChange
from worker.adapters.ledger.transaction import Transaction
from worker.core.model import Claims

#: A claim says these of a gate that is open: there is no room for more just now.
_NO_ROOM = frozenset({"pace", "at_once"})

Take = Callable[[Transaction, Sequence[TakeTurns]], list[Claims]]


class ToldGate:
    """Tells ``on_change``, in the ledger's thread, what this process changes and what its claims find."""

    def __init__(self, on_change: Callable[[GateChange], None]) -> None:
        self._on_change = on_change
        #: Why the gate is closed, as far as this process has told.
        self._reason: str | None = None

    def changed(self, change: GateChange) -> None:
        """Tell what this process changed."""
        self._reason = change.reason
        self._on_change(change)

    def watching(self, take: Take) -> Take:
        """Return the handler of claims, which tells what they find once they are committed."""

        def take_turns(transaction: Transaction, operations: Sequence[TakeTurns]) -> list[Claims]:
            results = take(transaction, operations)
            transaction.after_commit.extend(partial(self._found, claims) for claims in results)
            return results

        return take_turns

    def _found(self, claims: Claims) -> None:
        if claims.closed is not None and claims.closed not in _NO_ROOM:
            if claims.closed != self._reason:
                self.changed(GateChange(claims.closed, self._reason, claims.next_due_in_s or 0.0))
        elif self._reason is not None and any(turn.probes is None for turn in claims.turns):
            # No turns at all may be a gate that waits for something to probe with.
            self.changed(GateChange(None, self._reason, 0.0))
