"""What libraries log, warn about and raise comes out as lines of ours, without its variable parts."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from worker.adapters.logs import StructuredLog, install
from worker.adapters.logs.library import LibraryRecords
from worker.core.log_events import ALWAYS, EVENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

CANARY = "canary-answer"


class Lines:
    """The log of this process for one test, and what was written to it."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.undo = install(StructuredLog(self.stream, log_format="json", level="info", worker_id="w"))

    @property
    def all(self) -> list[dict[str, Any]]:
        assert CANARY not in self.stream.getvalue()
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    @property
    def only(self) -> dict[str, Any]:
        (line,) = self.all
        return line


@pytest.fixture
def lines() -> Iterator[Lines]:
    lines = Lines()
    yield lines
    # pytest has handlers of its own for each phase of a test; those of this one must stay.
    root = logging.getLogger()
    others = [handler for handler in root.handlers if not isinstance(handler, LibraryRecords)]
    lines.undo()
    root.handlers[:] = others


@pytest.mark.parametrize("library", ["dramatiq.worker", "aiohttp.client", "sqlalchemy.pool", "somebody.else"])
def test_library_record_keeps_its_template_and_numbers_only(lines: Lines, library: str) -> None:
    logging.getLogger(library).warning("%s took %d of %.1f s (100%%): %r", CANARY, 3, 2.5, ValueError(CANARY))
    assert lines.only["event"] == "library.logged"
    assert lines.only["logger"] == library
    assert lines.only["level"] == "warning"
    assert lines.only["message"] == "<str> took 3 of 2.5 s (100%): <ValueError>"
    assert lines.only["where"].startswith("unit/test_logs_library.py:")


def test_library_record_with_named_parts_keeps_its_template(lines: Lines) -> None:
    logging.getLogger("aiohttp").error("%(what)s failed %(times)d times", {"what": CANARY, "times": 2})
    assert lines.only["message"] == "<str> failed 2 times"
    assert lines.only["level"] == "error"


def test_library_record_that_was_put_together_before_is_cut_to_its_fixed_words(lines: Lines) -> None:
    logging.getLogger("asyncio").error(f"Exception in callback set_result('{CANARY}')")  # noqa: G004
    assert lines.only["message"] == "Exception in callback set_result"


def test_unknown_library_with_ready_made_text_shows_none_of_it(lines: Lines) -> None:
    logging.getLogger("somebody.else").error(f"{CANARY} is bad")  # noqa: G004
    assert lines.only["message"] == "<text>"


def test_library_record_shows_the_class_of_an_exception(lines: Lines) -> None:
    try:
        int(CANARY)
    except ValueError:
        logging.getLogger("dramatiq").exception("Failed to process message %s.", CANARY)
    assert lines.only["exception"]["type"] == "ValueError"


def test_library_records_below_warning_are_left_out(lines: Lines) -> None:
    logging.getLogger("sqlalchemy.engine").info("select %s", CANARY)
    assert lines.all == []


def test_pikas_tale_of_a_lost_connection_is_debug(lines: Lines) -> None:
    logging.getLogger("pika.adapters.utils.io_services_utils").error("Socket failed to connect: %s", CANARY)
    assert lines.all == []
    logging.getLogger("pika.callback").error("Calling %s failed", CANARY)
    assert lines.only["message"] == "Calling <str> failed"


def test_record_that_does_not_format_is_still_a_line(
    lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    record = logging.makeLogRecord({"name": "dramatiq", "msg": "%d and %d", "args": (CANARY,), "levelno": 30})
    (handler,) = [each for each in logging.getLogger().handlers if isinstance(each, LibraryRecords)]
    handler.handle(record)
    assert lines.only["message"] == "<str> and <NoneType>"
    assert capsys.readouterr().err == ""


def test_warning_shows_its_class_and_place(lines: Lines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning(UserWarning(CANARY), UserWarning, "/a/site-packages/lib/x.py", 7)
    assert lines.only["logger"] == "py.warnings"
    assert lines.only["message"] == "UserWarning"
    assert lines.only["where"] == "lib/x.py:7"


def test_exception_that_ends_a_thread_is_a_line(lines: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError(CANARY)

    thread = threading.Thread(target=fail, name="bell")
    thread.start()
    thread.join()
    assert lines.only["event"] == "loop.crashed"
    assert lines.only["loop"] == "thread bell"
    assert lines.only["exception"]["type"] == "ValueError"
    assert capsys.readouterr().err == ""


def test_task_that_nobody_asked_is_a_line_without_its_message(lines: Lines) -> None:
    async def fail() -> None:
        raise ValueError(CANARY)

    async def forget() -> None:
        task = asyncio.ensure_future(fail())
        await asyncio.wait([task])

    asyncio.run(forget())
    gc.collect()
    assert lines.only["logger"] == "asyncio"
    assert lines.only["message"] == "Task exception was never retrieved"
    assert lines.only["exception"]["type"] == "ValueError"


def test_undo_puts_everything_back() -> None:
    before = (logging.getLogger().handlers[:], warnings.showwarning, threading.excepthook)
    lines = Lines()
    assert warnings.showwarning is not before[1]
    lines.undo()
    assert (logging.getLogger().handlers[:], warnings.showwarning, threading.excepthook) == before


def test_lines_of_libraries_have_every_field_that_the_list_gives_them(lines: Lines) -> None:
    try:
        int(CANARY)
    except ValueError:
        logging.getLogger("dramatiq").exception("Failed to process message %s.", CANARY)
    assert set(lines.only) - set(ALWAYS) == set(EVENTS["library.logged"].fields)
