"""Health and metrics of real workers, over HTTP and by the command, with workers stopped and held up."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Ran, Worker, askrelay
from tests.fleet import Fleet, generated
from tests.judge import Asked
from tests.servers.rabbitmq import AmqpNames, RabbitMQ
from worker.adapters.metrics import METRICS, PROCESS_METRICS
from worker.cli.exit_codes import ExitCode

#: Nothing listens there.
NOWHERE = "127.0.0.1:1"
#: s. A worker answers in milliseconds; one that is stopped never does.
ANSWER_S = 5.0
DEFAULT_PORT = 8088


def get(port: int, path: str, *, within_s: float = ANSWER_S) -> tuple[int, str]:
    """Ask a worker over HTTP; TimeoutError when it does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=within_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def told(port: int, path: str) -> tuple[int, dict[str, Any]]:
    status, body = get(port, path)
    return status, json.loads(body)


def samples(port: int) -> dict[str, float]:
    """Return every sample of /metrics by its name and labels."""
    status, text = get(port, "/metrics")
    assert status == http.HTTPStatus.OK
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def names(port: int) -> dict[str, str]:
    """Return every metric of /metrics with its kind."""
    found = re.findall(r"^# TYPE (\S+) (\S+)$", get(port, "/metrics")[1], re.MULTILINE)
    return dict(found)


def is_answering(port: int) -> bool:
    try:
        return get(port, "/health/live", within_s=1.0)[0] == http.HTTPStatus.OK
    except OSError:
        return False


def ports(fleet: Fleet, workers: int) -> list[int]:
    """Wait until so many workers listen, and return their ports."""

    def found() -> list[int]:
        with suppress(ValueError):  # a line that is not whole yet
            return [line["port"] for line in fleet.logs() if line["event"] == "health.listening"]
        return []

    fleet.wait_until(lambda: len(found()) == workers, "health.listening")
    return found()


def probe(port: int, *arguments: str) -> Ran:
    return askrelay({}, "health", "--port", str(port), *arguments)


@contextmanager
def fleet_on_sqlite(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, folder: Path, **settings: str
) -> Iterator[Fleet]:
    url = f"sqlite:///{folder}/ledger.db"
    with Fleet(
        rabbitmq=rabbitmq, names=amqp_names, database_url=url, folder=folder, settings=settings
    ) as fleet:
        yield fleet


def is_ready(port: int) -> bool:
    return told(port, "/health/ready")[0] == http.HTTPStatus.OK


def test_a_worker_stopped_by_a_signal_is_not_alive_until_it_goes_on(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, tmp_path: Path
) -> None:
    with fleet_on_sqlite(rabbitmq, amqp_names, tmp_path) as fleet:
        worker = fleet.start_worker()
        [port] = ports(fleet, 1)
        fleet.wait_until(lambda: is_ready(port), "ready")
        assert told(port, "/health/live") == (200, {"is_alive": True, "stuck": {}})
        assert probe(port).text == "alive\n"
        assert probe(port, "--ready").text == "ready\n"

        worker.send_signal(signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            get(port, "/health/live", within_s=1.0)
        stopped = probe(port)
        assert (stopped.code, stopped.text[:10]) == (ExitCode.CHECK_FAILED, "not alive:")

        worker.send_signal(signal.SIGCONT)
        fleet.wait_until(lambda: is_answering(port), "alive again")
        assert probe(port).code == ExitCode.OK


def test_a_worker_whose_api_hangs_stays_alive_and_is_not_ready_once_the_breaker_opened(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, tmp_path: Path
) -> None:
    quick = {"ASKRELAY_REQUEST_TIMEOUT_S": "1", "ASKRELAY_LEASE_S": "2"}
    with fleet_on_sqlite(rabbitmq, amqp_names, tmp_path, **quick) as fleet:
        fleet.start_worker()
        [port] = ports(fleet, 1)
        fleet.wait_until(lambda: is_ready(port), "ready")
        fleet.sandbox.set_faults({"match": {}, "action": {"kind": "hang"}})
        fleet.ask(generated(contacts=8, each=1))
        lives: set[int] = set()

        def is_closed() -> bool:
            lives.add(get(port, "/health/live")[0])
            return told(port, "/health/ready") == (
                503,
                {"is_ready": False, "missing": {"gate": "closed: breaker"}},
            )

        fleet.wait_until(is_closed, "the breaker opened")
        assert lives == {200}
        assert samples(port)['askrelay_gate_closed{reason="breaker"}'] == 1
        assert probe(port).code == ExitCode.OK
        ran = probe(port, "--ready")
        assert (ran.code, ran.text) == (ExitCode.CHECK_FAILED, "not ready: gate closed: breaker\n")

        fleet.sandbox.set_faults()
        fleet.wait_for_replies(8)
        fleet.wait_until(lambda: is_ready(port), "ready again")
        assert get(port, "/health/live")[0] == http.HTTPStatus.OK
        assert samples(port)['askrelay_gate_closed{reason="breaker"}'] == 0


def test_what_is_documented_is_measured_and_the_other_way_round(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, tmp_path: Path
) -> None:
    with fleet_on_sqlite(rabbitmq, amqp_names, tmp_path) as fleet:
        fleet.start_worker()
        [port] = ports(fleet, 1)
        fleet.ask(generated(contacts=3, each=2))
        fleet.wait_for_replies(6)
        exposed = names(port)
        page = (Path(__file__).parents[2] / "docs" / "reference" / "metrics.md").read_text()
    documented = {metric.name: metric.kind for metric in (*METRICS, *PROCESS_METRICS)}
    assert exposed == documented
    assert set(re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE)) == set(documented)


def test_numbers_of_workers_add_up_and_those_of_the_fleet_are_the_same_from_each(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, tmp_path: Path
) -> None:
    questions = generated(contacts=20, each=3)
    with fleet_on_sqlite(rabbitmq, amqp_names, tmp_path) as fleet:
        fleet.start_worker()
        fleet.start_worker()
        both = ports(fleet, 2)
        fleet.wait_until(lambda: all(is_ready(port) for port in both), "both ready")
        fleet.ask(questions, repeats=2)
        fleet.wait_for_replies(60)

        def summed(name: str) -> float:
            return sum(samples(port).get(name, 0) for port in both)

        confirmed = 'askrelay_replies_total{result="confirmed"}'
        fleet.wait_until(lambda: summed(confirmed) >= 60, "every confirm was counted")
        assert summed('askrelay_turns_total{error_code="",verdict="answered"}') == 60
        assert summed('askrelay_answers_total{outcome="posted"}') == 60
        assert summed('askrelay_events_total{error_code="",result="new"}') == 60
        assert summed("askrelay_asked_to_answered_seconds_count") == 60
        assert summed("askrelay_queue_time_seconds_count") == 60
        assert summed('askrelay_api_call_duration_seconds_count{call="post_question",result="ok"}') == 60
        assert (
            summed('askrelay_api_call_duration_seconds_count{call="create_conversation",result="ok"}') == 20
        )
        repeats = [
            f'askrelay_events_total{{error_code="",result="repeat_{kind}"}}'
            for kind in ("finished", "unfinished")
        ]
        assert sum(map(summed, repeats)) == 60
        assert summed('askrelay_doorbells_total{fate="rung"}') > 0
        assert (
            summed("askrelay_ledger_commit_operations_count")
            == summed("askrelay_ledger_commit_duration_seconds_count")
            > 0
        )

        def fleet_wide(port: int) -> dict[str, float]:
            shared = [metric.name for metric in METRICS if metric.is_fleet_wide and "age" not in metric.name]
            return {name: value for name, value in samples(port).items() if name.partition("{")[0] in shared}

        fleet.wait_until(
            lambda: (
                fleet_wide(both[0]) == fleet_wide(both[1])
                and fleet_wide(both[0])["askrelay_questions_waiting"] == 0
            ),
            "the same figures from both",
        )
        assert fleet_wide(both[0])["askrelay_workers"] == 2
        assert fleet_wide(both[0])["askrelay_pace_remaining_requests"] == float("inf")
        assert samples(both[0])["askrelay_requests_at_once_limit"] == float("inf")


def test_metrics_hold_nothing_of_what_contacts_wrote(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, tmp_path: Path
) -> None:
    with fleet_on_sqlite(rabbitmq, amqp_names, tmp_path) as fleet:
        fleet.start_worker()
        [port] = ports(fleet, 1)
        fleet.sandbox.set_faults(
            {"match": {"nth": 1}, "action": {"kind": "reply", "status": 400, "message": "canary"}}
        )
        fleet.ask([Asked(f"evt-{number}", f"canary-{number}", f"canary {number}") for number in range(5)])
        with fleet.publishing() as channel:
            fleet.publish_raw(channel, b'{"canary', None, message_id="canary-id")
        fleet.wait_for_replies(5)
        rejected = 'askrelay_events_total{error_code="malformed_event",result="rejected"}'
        fleet.wait_until(lambda: samples(port)[rejected] == 1, "the rejection was counted")
        text = "".join(get(port, path)[1] for path in ("/metrics", "/health/live", "/health/ready"))
    assert "canary" not in text


def without_broker(folder: Path, **settings: str) -> dict[str, str]:
    return {
        "RABBITMQ_URL": f"amqp://guest:guest@{NOWHERE}/",
        "DATABASE_URL": f"sqlite:///{folder}/ledger.db",
        "CUSTOMGPT_API_KEY": "test",
        "CUSTOMGPT_PROJECT_ID": "123",
        "CUSTOMGPT_API_URL": f"http://{NOWHERE}/api/v1",
        **settings,
    }


def test_a_worker_without_a_broker_is_alive_and_not_ready(tmp_path: Path) -> None:
    with Worker(without_broker(tmp_path, ASKRELAY_HEALTH_PORT="0"), tmp_path) as worker:
        port = worker.wait_for("health.listening")["port"]
        worker.wait_for("bus.disconnected", link="publish")
        assert get(port, "/health/live")[0] == http.HTTPStatus.OK
        status, ready = told(port, "/health/ready")
        assert (status, ready["missing"]) == (503, {"broker": "not connected: consume, publish"})
        assert samples(port)['askrelay_broker_connected{link="consume"}'] == 0
        assert worker.stop() == ExitCode.OK


def test_a_worker_that_waits_for_its_ledger_is_alive_and_not_ready(tmp_path: Path) -> None:
    url = f"postgresql://nobody@{NOWHERE}/none"
    with Worker(without_broker(tmp_path, ASKRELAY_HEALTH_PORT="0", DATABASE_URL=url), tmp_path) as worker:
        port = worker.wait_for("health.listening")["port"]
        worker.wait_for("ledger.lost")
        assert get(port, "/health/live")[0] == http.HTTPStatus.OK
        missing = {"worker": "starting", "ledger": "away"}
        assert told(port, "/health/ready") == (503, {"is_ready": False, "missing": missing})
        # What the alerts look at, from the start on.
        measured = samples(port)
        assert measured["askrelay_ledger_reachable"] == 0
        assert measured['askrelay_broker_connected{link="consume"}'] == 0
        assert measured['askrelay_broker_connected{link="publish"}'] == 0
        assert worker.stop() == ExitCode.OK


def test_a_chosen_port_that_is_taken_ends_the_start_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = askrelay(without_broker(tmp_path, ASKRELAY_HEALTH_PORT=port), "run")
    assert ran.code == ExitCode.MACHINE
    assert "askrelay: the port is taken" in ran.err
    assert "ASKRELAY_HEALTH_PORT" in ran.err
    assert "Traceback" not in ran.text


def test_a_second_worker_on_a_host_does_without_the_port_that_nobody_chose(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # taken by somebody else: that will do
            taken.bind(("127.0.0.1", DEFAULT_PORT))
            taken.listen()
        with Worker(without_broker(tmp_path), tmp_path) as worker:
            warned = worker.wait_for("settings.warned", setting="ASKRELAY_HEALTH_PORT")
            worker.wait_for("worker.started")
            assert worker.stop() == ExitCode.OK
    assert f"port {DEFAULT_PORT} is taken" in warned["detail"]


def test_the_probe_of_nobody_says_so(tmp_path: Path) -> None:
    ran = askrelay({"ASKRELAY_HEALTH_PORT": "1"}, "health")
    assert ran.code == ExitCode.CHECK_FAILED
    assert ran.out == "not alive: no worker answers at 127.0.0.1:1 (ConnectionRefusedError)\n"


def test_the_probe_needs_a_port(tmp_path: Path) -> None:
    ran = askrelay({"ASKRELAY_HEALTH_PORT": "0"}, "health")
    assert ran.code == ExitCode.SETTINGS
    assert "--port" in ran.err
