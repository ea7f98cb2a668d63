"""What a line looks like, what it may hold, and that it never stops a worker."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from worker.adapters.logs import ContactHash, StructuredLog
from worker.core.errors import OutcomeUnknown

CANARY = "canary-question"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def log_to(stream: io.StringIO, **options: Any) -> StructuredLog:
    settings = {"log_format": "auto", "level": "info", "worker_id": "w-1"} | options
    return StructuredLog(stream, **settings)


def written(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def failure() -> BaseException:
    """Return an exception with a cause, both raised, both with a message that must not be shown."""
    try:
        try:
            int(CANARY)
        except ValueError as error:
            raise KeyError(CANARY) from error
    except KeyError as error:
        return error


def test_log_line_is_json_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    log_to(stream)("gate.closed", reason="throttled", retry_in_s=30.0)
    (line,) = written(stream)
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "warning",
        "event": "gate.closed",
        "worker_id": "w-1",
        "reason": "throttled",
        "retry_in_s": 30.0,
    }


def test_log_line_is_readable_on_a_terminal() -> None:
    stream = Terminal()
    log_to(stream, has_color=False)("gate.closed", reason="throttled", detail=None)
    assert "gate.closed" in stream.getvalue()
    assert "reason=throttled" in stream.getvalue()
    assert "detail" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_log_line_has_colours_on_a_terminal_only() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    log_to(terminal)("gate.opened", reason="throttled")
    log_to(pipe, log_format="console")("gate.opened", reason="throttled")
    assert "\x1b" in terminal.getvalue()
    assert "\x1b" not in pipe.getvalue()


@pytest.mark.parametrize(("level", "count"), [("debug", 3), ("info", 2), ("warning", 1), ("error", 0)])
def test_log_writes_what_is_at_least_at_its_level(level: str, count: int) -> None:
    stream = io.StringIO()
    log = log_to(stream, level=level)
    log("reply.published", reply_id="r")
    log("worker.stopped", duration_s=0)
    log("gate.closed", reason="throttled")
    assert len(written(stream)) == count


def test_log_leaves_out_what_is_not_in_the_closed_list() -> None:
    stream = io.StringIO()
    log = log_to(stream)
    log("question.shown", question=CANARY)
    log("worker.stopped", duration_s=1, question=CANARY)
    log("worker.stopped", duration_s={"question": CANARY})
    assert [line.get("duration_s") for line in written(stream)] == [1, "<dict>"]
    assert CANARY not in stream.getvalue()


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ("question.shown", {}),
        ("worker.stopped", {"question": "x"}),
        ("worker.stopped", {"duration_s": {"a": 1}}),
        ("reply.published", {"question": "x"}),
    ],
)
def test_strict_log_raises_on_what_is_not_in_the_closed_list(event: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Bug: "):
        log_to(io.StringIO(), is_strict=True)(event, **fields)


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["json", "terminal"])
def test_exception_shows_classes_and_places_and_neither_messages_nor_locals(stream: io.StringIO) -> None:
    log_to(stream)("loop.crashed", loop="turns", exception=failure())
    assert "KeyError" in stream.getvalue()
    assert "ValueError" in stream.getvalue()
    assert "test_logs_lines.py" in stream.getvalue()
    assert "in failure" in stream.getvalue()
    assert CANARY not in stream.getvalue()


def test_exception_of_our_own_keeps_its_code_and_detail() -> None:
    stream = io.StringIO()
    log_to(stream)("loop.crashed", loop="turns", exception=OutcomeUnknown("HTTP 502"))
    told = written(stream)[0]["exception"]
    assert (told["code"], told["detail"]) == ("outcome_unknown", "HTTP 502")


def test_log_line_is_ascii_whatever_it_holds() -> None:
    stream = io.StringIO()
    log_to(stream)("gate.closed", reason="é\u2028😀", retry_in_s=float("inf"))
    log_to(stream)("loop.crashed", loop="turns", exception=OutcomeUnknown("é \udc80"))
    assert stream.getvalue().isascii()
    closed, crashed = written(stream)
    assert closed["reason"].encode("ascii").decode("unicode_escape") == "é\u2028😀"
    assert closed["retry_in_s"] == float("inf")
    assert crashed["exception"]["detail"] == "é \udc80"


def test_exception_group_shows_its_members() -> None:
    stream = io.StringIO()
    group = ExceptionGroup(CANARY, [ValueError(CANARY), OSError(28, CANARY)])
    log_to(stream)("loop.crashed", exception=group)
    told = written(stream)[0]["exception"]
    assert [member["type"] for member in told["group"]] == ["ValueError", "OSError"]
    assert told["group"][1]["errno"] == 28
    assert CANARY not in stream.getvalue()


def test_exception_that_is_its_own_cause_ends() -> None:
    stream, error = io.StringIO(), ValueError()
    error.__cause__ = error
    log_to(stream)("loop.crashed", exception=error)
    assert len(written(stream)) == 1


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_text_cannot_forge_a_line_or_steer_a_terminal(log_format: str) -> None:
    stream = io.StringIO()
    log_to(stream, log_format=log_format)("event.rejected", question_id="a\n\x1b[2Jb", detail="x" * 9999)
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()
    assert len(stream.getvalue()) < 1000


def test_log_of_a_closed_stream_does_not_raise() -> None:
    stream = io.StringIO()
    log = log_to(stream)
    stream.close()
    log("worker.stopped", duration_s=0)


def test_log_of_a_full_disk_does_not_raise() -> None:
    full = open("/dev/full", "w")  # noqa: PTH123, SIM115 (closing it raises, as its buffer cannot be written)
    log_to(full)("worker.stopped", duration_s=0)
    with pytest.raises(OSError, match="No space"):
        full.close()


def test_contact_hash_depends_on_the_key_and_the_contact() -> None:
    one = ContactHash("key-one")
    assert len({one("EXT_1"), one("EXT_2"), ContactHash("key-two")("EXT_1")}) == 3


def test_contact_hash_is_hmac_sha256() -> None:
    # RFC 4231, test case 2.
    assert ContactHash("Jefe")("what do ya want for nothing?") == "5bdcc146bf60754e"
