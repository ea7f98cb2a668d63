"""A load that lasts for as long as the trouble does."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from tests.chaos.stage import Cell, Stage

#: Contacts that ask in turn: many enough for two workers, few enough that each has several questions open.
CONTACTS = 40
#: Questions a second: far less than a worker can do, so that what piles up is the trouble's doing.
PER_S = 40.0
#: s. How long the broker may take to get all that was asked after the trouble is over.
CATCH_UP_S = 120.0


@contextlib.contextmanager
def load(stage: Stage, cell: Cell, *, contacts: int = CONTACTS, per_s: float = PER_S) -> Iterator[None]:
    """Ask without a pause while the block runs; then wait until the broker has everything."""
    is_over = threading.Event()

    def ask() -> None:
        number = 0
        while not is_over.is_set():
            # One round at a time: a broker that is away must not be owed thousands.
            if not stage.crm.waiting:
                questions = cell.questions(range(contacts), since=number)
                number += 1
                cell.asked += questions
                stage.crm.ask(questions)
            is_over.wait(contacts / per_s)

    thread = threading.Thread(target=ask, name="load", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    until = time.monotonic() + CATCH_UP_S
    while stage.crm.waiting:
        if time.monotonic() > until:
            cell.other.append("the broker did not take all questions in the end")
            return
        time.sleep(0.05)


def wait_for_progress(stage: Stage, cell: Cell, *, within_s: float = 60.0) -> None:
    """Wait until a question asked from now on has its reply: the fleet works."""
    asked = len(cell.asked)
    stage.fleet.wait_until(
        lambda: len(cell.asked) > asked and stage.is_answered(cell.asked[asked : asked + 1]),
        "a fresh reply",
        within_s=within_s,
    )
