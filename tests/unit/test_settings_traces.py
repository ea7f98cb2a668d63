"""Whether traces are on, and where they go, by OpenTelemetry's standard variables."""

from __future__ import annotations

import sys

import pytest

from worker.core.errors import SettingsError
from worker.settings import load_settings

BASE = {
    "DATABASE_URL": "postgresql://localhost/askrelay",
    "CUSTOMGPT_API_KEY": "key",
    "CUSTOMGPT_PROJECT_ID": "1",
}
API = frozenset({"api"})
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/"}


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, None),
        (ENDPOINT, "http://collector:4318/v1/traces"),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://other/t"}, "http://other/t"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "http://localhost:4318/v1/traces"),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "NONE"}, None),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "true"}, None),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "false"}, "http://collector:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_SERVICE_NAME": "relay"}, None),
    ],
)
def test_traces_go_where_the_standard_variables_say(environ: dict[str, str], url: str | None) -> None:
    assert load_settings(BASE | environ, needs=API).traces_url == url


def problem(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(BASE | environ, needs=API)
    [line] = caught.value.detail.splitlines()
    return line


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        (
            {"OTEL_TRACES_EXPORTER": "jaeger"},
            "OTEL_TRACES_EXPORTER is 'jaeger': it must be one of otlp, none",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "must look like http://127.0.0.1:4318"),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "traces are sent as http/protobuf only"),
    ],
)
def test_what_would_send_no_traces_is_refused(environ: dict[str, str], says: str) -> None:
    assert says in problem(environ)


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_traces_without_their_packages_say_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    line = problem({name: "http://collector:4318"})
    assert line.startswith(name)
    assert "pip install 'askrelay[traces]'" in line
    # Off is off, whatever is installed.
    load_settings(BASE | ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, needs=API)
