"""What `/metrics` shows: the closed list, right numbers, in both formats."""

from __future__ import annotations

import re

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from tests.unit.test_health_condition import FIGURES
from worker.adapters.ledger.figures import Figures
from worker.adapters.metrics import METRICS, PROCESS_METRICS, Metric, ProcessMeters
from worker.adapters.metrics.fleet import GATE_REASONS, fleet_values

#: What would name a contact, an event or a text.
FORBIDDEN = {
    "contact",
    "contact_id",
    "external_id",
    "question",
    "answer",
    "event_id",
    "question_id",
    "session_id",
}
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def meters() -> ProcessMeters:
    return ProcessMeters(version="1.2.3", ledger="sqlite")


def samples(told: ProcessMeters, figures: Figures | None = None) -> dict[tuple[str, ...], float]:
    """Return every sample by its name and its labels' values, in the order of the labels' names."""
    text, _ = told.exposition("", figures)
    return {
        (each.name, *(each.labels[label] for label in sorted(each.labels))): each.value
        for family in read_text(text.decode())
        for each in family.samples
    }


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_metric_is_well_formed(metric: Metric) -> None:
    assert re.fullmatch(r"askrelay(_[a-z]+)+", metric.name)
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert (metric.kind == "histogram") == bool(metric.buckets)
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.about.endswith(".")
    assert not FORBIDDEN & set(metric.label_names)
    assert not re.search(r"_(ms|milliseconds|minutes|kb|mb)\b", metric.name), "base units"


def test_every_metric_of_the_list_is_exposed_before_anything_happened() -> None:
    text, _ = meters().exposition("", None)
    exposed = re.findall(r"^# TYPE (\S+) (\S+)$", text.decode(), re.MULTILINE)
    assert sorted(exposed) == sorted((each.name, each.kind) for each in (*METRICS, *PROCESS_METRICS))


def test_fleet_wide_metrics_say_so_in_their_help() -> None:
    text, _ = meters().exposition("", FIGURES)
    marked = set(re.findall(r"^# HELP (\S+) Fleet-wide", text.decode(), re.MULTILINE))
    assert marked == {each.name for each in METRICS if each.is_fleet_wide}
    assert {each for each in METRICS if each.is_fleet_wide} == set(fleet_values(FIGURES))


def test_counts_add_up_per_label() -> None:
    told = meters()
    told.events_taken("new", 3)
    told.events_taken("new", 2)
    told.events_taken("rejected", 1, error_code="malformed_event")
    told.turn_ended("answered", error_code="", outcome="recovered")
    told.turn_ended("retry", error_code="unreachable", outcome="")
    told.turn_lost("lease_lost")
    told.replies_tried("confirmed", 7)
    told.doorbell("rung")
    told.watch_lost_doorbells(lambda: 4)
    seen = samples(told)
    assert seen["askrelay_events_total", "", "new"] == 5
    assert seen["askrelay_events_total", "malformed_event", "rejected"] == 1
    assert seen["askrelay_turns_total", "", "answered"] == 1
    assert seen["askrelay_turns_total", "unreachable", "retry"] == 1
    assert seen["askrelay_answers_total", "recovered"] == 1
    assert seen["askrelay_turns_lost_total", "lease_lost"] == 1
    assert seen["askrelay_replies_total", "confirmed"] == 7
    assert seen["askrelay_doorbells_total", "rung"] == 1
    assert seen["askrelay_doorbells_total", "lost"] == 4
    assert seen["askrelay_build_info", "sqlite", "1.2.3"] == 1


def test_a_histogram_counts_what_is_at_or_below_each_bound() -> None:
    told = meters()
    for duration_s in (0.05, 0.051, 3.0, 500.0):
        told.api_called("post_question", "ok", duration_s)
    seen = samples(told)
    name = "askrelay_api_call_duration_seconds"
    buckets = {key[2]: value for key, value in seen.items() if key[0] == f"{name}_bucket"}
    assert (buckets["0.05"], buckets["0.1"], buckets["2.5"], buckets["5.0"]) == (1, 2, 2, 3)
    assert (buckets["120.0"], buckets["+Inf"]) == (3, 4)
    assert seen[f"{name}_count", "post_question", "ok"] == 4
    assert seen[f"{name}_sum", "post_question", "ok"] == pytest.approx(503.101)


def test_times_before_their_beginning_count_as_none() -> None:
    told = meters()
    told.question_ended(waited_s=-1.0, answered_after_s=-3600.0)
    told.question_ended(waited_s=1.0, answered_after_s=None)
    seen = samples(told)
    assert seen["askrelay_asked_to_answered_seconds_count",] == 1
    assert seen["askrelay_asked_to_answered_seconds_sum",] == 0
    assert seen["askrelay_queue_time_seconds_count",] == 2
    assert seen["askrelay_queue_time_seconds_sum",] == 1


def test_a_commit_is_measured_by_its_time_and_its_operations() -> None:
    told = meters()
    told.committed(512, 0.004)
    seen = samples(told)
    assert seen["askrelay_ledger_commit_operations_bucket", "256.0"] == 0
    assert seen["askrelay_ledger_commit_operations_bucket", "512.0"] == 1
    assert seen["askrelay_ledger_commit_duration_seconds_sum",] == 0.004


def test_fleet_wide_numbers_are_those_of_the_ledger() -> None:
    seen = samples(meters(), FIGURES)
    assert seen["askrelay_questions_waiting",] == 3
    assert seen["askrelay_oldest_waiting_question_age_seconds",] == 1.5
    assert seen["askrelay_outbox_replies", "unroutable"] == 1
    assert seen["askrelay_pace_remaining_requests",] == 42
    assert [seen["askrelay_gate_closed", reason] for reason in GATE_REASONS] == [0] * 5


def test_fleet_wide_numbers_are_left_out_rather_than_old() -> None:
    told = meters()
    assert ("askrelay_questions_waiting",) in samples(told, FIGURES)
    assert ("askrelay_questions_waiting",) not in samples(told, None)


def test_openmetrics_is_given_to_who_asks_for_it() -> None:
    told = meters()
    told.events_taken("new", 1)
    told.api_called("post_question", "ok", 1.0)
    text, content_type = told.exposition(OPENMETRICS, FIGURES)
    assert content_type.startswith("application/openmetrics-text")
    families = {family.name for family in read_openmetrics(text.decode())}
    assert families == {each.name.removesuffix("_total") for each in (*METRICS, *PROCESS_METRICS)}


def test_nothing_is_exposed_that_tells_when_a_series_began() -> None:
    told = meters()
    told.events_taken("new", 1)
    assert "_created" not in told.exposition("", None)[0].decode()


@pytest.mark.parametrize(
    ("status", "label"),
    [(200, "200"), (429, "429"), (524, "524"), (None, "none"), (999, "other"), (0, "other")],
)
def test_a_request_is_counted_under_its_status_with_a_bounded_number_of_values(
    status: int | None, label: str
) -> None:
    told = meters()
    told.api_answered("post_question", status, 3.0)
    seen = samples(told)
    name = "askrelay_api_request_duration_seconds"
    assert seen[f"{name}_count", "post_question", label] == 1
    assert seen[f"{name}_sum", "post_question", label] == 3


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_series_that_are_there_from_the_start_have_documented_values(metric: Metric) -> None:
    documented = [values for _, values in metric.labels]
    for values in metric.starts:
        assert len(values) == len(documented)
        for value, told in zip(values, documented, strict=True):
            assert value in re.findall(r"\w+", told) or "an error code" in told


def test_what_alerts_look_at_is_there_at_zero_before_its_first_count() -> None:
    seen = samples(meters())
    assert seen["askrelay_turns_total", "outcome_unknown", "failed"] == 0
    assert seen["askrelay_events_total", "id_conflict", "rejected"] == 0
    assert seen["askrelay_turns_lost_total", "crashed"] == 0
