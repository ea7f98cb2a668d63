"""The calls about projects (agents) and the account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.sandbox import shapes
from worker.sandbox.envelope import ApiError, date_text, page_number, paginate
from worker.sandbox.state import OWNER_ID

if TYPE_CHECKING:
    from worker.sandbox.call import Call
    from worker.sandbox.state import Project
    from worker.sandbox.world import World

#: Plan figures that nothing here depends on.
_MAX_PROJECTS = 100
_MAX_STORAGE_CREDITS = 60_000_000


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
    if call.query.get("order") != "asc":
        rows.reverse()
    return paginate(
        rows,
        page=page_number(call.query.get("page")),
        per_page=world.switches.projects_per_page,
        path=call.path_url,
        render=lambda each: shapes.project(each, world.switches),
    )


def create_project(world: World, call: Call) -> Any:
    """Create a project. The answer says that it cannot chat yet; a moment later it can."""
    name = call.text("project_name")
    if not name:
        raise ApiError(400, "The project name field is required.")
    project = world.store.add_project(name, sitemap_path=call.text("sitemap_path") or "")
    call.project_id = project.project_id
    world.effects.record("project_created", call)
    return shapes.project(project, world.switches) | {"is_chat_active": None}


def get_project(world: World, call: Call) -> Any:
    """Return a project."""
    return shapes.project(project_of(world, call), world.switches)


def update_project(world: World, call: Call) -> Any:
    """Change a project's name, site map or sharing."""
    project = project_of(world, call)
    project.name = call.text("project_name") or project.name
    project.sitemap_path = call.text("sitemap_path") or project.sitemap_path
    if (shared := call.value("is_shared")) is not None:
        project.is_shared = str(shared).lower() in ("1", "true")
    project.updated_at = world.clock.wall()
    return shapes.project(project, world.switches)


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
    known = {name: value for name, value in call.body.items() if name in shapes.DEFAULT_SETTINGS}
    project.settings.update(known)
    return shapes.settings(project)


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


def get_user(world: World, _call: Call) -> Any:
    """Return the owner of the key."""
    made = date_text(world.store.account_since, world.switches)
    return {
        "created_at": made,
        "email": "owner@example.com",
        "id": OWNER_ID,
        "current_team_id": OWNER_ID,
        "name": "Sandbox Owner",
        "profile_photo_url": "https://www.example.com/photo.png",
        "updated_at": made,
    }


def get_usage(world: World, _call: Call) -> Any:
    """Return the plan's limits and what is used of them."""
    return {
        "max_projects_num": _MAX_PROJECTS,
        "current_projects_num": len(world.store.projects),
        "max_total_storage_credits": _MAX_STORAGE_CREDITS,
        "current_total_storage_credits": 0,
        "max_queries": world.switches.max_queries,
        "current_queries": world.store.billed_queries,
    }
