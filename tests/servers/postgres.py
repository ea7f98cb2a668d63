"""A private PostgreSQL cluster: own port, socket and folder, with the durability settings of production."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg
from psycopg import sql

from tests.servers.binaries import postgres_folder
from tests.servers.ports import free_port
from tests.servers.processes import descendants, is_running
from tests.servers.reaper import Reaper
from tests.servers.waiting import wait_until

#: A start takes well under a second, after a crash a little more; a loaded machine needs far longer.
START_S = 60.0

#: Who owns the cluster's tables and databases.
OWNER = "askrelay"

#: Small, because a run may have several clusters. Durability is as it is by default, and stands here so that
#: nobody turns it off for speed: that a commit survives a crash is what the tests are about.
CONFIGURATION = """\
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{folder}'
fsync = on
synchronous_commit = on
full_page_writes = on
shared_buffers = 32MB
max_connections = 60
max_wal_size = 256MB
autovacuum_max_workers = 1
max_parallel_workers = 0
jit = off
timezone = 'UTC'
lc_messages = 'C'
"""


class Postgres:
    """One cluster.

    ``start`` it before use and ``close`` it for good; between them it may die as often as a test likes.
    """

    def __init__(self, reaper: Reaper) -> None:
        self._reaper = reaper
        self._programs = postgres_folder()
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="askrelay-postgres-"))
        reaper.watch_folder(self.folder)
        self._account = _account()
        self._server: subprocess.Popen[bytes] | None = None
        self._make_cluster()

    @property
    def url(self) -> str:
        """Where the cluster's own database is; tests get theirs from ``new_database``."""
        return self._url_of("postgres")

    @property
    def pid(self) -> int | None:
        """The postmaster while it runs."""
        return self._server.pid if self._server and self._server.poll() is None else None

    @property
    def pids(self) -> list[int]:
        """All processes of the cluster that run: the postmaster, then its children."""
        return [self.pid, *descendants(self.pid)] if self.pid else []

    def start(self) -> None:
        """Start the cluster, on the data that is there, and wait until it answers; no-op while it runs."""
        if self.pid:
            return
        self._server = self._launch("postgres", "-D", str(self._data))
        # SIGQUIT: the postmaster ends its children too, who would outlive its own SIGKILL by a while.
        self._reaper.watch(self._server.pid, ask=signal.SIGQUIT)
        wait_until(self._is_ready, within_s=START_S, what=f"PostgreSQL on port {self.port}")

    def stop(self) -> None:
        """Stop the cluster in order; open connections are cut. Its data stays."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End every process of the cluster at once with SIGKILL, as a crash would. Its data stays."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill the cluster and start it again with its data and on its port."""
        self.kill()
        self.start()

    def close(self) -> None:
        """End everything and remove the folder."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def new_database(self, template: str | None = None) -> str:
        """Make a database and return its URL; with the URL of another as ``template``, a copy of that one.

        Nobody may be connected to the template meanwhile.
        """
        name = f"test_{secrets.token_hex(4)}"
        self._run(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(_name_in(template) if template else "template1")
            )
        )
        return self._url_of(name)

    def drop_database(self, url: str) -> None:
        """Drop a database, whoever is connected to it."""
        self._run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(_name_in(url))))

    def log(self) -> str:
        """Return what the cluster printed."""
        return "\n".join(file.read_text(errors="replace") for file in sorted(self.folder.glob("*.out")))

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _url_of(self, database: str) -> str:
        return f"postgresql://{OWNER}@127.0.0.1:{self.port}/{database}"

    def _make_cluster(self) -> None:
        if self._account:
            os.chown(self.folder, self._account.pw_uid, self._account.pw_gid)
        # The files of initdb itself need no fsync: a crash of the machine ends the tests anyway.
        made = self._launch(
            *("initdb", "-D", str(self._data), "-U", OWNER, "-A", "trust", "-E", "UTF8", "--locale=C"),
            "--no-sync",
        )
        if made.wait(timeout=START_S):
            raise RuntimeError(f"initdb ended with {made.returncode}:\n{self.log()}")
        with (self._data / "postgresql.conf").open("a") as configuration:
            configuration.write(CONFIGURATION.format(port=self.port, folder=self.folder))

    def _launch(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}
        account = self._account
        with (self.folder / f"{program}.out").open("ab") as output:
            return subprocess.Popen(
                (str(self._programs / program), *arguments),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=self.folder,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )

    def _end(self, how: signal.Signals) -> None:
        server = self._server
        if server is None or server.poll() is not None:
            return
        children = descendants(server.pid)
        server.send_signal(how)
        server.wait(timeout=START_S)
        if how is signal.SIGKILL:
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        # A new postmaster refuses to start while a child of the old one still has the shared memory.
        wait_until(
            lambda: not any(map(is_running, children)),
            within_s=START_S,
            what="the end of PostgreSQL's children",
        )
        self._reaper.forget(server.pid)

    def _run(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)

    def _is_ready(self) -> bool:
        assert self._server is not None
        if self._server.poll() is not None:
            raise RuntimeError(
                f"PostgreSQL ended with {self._server.returncode} as it started:\n{self.log()}"
            )
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def _account() -> pwd.struct_passwd | None:
    """Return whom PostgreSQL, which refuses to run as root, must run as; None when we are not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError(
        "PostgreSQL does not run as root, and there is neither a postgres nor a nobody account"
    )


def _name_in(url: str) -> str:
    return url.rpartition("/")[2]
