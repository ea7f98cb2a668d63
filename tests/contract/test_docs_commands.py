"""Every command that a page shows is run by a test, read by one, or listed with the reason why neither."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.pages import NOT_HERE, PAGES, ROOT, WALKED, Block, Command, blocks_of, commands_of, shell_blocks
from worker.cli.app import COMMANDS as PROGRAMS, command_line
from worker.settings import SETTINGS

#: Languages of blocks. A block without one could hide a command; ``text`` is for what a program prints.
LANGUAGES = {"sh", "bash", "console", "text", "json", "python", "mermaid", "yaml", "ini", "promql", "sql"}
#: Variables of the shell, of make and of the servers' own programs that pages may set.
FOREIGN_VARIABLES = re.compile(r"ASKRELAY_TEST_|INSTALL$|PYTHON$|TESTS$|PYTEST_ARGS$|SEEDS?$|PG|KUBECONFIG$")

COMMANDS = [command for page in PAGES for block in shell_blocks(page) for command in commands_of(block)]


def parse(arguments: Sequence[str]) -> None:
    """Parse a command line of askrelay as it does itself; raises what it would tell the user."""
    command, name, rest, context = command_line(), "askrelay", list(arguments), None
    while True:
        context = command.make_context(name, rest, parent=context)
        rest = [*getattr(context, "_protected_args", ()), *context.args]
        if not hasattr(command, "resolve_command") or not rest:
            return
        name, command, rest = command.resolve_command(context, rest)


def wrong_in_askrelay(words: Sequence[str]) -> str | None:
    try:
        parse(words[1:])
    except Exception as error:  # noqa: BLE001 - typer's errors have no public base
        return None if getattr(error, "exit_code", None) == 0 else f"{type(error).__name__}: {error}"
    return None


def wrong_in_make(words: Sequence[str]) -> str | None:
    makefile = (ROOT / "Makefile").read_text()
    for word in words[1:]:
        name, is_variable, _ = word.partition("=")
        known = rf"\b{re.escape(name)}\b" if is_variable else rf"^{re.escape(name)}:"
        if not FOREIGN_VARIABLES.match(name) and not re.search(known, makefile, re.MULTILINE):
            return f"the Makefile has no {name}"
    return None


def wrong_in_python(words: Sequence[str]) -> str | None:
    match words[1:]:
        case ["-m", "worker", *rest]:
            return wrong_in_askrelay(["askrelay", *rest])
        case ["-m", module, *rest]:
            files = [word for word in rest if word.startswith("tests/")]
            missing = [file for file in files if not (ROOT / file).exists()]
            is_there = importlib.util.find_spec(module) is not None
            return None if is_there and not missing else f"{module} or {missing} is not there"
        case ["-c", code, *_]:
            compile(code, "page", "exec")
            return None
        case [file, *_]:
            return None if (ROOT / file).is_file() else f"{file} is not there"
    return "python alone"


def wrong_in_container(words: Sequence[str]) -> str | None:
    """Read what is run in a container: ``docker compose exec worker-1 askrelay status``."""
    if "askrelay" not in words[:-1]:
        return None
    inner = words[words.index("askrelay") :]
    return wrong_in_askrelay(inner) if inner[1] in {command.name for command in PROGRAMS} else None


def wrong_in_export(words: Sequence[str]) -> str | None:
    known = {name for setting in SETTINGS for name in (*setting.names, *setting.file_names)}
    names = [word.partition("=")[0] for word in words[1:]]
    unknown = [name for name in names if name not in known and not FOREIGN_VARIABLES.match(name)]
    return f"{unknown} are no settings" if unknown else None


#: What reads a command, by its program's name.
READERS: dict[str, Callable[[Sequence[str]], str | None]] = {
    "askrelay": wrong_in_askrelay,
    "make": wrong_in_make,
    "python": wrong_in_python,
    "python3": wrong_in_python,
    "export": wrong_in_export,
}
#: What reads a part of a command that NOT_HERE lists: the part that is askrelay's.
PART_READERS = {"docker": wrong_in_container, "kubectl": wrong_in_container}


def test_every_block_names_its_language() -> None:
    blocks = [block for page in PAGES for block in blocks_of(page)]
    strange = [
        f"{each.page}:{each.line}: {each.language!r}" for each in blocks if each.language not in LANGUAGES
    ]
    assert len(blocks) > 50
    assert strange == []


def test_every_console_shows_what_is_typed() -> None:
    """Without a prompt a console would be all output, and what stands in it would be nobody's command."""
    consoles = [block for page in PAGES for block in blocks_of(page) if block.language == "console"]
    assert [f"{block.page}:{block.line}" for block in consoles if not list(commands_of(block))] == []


def test_every_shell_block_is_right_for_a_shell() -> None:
    blocks = [block for page in PAGES for block in shell_blocks(page)]
    for block in blocks:
        command = ("bash", "-n", "-c", block.text)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block.page}:{block.line}: {done.stderr}"


def test_every_command_is_run_or_read_or_listed_with_a_reason() -> None:
    """A new command fails here until a page's walk runs it, a reader reads it, or NOT_HERE says why not."""
    unknown = [
        command.where
        for command in COMMANDS
        if command.block.page not in WALKED
        and command.reason_not_here is None
        and Path(command.words[0]).name not in READERS
    ]
    assert len(COMMANDS) > 70
    assert unknown == []


def test_every_command_that_can_be_read_is_right() -> None:
    wrong = []
    for command in COMMANDS:
        reader = {**READERS, **PART_READERS}.get(Path(command.words[0]).name)
        told = reader(command.words) if reader else None
        # In a console a wrong setting may be shown on purpose, with what is said to it.
        if told is None and command.block.language != "console":
            told = wrong_in_export(["export", *command.settings])
        if told is not None:
            wrong.append(f"{command.where}: {told}")
    assert wrong == []


def test_every_reason_not_to_run_a_command_is_still_needed() -> None:
    assert [start for start in NOT_HERE if not any(each.begins_with(start) for each in COMMANDS)] == []


def test_every_page_that_is_walked_has_commands_and_a_test_that_walks_it() -> None:
    assert [page for page in WALKED if not shell_blocks(ROOT / page)] == []
    assert [page for page, test in WALKED.items() if page not in (ROOT / test).read_text()] == []


def test_examples_of_the_reference_are_commands() -> None:
    page = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
    examples = re.findall(r"^Example: `(.*)`$", page, flags=re.MULTILINE)
    assert len(examples) > 15
    for example in examples:
        block = Block("docs/reference/commands.md", 0, "sh", f"{example}\n")
        for command in commands_of(block):
            assert wrong_in_askrelay(command.words) is None, example
            assert wrong_in_export(["export", *command.settings]) is None, example


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b && c", [["a", "b"], ["c"]]),
        ("a 'b; c' | d > e", [["a", "b; c"], ["d"]]),
        ("X=1 a & b=$!", [["a"]]),
        ("for q in x y; do a $q; done", [["a", "$q"]]),
        ('kill "$(cat file)"', [["cat", "file"], ["kill", "$(cat file)"]]),
        ("a \\\n  b # why\nc", [["a", "b"], ["c"]]),
        ("cat > f <<'END'\nrm -rf x\nEND\na", [["cat"], ["a"]]),
        ("a 'one\ntwo'", [["a", "one\ntwo"]]),
    ],
)
def test_commands_are_found_wherever_a_shell_finds_them(text: str, words: list[list[str]]) -> None:
    assert [list(command.words) for command in commands_of(Block("page", 1, "sh", text))] == words


@pytest.mark.parametrize(
    "line",
    [
        "askrelay run --after-restor",
        "askrelay question show crm/acme",
        ".venv/bin/askrelay nope",
        "docker compose exec worker-1 askrelay ask --contact",
        "make dmeo",
        "make test TETS=tests/unit",
        "export ASKRELAY_CONCURENCY=5",
        "python -m worker run --fast",
        "python docs/how-to/gone.py",
        "python -m tests.gone",
    ],
)
def test_a_wrong_command_is_noticed(line: str) -> None:
    command = Command(Block("page", 1, "sh", line), tuple(shlex.split(line)))
    assert {**READERS, **PART_READERS}[Path(command.words[0]).name](command.words) is not None
