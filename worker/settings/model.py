"""Every setting: its names, default, unit, bounds and the sentence that explains it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import PrivateAttr, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from worker.settings.checks import contradictions
from worker.settings.declare import Origin, declared, setting
from worker.settings.key_source import KeySource
from worker.settings.values import (
    AmqpName,
    AmqpUrl,
    ApiUrl,
    CollectorUrl,
    DatabaseUrl,
    DoorbellQueue,
    EventOptions,
    HostName,
    LangTag,
    LogKey,
    Lower,
    ModelName,
    Off,
    ProxyUrl,
    RoutingKey,
    Secret,
    SomeText,
)

#: What a column of the ledger holds.
HIGHEST_PROJECT_ID = 2**63 - 1
#: Where OpenTelemetry looks for a collector that nobody named.
COLLECTOR = "http://localhost:4318"


class Settings(BaseSettings):
    """What one process was told. Nothing is read when it is constructed: load_settings reads.

    Names end in their unit: ``_s`` is seconds, ``_days`` days. None means off or not set.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True, allow_inf_nan=False
    )

    rabbitmq_url: AmqpUrl = setting(
        "amqp://guest:guest@127.0.0.1:5672/",
        "RABBITMQ_URL",
        "CLOUDAMQP_URL",
        kind="url",
        about="Where RabbitMQ is; amqps:// for TLS, which always verifies.",
    )
    rabbitmq_ca_file: Path | None = setting(
        None,
        "RABBITMQ_CA_FILE",
        kind="path",
        about="The certificate of a private authority that signed the broker's.",
    )
    database_url: DatabaseUrl = setting(
        ...,
        "DATABASE_URL",
        kind="url",
        default_text="a SQLite file in the state folder",
        about="Where the ledger is: postgresql://user:password@host/database, or sqlite:////a/file.db, which"
        " processes of one host may share.",
    )
    customgpt_api_key: Secret | None = setting(
        None,
        "CUSTOMGPT_API_KEY",
        kind="secret",
        about="The key of the CustomGPT account; CUSTOMGPT_API_KEY_FILE is read again whenever it changes.",
    )
    customgpt_project_id: int | None = setting(
        None,
        "CUSTOMGPT_PROJECT_ID",
        ge=1,
        le=HIGHEST_PROJECT_ID,
        about="The number of the agent that answers.",
    )
    customgpt_api_url: ApiUrl = setting(
        "https://app.customgpt.ai/api/v1",
        "CUSTOMGPT_API_URL",
        about="The base of the API; plain http only to loopback, for the sandbox.",
    )
    customgpt_ca_file: Path | None = setting(
        None,
        "CUSTOMGPT_CA_FILE",
        kind="path",
        about="The certificate of a private authority that signed the API's, such as that of a proxy which"
        " looks into TLS.",
    )
    mirror: Annotated[Literal["inkeep"] | None, Off, Lower] = setting(
        None,
        "ASKRELAY_MIRROR",
        default_text="off",
        about="Where answered conversations are copied to, after their replies: inkeep for its Analytics.",
    )
    inkeep_api_key: Secret | None = setting(
        None,
        "INKEEP_API_KEY",
        kind="secret",
        about="The key of an API integration of Inkeep's; INKEEP_API_KEY_FILE is read again whenever it"
        " changes.",
    )
    inkeep_api_url: ApiUrl = setting(
        "https://api.analytics.inkeep.com",
        "INKEEP_API_URL",
        about="The base of Inkeep's Analytics API; plain http only to loopback, for the sandbox.",
    )
    https_proxy: ProxyUrl | None = setting(
        None, "HTTPS_PROXY", "https_proxy", kind="url", about="The proxy for calls to the API."
    )
    no_proxy: str | None = setting(
        None,
        "NO_PROXY",
        "no_proxy",
        about="Hosts that are called without the proxy, separated by commas.",
    )

    concurrency: int = setting(
        100, "ASKRELAY_CONCURRENCY", unit="turns", ge=1, le=10_000, about="Turns in flight in one process."
    )
    requests_per_minute: int = setting(
        60,
        "ASKRELAY_REQUESTS_PER_MINUTE",
        unit="requests a minute, 0 is no limit",
        ge=0,
        le=1_000_000,
        about="The pace of the whole fleet; plans allow 60, 90 or 120.",
    )
    requests_at_once: int = setting(
        5,
        "ASKRELAY_REQUESTS_AT_ONCE",
        unit="requests, 0 is no limit",
        ge=0,
        le=100_000,
        about="Posts under way at once in the whole fleet.",
    )

    stream: bool = setting(
        False,
        "ASKRELAY_STREAM",
        about="Have answers streamed: the first piece proves that a question was taken, so that it is never"
        " posted again; one more read per answer.",
    )

    api: Annotated[Literal["conversations", "chat_completions"], Lower] = setting(
        "conversations",
        "ASKRELAY_API",
        about="How the agent is asked; chat_completions keeps no conversation and cannot be read back.",
    )
    progress: bool = setting(
        False,
        "ASKRELAY_PROGRESS",
        about="Publish streamed answers while they are written, at most four times a second each; some may be"
        " lost.",
    )
    lang: LangTag | None = setting(
        None,
        "ASKRELAY_LANG",
        default_text="the agent's",
        about="The language tag sent with questions whose events name none, en or pt-BR say.",
    )
    custom_persona: SomeText | None = setting(
        None,
        "ASKRELAY_CUSTOM_PERSONA",
        default_text="the agent's",
        about="Who the agent is when it answers, in place of its own persona.",
    )
    chatbot_model: ModelName | None = setting(
        None,
        "ASKRELAY_CHATBOT_MODEL",
        default_text="the agent's",
        about="The model that answers; the API's own choice was seen to find more than a named one.",
    )
    response_source: Annotated[Literal["default", "own_content", "openai_content"] | None, Lower] = setting(
        None,
        "ASKRELAY_RESPONSE_SOURCE",
        default_text="the agent's",
        about="What answers may come from: the agent's own content, or the model's knowledge too.",
    )
    custom_context: SomeText | None = setting(
        None,
        "ASKRELAY_CUSTOM_CONTEXT",
        default_text="none",
        about="What the agent should know with every question.",
    )
    event_options: EventOptions = setting(
        "",
        "ASKRELAY_EVENT_OPTIONS",
        default_text="none",
        about="Which of custom_persona, chatbot_model, response_source and custom_context an event may set in"
        " its data.options, and whether data.api; separated by commas, events with others are rejected.",
    )

    events_exchange: AmqpName = setting(
        "crm.events",
        "ASKRELAY_EVENTS_EXCHANGE",
        about="The topic exchange for questions and replies.",
    )
    question_queue: AmqpName = setting(
        "askrelay.questions", "ASKRELAY_QUESTION_QUEUE", about="The queue that questions are taken from."
    )
    rejected_queue: AmqpName = setting(
        "askrelay.rejected", "ASKRELAY_REJECTED_QUEUE", about="The queue for events that cannot be taken in."
    )
    doorbell_queue: DoorbellQueue = setting(
        "askrelay.doorbell", "ASKRELAY_DOORBELL_QUEUE", about="dramatiq's queue; losing it is harmless."
    )
    asked_key: RoutingKey = setting(
        "contact.question.asked", "ASKRELAY_ASKED_KEY", about="The routing key of questions."
    )
    answered_key: RoutingKey = setting(
        "contact.question.answered", "ASKRELAY_ANSWERED_KEY", about="The routing key of answers."
    )
    failed_key: RoutingKey = setting(
        "contact.question.failed", "ASKRELAY_FAILED_KEY", about="The routing key of final failures."
    )
    progress_key: RoutingKey = setting(
        "contact.question.progress",
        "ASKRELAY_PROGRESS_KEY",
        about="The routing key of answers that are being written.",
    )
    rated_key: RoutingKey = setting(
        "contact.answer.rated", "ASKRELAY_RATED_KEY", about="The routing key of ratings of answers."
    )
    declare: bool = setting(
        True,
        "ASKRELAY_DECLARE",
        about="Create the exchange and queues where they are missing; false where operators declare them.",
    )
    default_source: AmqpName = setting(
        "crm", "ASKRELAY_DEFAULT_SOURCE", about="The source of bare JSON events that come without app_id."
    )
    answer_within_s: Annotated[float | None, Off] = setting(
        None,
        "ASKRELAY_ANSWER_WITHIN_S",
        unit="seconds, or off",
        ge=1,
        le=31_536_000,
        about="A question that was not posted within this time after it was asked fails as expired.",
    )

    lease_s: float = setting(
        30,
        "ASKRELAY_LEASE_S",
        unit="seconds",
        ge=0.5,
        le=3600,
        about="How long a conversation stays with a worker that fell silent; renewed every third of it.",
    )
    send_grace_s: float = setting(
        2,
        "ASKRELAY_SEND_GRACE_S",
        unit="seconds",
        ge=0.05,
        le=60,
        about="The most that may pass between recording that a post begins and its first byte leaving.",
    )
    request_timeout_s: float = setting(
        120,
        "ASKRELAY_REQUEST_TIMEOUT_S",
        unit="seconds",
        ge=0.1,
        le=3600,
        about="The deadline of one call to the API; many answers have been seen to take over 60 s.",
    )
    settle_s: float = setting(
        300,
        "ASKRELAY_SETTLE_S",
        unit="seconds",
        ge=0.2,
        le=86_400,
        about="After this the API shows every post that it took; only then may a lost one be posted again.",
    )
    list_lag_s: float = setting(
        30,
        "ASKRELAY_LIST_LAG_S",
        unit="seconds",
        ge=0,
        le=3600,
        about="After this the API lists every conversation that was created.",
    )
    max_attempts: int = setting(
        12,
        "ASKRELAY_MAX_ATTEMPTS",
        unit="attempts",
        ge=1,
        le=1000,
        about="Counted attempts after which a question fails; waiting for the API does not count.",
    )
    on_unknown: Annotated[Literal["repost", "hold"], Lower] = setting(
        "repost",
        "ASKRELAY_ON_UNKNOWN",
        about="What becomes of a post that left no trace: post it again and mark the reply, or hold it for a"
        " person.",
    )
    after_failure: Annotated[Literal["continue", "block"], Lower] = setting(
        "continue",
        "ASKRELAY_AFTER_FAILURE",
        about="Whether a conversation goes on with its next question after one failed.",
    )

    keep_days: int = setting(
        30,
        "ASKRELAY_KEEP_DAYS",
        unit="days",
        ge=1,
        le=36_500,
        about="How long questions and answers are kept after they are finished.",
    )
    dedup_days: int = setting(
        365,
        "ASKRELAY_DEDUP_DAYS",
        unit="days",
        ge=1,
        le=36_500,
        about="How long a repeated event is recognised, by a hash once its content is gone.",
    )
    contact_daily_limit: Annotated[int | None, Off] = setting(
        None,
        "ASKRELAY_CONTACT_DAILY_LIMIT",
        unit="questions, or off",
        ge=1,
        le=1_000_000,
        about="Questions that one contact may ask on one day; those above it fail as contact_limit.",
    )
    grace_s: float = setting(
        25,
        "ASKRELAY_GRACE_S",
        unit="seconds",
        ge=0,
        le=3600,
        about="How long a stopping worker lets its turns end; the default fits a platform's 30 s.",
    )
    health_host: HostName = setting(
        "127.0.0.1",
        "ASKRELAY_HEALTH_HOST",
        min_length=1,
        about="The address that health and metrics are served on.",
    )
    health_port: int = setting(
        8088,
        "ASKRELAY_HEALTH_PORT",
        ge=0,
        le=65_535,
        about="The port that health and metrics are served on; 0 is any free one.",
    )
    log_format: Annotated[Literal["auto", "json", "console"], Lower] = setting(
        "auto",
        "ASKRELAY_LOG_FORMAT",
        about="How log lines look; auto is console on a terminal and JSON elsewhere.",
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Lower] = setting(
        "info", "ASKRELAY_LOG_LEVEL", about="The lowest level that is logged."
    )
    log_key: LogKey | None = setting(
        None,
        "ASKRELAY_LOG_KEY",
        kind="secret",
        default_text="made once per ledger",
        about="The key of the hash that stands for a contact in logs.",
    )
    otel_traces_exporter: Annotated[Literal["otlp", "none"] | None, Lower] = setting(
        None,
        "OTEL_TRACES_EXPORTER",
        default_text="otlp if an endpoint is set, else none",
        about="Where traces go; needs the extra askrelay[traces].",
    )
    otel_endpoint: CollectorUrl | None = setting(
        None,
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        kind="url",
        about="The collector's base address for OTLP over HTTP, http://127.0.0.1:4318 say; turns traces on.",
    )
    otel_traces_endpoint: CollectorUrl | None = setting(
        None,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        kind="url",
        about="The whole address that traces are sent to, in place of the base and /v1/traces.",
    )
    otel_protocol: Annotated[str | None, Lower] = setting(
        None,
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        default_text="http/protobuf",
        about="How the collector is spoken to; http/protobuf is the only way that is there.",
    )
    otel_sdk_disabled: bool = setting(
        False, "OTEL_SDK_DISABLED", about="No traces, whatever the other OTEL_ variables say."
    )
    no_color: str | None = setting(
        None, "NO_COLOR", about="Set to anything: log lines and tables without colours."
    )

    #: The file that CUSTOMGPT_API_KEY_FILE named, watched by key_source().
    customgpt_api_key_file: Path | None = None
    #: The same of INKEEP_API_KEY_FILE.
    inkeep_api_key_file: Path | None = None

    _origins: dict[str, Origin] = PrivateAttr(default_factory=dict)
    _warnings: tuple[tuple[str, str], ...] = PrivateAttr(default=())

    @classmethod
    def settings_customise_sources(  # noqa: D102 (pydantic-settings' own hook)
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        *_other: PydanticBaseSettingsSource,
        **_more: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The environment is read in one place, load_settings; a test that constructs Settings is not
        # changed by the machine it runs on.
        return (init_settings,)

    @model_validator(mode="after")
    def _check_contradictions(self) -> Self:
        if found := contradictions(self):
            raise PydanticCustomError(
                "contradiction",
                "{text}",
                {"text": "; ".join(problem.text for problem in found), "problems": found},
            )
        return self

    @property
    def warnings(self) -> tuple[tuple[str, str], ...]:
        """What the operator should know at start: pairs of a variable and a sentence."""
        return self._warnings

    @property
    def traces_url(self) -> str | None:
        """Where to send traces; None when there are to be none."""
        is_off = self.otel_sdk_disabled or self.otel_traces_exporter == "none"
        is_named = self.otel_endpoint or self.otel_traces_endpoint or self.otel_traces_exporter
        if is_off or not is_named:
            return None
        return self.otel_traces_endpoint or f"{(self.otel_endpoint or COLLECTOR).rstrip('/')}/v1/traces"

    @property
    def allowed_event_options(self) -> frozenset[str]:
        """What an event may set in its data.options."""
        return frozenset(filter(None, self.event_options.split(",")))

    def origin_of(self, field: str) -> Origin:
        """Tell where a field's value came from."""
        return self._origins.get(field, Origin("default"))

    def key_source(self) -> KeySource:
        """Return what gives the API key, following its file when it came from one."""
        return KeySource(self.customgpt_api_key, file=self.customgpt_api_key_file)

    def inkeep_key_source(self) -> KeySource:
        """Return what gives the key of the mirror, in the same way."""
        return KeySource(self.inkeep_api_key, file=self.inkeep_api_key_file)


#: Every setting in the order of the table.
SETTINGS = declared(Settings)
