"""deploy/compose.yaml: valid to the Compose Specification, and true about the program it runs.

compose_spec/compose-spec.json is the Specification's own schema, under the Apache License 2.0, as compose-go
2.4.8 has it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from jsonschema import Draft7Validator

from tests.contract.deployment import DEPLOY, document, loaded, refusal_of, walked
from worker.cli.health import ANSWER_S
from worker.settings.urls import is_loopback

SCHEMA = json.loads(
    (Path(__file__).with_name("compose_spec") / "compose-spec.json").read_text(encoding="utf-8")
)
WORKERS = ("worker-1", "worker-2")


@pytest.fixture
def compose() -> dict[str, Any]:
    return dict(document(DEPLOY / "compose.yaml"))


def complaints(compose: dict[str, Any]) -> list[str]:
    return [
        f"{'/'.join(map(str, each.path))}: {each.message}"
        for each in Draft7Validator(SCHEMA).iter_errors(compose)
    ]


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def test_file_is_valid(compose: dict[str, Any]) -> None:
    assert complaints(compose) == []


def test_validation_finds_a_misspelt_key(compose: dict[str, Any]) -> None:
    compose["services"]["sandbox"]["health_check"] = {}
    assert complaints(compose) != []


def test_stack_is_whole(compose: dict[str, Any]) -> None:
    assert compose["services"].keys() == {
        *WORKERS,
        "migrate",
        "sandbox",
        "rabbitmq",
        "postgres",
        "prometheus",
        "grafana",
    }


def test_nothing_points_to_what_is_not_there(compose: dict[str, Any]) -> None:
    services, volumes = compose["services"], compose["volumes"]
    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= services.keys(), name
        if mode := service.get("network_mode"):
            assert mode.removeprefix("service:") in services, name
            # What shares a network has neither ports nor a name of its own in it.
            assert service.keys() & {"ports", "networks", "hostname"} == set(), name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in volumes or (source.startswith("./") and (DEPLOY / source).is_dir()), volume
        if "build" in service:
            context = (DEPLOY / service["build"]["context"]).resolve()
            assert (context / service["build"]["dockerfile"]).is_file()
    for name, service in services.items():
        needs = service.get("depends_on", ())
        for needed, told in needs.items() if isinstance(needs, dict) else ():
            if told["condition"] == "service_healthy":
                assert "healthcheck" in services[needed], f"{name} would wait for {needed} for ever"


def test_waiting_for_the_stack_ends(compose: dict[str, Any]) -> None:
    """``up --wait`` fails over a container that has ended, unless another waits for its success."""
    waited_for = [
        needed
        for service in compose["services"].values()
        if isinstance(service.get("depends_on"), dict)
        for needed, told in service["depends_on"].items()
        if told["condition"] == "service_completed_successfully"
    ]
    assert set(waited_for) == {"migrate"}


def test_our_image_is_built_by_one_service_and_pulled_by_none(compose: dict[str, Any]) -> None:
    """Two that build the same tag at the same time may fail over it."""
    ours = {name for name, service in compose["services"].items() if service["image"] == "askrelay:local"}
    assert ours == {"sandbox", "migrate", *WORKERS}
    assert [name for name, service in compose["services"].items() if "build" in service] == ["sandbox"]
    assert {compose["services"][name]["pull_policy"] for name in ours} == {"never"}


@pytest.mark.parametrize("name", ["sandbox", "migrate", *WORKERS])
def test_our_containers_are_locked_down_and_run_commands_that_there_are(
    compose: dict[str, Any], name: str
) -> None:
    service = compose["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert refusal_of(service["command"]) == ""


@pytest.mark.parametrize("name", WORKERS)
def test_workers_settings_load_and_lack_nothing(compose: dict[str, Any], name: str, tmp_path: Path) -> None:
    service = compose["services"][name]
    settings = loaded(service["environment"], tmp_path)
    assert settings.grace_s < seconds(service["stop_grace_period"])
    # Plain http goes to loopback only, so the sandbox has to be there.
    assert is_loopback(str(urlsplit(settings.customgpt_api_url).hostname))
    assert service["network_mode"] == "service:sandbox"
    port = str(urlsplit(settings.customgpt_api_url).port)
    assert port in compose["services"]["sandbox"]["command"]
    check = service["healthcheck"]
    assert check["test"][:2] == ["CMD", "askrelay"]
    assert refusal_of(check["test"][2:]) == ""
    assert seconds(check["timeout"]) > ANSWER_S


def test_workers_have_ports_of_their_own_and_prometheus_asks_each(compose: dict[str, Any]) -> None:
    ports = {compose["services"][name]["environment"]["ASKRELAY_HEALTH_PORT"] for name in WORKERS}
    assert len(ports) == len(WORKERS)
    prometheus = document(DEPLOY / "prometheus/prometheus.yml")
    (job,) = prometheus["scrape_configs"]
    (static,) = job["static_configs"]
    assert set(static["targets"]) == {f"sandbox:{port}" for port in ports}


def test_addresses_and_passwords_are_those_of_the_servers(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name in WORKERS:
        environment = services[name]["environment"]
        broker, ledger = urlsplit(environment["RABBITMQ_URL"]), urlsplit(environment["DATABASE_URL"])
        rabbitmq, postgres = services["rabbitmq"]["environment"], services["postgres"]["environment"]
        assert (broker.hostname, broker.username, broker.password) == (
            "rabbitmq",
            rabbitmq["RABBITMQ_DEFAULT_USER"],
            rabbitmq["RABBITMQ_DEFAULT_PASS"],
        )
        assert (ledger.hostname, ledger.username, ledger.password, ledger.path) == (
            "postgres",
            postgres["POSTGRES_USER"],
            postgres["POSTGRES_PASSWORD"],
            f"/{postgres['POSTGRES_DB']}",
        )
        assert environment["DATABASE_URL"] == services["migrate"]["environment"]["DATABASE_URL"]


def test_everything_listens_on_this_machine_only(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert len(ports) == 5
    assert all(re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+_PORT:-(\d+)\}:\1", port) for port in ports)


def test_images_of_others_have_a_whole_version(compose: dict[str, Any]) -> None:
    images = {
        name: service["image"]
        for name, service in compose["services"].items()
        if service.get("pull_policy") != "never"
    }
    assert images.keys() == {"rabbitmq", "postgres", "prometheus", "grafana"}
    assert all(re.search(r":v?\d+\.\d+", image) for image in images.values())
    assert images["rabbitmq"].startswith("rabbitmq:4.")


def test_grafana_finds_the_dashboard_and_prometheus(compose: dict[str, Any]) -> None:
    grafana = compose["services"]["grafana"]
    mounts = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    folders = {inside: (DEPLOY / outside).resolve() for outside, inside in mounts.items()}
    (provider,) = document(DEPLOY / "grafana/provisioning/dashboards/askrelay.yaml")["providers"]
    dashboards = folders[provider["options"]["path"]]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (dashboards / home.name).is_file()
    assert str(home.parent) == provider["options"]["path"]
    (source,) = document(DEPLOY / "grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert urlsplit(source["url"]).hostname in compose["services"]
    used = {
        each["uid"]
        for each in walked(json.loads((dashboards / home.name).read_text(encoding="utf-8")))
        if isinstance(each, dict) and each.get("type") == "prometheus" and "uid" in each
    }
    # Either the very one, or whichever is the default.
    assert all(uid == source["uid"] or uid.startswith("$") for uid in used), used
    assert source["isDefault"] is True


def test_prometheus_reads_the_rules_beside_it(compose: dict[str, Any]) -> None:
    (mount,) = [each for each in compose["services"]["prometheus"]["volumes"] if each.startswith("./")]
    assert mount == "./prometheus:/etc/prometheus:ro"
    for name in document(DEPLOY / "prometheus/prometheus.yml")["rule_files"]:
        assert (DEPLOY / "prometheus" / name).is_file()
