"""Reads ``deploy/Dockerfile`` and runs its steps in a plain folder, as there may be no container engine."""

from __future__ import annotations

import fnmatch
import re
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.markers import Marker

from tests.contract.deployment import DEPLOY, ROOT

#: Where the image has the virtual environment.
HOME = "/opt/askrelay"
WHEELS = "/wheels"


class Step(NamedTuple):
    """One instruction."""

    word: str
    rest: str
    #: The stage that it is in; the last one has no name.
    stage: str


def steps() -> list[Step]:
    """Return the instructions, each on one line."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    found, stage = [], ""
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stage = rest.partition(" AS ")[2]
        found.append(Step(word, rest, stage))
    return found


def locked(name: str) -> dict[str, tuple[str, ...]]:
    """Return what a lock file pins: ``name==version`` with its marker, and its hashes."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    pins = {}
    for entry in text.replace("\\\n", " ").splitlines():
        pin, *hashes = entry.split(" --hash=")
        pins[pin.strip()] = tuple(sorted(each.strip() for each in hashes))
    return pins


def is_sent(path: str) -> bool:
    """Tell whether ``.dockerignore`` lets a file through to the builder; the last line wins."""
    is_out = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        if _matches(path, pattern.removeprefix("!")):
            is_out = not pattern.startswith("!")
    return not is_out


def build(folder: Path) -> Path:
    """Run the first stage in ``folder`` without the network and return the virtual environment it makes.

    What would be fetched comes from the environment that the tests run in, which has it by the same hashes:
    the packages of the run-time lock, and none else, are linked into the new one.
    """
    home, source = folder / "home", folder / "src"
    for step in steps():
        if step.stage != "build":
            continue
        if step.word == "COPY":
            _copy(step.rest, source)
        elif step.word == "RUN":
            for command in step.rest.split(" && "):
                _run(command, home=home, wheels=folder / "wheels", source=source)
    return home


def _copy(rest: str, source: Path) -> None:
    *names, target = rest.split()
    for name in names:
        files = [path for path in sorted((ROOT / name).rglob("*")) if path.is_file()] or [ROOT / name]
        for file in files:
            inside = file.relative_to(ROOT)
            if not is_sent(str(inside)):
                continue
            is_folder = (ROOT / name).is_dir()
            to = source / target / (file.relative_to(ROOT / name) if is_folder else file.name)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, to)


def _run(command: str, *, home: Path, wheels: Path, source: Path) -> None:
    told = command.replace(HOME, str(home)).replace(WHEELS, str(wheels))
    program, *arguments = shlex.split(told)
    assert program == "python", command
    if "deploy/requirements.lock" in arguments:
        _link_packages(home)
    elif "deploy/build.lock" in arguments:
        assert [pin for pin in locked("deploy/build.lock") if not _is_here(pin)] == []
    else:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=source, check=False, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def _link_packages(home: Path) -> None:
    (target,) = home.glob("lib/python*/site-packages")
    owners: dict[str, list[metadata.Distribution]] = {}
    for pin in locked("deploy/requirements.lock"):
        name, version, is_wanted = _pin(pin)
        if not is_wanted:
            continue
        package = metadata.distribution(name)
        assert package.version == version, f"{name} is here as {package.version}: run make"
        for top in {Path(str(file)).parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            owners.setdefault(top, []).append(package)
    for top, packages in owners.items():
        if len(packages) == 1:
            (target / top).symlink_to(Path(str(packages[0].locate_file(top))))
        for package in packages if len(packages) > 1 else ():
            # A folder that packages share may hold a development package's files too.
            for file in package.files or ():
                if Path(str(file)).parts[0] == top:
                    (target / file).parent.mkdir(parents=True, exist_ok=True)
                    (target / file).symlink_to(Path(str(package.locate_file(file))))


def _is_here(pin: str) -> bool:
    name, version, is_wanted = _pin(pin)
    return not is_wanted or metadata.version(name) == version


def _pin(pin: str) -> tuple[str, str, bool]:
    """Return name, version and whether this platform wants it."""
    requirement, _, marker = pin.partition(" ; ")
    name, _, version = requirement.partition("==")
    return name, version, not marker or Marker(marker).evaluate()


def _matches(path: str, pattern: str) -> bool:
    """Tell whether a pattern of .dockerignore names this file or a folder that it is in."""
    parts = Path(path).parts
    ways = ["/".join(parts[: length + 1]) for length in range(len(parts))]
    if pattern.startswith("**/"):
        return any(fnmatch.fnmatchcase(part, pattern[3:]) for part in parts)
    return any(
        ("/" not in pattern and fnmatch.fnmatchcase(parts[0], pattern)) or way == pattern for way in ways
    )
