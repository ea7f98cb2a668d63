"""The command line. ``main`` is what the installed program ``askrelay`` runs."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line of this process."""
    from worker.cli.app import run_program  # noqa: PLC0415 (importing worker.cli costs nothing this way)

    sys.exit(run_program())
