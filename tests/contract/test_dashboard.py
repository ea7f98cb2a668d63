"""The Grafana dashboard: well-formed, and every panel on metrics, labels and values that there are."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.promql import CATALOGUE, as_rules, asked_by, problems_of, promtool
from worker.adapters.metrics import METRICS

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy/grafana/dashboards/askrelay.json"
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = {
    f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]
}
#: Columns of Grafana's grid.
WIDTH = 24
ROWS = ["Questions", "Latency", "API and gate", "Queue and outbox", "Ledger", "Processes"]
#: Panels of Grafana 10 and later without a plug-in.
CORE_PANELS = {"timeseries", "stat", "state-timeline", "heatmap", "table"}


def plain(query: str) -> str:
    """Return a query as Prometheus gets it, with Grafana's variables filled in."""
    return query.replace("$__rate_interval", "5m").replace("$instance", ".*")


def test_dashboard_is_one_that_grafana_10_and_later_can_load() -> None:
    assert DASHBOARD["uid"] == "askrelay"
    assert DASHBOARD["id"] is None, "an id of another Grafana would overwrite what has it here"
    assert 36 <= DASHBOARD["schemaVersion"] <= 41
    assert {panel["type"] for panel in PANELS} <= CORE_PANELS


def test_dashboard_has_its_rows() -> None:
    assert [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"] == ROWS


def test_every_source_of_data_is_the_variable() -> None:
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    sources = [panel["datasource"] for panel in PANELS]
    sources += [target["datasource"] for panel in PANELS for target in panel["targets"]]
    sources.append(variables["instance"]["datasource"])
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)


def test_every_variable_that_is_used_is_there_and_the_other_way_round() -> None:
    text = FILE.read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{?([a-z]\w*)", text))
    assert used == {each["name"] for each in DASHBOARD["templating"]["list"]}


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    every = DASHBOARD["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    taken: set[tuple[int, int]] = set()
    for panel in every:
        place = panel["gridPos"]
        cells = set(
            itertools.product(
                range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
            )
        )
        assert place["x"] + place["w"] <= WIDTH
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0


@pytest.mark.parametrize("query", TARGETS.values(), ids=TARGETS)
def test_panel_asks_for_what_there_is(query: str) -> None:
    if "start_time" in query:
        query = re.sub(r"^time\(\) - ", "", query)
    assert problems_of(plain(query)) == []


def test_the_workers_to_choose_from_are_asked_of_a_metric_that_there_is() -> None:
    [variable] = [each for each in DASHBOARD["templating"]["list"] if each["name"] == "instance"]
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()
    assert metric in CATALOGUE
    assert label == "instance"


def test_legends_name_labels_that_the_query_leaves() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            left = {label for asked in asked_by(target["expr"]) for label in asked.labels}
            assert named <= left, panel["title"]
            if " by (" in target["expr"]:
                [*groups] = re.findall(r"by \(([^)]*)\)", target["expr"])
                assert named <= {label.strip() for group in groups for label in group.split(",")}


def test_every_metric_of_ours_is_on_the_dashboard_or_known_not_to_be() -> None:
    shown = {asked.metric.name for query in TARGETS.values() for asked in asked_by(query) if asked.metric}
    # Shown by its alert alone: it is 0 for years.
    assert {metric.name for metric in METRICS} - shown == {"askrelay_late_posts"}


def test_queries_are_valid(tmp_path: Path) -> None:
    queries = {f"panel:{number}": plain(query) for number, query in enumerate(TARGETS.values())}
    (tmp_path / "rules.yml").write_text(as_rules(queries), encoding="utf-8")
    assert f"{len(queries)} rules found" in promtool("check", "rules", "rules.yml", folder=tmp_path)


def test_alerts_are_marked_on_every_panel() -> None:
    [marks] = [each for each in DASHBOARD["annotations"]["list"] if "expr" in each]
    rules = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8"))
    names = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    pattern = re.search(r'alertname=~"([^"]+)"', marks["expr"])
    assert pattern is not None
    assert all(re.fullmatch(pattern.group(1), name) for name in names)
