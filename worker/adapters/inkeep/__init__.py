"""Inkeep's Analytics API: where answered conversations are mirrored to."""

from __future__ import annotations

from worker.adapters.inkeep.client import Inkeep

__all__ = ["Inkeep"]
