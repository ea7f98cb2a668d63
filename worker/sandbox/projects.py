"""The calls about projects (agents)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.sandbox import shapes
from worker.sandbox.envelope import ApiError, page_number, paginate

if TYPE_CHECKING:
    from worker.sandbox.call import Call
    from worker.sandbox.state import Project
    from worker.sandbox.world import World


def project_of(world: World, call: Call) -> Project:
    """Return the project of the path; 400 when it is no number, 404 when there is none."""
    text = call.params["projectId"]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ApiError(400, "Agent id must be integer")
    project = world.store.projects.get(int(text))
    if project is None:
        raise ApiError(404, f"Agent with id {int(text)} not found")
    return project


def list_projects(world: World, call: Call) -> Any:
    """List one page of projects."""
    wanted = call.query.get("name", "").lower()
    rows = [each for each in world.store.projects.values() if wanted in each.name.lower()]
    by_date = call.query.get("orderBy") == "created_at"
    rows.sort(
        key=lambda each: (each.created_at if by_date else 0, each.project_id),
        reverse=call.query.get("order") != "asc",
    )
    return paginate(
        rows,
        page=page_number(call.query.get("page")),
        per_page=world.switches.projects_per_page,
        path=call.path_url,
        render=lambda each: _shape(world, each),
    )


def create_project(world: World, call: Call) -> Any:
    """Create a project. The answer says that it cannot chat yet; when it has read its sources it can."""
    name, sitemap_path = call.text("project_name"), call.text("sitemap_path")
    if not name:
        raise ApiError(400, "Agent name can't be empty")
    if not sitemap_path and "file" not in call.body:
        raise ApiError(400, "Sitemap path can't be empty")
    if len(world.store.projects) >= world.switches.max_projects:
        raise ApiError(400, "You have reached your agent limit")
    project = world.store.add_project(
        name, sitemap_path=sitemap_path or "", indexing_s=world.switches.indexing_s
    )
    call.project_id = project.project_id
    world.effects.record("project_created", call)
    return _shape(world, project) | {"is_chat_active": None}


def get_project(world: World, call: Call) -> Any:
    """Return a project."""
    return _shape(world, project_of(world, call))


def update_project(world: World, call: Call) -> Any:
    """Change a project's name, site map or sharing."""
    project = project_of(world, call)
    project.name = call.text("project_name") or project.name
    project.sitemap_path = call.text("sitemap_path") or project.sitemap_path
    if (shared := call.value("is_shared")) is not None:
        project.is_shared = str(shared).lower() in ("1", "true")
    project.updated_at = world.clock.wall()
    return _shape(world, project)


def delete_project(world: World, call: Call) -> Any:
    """Delete a project with all its conversations."""
    project = project_of(world, call)
    del world.store.projects[project.project_id]
    world.effects.record("project_deleted", call)
    return {"deleted": True}


def get_settings(world: World, call: Call) -> Any:
    """Return a project's settings."""
    return shapes.settings(project_of(world, call))


def update_settings(world: World, call: Call) -> Any:
    """Change settings; keys the API does not have are ignored."""
    project = project_of(world, call)
    for name, value in call.body.items():
        if name in shapes.DEFAULT_SETTINGS:
            project.settings[name] = _typed(value, shapes.DEFAULT_SETTINGS[name])
    return {"updated": True}


def _typed(value: Any, default: Any) -> Any:
    """Return a setting's value in the type of its default: in a form everything is text."""
    match default, value:
        case bool(), "true" | "1":
            return True
        case bool(), "false" | "0":
            return False
        case int(), str() if type(default) is int and value.isdecimal() and len(value) < 19:
            return int(value)
        case _:
            return value


def get_citation(world: World, call: Call) -> Any:
    """Return what one cited source is; every number that an answer can name is one."""
    project_of(world, call)
    text = call.params["citationId"].removesuffix(".0")
    if not (text.isascii() and text.isdigit()):
        raise ApiError(400, "Citation id must be integer")
    if not 0 < int(text[:9]) < 1000:
        raise ApiError(404, f"Citation with id {text} not found")
    return {
        "id": int(text),
        "url": f"https://www.example.com/page-{text}",
        "title": f"Example page {text}",
        "description": f"What the site says on page {text}.",
        "image": None,
    }


def is_indexing(world: World, project: Project) -> bool:
    """Whether a project still reads its sources; until it has, it cannot answer."""
    return indexed_share(world, project) < 1


def indexed_share(world: World, project: Project) -> float:
    """Return how much of a project's sources is read, from 0 to 1."""
    if world.switches.is_chat_active == "null":
        # As an agent that is not done, for as long as the switch stands so.
        return 0.5
    now = world.clock.monotonic()
    if now >= project.indexing_until:
        return 1
    return (now - project.indexing_since) / (project.indexing_until - project.indexing_since)


def _shape(world: World, project: Project) -> dict[str, Any]:
    return shapes.project(project, world.switches, is_indexing=is_indexing(world, project))
