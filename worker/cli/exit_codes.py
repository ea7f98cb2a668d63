"""What the exit code of a command says; scripts may rely on them."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes, each with the sentence that explains it in ``meaning``."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitCode:
        """Make the number, and keep its sentence beside it."""
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    OK = 0, "All went well."
    BUG = 1, "Something happened that should not have: a bug of askrelay."
    USAGE = 2, "The command line was not understood."
    SETTINGS = 3, "A setting is missing, wrong or contradicts another."
    BROKER = 4, "RabbitMQ cannot be reached, or refuses what is needed of it."
    LEDGER = 5, "The ledger cannot be reached, or is not at the revision that is needed."
    API = 6, "The CustomGPT API cannot be reached, or refuses the key or the project."
    NOT_FOUND = 7, "What was asked for is not there."
    NO_ANSWER = 8, "No reply came in the time allowed."
    FAILED_REPLY = 9, "The reply came and says that the question failed."
    CHECK_FAILED = (
        10,
        "A check (doctor, demo, health, schema check, lookup, conversations delete) found something wrong.",
    )
    MACHINE = 11, "The machine refused: a port is taken, a disk is full, a file cannot be read."
    INTERRUPTED = 130, "Stopped from the keyboard."
