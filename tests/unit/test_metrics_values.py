"""The values of labels that the page of metrics tells are those that the code gives, both ways."""

from __future__ import annotations

import ast
import inspect
import re

from worker.adapters.customgpt import sorting
from worker.adapters.customgpt.sorting import Call
from worker.adapters.metrics import Metric, catalogue, doors
from worker.adapters.metrics.fleet import GATE_REASONS
from worker.core.ports import PublishResult

#: Calls that only commands make, which measure nothing.
OF_COMMANDS = {"limits", "rename_conversation"}


def documented(metric: Metric, label: str) -> set[str]:
    """Return the values that the page tells for a label."""
    return set(re.findall(r"\w+", dict(metric.labels)[label]))


def test_every_request_that_a_worker_makes_is_a_documented_call() -> None:
    calls = {each.name for each in vars(sorting).values() if isinstance(each, Call)}
    assert documented(catalogue.API_REQUESTS, "call") == calls - OF_COMMANDS


def test_every_call_that_is_timed_is_a_documented_one() -> None:
    timed = {
        node.args[0].value
        for node in ast.walk(ast.parse(inspect.getsource(doors)))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "_timed"
        and isinstance(node.args[0], ast.Constant)
    }
    assert documented(catalogue.API_CALLS, "call") == timed


def test_every_reason_and_result_is_a_documented_one() -> None:
    assert documented(catalogue.GATE_CLOSED, "reason") == set(GATE_REASONS)
    assert documented(catalogue.REPLIES, "result") == {each.value for each in PublishResult}
