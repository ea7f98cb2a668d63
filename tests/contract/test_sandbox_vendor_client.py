"""The vendor's own client, pointed at the sandbox, works unchanged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from customgpt_client import CustomGPT

from worker.sandbox.answers import answer_to
from worker.sandbox.process import SandboxProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = 123

# The client opens a connection per call and leaves a streamed one to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess(switches={"conversations_per_page": 2}) as running:
        yield running


@pytest.fixture(autouse=True)
def client(sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its settings belong to the class, that is to the whole process.
    monkeypatch.setattr(CustomGPT, "api_key", "1|key", raising=False)
    monkeypatch.setattr(CustomGPT, "base_url", sandbox.root, raising=False)
    monkeypatch.setattr(CustomGPT, "timeout", 30.0, raising=False)
    # The client would ask a proxy of the environment for the loopback address.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def make_conversation(name: str = "A conversation") -> str:
    return CustomGPT.Conversation.create(project_id=PROJECT, name=name).parsed.data.session_id


def test_vendor_client_creates_and_lists_conversations_over_pages() -> None:
    sessions = {make_conversation(f"paged {number}") for number in range(3)}
    found = set()
    for page in (1, 2):
        answer = CustomGPT.Conversation.get(project_id=PROJECT, name="paged", page=page)
        assert answer.status_code == 200
        assert answer.parsed.data.total == 3
        found |= {each.session_id for each in answer.parsed.data.data}
    assert found == sessions


def test_vendor_client_renames_a_conversation() -> None:
    session = make_conversation("old name")
    answer = CustomGPT.Conversation.update(project_id=PROJECT, session_id=session, name="new name")
    assert (answer.status_code, answer.parsed.data.name) == (200, "new name")


def test_vendor_client_deletes_a_conversation_and_then_gets_404() -> None:
    session = make_conversation()
    answer = CustomGPT.Conversation.delete(project_id=PROJECT, session_id=session)
    assert (answer.status_code, answer.parsed.data.deleted) == (200, True)
    again = CustomGPT.Conversation.delete(project_id=PROJECT, session_id=session)
    assert (again.status_code, again.parsed.data.code) == (404, 404)


def test_vendor_client_gets_the_answer_to_its_own_question() -> None:
    session = make_conversation()
    answer = CustomGPT.Conversation.send(
        project_id=PROJECT, session_id=session, prompt="Where is my card?", external_id="EXT_1"
    )
    data = answer.parsed.data
    assert answer.status_code == 200
    assert data.user_query == "Where is my card?"
    assert data.openai_response == answer_to("Where is my card?")
    assert data.metadata.external_id == "EXT_1"
    assert all(isinstance(each, int) for each in data.citations)


def test_vendor_client_streams_start_progress_and_finish(sandbox: SandboxProcess) -> None:
    session = make_conversation()
    stream = CustomGPT.Conversation.send(
        project_id=PROJECT, session_id=session, prompt="Stream this", stream=True, external_id="EXT_2"
    )
    events = [(event.event, json.loads(event.data)) for event in stream.events()]
    assert [name for name, _ in events[:1] + events[-1:]] == ["start", "finish"]
    text = "".join(data["message"] for name, data in events if name == "progress")
    assert text == answer_to("Stream this")
    stored = [each for each in sandbox.effects("message") if each["session_id"] == session]
    assert [(each["message_id"], each["external_id"]) for each in stored] == [(events[-1][1]["id"], "EXT_2")]


def test_vendor_client_lists_messages_newest_first() -> None:
    session = make_conversation()
    for question in ("one", "two"):
        CustomGPT.Conversation.send(project_id=PROJECT, session_id=session, prompt=question)
    answer = CustomGPT.Conversation.messages(project_id=PROJECT, session_id=session)
    assert answer.parsed.data.conversation.session_id == session
    assert [each.user_query for each in answer.parsed.data.messages.data] == ["two", "one"]


def test_vendor_client_makes_lists_reads_and_deletes_projects() -> None:
    made = CustomGPT.Project.create(project_name="Second", sitemap_path="https://www.example.com/s.xml")
    number = made.parsed.data.id
    assert made.status_code == 201
    listed = CustomGPT.Project.list(name="Second")
    assert [each.id for each in listed.parsed.data.data] == [number]
    assert CustomGPT.Project.get(project_id=number).parsed.data.is_chat_active is True
    changed = CustomGPT.Project.update(project_id=number, project_name="Renamed")
    assert changed.parsed.data.project_name == "Renamed"
    assert CustomGPT.Project.delete(project_id=number).parsed.data.deleted is True
    assert CustomGPT.Project.get(project_id=number).status_code == 404


def test_vendor_client_reads_settings_limits_user_and_citations() -> None:
    settings = CustomGPT.ProjectSettings.get(project_id=PROJECT)
    assert settings.parsed.data.no_answer_message
    limits = CustomGPT.Limit.get()
    assert limits.parsed.data.max_queries >= limits.parsed.data.current_queries
    assert CustomGPT.User.get().parsed.data.email
    citation = CustomGPT.Citation.get(project_id=PROJECT, citation_id=12)
    assert citation.parsed.data.title


def test_vendor_client_reads_stats_and_traffic() -> None:
    made = CustomGPT.Project.create(project_name="Asked", sitemap_path="https://www.example.com/s.xml")
    number = made.parsed.data.id
    session = CustomGPT.Conversation.create(project_id=number, name="n").parsed.data.session_id
    CustomGPT.Conversation.send(project_id=number, session_id=session, prompt="one")
    stats = CustomGPT.Project.stats(project_id=number)
    assert stats.status_code == 200
    assert stats.parsed.data.pages_found == stats.parsed.data.pages_indexed
    assert stats.parsed.data.total_queries == 1
    traffic = CustomGPT.ReportsAnalytics.traffic(project_id=number, filters=["sources"])
    sources = traffic.parsed.data.sources
    assert [(each.request_source, each.request_source_number) for each in sources] == [("api", 1)]


def test_vendor_client_changes_settings() -> None:
    made = CustomGPT.Project.create(project_name="Settings", sitemap_path="https://www.example.com/s.xml")
    number = made.parsed.data.id
    answer = CustomGPT.ProjectSettings.update(
        project_id=number,
        no_answer_message="Pass.",
        example_questions=["How?", "Why?"],
        enable_feedbacks=False,
        enable_citations=2,
    )
    assert (answer.status_code, answer.parsed.data.updated) == (200, True)
    settings = CustomGPT.ProjectSettings.get(project_id=number).parsed.data
    assert settings.no_answer_message == "Pass."
    assert settings.example_questions == ["How?", "Why?"]
    assert (settings.enable_feedbacks, settings.enable_citations) == (False, 2)


def test_vendor_client_reads_the_error_envelope_of_a_wrong_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CustomGPT, "api_key", "wrong")
    answer = CustomGPT.Conversation.create(project_id=PROJECT, name="never")
    assert (answer.status_code, answer.parsed.data.code) == (401, 401)
    assert "API Token" in answer.parsed.data.message
