"""deploy/kubernetes/components/keda: scales on what waits, and not past the plan's limits."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.deployment import document
from tests.contract.kustomization import built
from tests.contract.test_deploy_kubernetes import KEDA, PRODUCTION, one
from tests.servers.binaries import promtool_binary
from worker.adapters.metrics.catalogue import METRICS
from worker.settings import SETTINGS

SCALED = document(KEDA / "scaled-object.yaml")
(TRIGGER,) = SCALED["spec"]["triggers"]
QUERY = TRIGGER["metadata"]["query"]
WAITING = "askrelay_questions_waiting"
PACE = "askrelay_pace_remaining_requests"
GATE = 'askrelay_gate_closed{reason="breaker"}'
#: Of each worker; there are two.
TURNS = "askrelay_turns_under_way"
AT_ONCE = "askrelay_requests_at_once_limit"
#: What goes on in most cases: a few turns, and no limit of them.
FEW = {TURNS: "2", AT_ONCE: "+Inf"}


def test_scaled_object_has_the_form_that_keda_wants() -> None:
    """By hand: the schemas of Kubernetes do not know it."""
    assert SCALED["apiVersion"] == "keda.sh/v1alpha1"
    assert SCALED["kind"] == "ScaledObject"
    spec = SCALED["spec"]
    assert spec.keys() == {
        "scaleTargetRef",
        "minReplicaCount",
        "maxReplicaCount",
        "advanced",
        "triggers",
    }
    assert TRIGGER.keys() == {"type", "metricType", "metadata"}
    assert (TRIGGER["type"], TRIGGER["metricType"]) == ("prometheus", "AverageValue")
    # KEDA takes text only, and refuses numbers.
    assert all(isinstance(value, str) for value in TRIGGER["metadata"].values())
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior.keys() == {"scaleUp", "scaleDown"}
    # The autoscaler takes at most an hour.
    assert all(0 <= each["stabilizationWindowSeconds"] <= 3600 for each in behavior.values())


def test_scaled_object_scales_the_workers_within_reason() -> None:
    resources = built(PRODUCTION, components=(KEDA,))
    deployment = one(resources, "Deployment")
    assert SCALED["spec"]["scaleTargetRef"] == {"name": deployment["metadata"]["name"]}
    # Otherwise every deploy would set the number back.
    assert "replicas" not in deployment["spec"]
    assert 2 <= SCALED["spec"]["minReplicaCount"] < SCALED["spec"]["maxReplicaCount"]
    concurrency = next(each.default for each in SETTINGS if each.field == "concurrency")
    assert TRIGGER["metadata"]["threshold"] == concurrency


def test_a_worker_that_goes_has_the_time_for_it() -> None:
    pod = one(built(PRODUCTION), "Deployment")["spec"]["template"]["spec"]
    behavior = SCALED["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    (policy,) = behavior["scaleDown"]["policies"]
    assert policy["periodSeconds"] >= pod["terminationGracePeriodSeconds"]


def test_query_names_metrics_that_there_are() -> None:
    named = set(re.findall(r"askrelay_\w+", QUERY))
    assert named
    assert named <= {each.name for each in METRICS}
    assert {each.name for each in METRICS if each.name in named and not each.is_fleet_wide} == {
        TURNS,
        AT_ONCE,
    }


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        pytest.param({WAITING: "500", PACE: "+Inf", GATE: "0", **FEW}, 500, id="no limit"),
        pytest.param({WAITING: "500", PACE: "40", GATE: "0", **FEW}, 500, id="pace to spare"),
        pytest.param({WAITING: "500", PACE: "0", GATE: "0", **FEW}, 0, id="the pace is used up"),
        pytest.param({WAITING: "500", PACE: "+Inf", GATE: "1", **FEW}, 0, id="the gate is closed"),
        pytest.param({WAITING: "0", PACE: "40", GATE: "0", **FEW}, 0, id="nothing waits"),
        pytest.param(
            {WAITING: "500", PACE: "40", GATE: "0", TURNS: "2", AT_ONCE: "5"}, 500, id="places to spare"
        ),
        pytest.param(
            {WAITING: "500", PACE: "40", GATE: "0", TURNS: "2", AT_ONCE: "4"}, 0, id="all at once are out"
        ),
        # KEDA then leaves the number as it is: ignoreNullValues is false.
        pytest.param(FEW, None, id="the ledger is away"),
    ],
)
def test_query_counts_only_what_more_workers_would_help(
    tmp_path: Path, series: dict[str, str], expected: int | None
) -> None:
    assert TRIGGER["metadata"]["ignoreNullValues"] == "false"
    rules = {"groups": [{"name": "keda", "rules": [{"record": "scaled_on", "expr": QUERY}]}]}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    inputs = [
        {"series": _of_worker(name, worker), "values": " ".join([value] * 20)}
        for name, value in series.items()
        for worker in ("a", "b")
    ]
    samples = [] if expected is None else [{"labels": "scaled_on", "value": expected}]
    test: dict[str, Any] = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": inputs,
                "promql_expr_test": [{"expr": "scaled_on", "eval_time": "4m", "exp_samples": samples}],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test), encoding="utf-8")
    done = subprocess.run(
        (str(promtool_binary()), "test", "rules", "test.yml"),
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _of_worker(series: str, worker: str) -> str:
    """Return the series as one worker tells it."""
    name, _, labels = series.rstrip("}").partition("{")
    return f'{name}{{{labels}{"," if labels else ""}instance="{worker}"}}'
