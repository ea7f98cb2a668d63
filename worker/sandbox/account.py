"""The calls about the account and the figures of its projects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.sandbox.envelope import ApiError, date_text
from worker.sandbox.projects import indexed_share, project_of
from worker.sandbox.state import OWNER_ID

if TYPE_CHECKING:
    from worker.sandbox.call import Call
    from worker.sandbox.world import World

#: A plan figure that nothing here depends on.
_MAX_STORAGE_CREDITS = 60_000_000
#: Words of one document: what it takes of the storage.
_WORDS_PER_PAGE = 400


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
    projects = world.store.projects
    return {
        "max_projects_num": world.switches.max_projects,
        "current_projects_num": len(projects),
        "max_total_storage_credits": _MAX_STORAGE_CREDITS,
        "current_total_storage_credits": sum(
            int(world.switches.pages_per_project * indexed_share(world, each)) * _WORDS_PER_PAGE
            for each in projects.values()
        ),
        "max_queries": world.switches.max_queries,
        "current_queries": world.store.billed_queries,
    }


def get_stats(world: World, call: Call) -> Any:
    """Return what a project has read of its sources, and how much it was asked."""
    project = project_of(world, call)
    found = world.switches.pages_per_project
    indexed = int(found * indexed_share(world, project))
    return {
        "pages_found": found,
        # Reading a document comes before indexing it.
        "pages_crawled": min(found, indexed + 1),
        "pages_indexed": indexed,
        "crawl_credits_used": indexed,
        "query_credits_used": project.billed_queries,
        "total_queries": project.billed_queries,
        "total_words_indexed": indexed * _WORDS_PER_PAGE,
        "total_storage_credits_used": indexed * _WORDS_PER_PAGE,
    }


def get_traffic(world: World, call: Call) -> Any:
    """Return by which ways a project was asked, such as api."""
    project = project_of(world, call)
    if "sources" not in (call.query.get("filters"), call.query.get("filters[]")):
        raise ApiError(400, "The filters field is required.")
    return {
        "sources": [
            {"request_source": source, "request_source_number": number}
            for source, number in sorted(project.request_sources.items())
        ]
    }
