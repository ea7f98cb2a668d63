"""The commands that the pages show: every shell block of the README and of docs/, taken apart into commands.

A command is *run* when its page is in WALKED, *not run here* when it is in NOT_HERE with the reason, and else
it is *read*: tests/contract/test_docs_commands.py parses it as the program itself would.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])

#: The languages of blocks that hold commands.
SHELL = ("sh", "bash", "console")
#: Pages whose blocks are run for real, and the tests that do it.
WALKED = {
    "README.md": "tests/integration/test_docs_walks.py",
    "docs/how-to/check-an-event.md": "tests/contract/test_events_check_page.py",
    "docs/how-to/go-to-production.md": "tests/integration/test_docs_walks.py",
    "docs/how-to/replay-a-file.md": "tests/integration/test_docs_walks.py",
    "docs/how-to/restore-from-backup.md": "tests/integration/test_docs_restore.py",
    "docs/how-to/rotate-the-key.md": "tests/integration/test_docs_walks.py",
    "docs/how-to/scale-out.md": "tests/integration/test_docs_walks.py",
    "docs/how-to/upgrade.md": "tests/integration/test_docs_walks.py",
    "docs/tutorial/first-answer.md": "tests/integration/test_docs_walks.py",
}
#: How a command begins that no test runs, and why; with a page before it, on that page alone. What can be
#: read of it is checked all the same: files, settings, targets, and an ``askrelay`` command inside of it.
NOT_HERE = {
    "make": "a target of its own: what it does is this suite, or takes far longer; the target exists",
    "git clone": "the address is the reader's; the tests run in a clone",
    "cd askrelay": "the same",
    "my-crm": "the reader's own program",
    "apt-get": "changes the machine",
    "debootstrap": "changes the machine",
    "mount": "changes the machine",
    "umount": "changes the machine",
    "docker compose": "needs a container engine",
    "docker build": "needs a container engine",
    "docker run": "needs a container engine",
    "docs/how-to/deploy.md: cp": "for the container or the service that no test starts",
    "kubectl": "needs a cluster",
    "systemctl": "changes the machine",
    "/opt/askrelay/bin/pip": "changes the machine",
    "docs/how-to/deploy.md: install": "changes the machine",
    "docs/how-to/deploy.md: grep": "writes to /etc",
    "docs/how-to/deploy.md: rabbitmqctl": "the tests of deploy/rabbitmq import the definitions",
    "jq": "a program that the tests do not need; the fields it names are those of the closed list",
    "docs/how-to/read-the-logs.md: sort": "what jq found",
    "docs/how-to/read-the-logs.md: uniq": "what jq found",
}
#: What separates commands, and words of the shell after which another command begins.
_SEPARATORS = re.compile(r"[();<>|&]+")
_KEYWORDS = {"if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "!", "{", "}", "time"}
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page; the text is without its indentation and, in a console, without the output."""

    page: str
    line: int
    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command: its words, and the variables that are set for it alone; no redirections."""

    block: Block
    words: tuple[str, ...]
    settings: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The words in one line."""
        return " ".join(self.words)

    @property
    def where(self) -> str:
        """Where a person finds it."""
        return f"{self.block.page}:{self.block.line}: {self.text}"

    @property
    def reason_not_here(self) -> str | None:
        """Why no test runs it, if it is one of those."""
        return next((why for start, why in NOT_HERE.items() if self.begins_with(start)), None)

    def begins_with(self, start: str) -> bool:
        """Tell whether an entry of NOT_HERE is about this command."""
        return any(
            text.startswith(f"{start} ") for text in (f"{self.text} ", f"{self.block.page}: {self.text} ")
        )


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page, whatever their language."""
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", text, flags=re.DOTALL | re.MULTILINE):
        indent, language, body = found.groups()
        lines = [line.removeprefix(indent) for line in body.splitlines()]
        if language == "console":
            lines = _typed(lines)
        line = text.count("\n", 0, found.start()) + 1
        yield Block(str(page.relative_to(ROOT)), line, language, "".join(f"{each}\n" for each in lines))


def shell_blocks(page: Path) -> list[Block]:
    """Return the blocks of a page that hold commands."""
    return [block for block in blocks_of(page) if block.language in SHELL]


def commands_of(block: Block) -> Iterator[Command]:
    """Yield the simple commands of a block in order, those inside of ``$(...)`` and loops too."""
    for line in _logical_lines(block.text):
        yield from _commands_in(block, line)


def _commands_in(block: Block, line: str) -> Iterator[Command]:
    words: list[str] = []
    is_target = False
    for token in [*_tokens(line), ";"]:
        if _SEPARATORS.fullmatch(token):
            # After > or < comes a file, after <( a command.
            is_target = token[0] in "<>" and token[-1] != "("
            if not is_target:
                yield from _command(block, words)
                words = []
        elif is_target:
            is_target = False
        else:
            words.append(token)
            # Inside of double quotes a command is part of a word.
            for inner in re.findall(r"\$\((.*?)\)", token, flags=re.DOTALL):
                yield from _commands_in(block, inner)


def _typed(lines: list[str]) -> list[str]:
    """Return what a person types in a console: the lines with a prompt, with their continuations."""
    typed: list[str] = []
    is_going_on = False
    for line in lines:
        if is_going_on or line.startswith("$ "):
            typed.append(line if is_going_on else line.removeprefix("$ "))
            is_going_on = line.endswith("\\")
    return typed


def _logical_lines(text: str) -> Iterator[str]:
    """Yield lines with their continuations joined, open quotes closed and here-documents left out."""
    waiting, end = "", None
    for line in text.splitlines():
        if end is not None:
            end = None if line.strip() == end else end
            continue
        waiting += line
        if waiting.endswith("\\"):
            waiting = waiting[:-1]
            continue
        try:
            _tokens(waiting)
        except ValueError:  # a quote is open
            waiting += "\n"
            continue
        if document := re.search(r"<<-?\s*['\"]?(\w+)", waiting):
            end = document.group(1)
        yield waiting
        waiting = ""


def _tokens(line: str) -> list[str]:
    reader = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    reader.whitespace_split = True
    return list(reader)


def _command(block: Block, words: list[str]) -> Iterator[Command]:
    """Yield the command without what stands before it; nothing when nothing else is there."""
    if words[:1] == ["for"]:
        return
    while words and words[0] in _KEYWORDS:
        words = words[1:]
    settings = []
    while words and _ASSIGNMENT.match(words[0]):
        settings.append(words[0])
        words = words[1:]
    # A lone $ is what stood before the parenthesis of $(...).
    if words and words != ["$"]:
        yield Command(block, tuple(words), tuple(settings))
