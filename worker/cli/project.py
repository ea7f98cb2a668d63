"""``askrelay project``: agents, from an empty account to one that answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.api_calls import ask_api, end, moment_cell, one_line, project_id_of, settings_with_key
from worker.cli.exit_codes import ExitCode
from worker.cli.output import print_json, print_table
from worker.cli.project_wait import wait_until_active
from worker.core.errors import AssistantError
from worker.settings import HIGHEST_PROJECT_ID

if TYPE_CHECKING:
    from worker.adapters.customgpt_admin import CustomGptAdmin, IndexingState, Plan, ProjectRow

project = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

ProjectId = Annotated[
    int | None,
    typer.Argument(
        metavar="ID",
        min=1,
        max=HIGHEST_PROJECT_ID,
        help="The project's number; CUSTOMGPT_PROJECT_ID if not given.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

#: Settings of an agent that matter to somebody who relays its answers.
_TELLING = (
    "response_source",
    "chatbot_model",
    "chatbot_msg_lang",
    "enable_citations",
    "conversation_time_window",
    "conversation_retention_period",
    "conversation_retention_days",
    "no_answer_message",
    "chatbot_siesta_msg",
    "account_out_of_queries_msg",
)


@project.callback()
def _group() -> None:
    """Create and look at projects: the agents that answer.

    Example: askrelay project create --name Support --sitemap https://www.example.com/sitemap.xml
    """


@project.command()
def create(
    *,
    name: Annotated[str, typer.Option(help="What the project is called.")],
    sitemap: Annotated[str, typer.Option(help="Address of the site map whose pages it answers from.")],
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until it can answer.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for its indexing.")] = 1800,
    as_json: AsJson = False,
) -> None:
    """Create a project from a site map, and wait until it can answer.

    Needs CUSTOMGPT_API_KEY only. Prints the project's number at once and, when it has read its sources, the
    line to put into the environment. Exits with 8 when that takes longer than --timeout; the project stays.

    Example: askrelay project create --name Support --sitemap https://www.example.com/sitemap.xml
    """
    for option, value in (("--name", name), ("--sitemap", sitemap)):
        if not value.strip():
            raise typer.BadParameter("must not be empty", param_hint=option)
    settings = settings_with_key()
    made = ask_api(settings, lambda api: api.create_project(name, sitemap))
    # On stderr and at once: whoever stops the waiting must not lose the number of what there is now.
    typer.echo(f"askrelay: project {made.project_id} ({one_line(made.name)}) is created", err=True)
    is_active = bool(made.is_chat_active)
    if not no_wait and not is_active:
        is_active = ask_api(settings, lambda api: wait_until_active(api, made.project_id, timeout_s=timeout))
    line = f"CUSTOMGPT_PROJECT_ID={made.project_id}"
    if as_json:
        print_json({**asdict(made), "is_chat_active": is_active, "environment": line})
    else:
        typer.echo(line)
    if not is_active:
        advice = f"It answers when that is done: askrelay project show {made.project_id}"
        if not no_wait:
            end(ExitCode.NO_ANSWER, f"it still reads its sources after {timeout:g} s", advice)
        typer.echo(f"askrelay: it reads its sources now\n  {advice}", err=True)


@project.command()
def show(project_id: ProjectId = None, *, as_json: AsJson = False) -> None:
    """Show a project: whether it can answer, what it has read, and the settings that shape its answers.

    Example: askrelay project show 123
    """
    settings = settings_with_key()
    number = project_id_of(settings, project_id)

    async def read(api: CustomGptAdmin) -> tuple[ProjectRow, IndexingState | None, dict[str, Any]]:
        row = await api.project(number)
        try:
            indexing: IndexingState | None = await api.indexing(number)
        except AssistantError:
            indexing = None
        return row, indexing, await api.project_settings(number)

    row, indexing, its_settings = ask_api(settings, read)
    if as_json:
        print_json(
            {
                **asdict(row),
                "indexing": None if indexing is None else asdict(indexing),
                "settings": its_settings,
            }
        )
        return
    facts: dict[str, Any] = {
        "project": f"{row.project_id} ({row.name})",
        "site map": row.sitemap_path,
        "state": state_text(row, indexing),
        "created": moment_cell(row.created_at),
        "queries": None if indexing is None else indexing.total_queries,
        **{name: its_settings[name] for name in _TELLING if its_settings.get(name) is not None},
    }
    for label, value in facts.items():
        typer.echo(f"{label:<30} {'-' if value is None else one_line(str(value))}")


@project.command(name="list")
def list_(
    *,
    name: Annotated[
        str | None, typer.Option(help="Only those whose name has this part, in any case.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the account's projects, newest first, all pages.

    Example: askrelay project list --name Support
    """
    settings = settings_with_key()
    found = ask_api(settings, lambda api: api.projects(name_part=name))
    if name is not None:
        found = [row for row in found if name.casefold() in row.name.casefold()]
    if as_json:
        print_json({"projects": [asdict(row) for row in found]})
        return
    rows = [
        (str(row.project_id), state_text(row, None), moment_cell(row.created_at), one_line(row.name))
        for row in found
    ]
    print_table(("ID", "STATE", "CREATED", "NAME"), rows)


@project.command()
def usage(*, as_json: AsJson = False) -> None:
    """Show the plan's limits and what is left of them: queries, projects, storage.

    Example: askrelay project usage
    """
    plan = ask_api(settings_with_key(), lambda api: api.plan())
    if as_json:
        print_json({label: {"used": used, "limit": limit} for label, (used, limit) in _limits(plan).items()})
        return
    rows = [
        (label.replace("_", " "), _number(used), _number(limit), _left(used, limit))
        for label, (used, limit) in _limits(plan).items()
    ]
    print_table(("WHAT", "USED", "LIMIT", "LEFT"), rows)


@project.command()
def traffic(project_id: ProjectId = None, *, as_json: AsJson = False) -> None:
    """Show by which ways a project was asked, and how often; a worker's questions count as api.

    Example: askrelay project traffic 123
    """
    settings = settings_with_key()
    number = project_id_of(settings, project_id)
    sources = ask_api(settings, lambda api: api.traffic(number))
    if as_json:
        print_json({"project_id": number, "sources": sources})
        return
    print_table(("SOURCE", "QUERIES"), [(one_line(name), f"{count:,}") for name, count in sources.items()])


def state_text(row: ProjectRow, indexing: IndexingState | None) -> str:
    """Say whether a project can answer."""
    if row.is_chat_active:
        return "active"
    if indexing is not None and indexing.pages_found is not None and not indexing.is_done:
        return f"indexing, {indexing.pages_indexed or 0:,} of {indexing.pages_found:,} documents"
    return "indexing" if row.is_chat_active is None else "not active"


def _limits(plan: Plan) -> dict[str, tuple[int | None, int | None]]:
    return {
        "queries": plan.queries,
        "projects": plan.projects,
        "storage_credits": plan.storage_credits,
    }


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _left(used: int | None, limit: int | None) -> str:
    return "-" if used is None or limit is None else f"{max(limit - used, 0):,}"
