"""The parts of doctor that no server is needed for."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.commands import askrelay
from worker.cli.doctor_checks.finding import Finding, Say
from worker.cli.doctor_checks.ledger_sqlite import file_system_of, look_at_sqlite, may_lose_pages
from worker.cli.doctor_checks.refused import Refusal
from worker.cli.doctor_checks.side_by_side import run_side_by_side
from worker.cli.exit_codes import ExitCode

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
31 22 0:27 / /srv rw,relatime shared:2 master:1 - nfs4 store:/srv rw
32 31 0:28 / /srv/with\\040blank rw - xfs /dev/vdb rw
33 22 0:29 / /run rw - tmpfs tmpfs rw
34 33 254:0 / /run rw - ext4 /dev/vdc rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/var/lib", "ext4"), ("/srv/askrelay", "nfs4"), ("/srv/with blank/x", "xfs"), ("/run", "ext4")],
)
def test_file_system_is_that_of_the_innermost_and_latest_mount(folder: str, kind: str) -> None:
    assert file_system_of(Path(folder), MOUNTS) == kind


@pytest.mark.parametrize(
    ("version", "may"),
    [
        ("3.40.1", True),
        ("3.44.5", True),
        ("3.44.6", False),
        ("3.45.0", True),
        ("3.50.6", True),
        ("3.50.7", False),
        ("3.51.2", True),
        ("3.51.3", False),
        ("3.53.0", False),
    ],
)
def test_releases_whose_race_may_lose_pages_are_known(version: str, may: bool) -> None:
    assert may_lose_pages(tuple(int(part) for part in version.split("."))) is may


@pytest.mark.parametrize(
    ("kind", "state"), [("nfs4", "wrong"), ("fuse.sshfs", "wrong"), ("tmpfs", "warning"), ("ext4", None)]
)
def test_file_systems_that_lose_data_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, state: str | None
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"1 1 0:1 / / rw - {kind} none rw\n")
    monkeypatch.setattr("worker.cli.doctor_checks.ledger_sqlite._MOUNTS", mounts)
    findings: list[Finding] = []
    look_at_sqlite(f"sqlite:///{tmp_path / 'ledger.db'}", findings.append)
    assert [each.state for each in findings if f"({kind})" in each.text] == ([state] if state else [])


def test_file_that_is_no_database_is_told_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    file.write_text("some other file that somebody needs\n" * 50)
    findings: list[Finding] = []
    look_at_sqlite(f"sqlite:///{file}", findings.append)
    assert "file is not a database" in findings[-1].text
    assert findings[-1].state == "wrong"
    assert file.read_text().startswith("some other file")


def test_check_that_hangs_is_left_behind_and_the_others_are_told() -> None:
    is_over = threading.Event()

    def hang(say: Say) -> None:
        say(Finding("slow", "ok", "the first half"))
        is_over.wait()

    def crash(_: Say) -> None:
        raise ValueError("canary-secret")

    results = run_side_by_side(
        {"slow": hang, "crash": crash, "quick": lambda say: say(Finding("quick", "ok", "done"))},
        within_s=0.2,
    )
    is_over.set()
    assert results.has_hung
    assert [(each.check, each.state) for each in results.findings] == [
        ("slow", "ok"),
        ("slow", "wrong"),
        ("crash", "wrong"),
        ("quick", "ok"),
    ]
    assert "canary" not in str(results)


@pytest.mark.parametrize(
    ("text", "difference", "current"),
    [
        (
            "inequivalent arg 'type' for exchange 'x': received 'topic' but current is 'direct'",
            "type",
            "direct",
        ),
        (
            "inequivalent arg 'x-max-length' for queue 'q': received none but current is the value '10' of",
            "x-max-length",
            "10",
        ),
        (
            "inequivalent arg 'x-queue-type' for queue 'q': received the value 'quorum' but current is none",
            "x-queue-type",
            "none",
        ),
        ("invalid arg 'x-max-age' for queue 'q' in vhost '/'", "", ""),
    ],
)
def test_refusal_names_what_differs_and_what_it_is(text: str, difference: str, current: str) -> None:
    refusal = Refusal(406, f"PRECONDITION_FAILED - {text}")
    assert (refusal.difference, refusal.current) == (difference, current)


def test_doctor_without_settings_says_which_are_missing() -> None:
    ran = askrelay({}, "doctor")
    assert ran.code == ExitCode.CHECK_FAILED
    assert "CUSTOMGPT_API_KEY is not set: make one at" in ran.out
    assert "CUSTOMGPT_PROJECT_ID is not set" in ran.out
