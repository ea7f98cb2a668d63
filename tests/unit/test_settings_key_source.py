"""The key is followed as its file changes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from worker.settings import KeySource, load_settings

if TYPE_CHECKING:
    from pathlib import Path


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Hands:
    return Hands()


def swap(file: Path, text: str) -> None:
    """Replace a file as secret mounts do: another file takes the name."""
    other = file.with_suffix(".new")
    other.write_text(text)
    os.replace(other, file)  # noqa: PTH105


def test_key_source_without_a_file_returns_the_key() -> None:
    assert KeySource(SecretStr("one"))() == "one"
    assert KeySource(None)() == ""


def test_key_source_follows_its_file_at_most_once_a_second(tmp_path: Path, clock: Hands) -> None:
    file = tmp_path / "key"
    file.write_text("one\n")
    source = KeySource(SecretStr("one"), file=file, monotonic=clock)
    assert source() == "one"
    swap(file, "two\n")
    clock.now = 0.9
    assert source() == "one"
    clock.now = 1.0
    assert source() == "two"


@pytest.mark.parametrize("spoilt", ["", "\n", "with blank", "caf\u00e9"])
def test_key_source_keeps_the_last_good_key_while_the_file_is_unusable(
    tmp_path: Path, clock: Hands, spoilt: str
) -> None:
    file = tmp_path / "key"
    file.write_text("one")
    source = KeySource(SecretStr("one"), file=file, monotonic=clock)
    swap(file, spoilt)
    clock.now = 1
    assert source() == "one"
    swap(file, "two")
    clock.now = 2
    assert source() == "two"


def test_key_source_keeps_the_last_good_key_while_the_file_is_missing(tmp_path: Path, clock: Hands) -> None:
    file = tmp_path / "key"
    file.write_text("one")
    source = KeySource(SecretStr("one"), file=file, monotonic=clock)
    file.unlink()
    clock.now = 1
    assert source() == "one"


def test_settings_give_a_key_source_that_follows_the_named_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("one\n")
    settings = load_settings({"DATABASE_URL": "sqlite:////tmp/x.db", "CUSTOMGPT_API_KEY_FILE": str(file)})
    assert settings.customgpt_api_key_file == file
    assert settings.key_source()() == "one"


def test_key_source_does_not_show_its_key(tmp_path: Path) -> None:
    assert "one" not in repr(KeySource(SecretStr("one"), file=tmp_path / "key"))
