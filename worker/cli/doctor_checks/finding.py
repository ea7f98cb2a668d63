"""What a check found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

#: ok: nothing to do. warning: it works, and somebody should look. wrong: a worker would not do its job.
State = Literal["ok", "warning", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of ``askrelay doctor``."""

    check: str
    state: State
    #: What is so, without a full stop; never a secret or a content.
    text: str
    #: What to do about it, without a full stop; empty when nothing is to do.
    advice: str = ""

    @property
    def line(self) -> str:
        """What is so and what to do."""
        return f"{self.text}; {self.advice}" if self.advice else self.text


#: Takes a finding as soon as it is known; may be called from any thread.
Say = Callable[[Finding], None]
