"""Whether what was committed stays committed (PROTOCOL A5)."""

from __future__ import annotations

import re
from pathlib import Path

import sqlalchemy as sa

from worker.adapters.ledger.database import Database
from worker.core.errors import SettingsError

#: File systems of other hosts: SQLite's locks and shared memory do not work reliably over them.
NETWORK_FILE_SYSTEMS = re.compile(
    r"nfs\d?|cifs|smb\w*|9p|afs|ceph|lustre|glusterfs|fuse\.(sshfs|glusterfs|s3fs|rclone)"
)
#: Linux only; elsewhere the kind of the file system stays unknown, which is no finding.
_MOUNTS = Path("/proc/self/mountinfo")

#: PostgreSQL's settings that lose commits in a crash when they are off.
_DURABLE = ("fsync", "full_page_writes", "synchronous_commit")


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


def refuse_network_file_system(url: str) -> None:
    """Raise SettingsError for a SQLite file on a file system of another host."""
    file = sa.make_url(url).database
    if not file or not _MOUNTS.exists():
        return
    folder = Path(file).resolve().parent
    kind = file_system_of(folder, _MOUNTS.read_text())
    if NETWORK_FILE_SYSTEMS.fullmatch(kind):
        raise SettingsError(
            f"DATABASE_URL names a file on a network file system ({kind}), where SQLite loses data."
            " Use a local disk, or PostgreSQL."
        )


def weaknesses(url: str) -> list[str]:
    """Return what may lose a commit, one sentence each; SQLite is set right by every connection."""
    database = Database(url)
    if database.dialect == "sqlite":
        return []
    try:
        with database.transaction() as transaction:
            found = {
                name: transaction.scalar(sa.text("select current_setting(:name)"), name=name)
                for name in _DURABLE
            }
    finally:
        database.close()
    return [
        f"PostgreSQL's {name} is off: a crash of the server may lose commits, and then nothing is promised"
        for name, value in found.items()
        if value == "off"
    ]
