"""Chaos on real processes: kills, pauses, cuts and restarts, judged from outside."""
