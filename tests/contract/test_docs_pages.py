"""`make docs` builds the pages without a warning, and what they link to is there."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
#: s. A build takes 3 s on an idle core.
LONGEST_S = 200.0


class Page(HTMLParser):
    """What a built page links to, and the places in it that may be linked to."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors = {""}
        self.pictures = 0
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors.add(found.get("id") or "")
        self.pictures += "mermaid" in (found.get("class") or "").split()
        self.links += [link for name in ("href", "src") if (link := found.get(name)) is not None]


def build(source: Path, output: Path) -> subprocess.CompletedProcess[str]:
    """Build the pages of a clone with the words of its Makefile."""
    recipe = re.search(
        r"^docs:.*\n\t@\$\(BIN\)/sphinx-build (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert recipe is not None
    words = recipe.group(1).replace("$(DOCS_ARGS)", "").replace("build/", f"{output}/").split()
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *words],
        cwd=source,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("docs")
    done = build(ROOT, output)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return output / "docs"


def test_every_page_is_built_and_stands_in_the_sidebar(built: Path) -> None:
    sources = {*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in ("README.md", "CHANGELOG.md"))}
    pages = {str(source.relative_to(ROOT).with_suffix(".html")) for source in sources}
    assert sorted(page for page in pages if not (built / page).is_file()) == []
    assert sorted(pages - {"README.html"} - set(Page(built / "README.html").links)) == []


def test_built_pages_link_only_to_what_is_there(built: Path) -> None:
    pages = {file: Page(file) for file in built.rglob("*.html")}
    broken = []
    for file, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            known = pages[target].anchors if target in pages else {parts.fragment}
            if not target.is_file() or parts.fragment not in known:
                broken.append(f"{file.relative_to(built)}: {link}")
    assert len(pages) > 30
    assert broken == []


def test_every_picture_of_the_sources_is_a_picture_in_the_pages(built: Path) -> None:
    for source in (ROOT / "docs").rglob("*.md"):
        drawn = len(re.findall(r"^```mermaid$", source.read_text(encoding="utf-8"), re.MULTILINE))
        assert Page(built / source.relative_to(ROOT).with_suffix(".html")).pictures == drawn, source.name


def test_llms_txt_names_every_page_but_single_decisions() -> None:
    named = {*re.findall(r"\]\(([^)]+)\)", (ROOT / "llms.txt").read_text(encoding="utf-8"))}
    pages = {str(page.relative_to(ROOT)) for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))}
    assert sorted(page for page in pages - named if not page.startswith("docs/adr/")) == []


def test_figures_of_the_readme_are_those_of_the_proof() -> None:
    proof = (ROOT / "docs/explanation/guarantees.md").read_text(encoding="utf-8").split("## The proof\n")[1]
    shown = (
        (ROOT / "README.md").read_text(encoding="utf-8").split("## Why it is special\n")[1].split("\n## ")[0]
    )
    figures = re.findall(r"(?:\d+ of )?\d[\d,]*", "\n".join(re.findall(r"^\|.*", shown, re.MULTILINE)))
    assert len(figures) > 4
    assert [figure for figure in figures if figure not in proof] == []


@pytest.mark.parametrize(
    ("page", "text", "told"),
    [
        ("index.md", "[gone](how-to/gone.md)", "gone"),
        ("new-page.md", "# A page that the index does not list", "toctree"),
    ],
)
def test_broken_link_or_page_outside_the_index_fails_the_build(
    tmp_path: Path, page: str, text: str, told: str
) -> None:
    clone = tmp_path / "clone"
    (clone / "docs").mkdir(parents=True)
    (clone / "docs/conf.py").write_text((ROOT / "docs/conf.py").read_text())
    for name in ("README", "CHANGELOG", "CONTRIBUTING", "docs/index"):
        (clone / f"{name}.md").write_text("# A page\n")
    assert build(clone, tmp_path / "right").returncode == 0
    (clone / "docs" / page).write_text(f"# A page\n\n{text}\n")
    done = build(clone, tmp_path / "wrong")
    assert done.returncode != 0
    assert told in done.stderr
