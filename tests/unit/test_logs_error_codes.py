"""Every ``error_code`` that a line of the log can have is on the errors page."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.refusal import RefusalReason
from worker.adapters.rabbitmq.troubles import TROUBLES
from worker.core import errors
from worker.core.gate import PROBED

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
ON_PAGE = set(re.findall(r"^\| `([a-z_]+)` \|", PAGE, re.MULTILINE))
MODULES = sorted((ROOT / "worker").rglob("*.py"))
#: A turn ends with a code, which its line has.
VERDICTS = {"Failed", "Halt", "Retry", "Snooze"}
#: Attributes that hold a code: of errors and troubles, of what was refused, of what the mirror suffers from.
HOLDERS = {"code", "reason", "_trouble"}


def codes_of(value: ast.expr, tree: ast.Module) -> Iterator[str]:
    """Yield the codes that an expression writes out; one that may be anything is yielded as its source."""
    match value:
        case ast.Constant(value=str(code)):
            yield code
        case ast.Constant(value=None):
            pass
        case ast.Attribute(attr=name) if name in HOLDERS:
            pass
        case ast.IfExp(body=one, orelse=other) | ast.BoolOp(values=[one, other]):
            yield from codes_of(one, tree)
            yield from codes_of(other, tree)
        case ast.Name(id=name):
            for node in ast.walk(tree):
                if isinstance(node, ast.Assign) and any(
                    isinstance(target, ast.Name) and target.id == name for target in node.targets
                ):
                    yield from codes_of(node.value, tree)
        case _:
            yield ast.unparse(value)


def written_in(path: Path) -> Iterator[tuple[str, str]]:
    """Yield place and code of every line and every verdict in a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = getattr(node.func, "attr", None) or getattr(node.func, "id", "")
        values: list[Any] = []
        if called.strip("_") == "log":
            values = [keyword.value for keyword in node.keywords if keyword.arg == "error_code"]
        elif called in VERDICTS:
            values = node.args[:1]
        for value in values:
            for code in codes_of(value, tree):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", code


def test_every_code_that_is_written_out_is_on_the_page() -> None:
    wrong = [
        f"{place}: {code}" for path in MODULES for place, code in written_in(path) if code not in ON_PAGE
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "codes",
    [
        {each.code for each in vars(errors).values() if isinstance(each, type) and hasattr(each, "code")}
        - {errors.AskrelayError.code},
        {trouble.code for trouble in TROUBLES},
        set(RefusalReason.__args__),
        # Why the gate closes; the breaker is no line with an error_code.
        PROBED - {"breaker"},
    ],
    ids=["errors", "broker", "refusals", "gate"],
)
def test_every_code_of_the_lists_is_on_the_page(codes: set[str]) -> None:
    assert codes - ON_PAGE == set()


def test_the_page_names_each_code_once() -> None:
    found = re.findall(r"^\| `([a-z_]+)` \|", PAGE, re.MULTILINE)
    assert len(found) == len(set(found))
