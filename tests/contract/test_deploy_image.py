"""deploy/Dockerfile: sound to a linter, and its steps run here as far as they can without an engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tests.contract import dockerfile
from tests.contract.deployment import DEPLOY, ROOT, refusal_of
from tests.contract.dockerfile import HOME, locked, steps

#: A folder that is not there and cannot be made by anybody but root.
NOWHERE = "/nonexistent"


def rests(word: str, *, stage: str | None = None) -> list[str]:
    return [step.rest for step in steps() if step.word == word and stage in (None, step.stage)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the virtual environment that the image would have."""
    return dockerfile.build(tmp_path_factory.mktemp("image"))


def in_image(home: Path, *command: str, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command with the image's environment, and with a HOME that is not there."""
    environment = dict(re.findall(r"(\w+)=(\S+)", rests("ENV", stage="")[0].replace(HOME, str(home))))
    environment["PATH"] = environment["PATH"].replace("$PATH", "/usr/bin:/bin")
    return subprocess.run(
        [str(home / "bin" / command[0]), *command[1:]],
        env={"HOME": NOWHERE, **environment, **settings},
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_linter_has_nothing_against_the_dockerfile() -> None:
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        (str(program), "--no-color", str(DEPLOY / "Dockerfile")), check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_base_has_a_whole_version_and_can_be_named_by_digest() -> None:
    (argument,) = rests("ARG")
    name, _, image = argument.partition("=")
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", image)
    assert [each.partition(" ")[0] for each in rests("FROM")] == [f"${{{name}}}"] * 2
    least = re.findall(
        r'^requires-python = ">=(\d+)\.(\d+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )
    assert [int(number) for number in re.findall(r"\d+", image)[:2]] >= [int(number) for number in least[0]]
    # The comments say the same.
    assert set(re.findall(r"python:[\w.-]+", (DEPLOY / "Dockerfile").read_text())) == {image}


def test_final_stage_takes_nothing_but_the_virtual_environment() -> None:
    final = [step for step in steps() if step.stage == ""]
    assert [step.rest for step in final if step.word == "COPY"] == [f"--from=build {HOME} {HOME}"]
    assert [step for step in final if step.word in {"RUN", "ADD"}] == []


def test_user_is_a_number_and_not_root() -> None:
    (user,) = rests("USER")
    numbers = re.fullmatch(r"(\d+):(\d+)", user)
    assert numbers is not None
    assert all(int(number) >= 10_000 for number in numbers.groups())


def test_image_starts_a_worker_unless_told_otherwise() -> None:
    (entry,), (command,) = rests("ENTRYPOINT"), rests("CMD")
    assert json.loads(entry) == ["askrelay"]
    assert refusal_of(json.loads(command)) == ""
    assert rests("EXPOSE") == ["8088"]


def test_every_install_asks_for_hashes_or_for_no_index() -> None:
    installs = re.findall(r"pip (?:--python \S+ )?install .*?(?=&&|$)", "\n".join(rests("RUN")), re.MULTILINE)
    assert len(installs) == 3
    for install in installs:
        assert ("--require-hashes" in install and "--only-binary=:all:" in install) or "--no-index" in install


def test_builder_gets_the_program_and_nothing_else() -> None:
    for path in (
        "worker/cli/run.py",
        "schemas/json/asked.schema.json",
        "deploy/requirements.lock",
        "LICENSE",
    ):
        assert dockerfile.is_sent(path), path
    for path in (
        ".git/config",
        ".venv/bin/python",
        "tests/fleet.py",
        "deploy/.env.example",
        "deploy/compose.yaml",
        "customgpt-api-key",
        "worker/cli/__pycache__/run.cpython-311.pyc",
    ):
        assert not dockerfile.is_sent(path), path


@pytest.mark.parametrize("name", ["deploy/requirements.lock", "deploy/build.lock"])
def test_lock_pins_what_the_tests_run_with(name: str) -> None:
    all_of_it = locked("requirements.lock")
    pins = locked(name)
    assert pins
    # A marker may be narrower where fewer packages want a thing; version and hashes may not differ.
    everything = {pin.partition(" ; ")[0]: hashes for pin, hashes in all_of_it.items()}
    assert {
        pin: hashes for pin, hashes in pins.items() if everything.get(pin.partition(" ; ")[0]) != hashes
    } == {}
    assert all(hashes for hashes in pins.values())


def test_run_time_lock_has_no_development_package() -> None:
    names = {pin.partition("==")[0] for pin in locked("deploy/requirements.lock")}
    assert {"aiohttp", "pika", "dramatiq", "sqlalchemy", "psycopg-binary"} <= names
    assert names & {"pytest", "ruff", "mypy", "sphinx", "hatchling", "hypothesis", "pip"} == set()


def test_program_runs_from_the_image_without_a_home(home: Path, tmp_path: Path) -> None:
    told = in_image(home, "askrelay", "--version", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(f"askrelay {metadata.version('askrelay')} ")
    schema = in_image(home, "askrelay", "schema", cwd=tmp_path)
    assert schema.returncode == 0, schema.stderr
    assert json.loads(schema.stdout)


def test_program_of_the_image_is_not_the_checkout(home: Path, tmp_path: Path) -> None:
    where = "import worker, schemas; print(worker.__file__, schemas.__file__)"
    files = in_image(home, "python", "-c", where, cwd=tmp_path).stdout.split()
    assert all(file.startswith(str(home)) for file in files), files
    installed = {path.name for path in home.glob("lib/python*/site-packages/*")}
    assert installed & {"pip", "pytest", "tests"} == set()


def test_image_brings_all_that_the_commands_load(home: Path, tmp_path: Path) -> None:
    """A package that only the development environment has, or a file that the wheel lacks, shows here."""
    load = (
        "import importlib, pkgutil, worker, schemas\n"
        "for package in (worker, schemas):\n"
        "    for each in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if not each.name.endswith(('__main__', 'migrations.env')):\n"
        "            importlib.import_module(each.name)\n"
    )
    done = in_image(home, "python", "-c", load, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_image_writes_only_where_it_is_told_to(home: Path, tmp_path: Path) -> None:
    def there() -> dict[str, Any]:
        return {str(path): path.lstat().st_mtime_ns for path in home.rglob("*")}

    before, ledger, empty = there(), tmp_path / "ledger", tmp_path / "empty"
    ledger.mkdir()
    empty.mkdir()
    database = f"sqlite:///{ledger / 'askrelay.db'}"
    done = in_image(home, "askrelay", "db", "upgrade", cwd=empty, DATABASE_URL=database)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the ledger is at revision")
    assert there() == before
    assert list(empty.iterdir()) == []
    assert not Path(NOWHERE).exists()


def test_makefile_writes_the_locks_of_the_image() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (lock,) = re.findall(r"^lock:.*\n((?:\t.*\n|    .*\n)+)", text, re.MULTILINE)
    for name in ("requirements.lock", "deploy/requirements.lock", "deploy/build.lock"):
        assert re.search(rf"-o {re.escape(name)}$", lock, re.MULTILINE), name
