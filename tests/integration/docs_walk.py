"""Walks a page: runs its shell blocks in order, in one shell, on a private broker and in a folder of its own.

What a page cannot know is handed to it: another address of the broker, another port for the sandbox. What
else a walk does differently from a reader stands in its replacements, and each of them has to be on the page.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tests.pages import ROOT, Block, commands_of, shell_blocks
from tests.servers.binaries import postgres_folder
from tests.servers.rabbitmq import RabbitMQ

#: s. A walk takes 10-30 s on an idle core.
LONGEST_S = 240.0
#: Functions for what a reader does with the eyes: wait for a line in a log, for a post on its way.
PRELUDE = """\
await() {  # a condition, as a command line
    for _ in $(seq 1200); do
        if eval "$1" 2>/dev/null; then return; fi
        sleep 0.1
    done
    echo "in vain: $1"; exit 1
}
says() { grep -q -- "$2" "$1"; }
works() { grep bus.connected "$1" | grep -q consume; }
serves() { says "$1" 'http://'; }
"""
_CURL = "import sys, urllib.request as r; print(r.urlopen(sys.argv[-1], timeout=30).read().decode())"
#: What stands in for a program: the interpreter of the tests for that of a reader's clone, and for curl, as
#: a machine that runs tests may lack it.
SHIMS = {
    "bin/curl": f"exec {sys.executable} -c '{_CURL}' \"$@\"",
    ".venv/bin/askrelay": f'exec {sys.executable} -m worker "$@"',
    ".venv/bin/python": f'exec {sys.executable} "$@"',
}
#: A block with nothing but this is for a terminal of its own; the next block waits until it works.
SERVERS = {"run": "works", "sandbox": "serves"}


class Walk:
    """One page, the folder it is walked in, and what came of it."""

    def __init__(self, page: str, folder: Path, rabbitmq: RabbitMQ, settings: Mapping[str, str]) -> None:
        self.page = ROOT / page
        self.folder = folder
        self._environment = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}:{postgres_folder()}",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "ASKRELAY_LOG_FORMAT": "json",
            **settings,
        }
        for name, text in {**SHIMS, "bin/rabbitmqctl": _control(rabbitmq)}.items():
            shim = folder / name
            shim.parent.mkdir(parents=True, exist_ok=True)
            shim.write_text(f"#!/bin/sh\n{text}\n")
            shim.chmod(0o755)
        (folder / "docs").symlink_to(ROOT / "docs")

    def script(self, replacements: Mapping[str, str]) -> str:
        """Return the page's commands as one script; raises AssertionError when a replacement has no place."""
        text = PRELUDE
        for block in shell_blocks(self.page):
            text += f"\necho '== line {block.line}'\n{self._runnable(block)}"
        for old, new in replacements.items():
            assert old in text, f"{self.page.name} no longer says {old!r}"
            text = text.replace(old, new)
        return text

    def walk(self, replacements: Mapping[str, str] | None = None, *, end: str = "") -> str:
        """Walk the page and return all that was printed; raises AssertionError when a command fails."""
        script = self.folder / "walk.sh"
        script.write_text(f"{self.script(replacements or {})}\n{end}\n")
        printed = self.folder / "walk.out"
        with printed.open("wb") as output:
            shell = subprocess.Popen(
                ("bash", "-eu", str(script)),
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            code = shell.wait(LONGEST_S)
        finally:
            # Workers and sandboxes that the page leaves to the reader to stop.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
        told = printed.read_text()
        assert code == 0, f"{self.page.name} ended with {code}:\n{told}\n{self._log_ends()}"
        return told

    def _runnable(self, block: Block) -> str:
        """Return a block without what is not run here; in a console what is typed may fail on purpose."""
        commands = list(commands_of(block))
        if len(commands) == 1 and len(commands[0].words) > 1 and "&" not in block.text:
            is_ready = SERVERS.get(commands[0].words[1])
            if is_ready:
                log = f"line-{block.line}.log"
                return f"{block.text.rstrip()} > {log} 2>&1 & server=$!\nawait '{is_ready} {log}'\n"
        lines = [
            line
            for line in block.text.splitlines(keepends=True)
            if not any(each.reason_not_here for each in commands_of(replace(block, text=line)))
        ]
        if block.language == "console":
            lines = [f'{line.rstrip()} || echo "ended with $?"\n' for line in lines]
        return "".join(lines)

    def _log_ends(self) -> str:
        return "\n".join(f"{log.name}: ...{log.read_text()[-2000:]}" for log in self.folder.glob("*.log"))


def _control(rabbitmq: RabbitMQ) -> str:
    """Return the lines of a ``rabbitmqctl`` that speaks to the private node."""
    exports = "".join(
        f"export {name}={shlex.quote(value)}\n" for name, value in rabbitmq._environment.items()
    )
    command = rabbitmq._command(str(rabbitmq._programs / "rabbitmqctl"), "--quiet")
    return f'{exports}exec {shlex.join(command)} "$@"'
