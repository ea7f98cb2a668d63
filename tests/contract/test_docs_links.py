"""What the pages name is there: files, sections, settings, commands, error codes, log events."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from schemas import RefusalReason
from worker.adapters.rabbitmq import BusConfig
from worker.adapters.rabbitmq.troubles import TROUBLES
from worker.cli.app import COMMANDS
from worker.core import errors
from worker.core.gate import PROBED
from worker.core.log_events import EVENTS
from worker.settings import SETTINGS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), ROOT / "llms.txt", *(ROOT / "docs").rglob("*.md")])

#: Variables that are no settings: those of the tests, and the ones Kubernetes makes for a Service.
NOT_SETTINGS = re.compile(r"ASKRELAY_(TEST_|SERVICE_|PORT)")
#: Words with an underscore that are not ours, and so not in our code.
FOREIGN_WORDS = {"synchronous_standby_names"}
#: Folders that a page may name a file of.
FOLDERS = ("docs", "schemas", "tests", "worker", "deploy", ".ci")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^( *)```.*?^\1```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)


def code_of(page: Path) -> str:
    """Return the fenced blocks and code spans of a page: what a reader may copy."""
    fenced = re.findall(r"^( *)```\w*\n(.*?)^\1```", text_of(page), flags=re.DOTALL | re.MULTILINE)
    return "\n".join([*(block for _, block in fenced), *re.findall(r"`([^`\n]+)`", prose_of(page))])


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links_of(page: Path) -> Iterator[tuple[str, str]]:
    """Yield path and anchor of every link that stays in the repository."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield path, anchor


def commands() -> set[str]:
    """Return every command, and every group with its commands: ``db``, ``db upgrade``."""
    names = set()
    for command in COMMANDS:
        names.add(command.name)
        names |= {f"{command.name} {inner}" for inner in getattr(command.load(), "commands", {})}
    return names


def setting_names() -> set[str]:
    return {name for setting in SETTINGS for name in (*setting.names, *setting.file_names)}


def codes() -> set[str]:
    found = {
        each.code
        for _, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, errors.AskrelayError)
    }
    return found | PROBED | {trouble.code for trouble in TROUBLES}


@lru_cache
def words_of_the_code() -> frozenset[str]:
    files = [path for folder in ("worker", "schemas", "tests") for path in (ROOT / folder).rglob("*.py")]
    return frozenset(re.findall(r"[a-z]+(?:_[a-z]+)+", "\n".join(text_of(path) for path in files)))


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_page_links_only_to_what_is_there(page: Path) -> None:
    broken = []
    for path, anchor in links_of(page):
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(f"{path}#{anchor}" if anchor else path)
    assert broken == []


def test_page_names_only_files_that_are_there(page: Path) -> None:
    named = re.findall(rf"(?<![\w/.-])((?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*\w)", code_of(page))
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_page_names_only_settings_that_there_are(page: Path) -> None:
    # A name with a blank before it and = after it in a console block is a mistake shown on purpose.
    shown = re.sub(r"^```console\n.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    named = re.findall(r"\bASKRELAY_[A-Z_]+[A-Z]\b", shown)
    known = setting_names()
    assert [name for name in named if name not in known and not NOT_SETTINGS.match(name)] == []


def test_page_names_only_commands_that_there_are(page: Path) -> None:
    known = commands()
    groups = {name.split()[0] for name in known if " " in name}
    wrong = []
    for match in re.finditer(r"(?<![\w./-])(?:\.venv/bin/)?askrelay((?: [a-z][\w-]*){1,2})", code_of(page)):
        words = match.group(1).split()
        name = " ".join(words[:2]) if words[0] in groups and len(words) > 1 else words[0]
        if name not in known:
            wrong.append(f"askrelay {name}")
    assert wrong == []


def test_page_names_only_options_that_there_are(page: Path) -> None:
    """An option that is shown with a command is one of its options."""
    loaded = {command.name: command.load() for command in COMMANDS}
    wrong = []
    for line in code_of(page).splitlines():
        match = re.search(r"(?<![\w.-])askrelay ([a-z][\w-]*)(.*)", line.partition("#")[0])
        if match is None or match.group(1) not in loaded:
            continue
        command = loaded[match.group(1)]
        rest = match.group(2)
        for inner in getattr(command, "commands", {}).values():
            if rest.split()[:1] == [inner.name]:
                command = inner
        known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
        wrong += [
            f"{match.group(1)} {option}"
            for option in re.findall(r"(?<= )--[a-z][\w-]*", rest)
            if option not in known | {"--help"}
        ]
    assert wrong == []


@pytest.mark.parametrize(
    ("file", "heading"),
    [
        ("docs/explanation/guarantees.md", "## What ends a question without an answer"),
        ("docs/reference/errors.md", "# Errors"),
    ],
)
def test_section_names_only_errors_that_there_are(file: str, heading: str) -> None:
    section = text_of(ROOT / file).split(f"{heading}\n")[1]
    named = re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE)
    assert named, "the section has no table of codes"
    assert [code for code in named if code not in codes()] == []


def test_page_names_only_words_that_the_code_has(page: Path) -> None:
    """A code, field, column or outcome that was renamed must not live on in a page."""
    named = set(re.findall(r"`(?:data\.)?([a-z]+(?:_[a-z]+)+)`", prose_of(page)))
    assert sorted(named - words_of_the_code() - FOREIGN_WORDS) == []


def test_page_names_only_log_events_that_there_are(page: Path) -> None:
    nouns = {name.partition(".")[0] for name in EVENTS}
    spans = re.findall(r"`([a-z_]+\.[a-z_]+)`", prose_of(page))
    wrong = [span for span in spans if span.partition(".")[0] in nouns and span not in EVENTS]
    assert [span for span in wrong if not span.endswith((".py", ".db"))] == []


def test_events_page_names_every_reason_for_a_rejection() -> None:
    spans = set(re.findall(r"`([a-z_]+)`", text_of(ROOT / "docs/reference/events.md")))
    assert {*RefusalReason.__args__, errors.IdConflict.code} - spans == set()


def test_guarantees_name_every_error_that_ends_a_question() -> None:
    page = text_of(ROOT / "docs/explanation/guarantees.md")
    ends = [each.code for each in errors.TurnError.__subclasses__()]
    assert [code for code in ends if f"`{code}`" not in page] == []


def test_checklist_names_every_binding_that_a_worker_wants() -> None:
    page = text_of(ROOT / "docs/how-to/go-to-production.md")
    [row] = re.findall(r"^ *\| `askrelay\.questions` \| queue(.*)$", page, re.MULTILINE)
    definitions = json.loads(text_of(ROOT / "deploy/rabbitmq/definitions.json"))
    keys = {binding["routing_key"] for binding in definitions["bindings"]}
    wanted = BusConfig(url="amqp://broker")
    assert keys == {wanted.asked_key, wanted.rated_key}
    assert [key for key in keys if f"`{key}`" not in row] == []


def test_what_the_page_of_traces_calls_a_setting_is_one() -> None:
    page = text_of(ROOT / "docs/how-to/trace.md")
    [sentence] = re.findall(r"^(.*) are \[settings\]", page, re.MULTILINE)
    named = {*re.findall(r"`(OTEL_\w+)`", sentence), *re.findall(r"`(OTEL_\w+_ENDPOINT)`", page)}
    assert len(named) == 4
    assert named <= setting_names()


def test_index_and_llms_name_every_page() -> None:
    pages = {page for page in PAGES if page.parent != ROOT and page.name != "index.md"}
    from_index = {(ROOT / "docs" / path).resolve() for path, _ in links_of(ROOT / "docs/index.md")}
    assert sorted(str(page.relative_to(ROOT)) for page in pages - from_index) == []


def test_glossary_defines_each_term_once() -> None:
    rows = re.findall(r"^\| (\*\*.*?) \|", text_of(ROOT / "docs/glossary.md"), flags=re.MULTILINE)
    terms = [term.strip(" `*") for row in rows for term in row.strip("*").split(",")]
    assert len(terms) == len(set(terms))
    assert len(terms) > 30


def test_every_decision_has_its_parts() -> None:
    decisions = sorted((ROOT / "docs/adr").glob("*.md"))
    assert [path.name[:4] for path in decisions] == [f"{n:04d}" for n in range(1, len(decisions) + 1)]
    for path in decisions:
        headings = re.findall(r"^## (.*)$", text_of(path), flags=re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences", "Revisit when"], path.name
