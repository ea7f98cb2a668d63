"""deploy/kubernetes: valid to Kubernetes' own schemas, and true about the program it runs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.contract.deployment import DEPLOY, ROOT, document, environment_file, loaded, refusal_of, walked
from tests.contract.kustomization import CLUSTER_WIDE, Resources, built, pod_of
from worker.adapters.health.server import HealthServer
from worker.cli.health import ANSWER_S
from worker.settings import SETTINGS

BASE = DEPLOY / "kubernetes/base"
PRODUCTION = DEPLOY / "kubernetes/overlays/production"
KEDA = DEPLOY / "kubernetes/components/keda"
#: The oldest and the newest release that the files are for; the schemas are those of Kubernetes.
RELEASES = ("1.29.0", kubernetes_validate.latest_version())
#: s. What a stop takes after the grace: leases given back, the last replies published, connections closed.
CLOSING_S = 20


@pytest.fixture
def resources() -> Resources:
    return built(PRODUCTION)


def one(resources: Resources, kind: str) -> dict[str, Any]:
    (found,) = [each for each in resources if each["kind"] == kind]
    return found


def pods(resources: Resources) -> list[dict[str, Any]]:
    return [pod for pod in map(pod_of, resources) if pod is not None]


def container(resource: dict[str, Any]) -> dict[str, Any]:
    pod = pod_of(resource)
    assert pod is not None
    (only,) = pod["spec"]["containers"]
    return dict(only)


@pytest.mark.parametrize("release", RELEASES)
def test_every_resource_is_valid(resources: Resources, release: str) -> None:
    kinds = {each["kind"] for each in resources}
    assert {"Deployment", "Job", "NetworkPolicy", "PodDisruptionBudget", "ServiceAccount"} <= kinds
    for resource in resources:
        kubernetes_validate.validate(resource, release, strict=True)


def test_validation_finds_a_misspelt_field(resources: Resources) -> None:
    deployment = one(resources, "Deployment")
    deployment["spec"]["template"]["spec"]["terminationGracePeriod"] = 180
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, RELEASES[-1], strict=True)


def test_every_file_is_used_by_a_kustomization() -> None:
    for kustomization in (DEPLOY / "kubernetes").rglob("kustomization.yaml"):
        named = kustomization.read_text(encoding="utf-8")
        for file in kustomization.parent.iterdir():
            assert file.name == "kustomization.yaml" or file.name in named, file


def test_every_resource_is_in_the_namespace(resources: Resources) -> None:
    name = one(resources, "Namespace")["metadata"]["name"]
    placed = [each for each in resources if each["kind"] not in CLUSTER_WIDE]
    assert {each["metadata"]["namespace"] for each in placed} == {name}


def test_settings_load_and_lack_nothing(
    resources: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    settings = loaded({**one(resources, "ConfigMap")["data"], **in_a_pod}, tmp_path)
    assert settings.health_host == "0.0.0.0"
    assert settings.customgpt_api_key_file is not None
    name = container(one(resources, "Deployment"))["envFrom"][0]["configMapRef"]["name"]
    assert name == one(resources, "ConfigMap")["metadata"]["name"]


def test_grace_is_longer_than_a_request_and_shorter_than_the_pods(
    resources: Resources, tmp_path: Path
) -> None:
    settings = loaded(one(resources, "ConfigMap")["data"], tmp_path)
    pod_s = one(resources, "Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert settings.request_timeout_s < settings.grace_s
    assert settings.grace_s + CLOSING_S <= pod_s


def test_probes_ask_what_the_worker_serves(resources: Resources, tmp_path: Path) -> None:
    settings = loaded(one(resources, "ConfigMap")["data"], tmp_path)
    worker = container(one(resources, "Deployment"))
    (port,) = worker["ports"]
    assert port["containerPort"] == settings.health_port
    assert refusal_of(worker["startupProbe"]["exec"]["command"][1:]) == ""
    assert worker["startupProbe"]["timeoutSeconds"] > ANSWER_S
    server = HealthServer("127.0.0.1", 0, None, None)  # type: ignore[arg-type]  # never entered
    served = {route.resource.canonical for route in server._runner.app.router.routes()}
    for probe, path in (("livenessProbe", "/health/live"), ("readinessProbe", "/health/ready")):
        assert worker[probe]["httpGet"] == {"path": path, "port": port["name"]}
        assert path in served
    annotations = one(resources, "Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] in served
    assert annotations["prometheus.io/port"] == str(settings.health_port)


def test_pods_run_commands_that_there_are(resources: Resources) -> None:
    commands = [container(each)["args"] for each in resources if pod_of(each) is not None]
    assert sorted(commands) == [["db", "upgrade"], ["run"]]
    assert [refusal_of(command) for command in commands] == ["", ""]


def test_pods_may_do_nothing_that_they_need_not(resources: Resources) -> None:
    """What the namespace's label ``restricted`` demands, and the read-only root on top of it."""
    for pod in pods(resources):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for each in spec["containers"]:
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            # The tag of the image, or what stands before a digest.
            assert re.search(r":[\w.-]+$", each["image"])


def test_pods_run_as_the_user_of_the_image(resources: Resources) -> None:
    (user,) = re.findall(r"^USER (\d+):(\d+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    for pod in pods(resources):
        context = pod["spec"]["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"]) == tuple(map(int, user))
        assert context["fsGroup"] == int(user[1])


def test_selectors_select_the_workers(resources: Resources) -> None:
    labels = one(resources, "Deployment")["spec"]["template"]["metadata"]["labels"]
    job = one(resources, "Job")["spec"]["template"]["metadata"]["labels"]
    of_deployment = one(resources, "Deployment")["spec"]["selector"]["matchLabels"]
    of_budget = one(resources, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    of_policy = one(resources, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    for selector in (of_deployment, of_budget, of_policy):
        assert selector.items() <= labels.items()
    # The upgrade is no worker: neither counted for the budget nor taken for a replica.
    assert not of_deployment.items() <= job.items()
    assert not of_budget.items() <= job.items()
    assert of_policy.items() <= job.items()


def test_one_worker_may_always_go() -> None:
    resources = built(PRODUCTION)
    replicas = one(resources, "Deployment")["spec"]["replicas"]
    assert replicas > one(resources, "PodDisruptionBudget")["spec"]["maxUnavailable"]


def test_network_policy_lets_out_what_a_worker_talks_to(resources: Resources) -> None:
    spec = one(resources, "NetworkPolicy")["spec"]
    out = {(port["protocol"], port["port"]) for rule in spec["egress"] for port in rule["ports"]}
    assert {("UDP", 53), ("TCP", 5671), ("TCP", 5672), ("TCP", 5432), ("TCP", 443)} <= out
    (port,) = container(one(resources, "Deployment"))["ports"]
    assert [each["port"] for rule in spec["ingress"] for each in rule["ports"]] == [port["name"]]


def test_secret_has_the_same_keys_wherever_it_is_named(resources: Resources) -> None:
    settings = one(resources, "ConfigMap")["data"]
    worker = container(one(resources, "Deployment"))
    (mount,) = worker["volumeMounts"]
    files = {value for name, value in settings.items() if name.endswith("_FILE")}
    keys = {Path(value).name for value in files}
    assert {str(Path(value).parent) for value in files} == {mount["mountPath"]}
    told = (PRODUCTION / "kustomization.yaml").read_text()
    assert set(re.findall(r"--from-file=([\w-]+)", told)) == keys
    (volume,) = one(resources, "Deployment")["spec"]["template"]["spec"]["volumes"]
    refs = [
        each["secretKeyRef"]
        for each in walked(resources)
        if isinstance(each, dict) and "secretKeyRef" in each
    ]
    assert {ref["name"] for ref in refs} == {volume["secret"]["secretName"]} == {"askrelay"}
    assert {ref["key"] for ref in refs} <= keys
    assert "create secret generic askrelay " in told


def test_base_holds_only_settings_that_there_are() -> None:
    known = {name for each in SETTINGS for name in (*each.names, *each.file_names)}
    assert environment_file(BASE / "settings.env").keys() <= known


def test_production_names_the_version_of_the_package(resources: Resources) -> None:
    (version,) = re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert {each["newTag"] for each in document(PRODUCTION / "kustomization.yaml")["images"]} == {version}


def programs() -> list[tuple[str, ...]]:
    found = {"kustomize": ("kustomize", "build"), "kubectl": ("kubectl", "kustomize")}
    return [command for name, command in found.items() if shutil.which(name)]


@pytest.mark.skipif(not programs(), reason="an extra look, where kustomize or kubectl is installed")
@pytest.mark.parametrize("components", [(), (KEDA,)], ids=["plain", "keda"])
def test_kustomize_builds_the_same(tmp_path: Path, components: tuple[Path, ...]) -> None:
    copied = shutil.copytree(DEPLOY / "kubernetes", tmp_path / "kubernetes")
    overlay = copied / PRODUCTION.relative_to(DEPLOY / "kubernetes")
    if components:
        with (overlay / "kustomization.yaml").open("a", encoding="utf-8") as file:
            file.write("components:\n  - ../../components/keda\n")
    done = subprocess.run(
        (*programs()[0], str(overlay)), check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    # The hash of the contents at the end of the generated name.
    text = re.sub(r"(askrelay-settings)-[a-z0-9]{10}", r"\1", done.stdout)
    theirs = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(text)}
    ours = {
        (each["kind"], each["metadata"]["name"]): each for each in built(PRODUCTION, components=components)
    }
    assert theirs == ours
