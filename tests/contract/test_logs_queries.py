"""The queries of the how-to on logs name only fields, events and verdicts that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from worker.core.log_events import ALWAYS, EVENTS, FIELDS

PAGE = Path(__file__).parents[2] / "docs/how-to/read-the-logs.md"
#: What the page's own set-up adds: the label of the stream.
LABELS = {"app"}
KNOWN = set(FIELDS) | set(ALWAYS)
VERDICTS = {"answered", "retry", "snooze", "halt", "failed"}


def blocks(language: str) -> list[str]:
    found = re.findall(
        rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert found, f"no block of {language}"
    return found


LOGQL = [block for block in blocks("text") if '{app="askrelay"' in block]
KQL = [block for block in blocks("text") if block.startswith("askrelay.")]
JQ = "".join(block for block in blocks("sh") if block.startswith("jq"))


def fields_of_logql(query: str) -> set[str]:
    """Return the fields that a query compares, groups by, unwraps or prints."""
    found = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=|>=|<=|>|<)\s*[\"\d]", query))
    found |= set(re.findall(r"\{\{\.(\w+)\}\}", query)) | set(re.findall(r"unwrap (\w+)", query))
    for names in re.findall(r"by \(([^)]+)\)", query):
        found |= {name.strip() for name in names.split(",")}
    return found


def test_the_page_has_queries_of_each_kind() -> None:
    assert len(LOGQL) >= 8
    assert len(KQL) >= 4
    assert JQ


@pytest.mark.parametrize("query", LOGQL)
def test_logql_names_only_fields_that_there_are(query: str) -> None:
    fields = fields_of_logql(query)
    assert fields - LABELS, "it asks for something"
    assert fields - LABELS - KNOWN == set()


@pytest.mark.parametrize("query", KQL)
def test_kql_names_only_fields_that_there_are(query: str) -> None:
    fields = set(re.findall(r"askrelay\.(\w+)", query))
    assert fields
    assert fields - KNOWN == set()


def test_jq_names_only_fields_that_there_are() -> None:
    fields = set(re.findall(r"(?<![\w.])\.([a-z_]+)", JQ))
    assert fields
    assert fields - KNOWN == set()


@pytest.mark.parametrize("body", blocks("json"))
def test_searches_are_json_and_name_only_fields_that_there_are(body: str) -> None:
    json.loads(body)
    fields = set(re.findall(r'"askrelay\.(\w+)"', body))
    assert fields
    assert fields - KNOWN == set()


def test_snippets_are_yaml_and_name_only_fields_that_there_are() -> None:
    promtail, filebeat = (yaml.safe_load(block) for block in blocks("yaml"))
    stages = promtail["scrape_configs"][0]["pipeline_stages"]
    assert set(stages[0]["json"]["expressions"]) <= KNOWN
    assert set(stages[1]["labels"]) <= set(stages[0]["json"]["expressions"])
    stamp = filebeat["processors"][0]["timestamp"]["field"]
    assert stamp.removeprefix("askrelay.") in ALWAYS


@pytest.mark.parametrize("query", [*LOGQL, *KQL, JQ, *blocks("json")])
def test_queries_ask_for_events_and_verdicts_that_there_are(query: str) -> None:
    words = {word for text in re.findall(r'"([^"{}]*)"', query) for word in text.split("|")}
    nouns = {name.partition(".")[0] for name in EVENTS}
    events = {word for word in words if word.partition(".")[0] in nouns and "." in word}
    assert events <= set(EVENTS)
    verdicts = set(re.findall(r'verdict"?\s*(?:=|:|==)\s*"(\w+)"', query))
    assert verdicts <= VERDICTS


def test_every_event_that_the_page_asks_for_has_the_fields_that_it_prints() -> None:
    """``turn.finished`` is what most queries read: each field they print is one that it has."""
    for query in LOGQL:
        events = re.findall(r'event="([a-z_.]+)"', query)
        for event in events:
            allowed = set(EVENTS[event].fields) | set(ALWAYS) | LABELS
            assert fields_of_logql(query) <= allowed, query
