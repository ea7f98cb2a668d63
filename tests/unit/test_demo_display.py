"""What the demo shows, on a terminal and in a pipe."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from worker.demo.counting import Spread, Summary
from worker.demo.lines import Lines
from worker.demo.questions import Asked
from worker.demo.record import ReplySeen, Trouble
from worker.demo.report import report
from worker.demo.screen import Photographer, frame
from worker.demo.view import Happening, NoScreen, Row, View, row_of, words_for, words_for_reply

GOOD = Summary(
    questions=3080,
    contacts=770,
    conversations=770,
    posts=3080,
    replies=3080,
    answered=3080,
    failed=0,
    recovered=1000,
    reposted=1000,
    duplicates_handed_in=308,
    reply_copies=10,
    faults=31,
    workers_killed=1,
    double_posts=0,
    missing_posts=0,
    missing_replies=0,
    double_replies=0,
    wrong_answers=0,
    split_contacts=0,
    added_latency_s=Spread(2000, 0.01, 1000.12),
    added_latency_hit_s=Spread(1080, 1.0, 1000.12),
    api_latency_s=Spread(3080, 3.0, 1000.12),
    duration_s=12.0,
)


def seen(**data: object) -> ReplySeen:
    event = {"id": "r", "type": "contact.question.answered", "data": data}
    return ReplySeen(1.0, json.dumps(event).encode(), event)


def printed(renderable: object, *, width: int = 80) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, height=24).print(renderable)
    return file.getvalue().splitlines()


def full_view() -> View:
    view = View(60, 20, "askrelay demo: 60 questions")
    row = Row("a-contact-with-a-long-name", "語" * 60, "[bold]ans[/wer" * 20, "20001", "question_rejected")
    view.latest.extend([row] * 100)
    view.waiting = [Row("bob", "Why? " * 30)] * 10
    view.happenings.extend([Happening(12.3, "something happened " * 10, is_trouble=True)] * 100)
    return view


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 15), (200, 70)])
def test_frame_fits_the_terminal_however_much_there_is_to_show(width: int, height: int) -> None:
    lines = printed(frame(full_view(), height=height), width=width)
    assert len(lines) < height
    assert max(map(cell_len, lines)) <= width


def test_frame_keeps_its_height_so_that_nothing_jumps() -> None:
    empty = printed(frame(View(60, 20, "askrelay demo"), height=24))
    assert len(empty) == len(printed(frame(full_view(), height=24)))


def test_frame_shows_what_waits_below_what_was_answered() -> None:
    view = View(2, 2, "askrelay demo")
    view.latest.append(Row("ann", "Why?", "Because.", "7", "answered"))
    view.waiting = [Row("bob", "When?")]
    text = "\n".join(printed(frame(view, height=24)))
    assert text.index("ann") < text.index("bob")
    assert "Because." in text
    assert "..." in text


@pytest.mark.parametrize("happened_after", [0, 1, 30], ids=["nothing", "a little", "much"])
@pytest.mark.parametrize("killed_at", [20, 30, 55], ids=["early", "in the middle", "late"])
def test_picture_shows_the_kill_whenever_it_comes_and_whatever_comes_after(
    killed_at: int, happened_after: int
) -> None:
    view = View(60, 20, "askrelay demo")
    photographer = Photographer(NoScreen(), height=24)
    photographer.start(view)
    for view.replied in range(61):
        if view.replied == killed_at:
            view.happenings.append(Happening(1.0, "killed", is_trouble=True, is_highlight=True))
        elif view.replied > killed_at:
            view.happenings.extend([Happening(2.0, "recovered")] * happened_after)
        photographer.tick()
    assert "killed" in "\n".join(printed(photographer.taken))


def test_picture_of_a_run_without_a_kill_is_its_end() -> None:
    view = View(60, 20, "askrelay demo")
    photographer = Photographer(NoScreen(), height=24)
    photographer.start(view)
    for view.replied in range(61):
        photographer.tick()
    assert "answered 60 of 60" in "\n".join(printed(photographer.taken))


def test_lines_fit_80_columns_and_hold_no_control_characters() -> None:
    file = io.StringIO()
    lines = Lines(Console(file=file, width=80), shows_answers=True)
    lines.start(full_view())
    lines.answered(row_of(Asked("e", "an\x1b[31mn", "Why\r\n\x07?" + "語" * 50), None))
    lines.answered(full_view().latest[0])
    lines.happened(Happening(1.0, "worker 1 is killed in the middle of its work (SIGKILL)", is_trouble=True))
    shown = file.getvalue()
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert max(cell_len(line) for line in shown.splitlines()) <= 80


def test_lines_of_a_long_file_tell_its_progress_and_no_rows() -> None:
    file = io.StringIO()
    lines = Lines(Console(file=file, width=80), shows_answers=False)
    view = View(1000, 10, "askrelay demo")
    lines.start(view)
    for replied in range(0, 1001, 10):
        view.replied = replied
        lines.answered(Row("ann", "Why?"))
        lines.tick()
    assert file.getvalue().count("of 1000 answered") == 10
    assert "ann" not in file.getvalue()


@pytest.mark.parametrize(
    ("outcome", "verdict", "words"),
    [
        ("posted", "answered", None),
        ("recovered", "recovered", "read back and found"),
        ("reposted_after_unknown", "reposted", "posted again"),
    ],
)
def test_row_of_an_answer_says_how_it_was_obtained(outcome: str, verdict: str, words: str | None) -> None:
    row = row_of(Asked("e", "ann", "Why?"), seen(answer="So.", conversation_id=None, outcome=outcome))
    assert (row.answer, row.conversation, row.verdict) == ("So.", "", verdict)
    told = words_for_reply(row)
    assert told is None if words is None else words in (told or "")


def test_row_of_a_failure_says_its_reason() -> None:
    reply = seen(reason="question_rejected", conversation_id=None)
    failure = replace(reply, event={**reply.event, "type": "contact.question.failed"})
    assert row_of(Asked("e", "ann", "Why?"), failure).verdict == "question_rejected"


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (Trouble("post", "ann", "reset", None, was_done=True), "question stored, then the line was cut"),
        (Trouble("post", "ann", "reply", 500, was_done=True), "question stored, yet the API said 500"),
        (Trouble("post", "ann", "reply", 500, was_done=False), "the API said 500 and did nothing"),
        (Trouble("create", None, "reset", None, was_done=True), "conversation made, then the line was cut"),
    ],
)
def test_trouble_is_told_with_what_was_done(trouble: Trouble, words: str) -> None:
    assert words_for(trouble).startswith(words)


def test_report_fits_80_columns_and_says_that_all_is_well() -> None:
    lines = printed(report(GOOD))
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "Every question has one post and one reply, every contact one conversation."
    assert len(lines) == str(report(GOOD)).count("\n") + 1, "a line was folded"


def test_report_names_every_broken_promise() -> None:
    text = str(report(replace(GOOD, double_posts=3, posts=3083, split_contacts=1)))
    assert "questions posted twice: 3" in text
    assert "contacts without exactly one conversation: 1" in text
    assert "Every question has one post" not in text
