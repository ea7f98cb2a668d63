"""Settings that are right alone and wrong together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.settings.model import Settings

#: The one form of OTLP that the extra askrelay[traces] brings.
OTLP = "http/protobuf"
#: PROTOCOL A1: a request that was cut off at its deadline may go on at the API for as long again.
TIMEOUTS_PER_SETTLE = 2


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two or more settings that cannot be true together."""

    fields: tuple[str, ...]
    #: What is wrong and what to do; holds no secret.
    text: str


def contradictions(settings: Settings) -> list[Contradiction]:
    """Return what is wrong between settings that are each right."""
    return [
        *_times(settings),
        *_names(settings),
        *_trust(settings),
        *_stream(settings),
        *_completions(settings),
        *_traces(settings),
        *_mirror(settings),
    ]


def _times(settings: Settings) -> Iterator[Contradiction]:
    least_settle_s = TIMEOUTS_PER_SETTLE * settings.request_timeout_s
    if settings.settle_s < least_settle_s:
        yield Contradiction(
            ("settle_s", "request_timeout_s"),
            f"ASKRELAY_SETTLE_S is {settings.settle_s:g}: it must be at least {least_settle_s:g}, twice"
            " ASKRELAY_REQUEST_TIMEOUT_S, or a question that the API is still working on is posted again",
        )
    if settings.list_lag_s > settings.settle_s:
        yield Contradiction(
            ("list_lag_s", "settle_s"),
            f"ASKRELAY_LIST_LAG_S is {settings.list_lag_s:g}: it must not be more than ASKRELAY_SETTLE_S"
            f" ({settings.settle_s:g})",
        )
    if settings.dedup_days < settings.keep_days:
        yield Contradiction(
            ("dedup_days", "keep_days"),
            f"ASKRELAY_DEDUP_DAYS is {settings.dedup_days}: it must not be less than ASKRELAY_KEEP_DAYS"
            f" ({settings.keep_days})",
        )


def _names(settings: Settings) -> Iterator[Contradiction]:
    doorbell = settings.doorbell_queue
    queues = {
        "question_queue": {settings.question_queue},
        "rejected_queue": {settings.rejected_queue},
        # dramatiq puts delayed and dead messages into queues of these names.
        "doorbell_queue": {doorbell, f"{doorbell}.DQ", f"{doorbell}.XQ"},
    }
    keys = {"asked_key": {settings.asked_key}, "answered_key": {settings.answered_key}}
    asked = {"asked_key": {settings.asked_key}}
    failed, progress = {"failed_key": {settings.failed_key}}, {"progress_key": {settings.progress_key}}
    # A failed reply may share the answers' key, as its type tells them apart; the questions' key is a loop.
    # Ratings may come by the questions' key, as their type tells them apart too; a reply's key is a loop.
    rated, answered = {"rated_key": {settings.rated_key}}, {"answered_key": {settings.answered_key}}
    loops = (asked | failed, asked | progress, answered | rated, failed | rated, progress | rated)
    for group in (queues, keys, *loops):
        fields = list(group)
        for index, first in enumerate(fields):
            for second in fields[index + 1 :]:
                if group[first] & group[second]:
                    both = f"ASKRELAY_{first.upper()} and ASKRELAY_{second.upper()}"
                    yield Contradiction((first, second), f"{both} are the same: give each a name of its own")


def _trust(settings: Settings) -> Iterator[Contradiction]:
    if settings.rabbitmq_ca_file and not settings.rabbitmq_url.startswith("amqps://"):
        yield Contradiction(
            ("rabbitmq_ca_file", "rabbitmq_url"),
            "RABBITMQ_CA_FILE is set but RABBITMQ_URL is not amqps://: nothing would be encrypted",
        )
    if settings.customgpt_ca_file and not settings.customgpt_api_url.startswith("https://"):
        yield Contradiction(
            ("customgpt_ca_file", "customgpt_api_url"),
            "CUSTOMGPT_CA_FILE is set but CUSTOMGPT_API_URL is not https://: nothing would be encrypted",
        )


def _stream(settings: Settings) -> Iterator[Contradiction]:
    if settings.progress and not settings.stream:
        yield Contradiction(
            ("progress", "stream"),
            "ASKRELAY_PROGRESS is true but ASKRELAY_STREAM is not: without a stream nothing is known of an"
            " answer until it is there; set ASKRELAY_STREAM=true too",
        )


def _completions(settings: Settings) -> Iterator[Contradiction]:
    """An option that the other way to ask does not take would be lost without a word."""
    if settings.api == "chat_completions":
        chosen, by = "api", "ASKRELAY_API is chat_completions"
    elif "api" in settings.allowed_event_options:
        chosen, by = "event_options", "ASKRELAY_EVENT_OPTIONS lets events choose chat_completions by api"
    else:
        return
    for field in ("custom_persona", "chatbot_model", "response_source", "custom_context"):
        if getattr(settings, field) is not None:
            name = f"ASKRELAY_{field.upper()}"
            yield Contradiction(
                (field, chosen), f"{name} is set but {by}, which does not take it: leave one out"
            )


def _traces(settings: Settings) -> Iterator[Contradiction]:
    protocol = settings.otel_protocol or OTLP
    if settings.traces_url is not None and protocol != OTLP:
        yield Contradiction(
            ("otel_protocol",),
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol[:40]!r}: traces are sent as {OTLP} only, for which a"
            " collector listens on port 4318; OTEL_TRACES_EXPORTER=none turns them off",
        )


def _mirror(settings: Settings) -> Iterator[Contradiction]:
    if settings.mirror == "inkeep" and settings.inkeep_api_key is None:
        yield Contradiction(
            ("mirror", "inkeep_api_key"),
            "ASKRELAY_MIRROR is inkeep and INKEEP_API_KEY is not set: it takes the key of an API integration",
        )
