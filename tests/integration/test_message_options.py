"""How questions are answered, told by settings and, where allowed, by events; read at the sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.in_process import asked, worker
from worker.sandbox.process import SandboxProcess


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as sandbox:
        yield sandbox


@pytest.mark.parametrize("stream", ["false", "true"])
async def test_what_an_event_says_goes_before_the_settings_and_what_nobody_says_is_left_out(
    sandbox: SandboxProcess, tmp_path: Path, stream: str
) -> None:
    settings = {
        "ASKRELAY_STREAM": stream,
        "ASKRELAY_CUSTOM_PERSONA": "A calm guide.",
        "ASKRELAY_CHATBOT_MODEL": "gpt-4-1-mini",
        "ASKRELAY_LANG": "de",
        "ASKRELAY_EVENT_OPTIONS": "custom_persona, custom_context",
    }
    own = {"custom_persona": "A pirate.", "custom_context": "The contact is at sea."}
    async with worker(tmp_path / "ledger.db", sandbox.url, **settings) as here:
        here.ask(
            [
                asked("evt-1", "EXT_1", "As the settings say?"),
                asked("evt-2", "EXT_2", "As the event says?", options=own, lang="pt"),
                asked("evt-3", "EXT_3", "As nobody allowed?", options={"response_source": "own_content"}),
            ]
        )
        replies = [json.loads(message.body) for message in await here.heard(2)]
        rejected = await here.broker.rejected.get()
    posts = {effect["question"]: effect["options"] for effect in sandbox.effects("message")}
    assert posts == {
        "As the settings say?": {"custom_persona": "A calm guide.", "chatbot_model": "gpt-4-1-mini"},
        "As the event says?": {**own, "chatbot_model": "gpt-4-1-mini"},
    }
    langs = {reply["data"]["question_id"]: reply["data"]["provider_metadata"]["lang"] for reply in replies}
    assert langs == {"evt-1": "de", "evt-2": "pt"}
    assert json.loads(rejected.body)["id"] == "evt-3"
    assert rejected.headers["x-askrelay-reason"] == "invalid_question"


async def test_nothing_is_said_of_how_to_answer_unless_it_is_set(
    sandbox: SandboxProcess, tmp_path: Path
) -> None:
    async with worker(tmp_path / "ledger.db", sandbox.url) as here:
        here.ask([asked("evt-1", "EXT_1", "Plain?")])
        await here.heard(1)
    (post,) = sandbox.effects("message")
    assert post["options"] == {}
