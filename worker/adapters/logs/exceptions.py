"""What a log may tell of an exception: its class, its code and where it was raised.

Messages and locals are left out. An exception's message often repeats its input (pydantic, SQLAlchemy and
asyncio all do), and that may be a question, an answer or a key.
"""

from __future__ import annotations

import traceback
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from worker.core.errors import AskrelayError

if TYPE_CHECKING:
    from types import TracebackType

#: The innermost frames are what one looks at; a recursion would fill a page.
FRAMES = 20
#: Exceptions in a chain or group; one that refers to itself must not loop.
DEPTH = 4


def described(error: BaseException, *, depth: int = DEPTH) -> dict[str, Any]:
    """Return class, code, frames (innermost last) and cause; our own errors keep their detail."""
    told: dict[str, Any] = {"type": type_name(error), "frames": frames(error.__traceback__)}
    if isinstance(error, AskrelayError):
        told |= {"code": error.code, "detail": error.detail}
    elif isinstance(error, OSError) and error.errno is not None:
        told["errno"] = error.errno
    if depth > 0:
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is not None:
            told["cause"] = described(cause, depth=depth - 1)
        if isinstance(error, BaseExceptionGroup):
            told["group"] = [described(member, depth=depth - 1) for member in error.exceptions[:DEPTH]]
    return told


def type_name(error: BaseException) -> str:
    """Return the class's name with its module, without ``builtins``."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def frames(tracked: TracebackType | None) -> list[str]:
    """Return ``file:line in function`` per frame, innermost last."""
    places = [
        f"{short_path(frame.f_code.co_filename)}:{line} in {frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(tracked)
    ]
    return places[-FRAMES:]


def short_path(path: str) -> str:
    """Return the end of a path that says which file it is, without where the machine keeps it."""
    parts = PurePath(path).parts
    for mark in ("site-packages", "worker", "schemas"):
        if mark in parts:
            index = len(parts) - 1 - parts[::-1].index(mark)
            return "/".join(parts[index + (mark == "site-packages") :])
    return "/".join(parts[-2:])
