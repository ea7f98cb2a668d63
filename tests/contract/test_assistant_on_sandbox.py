"""The adapter against the sandbox, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from tests.servers_http.cutting import WHOLE_BYTES, CuttingApi
from worker.adapters.customgpt import CustomGpt, CustomGptConfig
from worker.core.errors import (
    ConversationGone,
    CredentialsRejected,
    OutcomeUnknown,
    ProjectNotFound,
    Throttled,
    Unreachable,
)
from worker.core.model import RemoteMessage
from worker.sandbox.process import SandboxProcess

PROJECT = 123
#: Seconds; must not be reached on a busy machine.
CONNECT_S = 30.0


@pytest.fixture(scope="module")
def sandbox_process() -> Iterator[SandboxProcess]:
    with SandboxProcess() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(sandbox_process: SandboxProcess) -> Iterator[SandboxProcess]:
    defaults = sandbox_process.switches()
    yield sandbox_process
    sandbox_process.set_faults()
    sandbox_process.set_switches(**defaults)


def opened(sandbox: SandboxProcess, key: str = "1|any") -> CustomGpt:
    return CustomGpt(CustomGptConfig(api_url=sandbox.url), key=lambda: key, log=lambda *_, **__: None)


@pytest.fixture
async def api(sandbox: SandboxProcess) -> AsyncIterator[CustomGpt]:
    async with opened(sandbox) as api:
        yield api


async def created(api: CustomGpt, name: str) -> str:
    return (await api.create_conversation(PROJECT, name, connect_within_s=CONNECT_S)).session_id


async def post(api: CustomGpt, session_id: str, text: str, external_id: str = "C 1/é") -> RemoteMessage:
    return await api.post_question(
        PROJECT,
        session_id,
        text=text,
        external_id=external_id,
        lang="en",
        traceparent=None,
        connect_within_s=CONNECT_S,
    )


async def test_question_makes_the_round_trip(api: CustomGpt, sandbox: SandboxProcess) -> None:
    made = await api.create_conversation(PROJECT, "crm:round #trip", connect_within_s=CONNECT_S)
    text = 'Où? "1 & 1"\n\U0001f600 ' + "x" * 20_000
    answered = await post(api, made.session_id, text)
    listing = await api.list_messages(PROJECT, made.session_id, above=-1)

    assert (answered.question, answered.external_id) == (text, "C 1/é")
    assert answered.answer
    assert answered.created_at is not None
    assert answered.metadata["external_id"] == "C 1/é"
    assert not {"user_ip", "user_agent"} & set(answered.metadata)
    (listed,) = listing.messages
    assert (listed.message_id, listed.question, listed.answer) == (answered.message_id, text, answered.answer)
    assert listing.conversation_id == made.conversation_id


@pytest.mark.parametrize("dates", ["iso", "plain", "words"])
async def test_dates_of_every_form_come_to_the_same(
    api: CustomGpt, sandbox: SandboxProcess, dates: str
) -> None:
    sandbox.set_switches(dates=dates)
    made = await api.create_conversation(PROJECT, "n", connect_within_s=CONNECT_S)
    assert made.created_at is not None
    assert made.created_at.startswith("20")
    assert made.created_at.endswith("Z")


@pytest.mark.parametrize("form", ["ints", "strings", "empty", "null"])
async def test_citations_of_every_form_are_read(api: CustomGpt, sandbox: SandboxProcess, form: str) -> None:
    sandbox.set_switches(citations=form)
    citations = (await post(api, await created(api, "n"), "q")).citations
    assert bool(citations) is (form in {"ints", "strings"})
    assert all(isinstance(citation.id, int) for citation in citations)


async def test_conversations_are_found_on_all_pages(api: CustomGpt, sandbox: SandboxProcess) -> None:
    made = {await created(api, f"crm:{number} #pages") for number in range(25)}
    await created(api, "crm:other #page")
    assert {found.session_id for found in await api.find_conversations(PROJECT, "#pages")} == made


async def test_deleted_conversation_is_not_found_or_marked(api: CustomGpt, sandbox: SandboxProcess) -> None:
    session_id = await created(api, "crm:x #deleted")
    await api.delete_conversation(PROJECT, session_id)
    assert await api.find_conversations(PROJECT, "#deleted") == []
    sandbox.set_switches(list_shows_deleted=True, ended_field="deleted_at")
    (found,) = await api.find_conversations(PROJECT, "#deleted")
    assert found.is_deleted
    await api.delete_conversation(PROJECT, session_id)


async def test_messages_are_listed_over_pages_down_to_the_baseline(
    api: CustomGpt, sandbox: SandboxProcess
) -> None:
    sandbox.set_switches(messages_per_page=3)
    session_id = await created(api, "n")
    numbers = [(await post(api, session_id, f"q{number}")).message_id for number in range(8)]
    for above, expected in ((numbers[2], numbers[:2:-1]), (0, numbers[::-1]), (-1, numbers[:-4:-1])):
        listing = await api.list_messages(PROJECT, session_id, above=above)
        assert [message.message_id for message in listing.messages] == expected


async def test_renamed_conversation_is_found_by_its_new_name(api: CustomGpt, sandbox: SandboxProcess) -> None:
    session_id = await created(api, "old")
    assert (await api.rename_conversation(PROJECT, session_id, "crm:é #renamed")).name == "crm:é #renamed"
    assert [found.session_id for found in await api.find_conversations(PROJECT, "#renamed")] == [session_id]


async def test_unknown_session_is_gone(api: CustomGpt) -> None:
    with pytest.raises(ConversationGone):
        await post(api, "no-such-session", "q")
    with pytest.raises(ConversationGone):
        await api.list_messages(PROJECT, "no-such-session", above=-1)


async def test_unknown_project_and_wrong_key_are_told_apart(sandbox: SandboxProcess) -> None:
    async with opened(sandbox) as api:
        await api.check_project(PROJECT)
        for call in (
            api.check_project(999_999),
            api.find_conversations(999_999, "n"),
            api.create_conversation(999_999, "n", connect_within_s=CONNECT_S),
        ):
            with pytest.raises(ProjectNotFound):
                await call
    async with opened(sandbox, key="wrong") as api:
        with pytest.raises(CredentialsRejected):
            await api.check_project(PROJECT)


async def test_empty_answer_leaves_the_outcome_unknown_and_the_message_shows_it(
    api: CustomGpt, sandbox: SandboxProcess
) -> None:
    session_id = await created(api, "n")
    sandbox.set_switches(answer="empty")
    with pytest.raises(OutcomeUnknown):
        await post(api, session_id, "q")
    (listed,) = (await api.list_messages(PROJECT, session_id, above=-1)).messages
    assert (listed.question, listed.answer) == ("q", None)


async def test_pace_of_the_plan_is_told_with_its_pause(api: CustomGpt, sandbox: SandboxProcess) -> None:
    sandbox.set_switches(requests_per_minute=1)
    with pytest.raises(Throttled) as caught:
        await asyncio.gather(*(api.check_project(PROJECT) for _ in range(5)))
    assert 1 <= caught.value.pause_s <= 60


async def test_answer_without_a_conversation_id_has_it_in_the_listing(
    api: CustomGpt, sandbox: SandboxProcess
) -> None:
    sandbox.set_switches(answer_has_conversation_id=False)
    made = await api.create_conversation(PROJECT, "n", connect_within_s=CONNECT_S)
    assert (await post(api, made.session_id, "q")).conversation_id is None
    listing = await api.list_messages(PROJECT, made.session_id, above=-1)
    assert listing.conversation_id == made.conversation_id


async def test_canned_texts_are_those_the_agent_answers_with(api: CustomGpt, sandbox: SandboxProcess) -> None:
    texts = await api.canned_texts(PROJECT)
    session_id = await created(api, "n")
    for answer, text in (("no_answer", texts.no_answer), ("siesta", texts.agent_problem)):
        sandbox.set_switches(answer=answer)
        assert (await post(api, session_id, "q")).answer == text
        assert text


async def test_project_and_plan_are_told(api: CustomGpt) -> None:
    assert (await api.project(PROJECT)).is_chat_active is True
    assert (await api.limits()).max_queries == 1_000_000


async def test_reads_of_a_stopped_server_are_unreachable() -> None:
    with SandboxProcess() as sandbox:
        api = opened(sandbox)
        await api.start()
        await api.check_project(PROJECT)
    with pytest.raises(Unreachable):
        await api.check_project(PROJECT)
    await api.close()


@pytest.mark.parametrize("at", ["before_headers", "after_headers", "mid_body"])
@pytest.mark.parametrize(("when", "stored"), [("before_work", 0), ("after_work", 1)])
async def test_cut_connection_leaves_a_post_unknown_whether_or_not_it_was_stored(
    api: CustomGpt, sandbox: SandboxProcess, at: str, when: str, stored: int
) -> None:
    session_id = await created(api, "n")
    cut = {"kind": "reset", "when": when, "at": at}
    sandbox.set_faults({"match": {"call": "post", "session_id": session_id}, "action": cut})
    with pytest.raises(OutcomeUnknown):
        await post(api, session_id, "q")
    listing = await api.list_messages(PROJECT, session_id, above=0)
    assert len(listing.messages) == stored


@pytest.fixture
async def streaming(sandbox: SandboxProcess) -> AsyncIterator[CustomGpt]:
    config = CustomGptConfig(api_url=sandbox.url, is_streaming=True)
    async with CustomGpt(config, key=lambda: "1|any", log=lambda *_, **__: None) as api:
        yield api


async def streamed(api: CustomGpt, session_id: str) -> tuple[list[str], RemoteMessage | None, str]:
    """Post a question, and return what was told of it: accepted or not, the message, the error's detail."""
    told: list[str] = []

    async def accepted() -> None:
        told.append("accepted")

    try:
        message = await api.post_question(
            PROJECT,
            session_id,
            text="Streamed?",
            external_id="C 1/é",
            lang="en",
            traceparent=None,
            connect_within_s=CONNECT_S,
            on_accepted=accepted,
        )
    except OutcomeUnknown as error:
        return told, None, error.detail
    return told, message, ""


@pytest.mark.parametrize("event_lines", [True, False])
async def test_a_streamed_message_read_by_its_id_is_the_unstreamed_one(
    sandbox: SandboxProcess, api: CustomGpt, streaming: CustomGpt, event_lines: bool
) -> None:
    sandbox.set_switches(stream_event_lines=event_lines)
    session_id = await created(api, "stream")
    told, end, _ = await streamed(streaming, session_id)
    assert end is not None
    assert (told, end.is_whole) == (["accepted"], False)
    message = await streaming.get_message(PROJECT, session_id, end.message_id)
    plain = await post(api, session_id, "Streamed?")
    assert replace(message, message_id=plain.message_id, created_at=plain.created_at) == plain
    assert end.citations == message.citations


@pytest.mark.parametrize("when", ["before_work", "after_work"])
@pytest.mark.parametrize(
    ("fault", "is_taken"),
    [
        ({"kind": "sse_truncated"}, True),
        ({"kind": "sse_error"}, True),
        ({"kind": "reset", "at": "mid_body"}, True),
        ({"kind": "close", "at": "mid_body"}, True),
        ({"kind": "reset", "at": "after_headers"}, False),
        ({"kind": "close", "at": "after_headers"}, False),
        ({"kind": "reset", "at": "before_headers"}, False),
        ({"kind": "reply", "status": 502}, False),
        ({"kind": "reply", "status": 200, "body": "garbage"}, False),
    ],
)
async def test_a_broken_stream_is_unknown_and_tells_whether_the_post_was_taken(
    sandbox: SandboxProcess, streaming: CustomGpt, fault: dict[str, str], is_taken: bool, when: str
) -> None:
    session_id = await created(streaming, "broken")
    sandbox.set_faults({"match": {"call": "post"}, "action": {**fault, "when": when}})
    told, end, detail = await streamed(streaming, session_id)
    assert (told, end) == (["accepted"] * is_taken, None)
    assert "Streamed" not in detail


async def test_a_refused_streamed_post_is_sorted_as_a_plain_one(
    sandbox: SandboxProcess, streaming: CustomGpt
) -> None:
    session_id = await created(streaming, "refused")
    sandbox.set_faults({"match": {"call": "post"}, "action": {"kind": "throttle", "retry_after": "7"}})
    with pytest.raises(Throttled) as caught:
        await streamed(streaming, session_id)
    assert caught.value.pause_s == 7
    sandbox.set_faults()
    with pytest.raises(ConversationGone):
        await streamed(streaming, "nobody-knows-it")


async def test_a_message_that_is_not_there_is_gone(streaming: CustomGpt) -> None:
    session_id = await created(streaming, "empty")
    with pytest.raises(ConversationGone):
        await streaming.get_message(PROJECT, session_id, 424_242)


async def test_streamed_answers_share_a_connection() -> None:
    api = CuttingApi()
    async with (
        api.server,
        CustomGpt(
            CustomGptConfig(api_url=api.server.api_url, is_streaming=True),
            key=lambda: "1",
            log=lambda *_, **__: None,
        ) as streaming,
    ):
        for number in range(5):
            message = await post(streaming, "s-1", f"{number} cut at {WHOLE_BYTES}")
            assert not message.is_whole
    assert api.server.connections == 1
