"""What production does at a recovery point: nothing."""

from __future__ import annotations

from worker.core.ports import RecoveryPoint


class NoRecoveryPoints:
    """Implements core.ports.RecoveryPoints."""

    def reached(self, point: RecoveryPoint) -> None:
        """Go on."""
