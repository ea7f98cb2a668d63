"""What a query of Prometheus asks for: its metrics, with their labels and the functions around them.

Not a parser of PromQL (promtool checks the syntax), only enough of one to compare names with the catalogue.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.servers.binaries import promtool_binary
from worker.adapters.metrics import METRICS, PROCESS_METRICS, Metric
from worker.core import errors
from worker.core.gate import PROBED

CATALOGUE = {metric.name: metric for metric in (*METRICS, *PROCESS_METRICS)}
#: What Prometheus adds to every series that it scrapes.
TARGET_LABELS = {"job", "instance"}
#: Metrics that Prometheus itself makes.
OF_PROMETHEUS = {"up": TARGET_LABELS}
SUFFIXES = ("_bucket", "_count", "_sum")

_NAME = re.compile(r"(?<![\w\"])((?:askrelay|process)_\w+|up)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"(\w+)\s*(=~|!~|!=|=)\s*\"([^\"]*)\"")
_GROUPING = re.compile(r"\b(?:by|on|group_left|without|ignoring)\s*\(([^)]*)\)")
#: What stands before the parenthesis around an expression: ``sum by (le)``, ``max``.
_FUNCTION = re.compile(r"(\w+)\s*(?:by\s*\([^)]*\)\s*)?$")


@dataclass(frozen=True)
class Asked:
    """One metric in a query."""

    name: str
    #: Label, operator, value.
    matchers: tuple[tuple[str, str, str], ...]
    #: The functions around it, innermost first.
    functions: tuple[str, ...]

    @property
    def metric(self) -> Metric | None:
        """The metric of the catalogue, if it is one."""
        if self.name in CATALOGUE:
            return CATALOGUE[self.name] if CATALOGUE[self.name].kind != "histogram" else None
        for suffix in SUFFIXES:
            found = CATALOGUE.get(self.name.removesuffix(suffix))
            if self.name.endswith(suffix) and found is not None and found.kind == "histogram":
                return found
        return None

    @property
    def labels(self) -> set[str]:
        """The labels that its series have."""
        if self.metric is None:
            return set(OF_PROMETHEUS.get(self.name, ()))
        return {*self.metric.label_names, *TARGET_LABELS} | (
            {"le"} if self.name.endswith("_bucket") else set()
        )


def asked_by(query: str) -> Iterator[Asked]:
    """Yield every metric of a query."""
    for found in _NAME.finditer(query):
        matchers = tuple(_MATCHER.findall(found.group(2) or ""))
        yield Asked(found.group(1), matchers, tuple(_functions_around(query, found.start())))


def groupings_of(query: str) -> set[str]:
    """Return the labels that a query groups by or joins on."""
    return {
        label.strip() for labels in _GROUPING.findall(query) for label in labels.split(",") if label.strip()
    }


def problems_of(query: str) -> list[str]:
    """Return what a query asks for that askrelay does not have; nothing is how it should be."""
    told = []
    asked = list(asked_by(query))
    if not asked:
        told.append("asks for no metric")
    for each in asked:
        if each.metric is None and each.name not in OF_PROMETHEUS:
            told.append(f"there is no {each.name}")
            continue
        told += [
            f"{each.name} has no label {label}" for label, _, _ in each.matchers if label not in each.labels
        ]
        told += [
            f"{each.name}: {label} is never {value}"
            for label, operator, value in each.matchers
            for value in _unknown_values(each, label, operator, value)
        ]
        if each.metric is not None and each.metric.kind in {"counter", "histogram"}:
            if not {"rate", "increase"} & set(each.functions):
                told.append(f"{each.name} grows for ever: take its rate or increase")
        elif {"rate", "increase"} & set(each.functions):
            told.append(f"{each.name} is no counter")
        if each.metric is not None and each.metric.is_fleet_wide and "sum" in each.functions:
            told.append(f"{each.name} is the same from every worker and is summed")
        if each.metric is not None and each.metric.is_fleet_wide and not {"max", "min"} & set(each.functions):
            told.append(f"{each.name} is the same from every worker and comes once for each")
    every = set[str]().union(*(each.labels for each in asked)) if asked else set()
    return [*told, *(f"no metric has the label {label}" for label in groupings_of(query) - every)]


def _functions_around(query: str, position: int) -> Iterator[str]:
    """Yield what is called around a place, innermost first."""
    depth = 0
    for index in range(position - 1, -1, -1):
        if query[index] == ")":
            depth += 1
        elif query[index] == "(":
            if depth:
                depth -= 1
            elif (before := _FUNCTION.search(query[:index])) is not None:
                yield before.group(1)


def _unknown_values(asked: Asked, label: str, operator: str, value: str) -> Iterator[str]:
    """Yield the values of a matcher that the label never has, as far as the catalogue tells them."""
    if asked.metric is None or label not in asked.metric.label_names or value.startswith("$"):
        return
    told = dict(asked.metric.labels)[label]
    known = set(re.findall(r"\w+", told))
    if "an error code" in told:
        known |= codes()
    if "of HTTP" in told:
        known |= {str(status) for status in range(100, 600)}
    for part in value.split("|") if "~" in operator else [value]:
        pattern = re.compile(part)
        if not any(pattern.fullmatch(word) for word in known):
            yield part


def codes() -> set[str]:
    """Return every error code."""
    found = {
        each.code
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.AskrelayError)
    }
    return found | PROBED


def promtool(*arguments: str, folder: Path) -> str:
    """Run promtool and return what it said; a failed check is an AssertionError with it."""
    done = subprocess.run(
        (str(promtool_binary()), *arguments),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def as_rules(queries: Mapping[str, str]) -> str:
    """Return a file of rules with these queries, for promtool to look at their syntax."""
    lines = ["groups:", "  - name: queries", "    rules:"]
    for name, query in queries.items():
        lines += [
            f"      - record: {name}",
            "        expr: |",
            *(f"          {each}" for each in query.split("\n")),
        ]
    return "\n".join(lines) + "\n"
