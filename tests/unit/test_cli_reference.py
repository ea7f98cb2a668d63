"""The reference pages follow the code: every command, setting, log event, error and exit code is on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from worker.cli import reference
from worker.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("name", "text"), reference.pages().items(), ids=reference.pages())
def test_reference_page_is_in_step_with_the_code(name: str, text: str) -> None:
    page = reference.FOLDER / name
    assert page.read_text(encoding="utf-8") == text, "run: python -m worker.cli.reference"


def test_check_of_a_stale_page_fails_and_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    assert reference.main(["--check"]) == ExitCode.CHECK_FAILED
    assert "settings.md is out of step" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert reference.main([]) == ExitCode.OK
    assert reference.main(["--check"]) == ExitCode.OK
