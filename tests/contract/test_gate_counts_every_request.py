"""Every request to the API is asked for at the gate: pages of a listing and the agent's texts too."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from worker.adapters.customgpt import CustomGpt, CustomGptConfig
from worker.core.errors import GateClosed
from worker.core.model import CannedTexts
from worker.sandbox.process import SandboxProcess

PROJECT = 123


class Gate:
    """Counts what is let through; closed after so many."""

    def __init__(self, places: int = 1_000) -> None:
        self.admitted = 0
        self._places = places

    async def admit(self) -> None:
        if self.admitted >= self._places:
            raise GateClosed("throttled", retry_in_s=30.0)
        self.admitted += 1


@pytest.fixture
async def api() -> AsyncIterator[CustomGpt]:
    """Return the API over a sandbox whose log is not looked at."""
    with SandboxProcess() as sandbox:
        config = CustomGptConfig(api_url=sandbox.url)
        async with CustomGpt(config, key=lambda: "1|any", log=lambda *_, **__: None) as api:
            api.sandbox = sandbox  # type: ignore[attr-defined]
            yield api


async def test_each_page_after_the_first_is_asked_for(api: CustomGpt) -> None:
    for number in range(25):
        await api.create_conversation(PROJECT, f"{number} #pages", connect_within_s=5.0)
    gate, before = Gate(), sum(api.sandbox.summary()["requests_by_call"].values())  # type: ignore[attr-defined]
    assert len(await api.find_conversations(PROJECT, "#pages", admit=gate.admit)) == 25
    after = sum(api.sandbox.summary()["requests_by_call"].values())  # type: ignore[attr-defined]
    assert gate.admitted == after - before - 1 >= 1


async def test_a_page_for_which_the_gate_is_closed_is_not_read(api: CustomGpt) -> None:
    for number in range(25):
        await api.create_conversation(PROJECT, f"{number} #pages", connect_within_s=5.0)
    with pytest.raises(GateClosed):
        await api.find_conversations(PROJECT, "#pages", admit=Gate(places=0).admit)


async def test_the_agents_texts_are_asked_for_once_and_not_fetched_behind_a_closed_gate(
    api: CustomGpt,
) -> None:
    assert await api.canned_texts(PROJECT, admit=Gate(places=0).admit) == CannedTexts()
    open_gate = Gate()
    other = PROJECT + 1
    await api.canned_texts(other, admit=open_gate.admit)
    await api.canned_texts(other, admit=open_gate.admit)
    assert open_gate.admitted == 1
