"""Reads what is under ``deploy/``, and knows what of it has to be true of the program."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from worker.cli.app import COMMANDS
from worker.settings import Settings, load_settings
from worker.settings.load import Need

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

#: Everything that ``askrelay run`` cannot do without.
TO_RUN: frozenset[Need] = frozenset({"api", "ledger"})


def documents(path: Path) -> list[Any]:
    """Return the documents of a YAML file."""
    with path.open(encoding="utf-8") as file:
        return [document for document in yaml.safe_load_all(file) if document is not None]


def document(path: Path) -> Any:
    """Return the one document of a YAML file."""
    (only,) = documents(path)
    return only


def environment_file(path: Path) -> dict[str, str]:
    """Read NAME=value lines, as Docker, Kustomize and systemd all do."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    pairs = [line.partition("=") for line in lines if not line.startswith("#")]
    assert all(equals for _, equals, _ in pairs), f"{path.name} has a line that is none"
    return {name: value for name, _, value in pairs}


def loaded(environment: Mapping[str, str], folder: Path, *, needs: frozenset[Need] = TO_RUN) -> Settings:
    """Load settings as a process that got them would; files that they name are made in ``folder``."""
    examples = {
        "RABBITMQ_URL_FILE": "amqps://user:password@rabbitmq.example/",
        "DATABASE_URL_FILE": "postgresql://user:password@postgres.example/askrelay",
        "CUSTOMGPT_API_KEY_FILE": "key",
    }
    local = dict(environment)
    for name, value in environment.items():
        if name in examples:
            file = folder / name
            file.write_text(value and f"{examples[name]}\n", encoding="utf-8")
            local[name] = str(file)
    return load_settings(local, needs=needs)


def refusal_of(command: Sequence[str]) -> str:
    """Return what is wrong with the arguments of ``askrelay``, or an empty string; nothing is run."""
    name, *rest = command
    loaded_commands = {each.name: each for each in COMMANDS}
    if name not in loaded_commands:
        return f"there is no command {name}"
    program = loaded_commands[name].load()
    inner = getattr(program, "commands", {})
    if inner:
        if not rest or rest[0] not in inner:
            return f"{name} has no command {rest[:1]}"
        program, rest = inner[rest[0]], rest[1:]
    try:
        program.make_context(name, list(rest), resilient_parsing=False)
    except Exception as error:  # noqa: BLE001 - whatever the command line parser has against it
        return f"{shlex.join(command)}: {error}"
    return ""


def walked(value: Any) -> Iterator[Any]:
    """Yield every mapping and every scalar of a document."""
    yield value
    if isinstance(value, dict):
        for each in value.values():
            yield from walked(each)
    elif isinstance(value, list):
        for each in value:
            yield from walked(each)
