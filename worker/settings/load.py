"""Reads the settings and tells all that is wrong with them at once."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from worker.core.errors import SettingsError
from worker.settings import names
from worker.settings.declare import Origin, Setting
from worker.settings.model import SETTINGS, Settings
from worker.settings.source import EnvironmentAndFiles
from worker.settings.urls import masked_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: What a command cannot do without: the API's key and project, a ledger that outlives the process.
Need = Literal["api", "ledger"]

#: Variables that a platform sets where the disk is gone with the process, and the platform's name.
EPHEMERAL = {"KUBERNETES_SERVICE_HOST": "a Kubernetes pod", "DYNO": "a dyno"}

#: What the extra askrelay[traces] brings.
TRACES_PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")

#: Stands for an address that is wrong while the other settings are looked at.
_UNUSED_URL = "sqlite:////unused"

_BY_FIELD = {setting.field: setting for setting in SETTINGS}


def load_settings(
    environ: Mapping[str, str] | None = None, *, needs: frozenset[Need] = frozenset()
) -> Settings:
    """Return the settings, or raise SettingsError whose message has one line per problem.

    ``needs`` names what the command cannot do without; everything that is set is checked in any case.
    """
    environ = os.environ if environ is None else environ
    source = EnvironmentAndFiles(Settings, SETTINGS, environ)
    values: dict[str, Any] = source()
    problems = [*names.unknown(environ), *source.problems.values()]
    if "database_url" not in values and "database_url" not in source.problems:
        try:
            values["database_url"] = _default_database_url(environ)
        except RuntimeError:  # neither HOME nor a passwd entry
            values["database_url"] = _UNUSED_URL
            problems.append("DATABASE_URL is not set, and this user has no home folder: set DATABASE_URL")
    if "ledger" in needs:
        problems += _ephemeral(values.get("database_url", ""), source, environ)
    for field in ("customgpt_api_key", "inkeep_api_key"):
        key_origin = source.origins.get(field)
        if key_origin is not None and key_origin.path is not None:
            values[f"{field}_file"] = key_origin.path

    settings, wrong = _validated(values, source)
    problems += wrong
    if "api" in needs:
        problems += _missing(values, source, environ)
        problems += _not_installed(settings)
    problems += _unreadable(values)
    if settings is None or problems:
        raise SettingsError("\n".join(problems))
    settings._origins = source.origins  # noqa: SLF001 (only what reads the environment knows origins)
    settings._warnings = tuple(_warnings(settings))  # noqa: SLF001
    return settings


def _validated(values: Mapping[str, Any], source: EnvironmentAndFiles) -> tuple[Settings | None, list[str]]:
    """Build the settings; where fields are wrong, look at the others for contradictions all the same."""
    try:
        return Settings(**values), []
    except ValidationError as error:
        problems, wrong = [], set(source.problems)
        for detail in error.errors(include_url=False, include_input=False):
            if detail["type"] != "contradiction":
                field = str(detail["loc"][0])
                wrong.add(field)
                problems.append(_sentence(_BY_FIELD[field], source, values.get(field), detail))
    rest = {field: value for field, value in values.items() if field not in wrong}
    try:
        Settings(**{"database_url": _UNUSED_URL, **rest})
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            found = detail.get("ctx", {}).get("problems", ())
            problems += [each.text for each in found if not wrong.intersection(each.fields)]
    return None, problems


def _sentence(setting: Setting, source: EnvironmentAndFiles, value: Any, detail: Any) -> str:
    """Say what is wrong with one value. Secrets and contents of files are not shown."""
    origin = source.origins.get(setting.field, Origin("default"))
    name = origin.name or setting.name
    own_words = (
        str(detail["ctx"]["error"]) if detail["type"] == "value_error" else f"must be {setting.must_be}"
    )
    if setting.kind == "secret" or origin.kind == "file":
        return f"{name}: the value {own_words}"
    if not own_words.startswith("must"):
        return f"{name} {own_words}"
    hint = names.service_link_hint(str(value)) or names.nearest_choice(str(value), setting)
    return f"{name} is {masked_url(str(value))[:80]!r}: it {own_words}{hint}"


def _missing(
    values: Mapping[str, Any], source: EnvironmentAndFiles, environ: Mapping[str, str]
) -> Iterator[str]:
    where = {
        "customgpt_api_key": "make one at https://app.customgpt.ai/profile#api",
        "customgpt_project_id": "it is the agent's number, the digits in its address at app.customgpt.ai",
    }
    for field, advice in where.items():
        if field not in values and field not in source.problems:
            name = _BY_FIELD[field].name
            yield f"{name} is not set{names.misspelt(name, environ)}: {advice}"


def _not_installed(settings: Settings | None) -> Iterator[str]:
    """Say what to install for traces that are asked for: nobody should have to wonder where they are."""
    if settings is None or settings.traces_url is None or all(map(_is_there, TRACES_PACKAGES)):
        return
    fields = ("otel_traces_exporter", "otel_traces_endpoint", "otel_endpoint")
    name = next(_BY_FIELD[field].name for field in fields if getattr(settings, field))
    yield (
        f"{name} asks for traces, whose packages are not installed: pip install 'askrelay[traces]', or set"
        " OTEL_TRACES_EXPORTER=none"
    )


def _is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        return False


def _ephemeral(url: str, source: EnvironmentAndFiles, environ: Mapping[str, str]) -> Iterator[str]:
    platform = next((text for name, text in EPHEMERAL.items() if environ.get(name)), None)
    # A pod may have a volume that stays; a dyno never has.
    is_chosen = "database_url" in source.origins and not environ.get("DYNO")
    if platform and not is_chosen and url.startswith("sqlite:"):
        yield (
            f"DATABASE_URL must name a PostgreSQL database here: this is {platform}, whose disk is gone with"
            " the process, and with it every waiting question"
        )


def _unreadable(values: Mapping[str, Any]) -> Iterator[str]:
    for name in ("RABBITMQ_CA_FILE", "CUSTOMGPT_CA_FILE"):
        if path := values.get(name.lower()):
            import ssl  # noqa: PLC0415 - 20 ms that commands without TLS need not pay

            try:
                ssl.create_default_context(cafile=path)
            except ssl.SSLError:
                yield f"{name} names {path}, which holds no certificate: give one in PEM format"
            except OSError as error:
                yield f"{name} names {path}, which cannot be read: {error.strerror}"


def _default_database_url(environ: Mapping[str, str]) -> str:
    state = Path(environ.get("XDG_STATE_HOME") or "relative")
    if not state.is_absolute():  # as the XDG base directory specification has it
        state = Path(environ.get("HOME") or "~").expanduser() / ".local" / "state"
    return f"sqlite:///{state / 'askrelay' / 'askrelay.db'}"


def _warnings(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.origin_of("database_url").kind == "default":
        path = settings.database_url.removeprefix("sqlite:///")
        yield "DATABASE_URL", f"not set: the ledger is {path}, which only workers of this host can share"
