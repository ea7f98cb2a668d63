"""The plainer files of deploy/: linted, checked by the tools they are for, and loaded as a worker would."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.deployment import DEPLOY, ROOT, environment_file, loaded
from tests.servers.binaries import promtool_binary
from worker.settings import SETTINGS

EXAMPLE = DEPLOY / ".env.example"
UNITS = (DEPLOY / "systemd/askrelay.service", DEPLOY / "systemd/askrelay@.service")
#: Where the units expect the program.
INSTALLED = "/opt/askrelay/bin/askrelay"
#: For a person at a terminal, and finer points of OpenTelemetry's.
NOT_FOR_DEPLOYERS = {
    "NO_COLOR",
    "OTEL_TRACES_EXPORTER",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_SDK_DISABLED",
}
#: Of systemd-analyze's 0 to 10, ten times: what is left is the network, which a worker is there to use.
EXPOSURE_AT_MOST = 20


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(each) for each in command], check=False, capture_output=True, text=True, timeout=60
    )


def test_yaml_files_are_clean() -> None:
    done = run(Path(sys.executable).with_name("yamllint"), "--strict", "-c", DEPLOY / ".yamllint", DEPLOY)
    assert (done.returncode, done.stdout) == (0, "")


def test_prometheus_takes_its_configuration() -> None:
    done = run(promtool_binary(), "check", "config", DEPLOY / "prometheus/prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def shown_defaults() -> dict[str, str]:
    """Return what the example shows as comments: ``#NAME=default``."""
    text = EXAMPLE.read_text(encoding="utf-8")
    return dict(re.findall(r"^#([A-Z_]+)=(.*)$", text, re.MULTILINE))


def test_example_names_every_setting_of_a_deployer() -> None:
    named = environment_file(EXAMPLE).keys() | shown_defaults().keys()
    missing = [
        each.name
        for each in SETTINGS
        if each.name not in NOT_FOR_DEPLOYERS and not named & {*each.names, *each.file_names}
    ]
    assert missing == []


def test_example_shows_defaults_as_they_are() -> None:
    defaults = {each.name: each.default for each in SETTINGS}
    shown = shown_defaults()
    assert shown.keys() <= defaults.keys()
    # A default that the program makes by itself is shown as nothing.
    assert {name: value for name, value in shown.items() if value and value != defaults[name]} == {}
    assert {name for name, value in shown.items() if not value} == {
        "RABBITMQ_CA_FILE",
        "CUSTOMGPT_CA_FILE",
        "HTTPS_PROXY",
        "NO_PROXY",
        "ASKRELAY_LANG",
        "ASKRELAY_CUSTOM_PERSONA",
        "ASKRELAY_CHATBOT_MODEL",
        "ASKRELAY_RESPONSE_SOURCE",
        "ASKRELAY_CUSTOM_CONTEXT",
        "ASKRELAY_EVENT_OPTIONS",
        "INKEEP_API_KEY",
        "ASKRELAY_LOG_KEY",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    }


def test_example_loads_as_it_is_and_with_every_default_set(tmp_path: Path) -> None:
    given = environment_file(EXAMPLE)
    as_it_is = loaded(given, tmp_path)
    with_defaults = loaded({**shown_defaults(), **given}, tmp_path)
    assert with_defaults.model_dump() == as_it_is.model_dump()
    assert as_it_is.customgpt_project_id == 123


@pytest.mark.skipif(not shutil.which("bash"), reason="no shell to read it with")
def test_example_is_the_same_to_a_shell() -> None:
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    script = f'set -eu; set -a; . "$1"; exec "$2" -c {program!r}'
    done = subprocess.run(
        ("bash", "-c", script, "-", str(EXAMPLE), sys.executable),
        env={"PATH": "/usr/bin:/bin"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert environment_file(EXAMPLE).items() <= json.loads(done.stdout).items()


def lines(unit: Path) -> list[str]:
    """Return what a unit says, without comments."""
    told = unit.read_text(encoding="utf-8").splitlines()
    return [line for line in told if line and not line.startswith(("#", "["))]


def values(unit: Path, name: str) -> list[str]:
    return [line.partition("=")[2] for line in lines(unit) if line.startswith(f"{name}=")]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.name))
def test_unit_gives_the_worker_settings_that_load(unit: Path, tmp_path: Path) -> None:
    told = dict(value.split("=", 1) for value in values(unit, "Environment"))
    credentials = dict(value.split(":") for value in values(unit, "LoadCredential"))
    files = {name: value for name, value in told.items() if name.endswith("_FILE")}
    assert {value.removeprefix("%d/") for value in files.values()} == credentials.keys()
    environment = {**told, "ASKRELAY_HEALTH_PORT": "8088", "CUSTOMGPT_PROJECT_ID": "123"}
    settings = loaded(environment, tmp_path)
    (stop_s,) = values(unit, "TimeoutStopSec")
    assert settings.request_timeout_s < settings.grace_s < float(stop_s) - 20


def test_example_without_what_the_page_takes_out_goes_with_the_unit(tmp_path: Path) -> None:
    """The file is stronger than the unit: a secret that both name would be a contradiction."""
    page = (ROOT / "docs/how-to/deploy.md").read_text(encoding="utf-8")
    (pattern,) = re.findall(r"^grep -vE '(\S+)' deploy/\.env\.example", page, re.MULTILINE)
    kept = {
        name: value for name, value in environment_file(EXAMPLE).items() if not re.match(pattern, f"{name}=")
    }
    told = dict(value.split("=", 1) for value in values(UNITS[0], "Environment"))
    assert loaded({**told, **kept}, tmp_path).customgpt_project_id == 123
    assert kept.keys() & {name.removesuffix("_FILE") for name in told} == set()


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.name))
def test_unit_runs_the_program(unit: Path) -> None:
    assert values(unit, "ExecStartPre") == [f"{INSTALLED} db upgrade"]
    assert values(unit, "ExecStart") == [f"{INSTALLED} run"]


def test_units_differ_in_the_port_only() -> None:
    single, template = (set(lines(unit)) for unit in UNITS)
    assert single - template == {"Description=askrelay worker"}
    assert template - single == {
        "Description=askrelay worker on port %i",
        "Environment=ASKRELAY_HEALTH_PORT=%i",
    }


has_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed"
)


@has_systemd
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    program = tmp_path / "askrelay"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in UNITS:
        # systemd looks whether the program is there.
        text = unit.read_text(encoding="utf-8").replace(INSTALLED, str(program))
        path = tmp_path / unit.name.replace("@.", "@8088.")
        path.write_text(text, encoding="utf-8")
        done = run("systemd-analyze", "verify", "--man=no", path)
        assert (done.returncode, done.stderr) == (0, "")


@has_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.name))
def test_unit_leaves_little_exposed(unit: Path, tmp_path: Path) -> None:
    # It takes no template by that name.
    path = tmp_path / unit.name.replace("@.", "@8088.")
    shutil.copyfile(unit, path)
    done = run("systemd-analyze", "security", "--offline=yes", f"--threshold={EXPOSURE_AT_MOST}", path)
    assert done.returncode == 0, done.stdout[-400:] + done.stderr


def test_no_file_names_this_machine() -> None:
    for path in [ROOT / ".dockerignore", *DEPLOY.rglob("*")]:
        if path.is_file():
            assert str(ROOT) not in path.read_text(encoding="utf-8"), path
