"""docs/reference/api-endpoints.md is true: endpoints, tests and findings are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from worker.sandbox.routes import BASE_PATH, find_route

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "api-endpoints.md"

#: What the vendor's guides name and this program uses.
NAMED = {
    "POST /projects",
    "GET /projects/{projectId}/conversations",
    "POST /projects/{projectId}/conversations",
    "PUT /projects/{projectId}/conversations/{sessionId}",
    "DELETE /projects/{projectId}/conversations/{sessionId}",
    "GET /projects/{projectId}/conversations/{sessionId}/messages",
    "POST /projects/{projectId}/conversations/{sessionId}/messages",
    "GET /projects/{projectId}/reports/traffic",
    "POST /conversations",
    "GET /conversations/external/{externalId}",
}


def rows() -> list[list[str]]:
    """Return the rows of the table of endpoints."""
    return [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if re.match(r"\| `(GET|POST|PUT|DELETE) ", line)
    ]


ROWS = rows()


def test_page_lists_every_endpoint_that_is_named() -> None:
    listed = {endpoint.strip("`") for endpoint, *_ in ROWS}
    assert NAMED - listed == set()
    assert len(listed) == len(ROWS), "an endpoint stands there twice"


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_row_names_a_test_that_there_is(row: list[str]) -> None:
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row[3]) or [("", "")]:
        assert file, "the row names no test"
        assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_row_names_an_endpoint_that_the_sandbox_serves(row: list[str]) -> None:
    method, path = row[0].strip("`").split()
    bare = re.sub(r"\{\w+\}", "1", path.partition("?")[0])
    found = find_route(method, bare if bare.startswith("/conversations") else BASE_PATH + bare)
    assert found is not None
    assert found[1] is not None


def test_page_explains_every_finding_of_lookup() -> None:
    section = PAGE.read_text(encoding="utf-8").split("## What lookup finds\n")[1]
    explained = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    code = "".join(
        (ROOT / "worker" / "cli" / name).read_text(encoding="utf-8")
        for name in ("lookup_audit.py", "lookup_gather.py")
    )
    kinds = set(re.findall(r"(?:finding|Finding|yield)[\s(]+\"([a-z]+(?:_[a-z]+)+|held)\"", code))
    assert len(kinds) > 10
    assert explained == kinds
