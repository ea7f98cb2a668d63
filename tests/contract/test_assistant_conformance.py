"""One suite for the Assistant port, on the simulated API and on the sandbox over HTTP.

The simulation proves the protocol against what it believes of the API. It has to be what the sandbox does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.contract.assistant_worlds import Sandboxed, Simulated, World
from worker.core.errors import (
    AssistantError,
    ConversationGone,
    CredentialsRejected,
    CreditsExhausted,
    OutcomeUnknown,
    ProjectNotFound,
    QuestionRejected,
    Throttled,
    Unreachable,
)
from worker.core.model import RemoteMessage
from worker.core.ports import Assistant
from worker.sandbox.process import SandboxProcess

PROJECT = 123
NO_PROJECT = 999_999
#: s. Must not be reached on a busy machine.
CONNECT_S = 30.0


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as sandbox:
        yield sandbox


@pytest.fixture(params=["simulated", "sandbox"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "simulated":
        yield Simulated()
        return
    sandbox: SandboxProcess = request.getfixturevalue("sandbox")
    defaults = sandbox.switches()
    yield Sandboxed(sandbox)
    sandbox.set_faults()
    sandbox.set_switches(**defaults)


async def created(api: Assistant, name: str = "crm:x #tag") -> str:
    return (await api.create_conversation(PROJECT, name, connect_within_s=CONNECT_S)).session_id


async def post(
    api: Assistant,
    session_id: str,
    text: str = "a question",
    *,
    project_id: int = PROJECT,
    external_id: str = "C 1/é",
    connect_within_s: float = CONNECT_S,
) -> RemoteMessage:
    return await api.post_question(
        project_id,
        session_id,
        text=text,
        external_id=external_id,
        lang=None,
        traceparent=f"00-{1:032x}-{1:016x}-01",
        connect_within_s=connect_within_s,
    )


async def texts_in(api: Assistant, session_id: str, *, above: int = 0) -> list[str]:
    return [each.question for each in (await api.list_messages(PROJECT, session_id, above=above)).messages]


def test_created_conversation_is_found_by_a_part_of_its_name(world: World) -> None:
    async def scenario(api: Assistant) -> None:
        made = await api.create_conversation(PROJECT, "crm:a #found-1", connect_within_s=CONNECT_S)
        await created(api, "crm:a #other-1")
        (found,) = await api.find_conversations(PROJECT, "#found-1")
        assert (found.session_id, found.name) == (made.session_id, "crm:a #found-1")
        assert found.conversation_id == made.conversation_id
        assert not found.is_deleted

    world.run(scenario)


def test_the_same_name_makes_a_second_conversation(world: World) -> None:
    async def scenario(api: Assistant) -> None:
        sessions = [await created(api, "crm:b #twice") for _ in range(2)]
        found = sorted(
            await api.find_conversations(PROJECT, "#twice"), key=lambda each: each.conversation_id or 0
        )
        assert [each.session_id for each in found] == sessions
        assert len(set(sessions)) == 2

    world.run(scenario)


def test_created_conversation_may_be_listed_late_and_takes_posts_at_once(world: World) -> None:
    async def scenario(api: Assistant) -> None:
        with world.lag("list_lag"):
            session_id = await created(api, "crm:c #late")
        assert await api.find_conversations(PROJECT, "#late") == []
        assert (await post(api, session_id)).answer
        await world.let_lag_pass()
        assert [each.session_id for each in await api.find_conversations(PROJECT, "#late")] == [session_id]

    world.run(scenario)


def test_posted_question_is_listed_as_it_was_sent(world: World) -> None:
    async def scenario(api: Assistant) -> None:
        made = await api.create_conversation(PROJECT, "crm:d #sent", connect_within_s=CONNECT_S)
        text = 'Où? "1 & 1"\n  \U0001f600 '
        told = await post(api, made.session_id, text)
        listing = await api.list_messages(PROJECT, made.session_id, above=0)
        (listed,) = listing.messages
        for message in (told, listed):
            assert (message.question, message.external_id) == (text, "C 1/é")
        assert listed.message_id == told.message_id
        assert listed.answer == told.answer
        assert told.answer
        assert listing.conversation_id == made.conversation_id

    world.run(scenario)


def test_messages_are_listed_newest_first_above_the_baseline(world: World) -> None:
    async def scenario(api: Assistant) -> None:
        session_id = await created(api)
        numbers = [(await post(api, session_id, f"question {number}")).message_id for number in range(4)]
        assert numbers == sorted(set(numbers))
        assert numbers[0] > 0
        for above, expected in ((0, numbers[::-1]), (numbers[1], numbers[:1:-1]), (numbers[-1], [])):
            listing = await api.list_messages(PROJECT, session_id, above=above)
            assert [each.message_id for each in listing.messages] == expected
        newest = await api.list_messages(PROJECT, session_id, above=-1)
        assert newest.messages[0].message_id == numbers[-1]

    world.run(scenario)


def test_messages_of_another_conversation_are_not_listed(world: World) -> None:
    async def scenario(api: Assistant) -> None:
        one, other = await created(api), await created(api)
        await post(api, one, "here")
        await post(api, other, "there")
        assert await texts_in(api, one) == ["here"]

    world.run(scenario)


def test_message_may_be_listed_late(world: World) -> None:
    async def scenario(api: Assistant) -> None:
        session_id = await created(api)
        with world.lag("message_lag"):
            await post(api, session_id, "late")
            assert await texts_in(api, session_id) == []
        await world.let_lag_pass()
        assert await texts_in(api, session_id) == ["late"]

    world.run(scenario)


def test_deleted_conversation_is_gone_for_every_call(world: World) -> None:
    async def scenario(api: Assistant) -> None:
        session_id = await created(api, "crm:e #deleted")
        await post(api, session_id)
        await api.delete_conversation(PROJECT, session_id)
        assert await api.find_conversations(PROJECT, "#deleted") == []
        for call in (post(api, session_id), api.list_messages(PROJECT, session_id, above=0)):
            with pytest.raises(ConversationGone):
                await call

    world.run(scenario)


def test_unknown_conversation_is_gone(world: World) -> None:
    async def scenario(api: Assistant) -> None:
        for call in (post(api, "no-such-session"), api.list_messages(PROJECT, "no-such-session", above=0)):
            with pytest.raises(ConversationGone):
                await call

    world.run(scenario)


def test_deleting_a_missing_conversation_is_no_error(world: World) -> None:
    async def scenario(api: Assistant) -> None:
        session_id = await created(api)
        for missing in (session_id, session_id, "no-such-session"):
            await api.delete_conversation(PROJECT, missing)

    world.run(scenario)


def test_unknown_project_is_told_and_hides_its_conversations(world: World) -> None:
    async def scenario(api: Assistant) -> None:
        session_id = await created(api)
        await api.check_project(PROJECT)
        for call in (
            api.check_project(NO_PROJECT),
            api.find_conversations(NO_PROJECT, "#tag"),
            api.create_conversation(NO_PROJECT, "n", connect_within_s=CONNECT_S),
        ):
            with pytest.raises(ProjectNotFound):
                await call
        for gone in (
            post(api, session_id, project_id=NO_PROJECT),
            api.list_messages(NO_PROJECT, session_id, above=0),
        ):
            with pytest.raises(ConversationGone):
                await gone
        await api.delete_conversation(NO_PROJECT, session_id)
        assert await texts_in(api, session_id) == []

    world.run(scenario)


#: What the API says before it looks at a request: nothing is done then.
DOORS: dict[str, type[AssistantError]] = {
    "key_rejected": CredentialsRejected,
    "credits_gone": CreditsExhausted,
    "throttled": Throttled,
    "refused": Unreachable,
}


@pytest.mark.parametrize("fault", DOORS)
def test_refused_request_is_definite_and_has_no_effect(world: World, fault: str) -> None:
    async def scenario(api: Assistant) -> None:
        session_id = await created(api)
        with world.fault(fault):
            for call in (
                post(api, session_id),
                api.create_conversation(PROJECT, f"crm:f #{fault}", connect_within_s=CONNECT_S),
                api.list_messages(PROJECT, session_id, above=0),
                api.find_conversations(PROJECT, f"#{fault}"),
                api.check_project(PROJECT),
            ):
                with pytest.raises(DOORS[fault]) as caught:
                    await call
                assert not isinstance(caught.value, Throttled) or caught.value.pause_s > 0
        assert await texts_in(api, session_id) == []
        assert await api.find_conversations(PROJECT, f"#{fault}") == []

    world.run(scenario)


def test_rejected_question_is_definite_and_has_no_effect(world: World) -> None:
    async def scenario(api: Assistant) -> None:
        session_id = await created(api)
        with world.fault("question_rejected"), pytest.raises(QuestionRejected):
            await post(api, session_id, "to be rejected")
        assert await texts_in(api, session_id) == []

    world.run(scenario)


def test_post_without_time_to_connect_is_unreachable_and_has_no_effect(world: World) -> None:
    async def scenario(api: Assistant) -> None:
        session_id = await created(api)
        with pytest.raises(Unreachable):
            await post(api, session_id, connect_within_s=0.0)
        assert await texts_in(api, session_id) == []

    world.run(scenario)


#: What leaves the outcome open: whether the work was done, has_ended, is_server_error.
UNKNOWN: dict[str, tuple[bool, bool, bool]] = {
    "error_before": (False, False, True),
    "error_after": (True, False, True),
    "error_before_own": (False, True, True),
    "error_after_own": (True, True, True),
    "garbage": (True, False, False),
    "request_lost": (False, False, False),
    "response_lost": (True, False, False),
}


@pytest.mark.parametrize("fault", UNKNOWN)
def test_post_whose_outcome_is_unknown_shows_in_a_later_listing(world: World, fault: str) -> None:
    is_done, has_ended, is_server_error = UNKNOWN[fault]

    async def scenario(api: Assistant) -> None:
        session_id = await created(api)
        with world.fault(fault), pytest.raises(OutcomeUnknown) as caught:
            await post(api, session_id, "unknown")
        assert (caught.value.has_ended, caught.value.is_server_error) == (has_ended, is_server_error)
        await world.let_lag_pass()
        listing = await api.list_messages(PROJECT, session_id, above=0)
        assert [each.question for each in listing.messages] == ["unknown"] * is_done
        assert all(each.answer for each in listing.messages)

    world.run(scenario)


@pytest.mark.parametrize("fault", UNKNOWN)
def test_creation_whose_outcome_is_unknown_shows_in_a_later_listing(world: World, fault: str) -> None:
    async def scenario(api: Assistant) -> None:
        name = f"crm:g #unknown-{fault}."
        with world.fault(fault), pytest.raises(OutcomeUnknown):
            await api.create_conversation(PROJECT, name, connect_within_s=CONNECT_S)
        await world.let_lag_pass()
        found = await api.find_conversations(PROJECT, f"#unknown-{fault}.")
        assert [each.name for each in found] == [name] * UNKNOWN[fault][0]

    world.run(scenario)


Read = Callable[[Assistant, str], Awaitable[object]]
READS: dict[str, Read] = {
    "find": lambda api, _: api.find_conversations(PROJECT, "#tag"),
    "list": lambda api, session_id: api.list_messages(PROJECT, session_id, above=0),
    "check": lambda api, _: api.check_project(PROJECT),
}


@pytest.mark.parametrize("read", READS)
def test_failed_read_is_unreachable(world: World, read: str) -> None:
    async def scenario(api: Assistant) -> None:
        session_id = await created(api)
        with world.fault("read_failed"), pytest.raises(Unreachable):
            await READS[read](api, session_id)
        await READS[read](api, session_id)

    world.run(scenario)


def test_canned_text_is_the_answer_when_the_queries_are_used_up(world: World) -> None:
    async def scenario(api: Assistant) -> None:
        texts = await api.canned_texts(PROJECT)
        session_id = await created(api)
        with world.fault("out_of_queries"):
            told = await post(api, session_id)
        assert told.answer == texts.out_of_queries
        assert told.answer
        assert len(await texts_in(api, session_id)) == 1, "such a message is stored"

    world.run(scenario)
