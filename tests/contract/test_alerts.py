"""The alert rules: on metrics that there are, each with tests that promtool runs and with a runbook."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.promql import CATALOGUE, as_rules, asked_by, problems_of, promtool

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/prometheus"
PAGE = ROOT / "docs/reference/alerts.md"
SEVERITIES = {"critical", "warning", "info"}


def read(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


RULES = {rule["alert"]: rule for group in read("alerts.yml")["groups"] for rule in group["rules"]}


def sections() -> dict[str, str]:
    """Return the runbook section of each alert."""
    parts = re.split(r"^#{2,3} (.*)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    titles = parts[1::2]
    return {
        title: text for title, text in zip(titles, parts[2::2], strict=True) if title.startswith("Askrelay")
    }


def test_rules_are_valid() -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "rules", "alerts.yml", folder=FOLDER)


def test_rules_do_what_their_unit_tests_say() -> None:
    promtool("test", "rules", "alerts_test.yml", folder=FOLDER)


def test_unit_tests_notice_a_rule_that_does_not_fire(tmp_path: Path) -> None:
    """The tests of the rules can fail: with each threshold out of reach nothing fires."""
    text = (FOLDER / "alerts.yml").read_text(encoding="utf-8")
    (tmp_path / "alerts.yml").write_text(
        re.sub(r"> 600$", "> 60000", text, flags=re.MULTILINE), encoding="utf-8"
    )
    (tmp_path / "alerts_test.yml").write_text((FOLDER / "alerts_test.yml").read_text(encoding="utf-8"))
    with pytest.raises(AssertionError, match="AskrelayQuestionsWaitTooLong"):
        promtool("test", "rules", "alerts_test.yml", folder=tmp_path)


@pytest.mark.parametrize("name", RULES)
def test_rule_asks_for_what_there_is(name: str) -> None:
    assert problems_of(RULES[name]["expr"]) == []


@pytest.mark.parametrize("name", RULES)
def test_rule_is_seen_to_fire_and_to_stay_silent(name: str) -> None:
    looks = [
        look
        for test in read("alerts_test.yml")["tests"]
        for look in test["alert_rule_test"]
        if look["alertname"] == name
    ]
    assert any(look.get("exp_alerts") for look in looks), "never seen to fire"
    assert any(not look.get("exp_alerts") for look in looks), "never seen to be silent"


@pytest.mark.parametrize("name", RULES)
def test_rule_says_what_it_means_and_where_to_read_on(name: str) -> None:
    rule = RULES[name]
    assert re.fullmatch(r"Askrelay([A-Z][a-z]+)+", name)
    assert rule["labels"]["severity"] in SEVERITIES
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert (ROOT / path, anchor) == (PAGE, name.lower())


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    assert list(sections()) == list(RULES), "in the order of the file"


@pytest.mark.parametrize("name", RULES)
def test_section_gives_the_severity_and_says_what_to_look_at_and_do(name: str) -> None:
    section = sections()[name]
    assert section.strip().startswith(f"*{RULES[name]['labels']['severity'].title()}.*")
    assert "**Look**" in section or "| what to do |" in section
    assert "**Do**" in section or "| what to do |" in section


def test_the_job_is_called_what_the_shipped_configuration_calls_it() -> None:
    jobs = {scrape["job_name"] for scrape in read("prometheus.yml")["scrape_configs"]}
    named = {
        value
        for rule in RULES.values()
        for asked in asked_by(rule["expr"])
        for label, _, value in asked.matchers
        if label == "job"
    }
    assert named <= jobs
    assert read("prometheus.yml")["rule_files"] == ["alerts.yml"]


def test_the_shipped_configuration_is_valid() -> None:
    promtool("check", "config", "prometheus.yml", folder=FOLDER)


def test_page_counts_the_rules_right() -> None:
    assert f"has {len(RULES)} rules" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("max(askrelay_questions_waitin) > 1", "there is no askrelay_questions_waitin"),
        ("sum(askrelay_questions_waiting) > 1", "is summed"),
        ("askrelay_questions_waiting > 1", "comes once for each"),
        ("sum(askrelay_turns_total) > 1", "grows for ever"),
        ('sum(rate(askrelay_turns_total{verdict="fail"}[5m])) > 1', "verdict is never fail"),
        ('sum(rate(askrelay_turns_total{reason="crashed"}[5m])) > 1', "has no label reason"),
        ("sum by (contact) (rate(askrelay_turns_total[5m])) > 1", "no metric has the label contact"),
        ("sum(rate(askrelay_queue_time_seconds[5m])) > 1", "there is no askrelay_queue_time_seconds"),
        ("max(rate(askrelay_questions_waiting[5m])) > 1", "is no counter"),
        ("1 > 2", "asks for no metric"),
    ],
)
def test_what_there_is_not_is_noticed(query: str, problem: str) -> None:
    assert any(problem in told for told in problems_of(query))


def test_every_metric_can_be_asked_for_in_its_own_way(tmp_path: Path) -> None:
    queries = {}
    for metric in CATALOGUE.values():
        name = metric.name
        if metric.kind == "gauge":
            queries[f"asked:{name}"] = f"max({name})"
        else:
            queries[f"asked:{name}"] = f"sum(rate({name}{'_count' * (metric.kind == 'histogram')}[5m]))"
    assert [problems_of(query) for query in queries.values()] == [[]] * len(queries)
    (tmp_path / "rules.yml").write_text(as_rules(queries), encoding="utf-8")
    promtool("check", "rules", "rules.yml", folder=tmp_path)
