"""The files that are generated from the models: JSON Schemas, the AsyncAPI document, the tables of a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from schemas.asyncapi import asyncapi_document
from schemas.documents import json_schema
from schemas.tables import with_tables

#: Where the generated documents lie.
FOLDER: Final = Path(__file__).parent / "json"

#: The page whose tables are generated. There in a checkout, not where only the package is installed.
PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "events.md"


def published_files(*, folder: Path = FOLDER, page: Path = PAGE) -> dict[Path, str]:
    """Return what each generated file has to hold.

    Raises ValueError when the page has lost the place of a table.
    """
    documents = {f"{name}.schema.json": schema for name, schema in json_schema().items()}
    files = {
        folder / name: _text(each)
        for name, each in [*documents.items(), ("asyncapi.json", asyncapi_document())]
    }
    if page.is_file():
        files[page] = with_tables(page.read_text(encoding="utf-8"))
    return files


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"
