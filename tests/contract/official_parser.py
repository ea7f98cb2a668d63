"""The official AsyncAPI parser, installed by npm from a lock file into build/, never into the sources."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.servers.install import NODE

ROOT = Path(__file__).parents[2]
SOURCES = Path(__file__).parent / "asyncapi"
BUILD = ROOT / "build" / "asyncapi-parser"

#: Seconds: npm fetches some 170 small packages, once.
INSTALL_S = 280.0
PARSE_S = 120.0


class NodeMissing(Exception):
    """Node.js or npm is not there, or too old; the message has the command to run."""


def program(name: str) -> str:
    """Return the path of node or npm; raises NodeMissing, because a missing tool is no reason to skip."""
    found = shutil.which(name)
    if found is None:
        raise NodeMissing(
            f"{name} is missing: the AsyncAPI document is checked by its official parser, which needs Node.js"
            f" {NODE} or newer. Install it with\n\n    make servers INSTALL=1"
        )
    return found


def installed() -> Path:
    """Return the folder with node_modules, made on the first call of all processes of a test run."""
    lock = (SOURCES / "package-lock.json").read_bytes()
    folder = BUILD / hashlib.sha256(lock).hexdigest()[:12]
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        if not (folder / "ready").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(SOURCES / name, folder)
            _install(folder)
            (folder / "ready").touch()
    return folder


def _install(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as cache:
        command = (
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
            f"--cache={cache}",
        )
        done = subprocess.run(
            [program("npm"), *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"npm {' '.join(command)} in {folder}: {done.stdout}{done.stderr}")


def parse(*documents: Path) -> list[dict[str, Any]]:
    """Return, for each document, the channels and operations the parser finds, and its diagnostics."""
    done = subprocess.run(
        [program("node"), str(SOURCES / "parse.mjs"), str(installed()), *map(str, documents)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PARSE_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the parser failed: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]
