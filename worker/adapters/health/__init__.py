"""Health and metrics over HTTP: is the worker alive, is it ready, what does it measure.

``condition`` knows, ``server`` answers.
"""

from worker.adapters.health.condition import Condition
from worker.adapters.health.server import HealthServer, serve_health

__all__ = ["Condition", "HealthServer", "serve_health"]
