"""What the values of settings may be: validators whose messages say what to write instead.

A message never holds the value, which may be a secret.
"""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, SecretStr

from schemas.values import LANG_PATTERN, MODEL_NAME_PATTERN
from worker.settings import urls

#: AMQP carries names as short strings: one byte of length.
AMQP_NAME_BYTES = 255

#: What an event may be allowed to say of how its question is asked and answered.
EVENT_OPTIONS = ("custom_persona", "chatbot_model", "response_source", "custom_context", "api")


def _amqp_name(name: str) -> str:
    if not name or len(name.encode("utf-8", "replace")) > AMQP_NAME_BYTES or not name.isprintable():
        raise ValueError(f"must have 1 to {AMQP_NAME_BYTES} bytes and no control characters")
    if name.startswith("amq."):
        raise ValueError("must not start with amq., which brokers keep for themselves")
    return name


def _routing_key(key: str) -> str:
    if {"*", "#"} & set(key.split(".")):
        raise ValueError("must be one routing key, without the wildcards * and #")
    return _amqp_name(key)


def _doorbell_queue(name: str) -> str:
    if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9._-]*", name):
        raise ValueError("must start with a letter or _ and go on with letters, digits, '.', '_' or '-'")
    return _amqp_name(name)


def _secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must have no blanks, line ends or letters outside ASCII: copy it again")
    return value


def _log_key(value: SecretStr) -> SecretStr:
    # With a short key anybody could find contact ids from their hashes by trying keys.
    if len(value.get_secret_value()) < 16:
        raise ValueError("must have at least 16 characters: `openssl rand -hex 32` makes one")
    return _secret(value)


def _off(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().lower() in {"", "off"} else value


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _some_text(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank: leave it out for the agent's own")
    return value


def _lang_tag(value: str) -> str:
    if not re.fullmatch(LANG_PATTERN, value):
        raise ValueError("must be a language tag such as en or pt-BR")
    return value


def _model_name(value: str) -> str:
    if not re.fullmatch(MODEL_NAME_PATTERN, value):
        raise ValueError("must be a model's name as the API spells it, such as gpt-4-1-mini")
    return value


def _event_options(value: str) -> str:
    names = [name.strip().lower() for name in value.split(",") if name.strip()]
    if wrong := [name for name in names if name not in EVENT_OPTIONS]:
        nearest = difflib.get_close_matches(wrong[0], EVENT_OPTIONS, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"must be names out of {', '.join(EVENT_OPTIONS)}, separated by commas; did you mean {nearest}?"
        )
    return ",".join(dict.fromkeys(names))


AmqpName = Annotated[str, AfterValidator(_amqp_name)]
RoutingKey = Annotated[str, AfterValidator(_routing_key)]
DoorbellQueue = Annotated[str, AfterValidator(_doorbell_queue)]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
LogKey = Annotated[SecretStr, AfterValidator(_log_key)]
SomeText = Annotated[str, AfterValidator(_some_text)]
LangTag = Annotated[str, AfterValidator(_lang_tag)]
ModelName = Annotated[str, AfterValidator(_model_name)]
EventOptions = Annotated[str, AfterValidator(_event_options)]
HostName = Annotated[str, AfterValidator(urls.host_name)]
AmqpUrl = Annotated[str, AfterValidator(urls.amqp_url)]
DatabaseUrl = Annotated[str, AfterValidator(urls.database_url)]
ApiUrl = Annotated[str, AfterValidator(urls.api_url)]
CollectorUrl = Annotated[str, AfterValidator(urls.collector_url)]
ProxyUrl = Annotated[str, AfterValidator(urls.proxy_url)]
#: Takes the word "off" for None.
Off = BeforeValidator(_off)
#: Takes capital letters for small ones.
Lower = BeforeValidator(_lower)
