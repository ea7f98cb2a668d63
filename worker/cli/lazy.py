"""A group of commands whose modules are imported only when one of them runs.

``askrelay --help`` and shell completion answer at once, however much the commands need.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command is, and the sentence that lists it, which a test compares with its docstring."""

    name: str
    module: str
    #: A function with typer's parameters, or a typer.Typer with commands of its own.
    attribute: str
    summary: str

    def load(self) -> Any:
        """Import the module and return typer's command."""
        found = getattr(import_module(self.module), self.attribute)
        if not isinstance(found, typer.Typer):
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            single.command(self.name)(found)
            found = single
        loaded = typer.main.get_command(found)
        loaded.name = self.name
        return loaded


class LazyGroup(TyperGroup):
    """Lists stand-ins, and loads the one that is about to run."""

    lazy: dict[str, Command]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the real command in the place of its stand-in."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, self.lazy[name].load() if name in self.lazy else command, rest

    @classmethod
    def of(cls, commands: tuple[Command, ...]) -> type[LazyGroup]:
        """Return the class of a group with these commands, for typer.Typer(cls=...)."""
        table = {command.name: command for command in commands}

        class Group(cls):  # type: ignore[misc,valid-type]
            """The group with its table filled in."""

            lazy = table

            def __init__(self, **attributes: Any) -> None:
                super().__init__(**attributes)
                for command in commands:
                    self.add_command(TyperCommand(command.name, help=command.summary, rich_markup_mode=None))

        return Group
