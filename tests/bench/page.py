"""The figures in a page of the docs: written between two marks, so that nobody copies numbers by hand."""

from __future__ import annotations

from typing import Any

from tests.bench.tables import as_markdown

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
#: Whose releases the page names.
NAMED = ("aio-pika", "aiohttp", "faststream", "dramatiq", "celery", "urllib3", "uvloop", "pydantic")


def with_figures(page: str, record: dict[str, Any]) -> str:
    """Return the page with the figures of a bench between its marks; ValueError when it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} and {END}")
    plot = "![CPU per question, questions a second and memory, ours and the peers'](../bench.svg)"
    parts = [BEGIN, plot, _conditions(record), as_markdown(record["runs"]), END]
    return before + "\n\n".join(parts) + after


def _conditions(record: dict[str, Any]) -> str:
    """Say on what the figures were found."""
    machine, runs = record["machine"], record["runs"]
    repetitions = 1 + max(run["repetition"] for run in runs)
    database = f", PostgreSQL {machine['postgresql']}" if "postgresql" in machine else ""
    peers = ", ".join(f"{name} {machine['peers'][name]}" for name in NAMED if name in machine["peers"])
    return (
        f"Measured on {machine['day']}: {machine['cores']} cores ({machine['processor']}), "
        f"Python {machine['python']}, RabbitMQ {machine['rabbitmq']}{database}; medians of {repetitions} "
        f"repetition{'s' if repetitions > 1 else ''}, in parentheses the least and the most.\n"
        f"The peers: {peers}."
    )
