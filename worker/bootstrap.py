"""The only place where parts are wired together."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import secrets
import signal
import socket
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from worker.adapters.clock import SystemClock
from worker.adapters.customgpt import CustomGpt, CustomGptConfig
from worker.adapters.doorbell import Doorbell
from worker.adapters.health import Condition, serve_health
from worker.adapters.inkeep import Inkeep
from worker.adapters.inkeep.client import REQUESTS_PER_COPY, WITHIN_S
from worker.adapters.ledger import (
    GateChange,
    Identity,
    LedgerConfig,
    SqlLedger,
    open_ledger,
    prepare,
    reason_of,
    weaknesses,
)
from worker.adapters.ledger.figures import FigureReader, FreshFigures
from worker.adapters.logs import ContactHash, configure_logging
from worker.adapters.metrics import MeteredAssistant, MeteredBell, ProcessMeters
from worker.adapters.metrics.catalogue import AT_ONCE_LIMIT, PACE_LIMIT, TURNS_UNDER_WAY
from worker.adapters.rabbitmq import BusConfig, RabbitmqBus
from worker.adapters.recovery_points import NoRecoveryPoints
from worker.core.errors import LedgerUnavailable, SettingsError
from worker.core.gate import PROBED
from worker.core.healing import Healer
from worker.core.meters import Meters
from worker.core.mirroring import Mirror
from worker.core.model import MessageOptions
from worker.core.pace import Pace
from worker.core.ports import Assistant, Bell, Bus, Log, RecoveryPoints
from worker.core.traces import NoTracer, Tracer
from worker.core.world import Rules, World
from worker.runtime.intake import Intake, IntakeRules
from worker.runtime.mirroring import Mirroring
from worker.runtime.process import Process
from worker.runtime.ratings import Ratings
from worker.runtime.relay import Relay
from worker.runtime.sweeper import Sweeper
from worker.runtime.turns import Turns
from worker.settings import Settings, make_state_folder

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from worker.adapters.traces import BusFacts, Traces

#: s. Pauses between tries to reach the ledger at the start.
LEDGER_PAUSES_S = (0.5, 10.0)
#: Length of the fingerprint that names an API key in the ledger: never enough to try keys against.
FINGERPRINT_HEX = 16
#: s. U of PROTOCOL 5: bytes that the API has not acknowledged for this long are given up by the kernel.
USER_TIMEOUT_S = 10.0


def new_worker_id() -> str:
    """Name this process: readable by people, and never the same again after a restart."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


async def run_worker(
    settings: Settings,
    *,
    bus: Bus | None = None,
    bell: Bell | None = None,
    points: RecoveryPoints | None = None,
    is_after_restore: bool = False,
    user_timeout_s: float = USER_TIMEOUT_S,
    span_exporter: SpanExporter | None = None,
) -> None:
    """Run one worker until SIGTERM or SIGINT.

    ``bus`` and ``bell`` replace RabbitMQ, and ``user_timeout_s`` is shorter over loopback, for the demo.
    ``span_exporter`` takes the traces in place of the collector that the settings name.
    """
    worker_id = new_worker_id()
    log = configure_logging(
        settings.log_format, settings.log_level, worker_id=worker_id, has_color=not settings.no_color
    )
    stop = asyncio.Event()
    _listen_for_signals(stop, log)
    for setting, detail in settings.warnings:
        log("settings.warned", setting=setting, detail=detail)
    begun = time.monotonic()
    make_state_folder(settings)
    condition = Condition(SystemClock(), stop.is_set)
    meters = ProcessMeters(version=metadata.version("askrelay"), ledger=_kind_of_ledger(settings))
    health = serve_health(
        settings.health_host,
        settings.health_port,
        condition,
        meters,
        log=log,
        is_port_chosen=settings.origin_of("health_port").kind != "default",
    )
    # Before the ledger is there: a worker that waits for it is alive, and has no connection to the broker.
    bus = bus or RabbitmqBus(bus_config(settings, name=worker_id), log=condition.listening(log))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(health)
        traces = _traces(settings, worker_id, log, span_exporter)
        if traces is not None:
            stack.push_async_callback(traces.close)
        identity = await _prepare_ledger(settings, log, stop, on_state=condition.ledger_is)
        if identity is None:
            return
        tracer: Tracer = NoTracer()
        if traces is not None:
            tracer, bus = traces.tracer, traces.traced(bus, _bus_facts(settings))
        bell = bell or _doorbell(settings, identity, log, meters)
        ledger = make_ledger(
            settings, worker_id, log, on_state=condition.ledger_is, on_batch=meters.committed
        )
        figures = _figures(settings, stack)
        api = api_config(settings, user_timeout_s=user_timeout_s)
        assistant = CustomGpt(
            api, key=settings.key_source(), log=log, on_exchange=meters.api_answered, tracer=tracer
        )
        mirror = None
        if settings.mirror is not None:
            mirror = await stack.enter_async_context(inkeep(settings))
        process = make_process(
            settings,
            bus=bus,
            bell=MeteredBell(bell, meters),
            ledger=ledger,
            assistant=MeteredAssistant(assistant, meters),
            points=points or NoRecoveryPoints(),
            is_after_restore=is_after_restore,
            user_timeout_s=user_timeout_s,
            contact_hash=contact_hash(settings, identity),
            log=log,
            meters=meters,
            tracer=tracer,
            mirror=mirror,
        )
        ledger.start()
        await assistant.start()
        condition.watch(process.vitals.stuck, figures.get)
        meters.watch(PACE_LIMIT, lambda: {(): float(settings.requests_per_minute or "inf")})
        meters.watch(AT_ONCE_LIMIT, lambda: {(): float(settings.requests_at_once or "inf")})
        meters.watch(TURNS_UNDER_WAY, lambda: {(): process.turns.under_way})
        log(
            "worker.started",
            version=metadata.version("askrelay"),
            ledger=_kind_of_ledger(settings),
            concurrency=settings.concurrency,
            project_id=settings.customgpt_project_id,
        )
        try:
            await process.run(stop)
        finally:
            await assistant.close()
            await ledger.stop()
            log("worker.stopped", duration_s=round(time.monotonic() - begun, 3))


def make_process(
    settings: Settings,
    *,
    bus: Bus,
    bell: Bell,
    ledger: SqlLedger,
    assistant: Assistant,
    points: RecoveryPoints,
    contact_hash: Callable[[str], str],
    log: Log,
    meters: Meters,
    tracer: Tracer | None = None,
    mirror: Mirror | None = None,
    is_after_restore: bool = False,
    user_timeout_s: float = USER_TIMEOUT_S,
) -> Process:
    """Wire the loops of one process."""
    clock, randomness = SystemClock(), random.SystemRandom()
    relay = Relay(bus, ledger, clock, randomness, points, log, meters)
    world = World(
        ledger=ledger,
        assistant=assistant,
        clock=clock,
        randomness=randomness,
        points=points,
        rules=rules_of(settings, is_after_restore=is_after_restore, user_timeout_s=user_timeout_s),
        # One route exists today; every route has the one project of the settings.
        project_of=lambda _route: settings.customgpt_project_id,
        publish=relay.publish,
    )
    turns = Turns(
        world,
        bell,
        log,
        settings.concurrency,
        contact_hash,
        meters,
        tracer or NoTracer(),
        tell=bus.tell if settings.progress else None,
    )
    ratings = Ratings(ledger, assistant, clock, randomness, log)
    intake = Intake(
        bus=bus,
        ledger=ledger,
        bell=bell,
        clock=clock,
        randomness=randomness,
        points=points,
        log=log,
        rules=IntakeRules(
            settings.default_source,
            settings.answer_within_s,
            settings.allowed_event_options,
            settings.api,
        ),
        on_repeat=relay.look,
        on_arrival=turns.look,
        on_rated=ratings.look,
        meters=meters,
    )
    healer = Healer(ledger, assistant, clock, log, points)
    sweeper = Sweeper(ledger, healer, bell, clock, randomness, log, ratings.place)
    mirroring = None
    if mirror is not None:
        mirroring = Mirroring(ledger, mirror, clock, randomness, log, meters)
    return Process(bus, bell, intake, turns, relay, sweeper, clock, log, settings.grace_s, mirroring, ratings)


def rules_of(
    settings: Settings, *, is_after_restore: bool = False, user_timeout_s: float = USER_TIMEOUT_S
) -> Rules:
    """Return the protocol's times."""
    return Rules(
        lease_s=settings.lease_s,
        send_grace_s=settings.send_grace_s,
        request_timeout_s=settings.request_timeout_s,
        settle_s=settings.settle_s,
        list_lag_s=settings.list_lag_s,
        max_attempts=settings.max_attempts,
        on_unknown=settings.on_unknown,
        is_after_restore=is_after_restore,
        user_timeout_s=user_timeout_s,
        lang=settings.lang,
        api=settings.api,
        options=MessageOptions(
            custom_persona=settings.custom_persona,
            chatbot_model=settings.chatbot_model,
            response_source=settings.response_source,
            custom_context=settings.custom_context,
        ),
    )


def make_ledger(
    settings: Settings,
    worker_id: str,
    log: Log,
    *,
    on_state: Callable[[bool], None],
    on_batch: Callable[[int, float], None],
) -> SqlLedger:
    """Wire the ledger; ``on_batch`` runs in its thread."""
    lost_at: list[float] = []

    def tell_state(is_up: bool, why: str) -> None:
        on_state(is_up)
        if is_up:
            log("ledger.recovered", away_s=round(time.monotonic() - lost_at.pop(), 1) if lost_at else None)
        else:
            lost_at[:] = [time.monotonic()]
            log("ledger.lost", error_code=LedgerUnavailable.code, detail=why)

    def on_gate_change(change: GateChange) -> None:
        if change.reason is None:
            log("gate.opened", reason=change.was)
            return
        log("gate.closed", reason=change.reason, retry_in_s=round(change.for_s, 1))
        if change.reason in PROBED - {"breaker"}:
            log(
                "agent.unavailable",
                error_code=change.reason,
                project_id=settings.customgpt_project_id,
                retry_in_s=round(change.for_s, 1),
            )

    return open_ledger(
        LedgerConfig(
            url=settings.database_url,
            worker_id=worker_id,
            version=metadata.version("askrelay"),
            gate_key=_fingerprint(settings),
            pace=_pace(settings),
            lease_s=settings.lease_s,
            request_timeout_s=settings.request_timeout_s,
            keep_days=settings.keep_days,
            dedup_days=settings.dedup_days,
            settle_s=settings.settle_s,
            heal_after_s=settings.send_grace_s + settings.request_timeout_s + settings.list_lag_s,
            contact_daily_limit=settings.contact_daily_limit,
            blocks_on_failure=settings.after_failure == "block",
            mirrors=settings.mirror is not None,
            # Longer than all requests of a copy: two lists of one conversation must not overtake each other.
            mirror_lease_s=settings.lease_s + REQUESTS_PER_COPY * min(WITHIN_S, settings.request_timeout_s),
        ),
        on_state=tell_state,
        on_gate_change=on_gate_change,
        on_batch=on_batch,
    )


def bus_config(settings: Settings, *, name: str) -> BusConfig:
    """Return what the bus needs of the settings."""
    return BusConfig(
        url=settings.rabbitmq_url,
        ca_file=settings.rabbitmq_ca_file,
        events_exchange=settings.events_exchange,
        question_queue=settings.question_queue,
        rejected_queue=settings.rejected_queue,
        asked_key=settings.asked_key,
        answered_key=settings.answered_key,
        failed_key=settings.failed_key,
        progress_key=settings.progress_key,
        rated_key=settings.rated_key,
        declare=settings.declare,
        connection_name=f"askrelay {name}",
    )


def api_config(settings: Settings, *, user_timeout_s: float = USER_TIMEOUT_S) -> CustomGptConfig:
    """Return what the API's adapter needs of the settings."""
    return CustomGptConfig(
        api_url=settings.customgpt_api_url,
        request_timeout_s=settings.request_timeout_s,
        user_timeout_s=user_timeout_s,
        proxy_url=settings.https_proxy,
        no_proxy=settings.no_proxy or "",
        is_streaming=settings.stream,
        ca_file=settings.customgpt_ca_file,
    )


def inkeep(settings: Settings) -> Inkeep:
    """Wire the client of Inkeep's Analytics API; SettingsError when there is no key for it."""
    if settings.inkeep_api_key is None:
        raise SettingsError("INKEEP_API_KEY is not set: it takes the key of an API integration")
    config = replace(api_config(settings), api_url=settings.inkeep_api_url, is_streaming=False)
    return Inkeep(config, key=settings.inkeep_key_source())


def contact_hash(settings: Settings, identity: Identity) -> ContactHash:
    """Return the hash under which contacts appear in the logs."""
    key = settings.log_key.get_secret_value() if settings.log_key else identity.log_key
    return ContactHash(key)


def _doorbell(settings: Settings, identity: Identity, log: Log, meters: ProcessMeters) -> Doorbell:
    bell = Doorbell(
        settings.rabbitmq_url,
        settings.doorbell_queue,
        identity.ledger_id,
        log=log,
        ca_file=settings.rabbitmq_ca_file,
    )
    meters.watch_lost_doorbells(lambda: bell.rings_lost)
    return bell


def _traces(settings: Settings, worker_id: str, log: Log, exporter: SpanExporter | None) -> Traces | None:
    """Wire the traces, if there are to be any; SettingsError when OpenTelemetry refuses its variables."""
    if exporter is None and settings.traces_url is None:
        return None
    from worker.adapters.traces import Traces, otlp_exporter  # noqa: PLC0415 (an extra that may be missing)

    try:
        return Traces(
            exporter or otlp_exporter(settings.traces_url or ""),
            version=metadata.version("askrelay"),
            worker_id=worker_id,
            log=log,
        )
    except (ValueError, OSError) as error:
        # What it reads by itself: sizes of queues, time-outs, files of certificates.
        problem = f"OpenTelemetry refuses an OTEL_ variable that it reads by itself: {error}"
    raise SettingsError(problem)


def _bus_facts(settings: Settings) -> BusFacts:
    """Return what the spans tell of the bus."""
    from worker.adapters.traces import BusFacts  # noqa: PLC0415 (an extra that may be missing)

    broker = urlsplit(settings.rabbitmq_url)
    return BusFacts(
        address=broker.hostname or "",
        port=broker.port or (5671 if broker.scheme == "amqps" else 5672),
        exchange=settings.events_exchange,
        question_queue=settings.question_queue,
        asked_key=settings.asked_key,
        rated_key=settings.rated_key,
        reply_keys={"answered": settings.answered_key, "failed": settings.failed_key},
        default_source=settings.default_source,
    )


def _figures(settings: Settings, stack: AsyncExitStack) -> FreshFigures:
    """Wire the fleet's figures, which end with the stack."""
    reader = FigureReader(settings.database_url, gate_key=_fingerprint(settings), pace=_pace(settings))
    figures = FreshFigures(reader)
    stack.callback(figures.close)
    return figures


def _pace(settings: Settings) -> Pace:
    return Pace(settings.requests_per_minute, settings.requests_at_once)


def _kind_of_ledger(settings: Settings) -> str:
    return "sqlite" if settings.database_url.startswith("sqlite") else "postgresql"


def _fingerprint(settings: Settings) -> str:
    """Name the gate: one per API and key."""
    text = f"{settings.customgpt_api_url} {settings.key_source()()}"
    return hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_HEX]


async def _prepare_ledger(
    settings: Settings, log: Log, stop: asyncio.Event, *, on_state: Callable[[bool], None]
) -> Identity | None:
    """Wait until the ledger is there and ready; None when told to stop meanwhile."""
    pause_s, longest = LEDGER_PAUSES_S
    begun: float | None = None
    while True:
        try:
            identity = await asyncio.to_thread(prepare, settings.database_url)
            found = await asyncio.to_thread(weaknesses, settings.database_url)
        except LedgerUnavailable as error:
            if begun is None:
                begun = time.monotonic()
                on_state(False)
                log("ledger.lost", error_code=error.code, detail=reason_of(error), retry_in_s=pause_s)
        else:
            if begun is not None:
                on_state(True)
                log("ledger.recovered", away_s=round(time.monotonic() - begun, 1))
            for weakness in found:
                log("settings.warned", setting="DATABASE_URL", detail=weakness)
            return identity
        try:
            async with asyncio.timeout(pause_s):
                await stop.wait()
        except TimeoutError:
            pause_s = min(pause_s * 2, longest)
        else:
            return None


def _listen_for_signals(stop: asyncio.Event, log: Log) -> None:
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        log("worker.stopping", reason=number.name)
        stop.set()
        # A second one means now.
        loop.remove_signal_handler(signal.SIGINT)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
