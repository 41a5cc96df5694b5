"""A PostgreSQL cluster of one's own: folder and port, nothing shared with an installed service.

cluster = Cluster(folder, password="...")
cluster.make()
cluster.start()
cluster.wait()
cluster.execute("CREATE DATABASE province")
create_engine(cluster.url("province"))
cluster.stop()

It ends with the process that started it, however that ends.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from pipelines.local.processes import NotStarted, die_with_parent, free_ports, spawn, wait_for

USER = "vingate"
ACCOUNT = "postgres"
"""The system's user that runs the server where we are root: it refuses root."""
FAST: Mapping[str, str] = {
    "fsync": "off",  # a killed server loses nothing by that, only a power cut would
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "max_wal_size": "256MB",
    "min_wal_size": "32MB",
    "autovacuum_naptime": "60s",
}
"""Settings of the server for what is thrown away afterwards."""
_ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


class Cluster:
    """A cluster in a folder, and its server. Needs what `scripts/servers` installs.

    Args:
        folder: where it lies; every user must be able to pass through the folders above where we are root.
        password: of the superuser `vingate`.
        port: 0 takes a free one.
        options: settings of the server, by name.
    """

    def __init__(self, folder: Path, password: str, port: int = 0, options: Mapping[str, str] = FAST) -> None:
        self.folder, self.port = folder, port or free_ports(1)[0]
        self._password, self._options = password, options
        self._as = _account()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's main process; 0 where none was started."""
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        """Whether the server's main process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> Path:
        """The file that the server's words go to."""
        return self.folder.parent / f"{self.folder.name}.log"

    def make(self) -> None:
        """Make the cluster, empty.

        Raises:
            NotStarted: PostgreSQL is not installed, or could not make it.
        """
        self.folder.mkdir(parents=True)
        if self._as:
            os.chown(self.folder, self._as["user"], self._as["group"])
        secret = self.folder / "password"
        secret.touch(0o600)
        secret.write_text(self._password)
        if self._as:
            os.chown(secret, self._as["user"], self._as["group"])
        wanted: list[str | Path] = [
            "-D",
            self.folder / "data",
            "-U",
            USER,
            "--pwfile",
            secret,
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
        ]
        with self.log.open("ab") as log:
            done = subprocess.run(  # noqa: S603 - a program that we name ourselves
                [programs() / "initdb", *wanted, "--locale=C.UTF-8", "--no-sync"],
                env=_ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False, cwd=self.folder,
                preexec_fn=die_with_parent,
                **self._as,
            )  # fmt: skip
        secret.unlink()
        if done.returncode:
            message = f"PostgreSQL 未能建立数据库，见 / PostgreSQL could not make its databases, see {self.log}"
            raise NotStarted(message)

    def start(self) -> None:
        """Start the server; `wait` says when it answers."""
        options = {
            **self._options,
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "lc_messages": "C",
        }
        given: list[str | Path] = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        command: list[str | Path] = [programs() / "postgres", "-D", self.folder / "data", *given]
        self._process = spawn(command, _ENVIRONMENT, self.log, cwd=self.folder, **self._as)

    def wait(self) -> None:
        """Wait until the server answers.

        Raises:
            NotStarted: it ended instead, or takes too long.
        """
        wait_for(self._answers, "PostgreSQL")

    def _answers(self) -> bool:
        if not self.running:
            message = f"PostgreSQL 未能启动，见 / did not start, see {self.log}"
            raise NotStarted(message)
        return answers(self.address())

    def kill(self) -> None:
        """End the server at once, without a word to its clients: what is committed stays."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """End the server: clients are disconnected, what is committed is written."""
        self._end(signal.SIGINT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            self._process.kill()
        self._process.wait()

    def url(self, database: str = "postgres") -> str:
        """The address of a database for SQLAlchemy, with user and password."""
        return f"postgresql+psycopg://{USER}:{self._password}@127.0.0.1:{self.port}/{database}"

    def address(self, database: str = "postgres") -> str:
        """The address of a database for psycopg, with user and password."""
        return (
            f"host=127.0.0.1 port={self.port} user={USER} password={self._password} dbname={database} connect_timeout=5"
        )

    def execute(self, statement: str, *values: object, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement; its rows, if it has any."""
        with psycopg.connect(self.address(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []


def answers(address: str) -> bool:
    """Whether a server answers at an address (of psycopg)."""
    with suppress(psycopg.OperationalError):
        psycopg.connect(address).close()
        return True
    return False


def programs() -> Path:
    """The folder of the newest PostgreSQL programs.

    Raises:
        NotStarted: there are none.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    if not found:
        message = "没有 PostgreSQL，请执行 scripts/servers / no PostgreSQL in /usr/lib/postgresql: run scripts/servers"
        raise NotStarted(message)
    return found[-1].parent


def _account() -> dict[str, Any]:
    """How a process of the server is started: as its own user where we are root.

    Raises:
        NotStarted: there is no such user.
    """
    if os.getuid() != 0:
        return {}
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        message = (
            f"没有系统用户 {ACCOUNT}，请执行 scripts/servers"
            f" / there is no user {ACCOUNT}, which the packages of PostgreSQL make: run scripts/servers"
        )
        raise NotStarted(message) from None
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
