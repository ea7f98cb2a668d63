"""``askrelay settings``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.output import print_json, print_table
from worker.settings import SETTINGS, Setting, Settings, as_text, load_settings, masked_url

if TYPE_CHECKING:
    from collections.abc import Iterator


def settings(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show every setting with its value and origin.

    Secrets are masked. A wrong value or an unknown ASKRELAY_ name is told instead, with what to do.

    Example: ASKRELAY_CONCURRENCY=200 askrelay settings
    """
    loaded = load_settings()
    if as_json:
        print_json({setting.name: _as_json(setting, loaded) for setting in SETTINGS})
        return
    print_table(("SETTING", "VALUE", "FROM"), list(_rows(loaded)))
    for name, sentence in loaded.warnings:
        typer.echo(f"\n{name}: {sentence}.", err=True)


def _rows(loaded: Settings) -> Iterator[tuple[str, str, str]]:
    for setting in SETTINGS:
        origin = loaded.origin_of(setting.field)
        place = "environment" if origin.name == setting.name else str(origin)
        value = _shown(setting, loaded)
        # "100 turns"; but "off" and "0" have no unit, and the words after the comma are for the reference.
        unit = "" if value in {"", "off", "0"} else setting.unit.partition(",")[0]
        yield setting.name, f"{value} {unit}".rstrip(), place


def _as_json(setting: Setting, loaded: Settings) -> dict[str, Any]:
    origin = loaded.origin_of(setting.field)
    value = getattr(loaded, setting.field)
    return {
        "value": value if isinstance(value, int | float | bool) else _shown(setting, loaded) or None,
        "unit": setting.unit or None,
        "origin": origin.kind,
        "variable": origin.name or None,
        "default": setting.default or None,
        "about": setting.about,
    }


def _shown(setting: Setting, loaded: Settings) -> str:
    value = getattr(loaded, setting.field)
    if value is None:
        return setting.default
    return masked_url(as_text(value))
