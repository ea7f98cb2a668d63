"""Sphinx's settings: ``make docs`` turns the pages into build/docs, with the same links that the forge shows.

The source is the whole clone, so that a link to the README or to a file of the code means the same in both.
The pages have no markup of Sphinx in them: the sidebar is read from the lists of docs/index.md, and a page
that is missing there is a warning, which fails the build.
"""
# ruff: noqa: INP001, A001
# Sphinx reads this file by its path, and its names are Sphinx's own.

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]

project = "askrelay"
copyright = "the authors of askrelay, MIT licence"
extensions = ["myst_parser", "sphinxcontrib.mermaid"]
root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**"]
# Folders that would be walked only to find nothing: .venv alone has some 10,000 files.
exclude_patterns = [".*", "build", "dist", "node_modules"]

myst_enable_extensions = ["tasklist"]
#: As deep as headings are linked to, by the names that GitHub gives them.
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]

html_theme = "furo"
html_title = "askrelay"
html_copy_source = False
html_show_sphinx = False

# A browser draws the pictures, with a script of some hundred files from a CDN. Without a network the text of
# a picture stands in its place. `make docs DOCS_ARGS="-D mermaid_use_local=URL"` names a copy of your own.
mermaid_version = "11.12.1"
mermaid_height = "auto"
# By default a picture is called after the time at which it is drawn: two of one millisecond share a name.
mermaid_init_config = {"startOnLoad": False, "deterministicIds": True}

#: For whoever opens the folder: its first page is the README.
FIRST_PAGE = """\
<!doctype html>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url=README.html">
<title>askrelay</title>
<a href="README.html">askrelay: documentation</a>
"""


def sidebar() -> str:
    """Return the lists of docs/index.md as hidden tables of contents, one for each of its sections."""
    tables = ["```{toctree}\n:hidden:\n\n/docs/index\n```"]
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    for section in index.split("\n## ")[1:]:
        heading, _, text = section.partition("\n")
        pages = "\n".join(f"/docs/{page}" for page in re.findall(r"\]\(([\w/-]+)\.md\)", text))
        tables.append(f"```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{pages}\n```")
    tables.append("```{toctree}\n:hidden:\n:caption: Change\n\n/CONTRIBUTING\n/CHANGELOG\n```")
    return "\n\n".join(tables)


def add_sidebar(_: Sphinx, page: str, source: list[str]) -> None:
    """Put the sidebar at the end of the first page, where the forge does not show it."""
    if page == root_doc:
        source[0] += f"\n\n{sidebar()}\n"


def unlink_folders(app: Sphinx, page: nodes.document) -> None:
    """Show a link to a folder as its text alone: the built pages hold files, and no listing of a folder."""
    here = Path(app.env.doc2path(app.env.docname)).parent
    for link in list(page.findall(pending_xref)):
        if (here / link["reftarget"]).is_dir():
            link.replace_self(link.children)


def write_first_page(app: Sphinx, error: Exception | None) -> None:
    """Write index.html."""
    if error is None:
        (Path(app.outdir) / "index.html").write_text(FIRST_PAGE, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Connect the above."""
    app.connect("source-read", add_sidebar)
    app.connect("doctree-read", unlink_folders)
    app.connect("build-finished", write_first_page)
