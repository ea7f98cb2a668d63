"""Exchange and queues: whether they are there, and made as order and safety need them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.adapters.rabbitmq.topology import (
    CONSEQUENCES,
    QUESTION_QUEUE_ARGUMENTS,
    REJECTED_QUEUE_ARGUMENTS,
)
from worker.cli.doctor_checks.finding import Finding, Say
from worker.cli.doctor_checks.refused import IMPOSSIBLE_EXCHANGE, IMPOSSIBLE_QUEUE, Refusal, ask

if TYPE_CHECKING:
    from worker.adapters.rabbitmq.wire import Wire
    from worker.settings import Settings

#: From this version on, a quorum queue without a delivery limit has one of 20.
HAS_DEFAULT_LIMIT = (4, 0)

#: What an argument of a queue means for the questions; the first two are those that ``run`` warns of.
_CONSEQUENCES = {
    **CONSEQUENCES,
    "x-queue-type": "it is no quorum queue, so the loss of one broker node may lose questions",
    "x-message-ttl": "the broker throws waiting messages away",
    "x-expires": "the broker deletes the queue while no worker runs",
    "x-max-length": "the broker throws messages away when many wait",
    "x-max-length-bytes": "the broker throws messages away when many wait",
    "durable": "it is gone after a restart of the broker",
}

#: Arguments that lose what is in a queue; a rejected queue may differ in any other.
_LOSING = frozenset({"x-message-ttl", "x-expires", "x-max-length", "x-max-length-bytes", "durable"})

_NEW_QUEUE = "delete it when it is empty; `askrelay run` makes it anew"
_SWITCH = "declare it, or set ASKRELAY_DECLARE=true"


async def look_at_exchange(wire: Wire, settings: Settings, say: Say) -> None:
    """Say whether the events exchange is there, durable and of the type topic."""
    name = settings.events_exchange
    what = f"exchange {name!r}"
    _, passive = await ask(wire, lambda at: at.call(at.channel.exchange_declare, exchange=name, passive=True))
    _, refusal = await ask(
        wire,
        lambda at: at.call(
            at.channel.exchange_declare,
            exchange=name,
            exchange_type="topic",
            durable=True,
            arguments=IMPOSSIBLE_EXCHANGE,
        ),
    )
    if passive.is_missing:
        say(_missing(what, settings, refusal))
    elif passive.code:
        say(Finding("broker", "warning", f"{what} may not be looked at by this user"))
    elif refusal.is_forbidden:
        say(Finding("broker", "ok", f"{what} is there; its type is hidden from this user"))
    elif refusal.difference == "type":
        text = f"{what} is of the type {refusal.current}, not topic"
        say(Finding("broker", "wrong", text, "delete it, or name another one in ASKRELAY_EVENTS_EXCHANGE"))
    elif refusal.difference in {"durable", "auto_delete", "internal"}:
        text = f"{what} differs in {refusal.difference} (it is {refusal.current})"
        say(Finding("broker", "wrong", text, "delete it and declare it durable, of the type topic"))
    else:
        say(Finding("broker", "ok", f"{what} is there: topic, durable"))


async def look_at_queues(wire: Wire, settings: Settings, say: Say, *, version: tuple[int, ...]) -> None:
    """Say whether the queues are there and made as they should be."""
    for name, arguments, is_rejected in (
        (settings.question_queue, QUESTION_QUEUE_ARGUMENTS, False),
        (settings.rejected_queue, REJECTED_QUEUE_ARGUMENTS, True),
    ):
        say(await _queue(wire, settings, name, arguments, version=version, is_rejected=is_rejected))
    say(_binding(settings))


async def _queue(
    wire: Wire,
    settings: Settings,
    name: str,
    arguments: dict[str, Any],
    *,
    version: tuple[int, ...],
    is_rejected: bool,
) -> Finding:
    what = f"queue {name!r}"
    answer, passive = await ask(wire, lambda at: at.call(at.channel.queue_declare, queue=name, passive=True))
    refusal = await _compare(wire, name, arguments)
    if passive.is_missing:
        return _missing(what, settings, refusal)
    if passive.code:
        # 405: an exclusive queue of another connection. Whatever it is, a worker could not use it either.
        return Finding("broker", "wrong", f"{what} may not be looked at: {passive.text[:120]}")
    counts = f"{answer.method.message_count} in it, {answer.method.consumer_count} consuming"
    if refusal.difference == "x-delivery-limit" and refusal.current == "none" and version < HAS_DEFAULT_LIMIT:
        # No limit at all, which is as good as the highest; the rest has to be compared without it.
        rest = {key: value for key, value in arguments.items() if key != "x-delivery-limit"}
        refusal = await _compare(wire, name, rest)
    if refusal.is_forbidden:
        return Finding("broker", "ok", f"{what} is there ({counts}); its arguments are hidden from this user")
    return _judged(what, counts, refusal, is_rejected=is_rejected)


def _judged(what: str, counts: str, refusal: Refusal, *, is_rejected: bool) -> Finding:
    difference = refusal.difference
    if not difference or difference in IMPOSSIBLE_QUEUE:
        return Finding("broker", "ok", f"{what} is there ({counts})")
    consequence = _CONSEQUENCES.get(difference, "it is used as it is")
    if is_rejected and difference not in _LOSING:
        return Finding("broker", "ok", f"{what} is there ({counts}); made differently in {difference}")
    text = f"{what} differs in {difference} (it is {refusal.current}), so {consequence}"
    return Finding("broker", "warning" if is_rejected else "wrong", text, _NEW_QUEUE)


async def _compare(wire: Wire, name: str, arguments: dict[str, Any]) -> Refusal:
    _, refusal = await ask(
        wire,
        lambda at: at.call(
            at.channel.queue_declare, queue=name, durable=True, arguments={**arguments, **IMPOSSIBLE_QUEUE}
        ),
    )
    return refusal


def _missing(what: str, settings: Settings, refusal: Refusal) -> Finding:
    if not settings.declare:
        return Finding("broker", "wrong", f"{what} is missing", _SWITCH)
    if refusal.is_forbidden:
        text = f"{what} is missing, and this user may not declare it"
        return Finding("broker", "wrong", text, "declare it, or allow this user to configure it")
    return Finding("broker", "ok", f"{what} is not there yet; `askrelay run` makes it")


def _binding(settings: Settings) -> Finding:
    """Say what is known of bindings, which AMQP shows to nobody."""
    what = f"{settings.asked_key!r} to {settings.question_queue!r}"
    if settings.declare:
        return Finding("broker", "ok", f"`askrelay run` binds {what}")
    text = f"whether {what} is bound cannot be seen over AMQP"
    return Finding("broker", "warning", text, "make sure of it, because ASKRELAY_DECLARE is false")
