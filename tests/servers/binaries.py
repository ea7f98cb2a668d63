"""Finds the installed servers. Standard library only: it runs before there is a virtual environment."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

#: Where distributions keep RabbitMQ's own scripts. The ones on PATH are no good on Debian and Fedora: they
#: change to the system's rabbitmq user, who cannot read our folders and whom only root can become.
RABBITMQ_FOLDERS = (
    "usr/lib/rabbitmq/bin",
    "usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",
    "opt/rabbitmq/sbin",
    "opt/homebrew/opt/rabbitmq/sbin",
    "usr/local/opt/rabbitmq/sbin",
)

#: The same for initdb and postgres, which most distributions keep off PATH.
POSTGRES_FOLDERS = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "usr/libexec/postgresql*",
    "opt/homebrew/opt/postgresql*/bin",
    "usr/local/opt/postgresql*/bin",
)


class ServerMissing(Exception):
    """A server that the tests need is not installed. Never a reason to skip a test."""


def rabbitmq_root() -> Path:
    """Return the root of the file system that holds RabbitMQ: ``/`` unless another release's is asked for.

    ``ASKRELAY_TEST_RABBITMQ_ROOT`` names a folder with a whole system in it (debootstrap makes one), so that
    the tests can be run against a release of RabbitMQ that this machine's distribution does not have.
    """
    return Path(os.environ.get("ASKRELAY_TEST_RABBITMQ_ROOT") or "/").resolve()


def rabbitmq_folder() -> Path:
    """Return the folder of ``rabbitmq-server`` and ``rabbitmqctl``, as seen inside of its root.

    ``ASKRELAY_TEST_RABBITMQ_BIN`` names it outright. Raises ServerMissing.
    """
    return _folder(
        "rabbitmq-server", os.environ.get("ASKRELAY_TEST_RABBITMQ_BIN"), RABBITMQ_FOLDERS, rabbitmq_root()
    )


def postgres_folder() -> Path:
    """Return the folder of ``initdb`` and ``postgres``; the highest version when there are several.

    ``ASKRELAY_TEST_POSTGRES_BIN`` names it outright. Raises ServerMissing.
    """
    return _folder("initdb", os.environ.get("ASKRELAY_TEST_POSTGRES_BIN"), POSTGRES_FOLDERS, Path("/"))


def epmd_binary() -> Path:
    """Return Erlang's port mapper, as seen inside of RabbitMQ's root. Raises ServerMissing."""
    root = rabbitmq_root()
    patterns = ("usr/bin/epmd", "usr/lib*/erlang/bin/epmd", "usr/lib*/erlang/erts-*/bin/epmd")
    for pattern in (*patterns, "opt/homebrew/bin/epmd", "usr/local/bin/epmd"):
        for found in sorted(root.glob(pattern), reverse=True):
            return Path("/") / found.relative_to(root)
    if root == Path("/") and (on_path := shutil.which("epmd")):
        return Path(on_path)
    raise ServerMissing("epmd, which comes with Erlang, is not installed; `make test` says how to install it")


def promtool_binary() -> Path:
    """Return Prometheus's tool for checking rules; its server is never started. Raises ServerMissing.

    ``ASKRELAY_TEST_PROMTOOL`` names it outright.
    """
    found = shutil.which(os.environ.get("ASKRELAY_TEST_PROMTOOL") or "promtool")
    if found is None:
        raise ServerMissing(
            "promtool, which comes with Prometheus, is not installed; `make test` installs it or says how"
        )
    return Path(found)


def _folder(program: str, named: str | None, patterns: tuple[str, ...], root: Path) -> Path:
    if named:
        if (root / named.lstrip("/") / program).exists():
            return Path(named)
        raise ServerMissing(f"there is no {program} in {named}")
    found = [path for pattern in patterns for path in root.glob(pattern) if (path / program).exists()]
    if found:
        return Path("/") / max(found, key=_version).relative_to(root)
    if root == Path("/") and (on_path := shutil.which(program)):
        return Path(on_path).resolve().parent
    raise ServerMissing(f"{program} is not installed; `make test` installs it or says how")


def _version(path: Path) -> tuple[int, ...]:
    """Order folders by the numbers in their names, so that 15 comes after 9."""
    digits = "".join(letter if letter.isdigit() else " " for letter in str(path))
    return tuple(int(number) for number in digits.split())
