"""Installs what the tests need of the system, or says how: ``python3 -m tests.servers.install [NAME ...]``.

Installs when run as root (containers, CI) or with INSTALL=1 in the environment (through sudo), and otherwise
prints the exact command and ends with 1. What is installed already is left alone, and nothing is started.
Standard library only: it runs before there is a virtual environment.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.servers.binaries import (
    ServerMissing,
    epmd_binary,
    postgres_folder,
    promtool_binary,
    rabbitmq_folder,
)

#: Debian's packages start a system service as they are installed unless this program forbids it. A second
#: RabbitMQ or PostgreSQL on the usual ports is nothing that somebody who runs our tests has asked for.
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_SCRIPT = "#!/bin/sh\nexit 101\n"

#: The oldest Node.js on which the official AsyncAPI parser runs.
NODE = 18

UNIT_FOLDERS = (Path("/lib/systemd/system"), Path("/usr/lib/systemd/system"))


def _has_venv() -> bool:
    importlib.invalidate_caches()
    return all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))


def _has_node() -> bool:
    """Tell whether Node.js and npm are there, new enough for the AsyncAPI parser."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    told = subprocess.run((node, "--version"), check=False, capture_output=True, text=True).stdout
    major = told.strip().removeprefix("v").partition(".")[0]
    return major.isdecimal() and int(major) >= NODE


def _has(*finders: Callable[[], Path]) -> bool:
    try:
        for find in finders:
            find()
    except ServerMissing:
        return False
    return True


@dataclass(frozen=True)
class Need:
    """Something of the system's that must be there."""

    title: str
    is_there: Callable[[], bool]
    #: What Debian's packages would have run at the next boot.
    units: tuple[str, ...] = ()


NEEDS = {
    "rabbitmq": Need(
        "RabbitMQ",
        lambda: _has(rabbitmq_folder, epmd_binary),
        ("rabbitmq-server.service", "epmd.service", "epmd.socket"),
    ),
    "postgresql": Need("PostgreSQL", lambda: _has(postgres_folder), ("postgresql.service",)),
    "node": Need(f"Node.js {NODE} or newer with npm", _has_node),
    "promtool": Need(
        "promtool, which comes with Prometheus",
        lambda: _has(promtool_binary),
        ("prometheus.service",),
    ),
    "venv": Need("Python's venv module", _has_venv),
}


@dataclass(frozen=True)
class PackageManager:
    """One system's way to install what is needed."""

    program: str
    install: tuple[str, ...]
    packages: dict[str, str]
    #: Run first and allowed to fail: a machine without network may have the packages in its cache.
    refresh: tuple[str, ...] | None = None
    needs_root: bool = True


MANAGERS = (
    PackageManager(
        "apt-get",
        ("apt-get", "install", "-y", "-qq", "--no-install-recommends"),
        {
            "rabbitmq": "rabbitmq-server",
            "postgresql": "postgresql",
            "node": "npm",
            "promtool": "prometheus",
            "venv": f"python{sys.version_info.major}.{sys.version_info.minor}-venv",
        },
        refresh=("apt-get", "update", "-qq"),
    ),
    PackageManager(
        "dnf",
        ("dnf", "install", "-y", "-q"),
        {
            "rabbitmq": "rabbitmq-server",
            "postgresql": "postgresql-server",
            "node": "npm",
            "promtool": "golang-github-prometheus",
        },
    ),
    PackageManager(
        "apk",
        ("apk", "add", "--quiet"),
        {
            "rabbitmq": "rabbitmq-server",
            "postgresql": "postgresql",
            "node": "npm",
            "promtool": "prometheus",
        },
    ),
    PackageManager(
        "brew",
        ("brew", "install", "--quiet"),
        {
            "rabbitmq": "rabbitmq",
            "postgresql": "postgresql@17",
            "node": "node",
            "promtool": "prometheus",
        },
        needs_root=False,
    ),
)


def missing_of(names: list[str]) -> list[str]:
    """Return those that are not there."""
    return [name for name in names if not NEEDS[name].is_there()]


def main(arguments: list[str]) -> int:
    """Install what is missing, or say how. Returns the exit code."""
    missing = missing_of(arguments or ["rabbitmq", "postgresql"])
    if not missing:
        return 0
    titles = " and ".join(NEEDS[name].title for name in missing)
    manager = next((one for one in MANAGERS if shutil.which(one.program)), None)
    if manager is None or not manager.packages.keys() >= set(missing):
        print(
            f"{titles} must be installed, and how to do that here is not known.\n"
            "ASKRELAY_TEST_RABBITMQ_BIN and ASKRELAY_TEST_POSTGRES_BIN name the folders of servers that are\n"
            "in an unusual place.",
            file=sys.stderr,
        )
        return 1
    is_root = os.geteuid() == 0
    sudo = ("sudo",) if manager.needs_root and not is_root else ()
    command = (*sudo, *manager.install, *(manager.packages[name] for name in missing))
    if not is_root and os.environ.get("INSTALL") != "1":
        print(
            f"Missing: {titles}. Install with\n\n    {' '.join(command)}\n\n"
            "or let make do it, with INSTALL=1 after the target. The tests start private servers of their\n"
            "own; those of the system may stay off.",
            file=sys.stderr,
        )
        return 1
    print(f"Installing {titles} with {manager.program} (a minute or two) ...", flush=True)
    return _install(manager, missing, sudo, command)


def _install(
    manager: PackageManager, missing: list[str], sudo: tuple[str, ...], command: tuple[str, ...]
) -> int:
    units = {unit for name in missing for unit in NEEDS[name].units} - _units()
    with tempfile.TemporaryFile() as log:
        with _services_stay_off(manager, sudo):
            if manager.refresh:
                _run((*sudo, *manager.refresh), log)
            code = _run(command, log)
        if code or missing_of(missing):
            log.seek(0)
            sys.stderr.buffer.write(log.read())
            print(
                f"\n{' '.join(command)}\ndid not bring what is needed; its output is above.", file=sys.stderr
            )
            return 1
    for unit in sorted(units & _units()):
        subprocess.run((*sudo, "systemctl", "disable", "--quiet", unit), check=False, capture_output=True)
    return 0


def _run(command: tuple[str, ...], log: IO[bytes]) -> int:
    """Run with all output in the log: it interests only somebody for whom it failed."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
    ).returncode


def _units() -> set[str]:
    """Return the system's units: only what came with this installation is kept off at the next boot."""
    if not shutil.which("systemctl"):
        return set()
    return {file.name for folder in UNIT_FOLDERS for file in folder.glob("*")}


@contextlib.contextmanager
def _services_stay_off(manager: PackageManager, sudo: tuple[str, ...]) -> Iterator[None]:
    """Forbid Debian's packages to start services, and leave no trace of it; a policy there is stays."""
    if manager.program != "apt-get" or POLICY.exists():
        yield
        return
    with tempfile.NamedTemporaryFile("w", suffix=".policy") as script:
        script.write(POLICY_SCRIPT)
        script.flush()
        subprocess.run((*sudo, "install", "-m", "755", script.name, str(POLICY)), check=True)
    try:
        yield
    finally:
        subprocess.run((*sudo, "rm", "-f", str(POLICY)), check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
