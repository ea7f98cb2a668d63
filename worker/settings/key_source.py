"""The API key, followed as its file changes, so that a key is rotated without a restart."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pydantic import SecretStr

#: Seconds between looks at the file: a rotated key is used within one, and a look costs a stat.
LOOK_EVERY_S = 1.0


class KeySource:
    """Callable that returns the current key, or an empty string when there is none.

    A file that is momentarily missing, empty or unreadable (secrets are often swapped in two steps) leaves
    the last good key in place.
    """

    def __init__(
        self,
        key: SecretStr | None,
        *,
        file: Path | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key = key.get_secret_value() if key else ""
        self._file = file
        self._monotonic = monotonic
        self._stamp: tuple[int, int, int] | None = None
        self._looked_at = -LOOK_EVERY_S
        self._look()

    def __call__(self) -> str:
        """Return the key to use now."""
        if self._file is not None and self._monotonic() - self._looked_at >= LOOK_EVERY_S:
            self._look()
        return self._key

    def __repr__(self) -> str:
        """Show where the key comes from, never the key."""
        return f"KeySource(file={self._file})"

    def _look(self) -> None:
        if self._file is None:
            return
        self._looked_at = self._monotonic()
        try:
            # The stamp is taken before the read: a write in between changes it again, and we look once more.
            status = self._file.stat()
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
            if stamp == self._stamp:
                return
            key = self._file.read_text("ascii").strip()
        except (OSError, ValueError):
            return
        if key and key.isprintable() and " " not in key:
            self._key, self._stamp = key, stamp
