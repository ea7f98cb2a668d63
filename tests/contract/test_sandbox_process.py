"""The sandbox as a process, and as a command."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from worker.cli.app import run_program
from worker.cli.sandbox import sandbox as command
from worker.sandbox.__main__ import main
from worker.sandbox.accepts import accepted_by
from worker.sandbox.faults import Action, Match
from worker.sandbox.process import SandboxError, SandboxProcess
from worker.sandbox.serve import EXIT_CANNOT_LISTEN, EXIT_CANNOT_READ, EXIT_USAGE

app = typer.Typer()
app.command()(command)

PROGRAM = [sys.executable, "-m", "worker.sandbox"]


def test_process_starts_with_a_url_answers_and_stops() -> None:
    with SandboxProcess(latency_s=0.5, switches={"citations": "empty"}) as sandbox:
        assert sandbox.url.startswith("http://127.0.0.1:")
        assert sandbox.url.endswith("/api/v1")
        assert sandbox.switches()["citations"] == "empty"
        assert sandbox.switches()["latency_s"] == 0.5
        sandbox.set_faults({"action": {"kind": "credits"}})
        assert len(sandbox.faults()) == 1
        sandbox.set_faults()
        assert sandbox.faults() == []
        assert sandbox.effects() == []
        assert sandbox.summary()["requests"] == 0
        pid = sandbox.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_process_says_what_is_wrong_with_a_switch() -> None:
    with SandboxProcess() as sandbox, pytest.raises(SandboxError, match="Did you mean 'citations'"):
        sandbox.set_switches(citation="null")


def test_process_that_does_not_start_says_why_and_leaves_nothing() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        sandbox = SandboxProcess(port=taken.getsockname()[1])
        with pytest.raises(SandboxError, match="cannot listen"):
            sandbox.start()
    with pytest.raises(SandboxError, match="not running"):
        sandbox.summary()


def test_process_ends_when_the_one_who_started_it_is_gone() -> None:
    process = subprocess.Popen(
        [*PROGRAM, "--port", "0", "--stop-with-stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("http://")
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")


def post_raw(sandbox: SandboxProcess) -> socket.socket:
    port = int(sandbox.root.rpartition(":")[2])
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(
        b"POST /api/v1/projects/123/conversations/s1/messages HTTP/1.1\r\nHost: sandbox\r\n"
        b"Authorization: Bearer k\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n"
        b'{"prompt":"p"}'
    )
    return connection


def test_process_resets_connections_for_real_and_has_done_the_work() -> None:
    with SandboxProcess(switches={"unknown_session": "create"}) as sandbox:
        sandbox.set_faults({"match": {"call": "post"}, "action": {"kind": "reset", "when": "after_work"}})
        with post_raw(sandbox) as connection, pytest.raises(ConnectionResetError):
            connection.recv(1)
        assert [each["question"] for each in sandbox.effects("message")] == ["p"]


def test_process_stops_although_a_call_hangs() -> None:
    sandbox = SandboxProcess()
    sandbox.start()
    sandbox.set_faults({"action": {"kind": "hang"}})
    with post_raw(sandbox) as connection:
        until = time.monotonic() + 20
        while sandbox.summary()["open_requests"] == 0:
            assert time.monotonic() < until, "the call never arrived"
        assert sandbox._process is not None
        sandbox._process.terminate()
        assert connection.recv(1) == b""
    # Waited for first: a second signal would meet a process that has put its handlers away already.
    assert sandbox._process.wait(20) == 0
    sandbox.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sandbox_prints_its_url_first_and_stops_cleanly_on_a_signal(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "--port", "0", "--rpm", "60"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip().endswith("/api/v1")
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")


def test_command_refuses_a_taken_port_with_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = CliRunner().invoke(app, ["--port", str(taken.getsockname()[1])])
    assert result.exit_code == EXIT_CANNOT_LISTEN
    assert "--port 0 takes any free one" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("citation=null", "Did you mean 'citations'"),
        ("citations=nul", "Did you mean 'null'"),
        ("latency_s=soon", "accepts number from 0"),
        ("latency_s", "NAME=VALUE"),
    ],
)
def test_command_refuses_a_wrong_switch_with_the_right_one(given: str, message: str) -> None:
    result = CliRunner().invoke(app, ["--port", "0", "--switch", given])
    assert result.exit_code == EXIT_USAGE
    assert message in result.output


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["--port", "99999"], "--port"),
        (["--host", "203.0.113.1", "--port", "0"], "--host"),
        (["--host", "nosuch.invalid", "--port", "0"], "--host"),
        (["--host", "a..b", "--port", "0"], "--host"),
    ],
)
def test_module_refuses_an_address_it_cannot_have_without_a_traceback(
    arguments: list[str], advice: str
) -> None:
    result = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == EXIT_CANNOT_LISTEN
    assert "cannot listen" in result.stderr
    assert f"Choose another with {advice}" in result.stderr
    assert "Traceback" not in result.stderr


def test_module_refuses_a_wrong_switch_without_a_traceback() -> None:
    result = subprocess.run(
        [*PROGRAM, "--switch", "citation=null"], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == EXIT_USAGE
    assert "Did you mean 'citations'" in result.stderr
    assert "Traceback" not in result.stderr


PAGE = (Path(__file__).parents[2] / "docs/how-to/use-the-sandbox.md").read_text(encoding="utf-8")
#: The example that the page shows.
FAULTS = PAGE.partition("```json\n")[2].partition("\n```")[0]


def test_faults_of_a_file_are_there_from_the_start(tmp_path: Path) -> None:
    (tmp_path / "faults.json").write_text(FAULTS)
    sandbox = SandboxProcess()
    sandbox._arguments += ["--faults", str(tmp_path / "faults.json")]
    with sandbox:
        [rule] = sandbox.faults()
    [given] = json.loads(FAULTS)
    assert rule["match"] == given["match"]
    assert given["action"].items() <= rule["action"].items()


def test_page_names_all_that_a_fault_can_have() -> None:
    for names in (accepted_by(Match), accepted_by(Action), accepted_by(Action)["kind"].choices):
        assert [name for name in names if f"`{name}`" not in PAGE and f".{name}`" not in PAGE] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"action": {"kind": "rest"}}]', "Did you mean 'reset'"),
        ('{"action": {"kind": "reset"}}', "Faults are a JSON list"),
        ("[", "faults.json is not JSON"),
        ("[" * 100_000, "faults.json is not JSON"),
    ],
)
def test_faults_of_a_file_that_are_wrong_are_refused_before_it_listens(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "faults.json"
    file.write_text(text)
    assert run_program(["sandbox", "--port", "0", "--faults", str(file)]) == EXIT_USAGE
    assert message in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["--port", "0", "--faults", str(file)])
    assert ended.value.code == EXIT_USAGE
    assert message in capsys.readouterr().err


def test_file_of_faults_that_cannot_be_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "none.json")
    assert run_program(["sandbox", "--port", "0", "--faults", file]) == EXIT_CANNOT_READ
    assert "none.json" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["--port", "0", "--faults", file])
    assert ended.value.code == EXIT_CANNOT_READ
    assert "none.json" in capsys.readouterr().err
