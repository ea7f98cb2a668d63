"""The summary for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from worker.demo.counting import Spread, Summary

#: Columns of the name of a sum.
NAME_CHARS = 15


def report(summary: Summary) -> Text:
    """Return the summary, at most 80 columns wide."""
    text = Text()
    text.append("Counted from the sandbox's ledger of effects and from the replies alone:\n\n")
    for name, value, note in _sums(summary):
        text.append(f"  {name:<{NAME_CHARS}}{value:>7}   ", style="bold")
        text.append(f"{note}\n")
    text.append("\n  Added latency runs from the publish, or the contact's previous answer, to the\n")
    text.append("  reply, without the API's own time.\n\n")
    if summary.is_good:
        text.append(
            "Every question has one post and one reply, every contact one conversation.", style="bold green"
        )
    else:
        text.append("That is not what was promised:", style="bold red")
        for line in _broken(summary):
            text.append(f"\n  {line}")
    return text


def _sums(summary: Summary) -> Iterator[tuple[str, str, str]]:
    yield "questions", str(summary.questions), f"from {summary.contacts} contacts"
    yield "handed in twice", str(summary.duplicates_handed_in), "the same event again, on purpose"
    yield "conversations", str(summary.conversations), f"for {summary.contacts} contacts"
    yield "posts", str(summary.posts), f"{summary.double_posts} double, {summary.missing_posts} missing"
    yield (
        "replies",
        str(summary.replies),
        f"{summary.missing_replies} missing, {summary.double_replies} double, {summary.failed} failed",
    )
    yield "calls hit", str(summary.faults), f"by a 500 or a cut line; {_workers(summary)}"
    yield (
        "read back",
        str(summary.recovered),
        f"found at the API; {summary.reposted} surely lost, posted again",
    )
    yield (
        "added latency",
        _seconds(summary.added_latency_s.p50),
        _tail(summary.added_latency_s, "median"),
    )
    if summary.added_latency_hit_s.questions:
        yield (
            "when hit",
            _seconds(summary.added_latency_hit_s.p50),
            _tail(summary.added_latency_hit_s, "median"),
        )
    yield "API itself", _seconds(summary.api_latency_s.p50), _tail(summary.api_latency_s, "median")


def _workers(summary: Summary) -> str:
    killed = summary.workers_killed
    return f"{killed} worker{'' if killed == 1 else 's'} killed"


def _tail(spread: Spread, median: str) -> str:
    return f"{median}, p95 {_seconds(spread.p95)}, of {spread.questions} questions"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _broken(summary: Summary) -> Iterator[str]:
    found = {
        "questions posted twice": summary.double_posts,
        "questions never posted": summary.missing_posts,
        "questions without a reply": summary.missing_replies,
        "questions with two replies": summary.double_replies,
        "answers that belong to another question": summary.wrong_answers,
        "contacts without exactly one conversation": summary.split_contacts,
        "conversations more than contacts": max(summary.conversations - summary.contacts, 0),
    }
    yield from (f"{name}: {number}" for name, number in found.items() if number)
