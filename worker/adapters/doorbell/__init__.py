"""The doorbell on dramatiq."""

from worker.adapters.doorbell.bell import Doorbell

__all__ = ["Doorbell"]
