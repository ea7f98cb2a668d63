"""A ledger on SQLite: its file, its disk, its tables."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

from worker.cli.doctor_checks.finding import Finding, Say
from worker.cli.doctor_checks.ledger import revision_finding

#: Bytes. A worker of a small fleet writes some 10 MB a day; with less free than this, it stops within days.
SCARCE_BYTES = 200 * 1024 * 1024
#: Bytes. With less than this, the write-ahead log may not fit that comes together between two checkpoints.
FULL_BYTES = 32 * 1024 * 1024

#: File systems of other hosts: SQLite's locks and shared memory do not work reliably over them.
_NETWORK = re.compile(r"nfs\d?|cifs|smb\w*|9p|afs|ceph|lustre|glusterfs|fuse\.(sshfs|glusterfs|s3fs|rclone)")
#: File systems whose contents end with the machine or the container.
_FLEETING = frozenset({"tmpfs", "ramfs"})
#: Linux only; elsewhere the kind of the file system stays unknown, which is no finding.
_MOUNTS = Path("/proc/self/mountinfo")

#: s. To wait for a lock; reading needs one only while another process repairs the file after a crash.
_BUSY_S = 3.0


def look_at_sqlite(url: str, say: Say) -> None:
    """Say what is so; the file is opened for reading only, and never made."""
    file = Path(sa.make_url(url).database or "").absolute()
    folder = _nearest_folder(file)
    for finding in _disk(file, folder):
        say(finding)
    if not file.exists():
        say(Finding("ledger", "ok", f"{file} is not there yet; `askrelay run` makes it"))
        return
    try:
        for finding in _contents(file):
            say(finding)
    except sqlite3.Error as error:
        text = f"{file} cannot be read: {str(error).splitlines()[0]}"
        say(Finding("ledger", "wrong", text, "look at DATABASE_URL, and at who may read the file"))


def file_system_of(folder: Path, mounts: str) -> str:
    """Return the kind of file system that a folder is on, from the text of /proc/self/mountinfo."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split()
        # The optional fields end with a lone dash; the kind of the file system follows it.
        where = Path(re.sub(r"\\(\d{3})", lambda match: chr(int(match.group(1), 8)), fields[4]))
        # Of two at one place the later one hides the earlier one.
        if folder.is_relative_to(where) and len(where.parts) >= best:
            best, kind = len(where.parts), fields[fields.index("-") + 1]
    return kind


def may_lose_pages(version: tuple[int, ...]) -> bool:
    """Tell whether processes that share a file may damage it, by a race (sqlite.org/wal.html#walresetbug)."""
    return not (version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45))


def _nearest_folder(file: Path) -> Path:
    """Return the folder the file is in, or the nearest one above it that is there."""
    return next(folder for folder in file.resolve().parents if folder.is_dir())


def _disk(file: Path, folder: Path) -> Iterator[Finding]:
    target = file if file.exists() else folder
    if not os.access(target, os.W_OK) or not os.access(folder, os.W_OK | os.X_OK):
        text = f"this user may not write {target} and its folder"
        yield Finding("ledger", "wrong", text, "give it the right, or name another file in DATABASE_URL")
    kind = file_system_of(folder, _MOUNTS.read_text()) if _MOUNTS.exists() else ""
    if _NETWORK.fullmatch(kind):
        text = f"{folder} is on a network file system ({kind}), where SQLite loses data"
        yield Finding("ledger", "wrong", text, "use a local disk, or PostgreSQL")
    elif kind in _FLEETING:
        text = f"{folder} is in memory ({kind}): a restart of this machine loses every waiting question"
        yield Finding("ledger", "warning", text, "name a file on a disk in DATABASE_URL")
    status = os.statvfs(folder)
    free_bytes = status.f_bavail * status.f_frsize
    if free_bytes < SCARCE_BYTES:
        is_full = free_bytes < FULL_BYTES
        text = f"the disk of {folder} is {'full' if is_full else 'nearly full'} ({free_bytes >> 20} MB free)"
        yield Finding("ledger", "wrong" if is_full else "warning", text, "make room")


def _contents(file: Path) -> Iterator[Finding]:
    uri = f"file:{quote(str(file))}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_S)) as connection:
        (has_tables,) = connection.execute(
            "select count(*) from sqlite_master where name = 'alembic_version'"
        ).fetchone()
        text = f"SQLite {sqlite3.sqlite_version}, {file}"
        if may_lose_pages(sqlite3.sqlite_version_info):
            text += "; best with one worker: several may damage the file before SQLite 3.51.3"
        yield Finding("ledger", "ok", text)
        row = connection.execute("select version_num from alembic_version").fetchone() if has_tables else None
        yield revision_finding(row[0] if row else None, is_sqlite=True)
        (mode,) = connection.execute("pragma journal_mode").fetchone()
        text = f"it keeps what was committed (synchronous full, journal {mode})"
        if mode not in {"wal", "delete", "truncate", "persist"}:
            text = f"its journal mode is {mode}: a crash may destroy it"
            yield Finding("ledger", "wrong", text, "stop what sets it; `askrelay run` sets wal")
        else:
            yield Finding("ledger", "ok", text)
