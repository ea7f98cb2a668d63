"""What a database, and the way to it, can do to a fleet."""

from __future__ import annotations

import time

from tests.chaos.commit_cutter import CommitCutter
from tests.chaos.load import load, wait_for_progress
from tests.chaos.stage import Cell, Stage
from tests.servers.postgres import Postgres

GROUP = "database"
#: s. Between two blows.
REST_S = 1.0
#: s. An hour and a little, so that no rounding hides it.
HOUR_S = 3607.0


def killed(stage: Stage, postgres: Postgres, *, times: int = 10) -> Cell:
    """Kill PostgreSQL, or stop it at once, and start it again, over and over, under load."""
    cell = stage.cell(GROUP, f"killed or stopped and restarted {times} times")
    with load(stage, cell):
        wait_for_progress(stage, cell)
        for number in range(times):
            postgres.kill() if number % 2 else postgres.stop()
            postgres.start()
            cell.hits += 1
            time.sleep(REST_S)
    return cell


def commits_cut(stage: Stage, cutter: CommitCutter, *, seconds: float = 20.0) -> Cell:
    """Cut connections as COMMIT goes out, under load; the stage's workers go by way of the cutter."""
    what = "before it arrived" if cutter.withholds else "after it was done"
    cell = stage.cell(GROUP, f"connection cut at COMMIT, {what}")
    with load(stage, cell):
        wait_for_progress(stage, cell)
        before = cutter.cut
        time.sleep(seconds)
        cell.hits = cutter.cut - before
    cell.note = f"{cutter.cut} of {cutter.commits} commits cut"
    return cell


def clock_off(stage: Stage) -> Cell:
    """Run a worker whose wall clock is an hour off, and one whose BOOTTIME is, beside one that is right."""
    cell = stage.cell(GROUP, "clocks an hour off")
    stage.start_victim(None, options=("--wall-off-s", str(HOUR_S)))
    stage.start_victim(None, options=("--wall-off-s", str(-HOUR_S), "--boottime-off-s", str(HOUR_S)))
    with load(stage, cell):
        wait_for_progress(stage, cell)
        time.sleep(10.0)
    cell.hits = len({line["worker_id"] for line in stage.events("turn.finished")}) - 1
    return cell
