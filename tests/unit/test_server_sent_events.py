"""Frames out of bytes in any pieces: nothing crashes the reader, and no split changes what it reads."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies as st

from worker.adapters.customgpt.server_sent_events import (
    MAX_FRAME_CHARS,
    Frame,
    FrameReader,
    FrameTooLargeError,
)

#: Random splits and garbage in one run; EXAMPLES=100000 for the whole proof (half a minute).
EXAMPLES = int(os.environ.get("ASKRELAY_TEST_EXAMPLES", "2000"))


def frames_of(*pieces: bytes) -> list[Frame]:
    reader = FrameReader()
    return [frame for piece in pieces for frame in reader.feed(piece)]


@pytest.mark.parametrize(
    ("stream", "frames"),
    [
        (b'event: start\ndata: {"a":1}\n\n', [Frame("start", '{"a":1}')]),
        (b"event:start\r\ndata:x\r\n\r\n", [Frame("start", "x")]),
        (b"event: a\rdata: x\r\r", [Frame("a", "x")]),
        (b": comment\n\ndata: x\n\n", [Frame("message", "x")]),
        (b"data: x\ndata: y\ndata\n\n", [Frame("message", "x\ny\n")]),
        (b"event: a\n\ndata: x\n\n", [Frame("message", "x")]),
        (b"id: 7\nretry: 10\nwhat: ever\ndata:  x\n\n", [Frame("message", " x")]),
        (b"\xef\xbb\xbfdata: x\n\n", [Frame("message", "x")]),
        (b"data: \xff\n\n", [Frame("message", "\ufffd")]),
        (b"data: never ended\n", []),
        (b"data: x\n\n\n\n", [Frame("message", "x")]),
        (b"", []),
    ],
)
def test_a_stream_is_read_as_the_standard_says(stream: bytes, frames: list[Frame]) -> None:
    assert frames_of(stream) == frames


_value = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)
_frame = st.builds(Frame, st.sampled_from(["start", "progress", "finish", "odd"]), _value)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    frames=st.lists(_frame, max_size=6),
    ends=st.lists(st.sampled_from(["\n", "\r\n", "\r"]), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 400), max_size=12),
)
def test_no_split_changes_what_is_read(frames: list[Frame], ends: list[str], cuts: list[int]) -> None:
    text = ""
    for number, frame in enumerate(frames):
        end = ends[number % len(ends)]
        text += f": noise{end}event: {frame.name}{end}data: {frame.data}{end}{end}"
    stream = text.encode()
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[begin:end] for begin, end in pairwise(places)]
    assert frames_of(*pieces) == frames


@settings(max_examples=EXAMPLES, deadline=None)
@given(pieces=st.lists(st.binary(max_size=60), max_size=8))
def test_garbage_crashes_nothing_and_reads_the_same_in_any_pieces(pieces: list[bytes]) -> None:
    assert frames_of(*pieces) == frames_of(b"".join(pieces))


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 1000 + b"\n", b"x" * 1000])
def test_a_frame_without_an_end_is_refused(piece: bytes) -> None:
    with pytest.raises(FrameTooLargeError):
        frames_of(*[piece] * (MAX_FRAME_CHARS // 1000 + 2))
