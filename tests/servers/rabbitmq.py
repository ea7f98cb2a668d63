"""A private RabbitMQ node: own name, ports, port mapper, cookie and folder, nothing of the system's."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pika
from pika.exceptions import AMQPError

from tests.servers.binaries import epmd_binary, rabbitmq_folder, rabbitmq_root
from tests.servers.ports import free_port
from tests.servers.processes import descendants
from tests.servers.reaper import Reaper
from tests.servers.waiting import wait_until

#: A start takes 3-5 s on an idle core; a machine that runs everything at once needs far longer.
START_S = 120.0

#: How long ``rabbitmqctl`` may take, seconds: it starts an Erlang machine of its own every time.
CONTROL_S = 60.0

#: The first bytes of an AMQP 0-9-1 connection; the node answers them only when it is ready for work.
AMQP_HELLO = b"AMQP\x00\x00\x09\x01"

CONFIGURATION = """\
listeners.tcp.1 = 127.0.0.1:{port}
# The default asks for free memory and disk that a small CI machine does not have, and blocks publishers.
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 10MB
# 512 MB by default, in a folder that lives for a minute.
raft.wal_max_size_bytes = 33554432
log.file.level = warning
"""

#: Two schedulers (one makes a start a second slower) and no spinning: tests share the cores with the tested.
ERLANG_ARGUMENTS = (
    "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
)


@dataclass(frozen=True, slots=True)
class AmqpNames:
    """The exchange and queues of one test, so that tests share a node without meeting."""

    prefix: str

    @property
    def events_exchange(self) -> str:
        """The topic exchange that questions come from and replies go to."""
        return f"{self.prefix}.events"

    @property
    def question_queue(self) -> str:
        """The queue of questions."""
        return f"{self.prefix}.questions"

    @property
    def rejected_queue(self) -> str:
        """The queue of what could not be read."""
        return f"{self.prefix}.rejected"

    @property
    def doorbell_queue(self) -> str:
        """The queue of dramatiq."""
        return f"{self.prefix}.doorbell"

    def environment(self) -> dict[str, str]:
        """Return the settings that make ``askrelay`` use these names."""
        return {
            "ASKRELAY_EVENTS_EXCHANGE": self.events_exchange,
            "ASKRELAY_QUESTION_QUEUE": self.question_queue,
            "ASKRELAY_REJECTED_QUEUE": self.rejected_queue,
            "ASKRELAY_DOORBELL_QUEUE": self.doorbell_queue,
        }


class RabbitMQ:
    """One node.

    ``start`` it before use and ``close`` it for good; between them it may die as often as a test likes.
    """

    def __init__(self, reaper: Reaper, *, beside: RabbitMQ | None = None) -> None:
        """Be a node of its own, or one more of the cluster that ``beside`` is in."""
        self._reaper = reaper
        self._beside = beside
        self._name = f"askrelay-{secrets.token_hex(4)}@localhost" if beside else "askrelay@localhost"
        self._root = rabbitmq_root()
        self._programs = rabbitmq_folder()
        self.port = free_port()
        temporary = Path(tempfile.gettempdir()) if self._root == Path("/") else self._root / "tmp"
        self.folder = Path(tempfile.mkdtemp(prefix="askrelay-rabbitmq-", dir=temporary))
        reaper.watch_folder(self.folder)
        self._environment = self._settle_in()
        self._epmd: subprocess.Popen[bytes] | None = None
        self._node: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where the node is, with the default vhost."""
        return self.url_of("/")

    def url_of(self, vhost: str) -> str:
        """Return where the node is, with this vhost."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{quote(vhost, safe='')}"

    @property
    def pid(self) -> int | None:
        """The node's process while it runs."""
        return self._node.pid if self._node and self._node.poll() is None else None

    @property
    def cookie(self) -> str:
        """What nodes of one cluster have in common."""
        return (self.folder / ".erlang.cookie").read_text()

    @property
    def epmd_port(self) -> str:
        """Where this node's port mapper listens."""
        return self._environment["ERL_EPMD_PORT"]

    @property
    def pids(self) -> list[int]:
        """All processes of this node that run: the node, its port mapper and what they started."""
        started = [process.pid for process in (self._node, self._epmd) if process and process.poll() is None]
        return [*started, *(child for pid in started for child in descendants(pid))]

    def start(self) -> None:
        """Start the node on the data that is there and wait until it can work; no-op while it runs."""
        if self.pid:
            return
        if self._beside is None and (self._epmd is None or self._epmd.poll() is not None):
            # Started here and not by the node, which would leave it running as a daemon when it ends.
            mapper = ("-port", self._environment["ERL_EPMD_PORT"], "-address", "127.0.0.1")
            self._epmd = self._launch(str(epmd_binary()), *mapper)
        self._node = self._launch(str(self._programs / "rabbitmq-server"))
        wait_until(self._is_ready, within_s=START_S, what=f"RabbitMQ on port {self.port}")

    def join(self) -> None:
        """Become a member of the cluster that ``beside`` is in, once and for good; what was here is gone."""
        assert self._beside is not None
        self.rabbitmqctl("stop_app")
        self.rabbitmqctl("join_cluster", self._beside._name)
        self.rabbitmqctl("start_app")

    def stop(self) -> None:
        """Stop the node in order, as an administrator would. Its data stays."""
        self._end(self._node, signal.SIGTERM)

    def kill(self, *, is_settled: bool = False) -> None:
        """End the node with SIGKILL, as a crash would. Its data stays as it is on the disk.

        RabbitMQ (3.10 and 4.0 alike) writes down up to three seconds late that a quorum queue exists. A node
        killed in between starts with a queue that answers everything with 541 and has lost what it confirmed.
        In production queues are older than that; here they are not, so the node is made to write first.
        ``is_settled`` says that the queues are old enough, and spares the 0.5 s.
        """
        if self.pid and not is_settled:
            self.rabbitmqctl("eval", "[ok = dets:sync(Table) || Table <- dets:all()], ok.")
        self._end(self._node, signal.SIGKILL)

    def restart(self) -> None:
        """Kill the node and start it again with its data and on its port."""
        self.kill()
        self.start()

    def close(self) -> None:
        """End everything and remove the folder."""
        self._end(self._node, signal.SIGKILL)
        self._end(self._epmd, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def rabbitmqctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` (0.5-2 s) and return what it prints; raise RuntimeError when it fails."""
        done = subprocess.run(
            self._command(str(self._programs / "rabbitmqctl"), "--quiet", *arguments),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CONTROL_S,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    @contextlib.contextmanager
    def alarmed(self) -> Iterator[None]:
        """Have the node's memory alarm on: whoever publishes is blocked."""
        self.rabbitmqctl("set_vm_memory_high_watermark", "absolute", "1")
        try:
            yield
        finally:
            self.rabbitmqctl("set_vm_memory_high_watermark", "absolute", "1GB")

    def new_vhost(self) -> str:
        """Make a vhost that guest may use and return its URL (1-4 s; ``names`` costs nothing)."""
        vhost = f"test-{secrets.token_hex(4)}"
        self.rabbitmqctl("add_vhost", vhost)
        self.rabbitmqctl("set_permissions", "-p", vhost, "guest", ".*", ".*", ".*")
        return self.url_of(vhost)

    def names(self) -> AmqpNames:
        """Return names that no other test uses."""
        return AmqpNames(f"test-{secrets.token_hex(4)}")

    def connect(self, url: str | None = None) -> pika.BlockingConnection:
        """Open a connection, by default to the default vhost."""
        return pika.BlockingConnection(pika.URLParameters(url or self.url))

    def remove(self, names: AmqpNames) -> None:
        """Delete the exchange and queues of a test; what is not there is no error."""
        doorbell = names.doorbell_queue
        queues = (names.question_queue, names.rejected_queue, doorbell, f"{doorbell}.DQ", f"{doorbell}.XQ")
        with contextlib.closing(self.connect()) as connection:
            channel = connection.channel()
            for queue in queues:
                channel.queue_delete(queue)
            channel.exchange_delete(names.events_exchange)

    def log(self) -> str:
        """Return the node's log and what it printed."""
        files = sorted(self.folder.glob("*.out")) + sorted((self.folder / "log").glob("*.log"))
        return "\n".join(file.read_text(errors="replace") for file in files)

    def _settle_in(self) -> dict[str, str]:
        """Write the node's files and return its whole environment; nothing is inherited but PATH."""
        inside = self._inside(self.folder)
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text(self._beside.cookie if self._beside else secrets.token_hex(16))
        cookie.chmod(0o400)
        (self.folder / "rabbitmq.conf").write_text(CONFIGURATION.format(port=self.port))
        (self.folder / "enabled_plugins").write_text("[].\n")
        is_here = self._root == Path("/")
        system_path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {
            "PATH": os.environ.get("PATH", system_path) if is_here else system_path,
            "LANG": "C.UTF-8",
            "HOME": inside,
            "ERL_EPMD_PORT": self._beside.epmd_port if self._beside else str(free_port()),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONF_ENV_FILE": f"{inside}/none",
            "RABBITMQ_CONFIG_FILE": f"{inside}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{inside}/none.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{inside}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{inside}/data",
            "RABBITMQ_LOG_BASE": f"{inside}/log",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{inside}/generated",
            "RABBITMQ_SCHEMA_DIR": f"{inside}/schema",
            "RABBITMQ_PID_FILE": f"{inside}/pid",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG_ARGUMENTS,
            # The script then becomes the node instead of waiting for it: one process, one pid to kill.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _inside(self, path: Path) -> str:
        """Return a path as the node sees it."""
        return str(Path("/") / path.relative_to(self._root))

    def _command(self, *command: str) -> tuple[str, ...]:
        return command if self._root == Path("/") else ("chroot", str(self._root), *command)

    def _launch(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{Path(command[0]).name}.out").open("ab") as output:
            process = subprocess.Popen(
                self._command(*command),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=self._root if self._root != Path("/") else self.folder,
            )
        self._reaper.watch(process.pid)
        return process

    def _end(self, process: subprocess.Popen[bytes] | None, how: signal.Signals) -> None:
        if process is None or process.poll() is not None:
            return
        process.send_signal(how)
        process.wait(timeout=START_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        self._reaper.forget(process.pid)

    def _is_ready(self) -> bool:
        assert self._node is not None
        if self._node.poll() is not None:
            raise RuntimeError(f"RabbitMQ ended with {self._node.returncode} as it started:\n{self.log()}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                probe.sendall(AMQP_HELLO)
                if probe.recv(1) != b"\x01":
                    return False
            self.connect().close()
        except (OSError, AMQPError):
            return False
        return True
