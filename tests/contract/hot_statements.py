"""Every statement of the ledger, found and not listed: made for its handlers, or held by its modules."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest
import sqlalchemy as sa

import worker.adapters.ledger
from tests.contract.ledger_cases import CONFIG
from worker.adapters.ledger.ledger import LedgerConfig, make_handlers
from worker.adapters.ledger.rows import Dialect
from worker.core.gate import Pace

#: Each makes statements that the others leave out.
CONFIGS = (
    CONFIG,
    replace(CONFIG, pace=Pace(requests_per_minute=1, requests_at_once=1), contact_daily_limit=1),
)
#: Modules whose statements run when somebody types a command, and look through whole tables.
TYPED = frozenset({"audit"})
PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")


@dataclass(frozen=True)
class Statement:
    """One statement in both dialects, with ``:name`` for parameters."""

    sqlite: str
    postgresql: str

    def __str__(self) -> str:
        return " ".join(self.sqlite.split())

    def numbered(self) -> tuple[str, list[str]]:
        """Return PostgreSQL's text with ``$1`` for parameters, and their names."""
        names = list(dict.fromkeys(PARAMETER.findall(self.postgresql)))
        text = PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", self.postgresql)
        return text, names


def all_statements() -> list[Statement]:
    """Return every statement that the adapter can run."""
    made = [
        Statement(*both)
        for config in CONFIGS
        for both in zip(_made_for(config, "sqlite"), _made_for(config, "postgresql"), strict=True)
    ]
    held = [Statement(text, text) for text in _held_by_modules()]
    is_whole = re.compile("select|insert|update|delete")
    return [each for each in dict.fromkeys([*made, *held]) if is_whole.match(each.sqlite)]


def _made_for(config: LedgerConfig, dialect: Dialect) -> Sequence[str]:
    """Return the texts of the statements that are made with the handlers, in order."""
    texts: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        text = sa.text

        def noted(words: str) -> sa.TextClause:
            texts.append(words)
            return text(words)

        patch.setattr(sa, "text", noted)
        make_handlers(config, dialect)
    return texts


def _held_by_modules() -> Iterator[str]:
    package = worker.adapters.ledger
    for found in pkgutil.iter_modules(package.__path__):
        if found.name in TYPED:
            continue
        module = importlib.import_module(f"{package.__name__}.{found.name}")
        yield from (held.text for held in vars(module).values() if isinstance(held, sa.TextClause))
