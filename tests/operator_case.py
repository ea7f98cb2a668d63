"""An operator at a command line, a sandbox, and a ledger that the worker's own code has filled."""

from __future__ import annotations

import asyncio
import io
import json
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from tests.commands import Ran
from tests.integration.test_status import asked, make_ledger
from worker.adapters.ledger.ledger import SqlLedger
from worker.cli.app import run_program
from worker.core.model import (
    AcceptedQuestion,
    Answered,
    Claim,
    Conversation,
    Failed,
    RemoteMessage,
    Reply,
    Verdict,
)
from worker.sandbox.process import SandboxProcess
from worker.settings import SETTINGS

#: Nothing listens there.
NO_BROKER = "amqp://guest:guest@127.0.0.1:1/"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Operator:
    """Runs commands in this process and sees what a person sees; also plays another program at the API."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        sandbox: SandboxProcess,
        database_url: str,
    ) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.sandbox = sandbox
        for setting in SETTINGS:
            for name in (*setting.names, *setting.file_names):
                monkeypatch.delenv(name, raising=False)
        self.project_id = self.ask("POST", "/projects", project_name="Case", sitemap_path="example.com")["id"]
        self.set(
            RABBITMQ_URL=NO_BROKER,
            DATABASE_URL=database_url,
            CUSTOMGPT_API_URL=sandbox.url,
            CUSTOMGPT_API_KEY="1|key",
            CUSTOMGPT_PROJECT_ID=str(self.project_id),
            ASKRELAY_HEALTH_PORT="0",
        )

    def set(self, **settings: str) -> None:
        """Change settings."""
        for name, value in settings.items():
            self._monkeypatch.setenv(name, value)

    def run(self, *arguments: str, typed: str | None = None) -> Ran:
        """Run one command; ``typed`` is what the person types at a terminal, else there is none."""
        self._capsys.readouterr()
        stdin = io.StringIO() if typed is None else _Terminal(typed)
        self._monkeypatch.setattr("sys.stdin", stdin)
        code = run_program([str(each) for each in arguments])
        out, err = self._capsys.readouterr()
        assert "Traceback" not in out + err
        return Ran(code, out, err)

    def told(self, *arguments: str, code: int = 0) -> Any:
        """Run one command with --json and return what it printed."""
        ran = self.run(*arguments, "--json")
        assert ran.code == code, ran.err
        return json.loads(ran.out)

    def ask(self, method: str, path: str, **body: Any) -> Any:
        """Make a call of another program and return its data."""
        request = urllib.request.Request(
            f"{self.sandbox.url}{path}",
            data=json.dumps(body).encode() if body else None,
            method=method,
            headers={"Authorization": "Bearer 2|other", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]

    def conversation(self, name: str) -> dict[str, Any]:
        """Create a conversation and return it."""
        made = self.ask("POST", f"/projects/{self.project_id}/conversations", name=name)
        return dict(made)

    def post(self, session_id: str, text: str, external_id: str | None = None) -> RemoteMessage:
        """Post a message and return it as the worker would see it."""
        query = "" if external_id is None else f"?external_id={quote(external_id)}"
        path = f"/projects/{self.project_id}/conversations/{session_id}/messages{query}"
        made = self.ask("POST", path, prompt=text)
        return RemoteMessage(made["id"], text, made["openai_response"], external_id)

    def sessions(self) -> list[str]:
        """Return the sessions of the project's conversations, from the API itself."""
        page = self.ask("GET", f"/projects/{self.project_id}/conversations")
        return [each["session_id"] for each in page["data"]]


def question(
    number: int, contact: str, text: str | None = None, thread: str | None = None
) -> AcceptedQuestion:
    """Return a question of a contact."""
    made = asked(number, contact)
    return replace(made, text=text or made.text, thread_id=thread)


def record(url: str, *questions: AcceptedQuestion, steps: Callable[[SqlLedger, Claim], Any]) -> None:
    """Accept questions and let ``steps`` take each one's turn."""

    async def work() -> None:
        ledger = make_ledger(url)
        ledger.start()
        try:
            for each in questions:
                await ledger.accept([each])
                (claim,) = (await ledger.claim(1)).turns
                await steps(ledger, claim)
        finally:
            await ledger.stop()

    asyncio.run(work())


async def save(ledger: SqlLedger, claim: Claim, project_id: int, conversation: dict[str, Any]) -> None:
    """Save the conversation that a turn works with."""
    await ledger.save_session(
        claim.lease,
        project_id=project_id,
        session_id=conversation["session_id"],
        conversation_id=conversation["id"],
        highest_message_id=0,
    )


def recorded(
    url: str,
    operator: Operator,
    conversation: dict[str, Any],
    each: AcceptedQuestion,
    end: RemoteMessage | str | None,
) -> None:
    """Record that a question went to a conversation: its message, the code it failed with, or no end yet."""

    async def steps(ledger: SqlLedger, claim: Claim) -> None:
        if claim.conversation.session_id is None:
            await save(ledger, claim, operator.project_id, conversation)
        if end is None or isinstance(end, RemoteMessage):
            session_id = conversation["session_id"]
            await ledger.begin_post(claim.lease, claim.question.number, session_id=session_id)
        if end is None:
            return
        verdict: Verdict
        if isinstance(end, RemoteMessage):
            verdict = Answered(end, conversation["session_id"], "posted", None)
        else:
            verdict = Failed(end)
        body = json.dumps({"data": {}}).encode()
        reply = Reply(claim.question.reply_id, "answered", body, claim.question.event_id)
        await ledger.finish(claim.lease, claim.question.number, verdict, reply)

    record(url, each, steps=steps)


def tagged_name(project_id: int, contact: str, thread: str | None = None) -> str:
    """Return the name that a worker gives to a contact's conversation."""
    from worker.core.conversations import name_of  # noqa: PLC0415

    return name_of(
        project_id, Conversation(0, "default", contact, thread, contact, None, None, None, 0, None)
    )
