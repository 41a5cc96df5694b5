"""A PostgreSQL cluster of the tests' own: folder, port and sockets, nothing shared with an installed service.

One server serves a whole test run, each test has a database of its own in it. Who kills the server has it alone
meanwhile.

    server = start(tmp_path_factory.getbasetemp())
    with server.shared(), server.database() as url:
        create_engine(url)
"""

from __future__ import annotations

import os
import pwd
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers import keeping

USER, PASSWORD = "vingate", "s3cret-of-the-tests"
ACCOUNT = "postgres"
"""The system's user that runs the server where root runs the tests: it refuses root."""
_OPTIONS = {
    "fsync": "off",  # a killed server loses nothing by that, only a power cut would
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "max_wal_size": "256MB",
    "min_wal_size": "32MB",
    "autovacuum_naptime": "60s",
    "listen_addresses": "127.0.0.1",
    "lc_messages": "C",
}


class Server:
    """The server, as tests see it."""

    def __init__(self, about: dict[str, Any]) -> None:
        self.port = int(about["port"])
        self.folder = Path(about["folder"])
        self._lock = Path(about["lock"])

    def url(self, database: str = "postgres") -> str:
        """The address of a database, with user and password."""
        return f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int:
        """The server's main process."""
        return int((self.folder / "pid").read_text())

    def execute(self, statement: str, *values: Any, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement beside what is tested; its rows, if it has any."""
        with psycopg.connect(_address(self.port, database), autocommit=True) as connection:
            cursor = connection.execute(statement, values or None)  # type: ignore[arg-type]  # not a literal, on purpose
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def database(self) -> Iterator[str]:
        """The address of a new, empty database, which goes at the end with whoever is still connected."""
        name = f"t{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def shared(self) -> Iterator[Server]:
        """Use the server beside others."""
        with keeping.locked(self._lock, shared=True):
            yield self

    @contextmanager
    def alone(self) -> Iterator[Server]:
        """Use the server while nobody else does."""
        with keeping.locked(self._lock):
            yield self

    @contextmanager
    def down(self) -> Iterator[None]:
        """Kill the server; it is back, and ready, at the end. Only for who has it alone."""
        gate = self.folder / "down"
        gate.touch()
        try:
            pid = self.pid
            os.kill(pid, signal.SIGQUIT)  # at once, without a word to its clients: what is committed stays
            _wait(lambda: not _alive(pid))
            yield
        finally:
            gate.unlink()
            _wait(lambda: ready(self.port))


def _address(port: int, database: str) -> str:
    return f"host=127.0.0.1 port={port} user={USER} password={PASSWORD} dbname={database} connect_timeout=5"


def ready(port: int) -> bool:
    """Whether the server answers."""
    with suppress(psycopg.OperationalError):
        psycopg.connect(_address(port, "postgres")).close()
        return True
    return False


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + keeping.PATIENCE
    while not condition():
        if time.monotonic() > end:
            message = "PostgreSQL is not in the state that was waited for"
            raise TimeoutError(message)
        time.sleep(0.02)


def start(basetemp: Path) -> Server:
    """The test run's server, started if need be. Needs what `scripts/servers` installs."""
    about = keeping.shared("postgres", basetemp, lambda folder: [sys.executable, __file__, folder])
    return Server({**about, "lock": str(keeping.run_folder(basetemp)[0] / "postgres-use.lock")})


# -- the keeper --------------------------------------------------------------------------------------------------------


def programs() -> Path:
    """The folder of the newest PostgreSQL programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    if not found:
        message = "no PostgreSQL in /usr/lib/postgresql: run scripts/servers"
        raise RuntimeError(message)
    return found[-1].parent


def _account() -> dict[str, Any]:
    """How a process of the server is started: as its own user where we are root."""
    if os.getuid() != 0:
        return {}
    entry = pwd.getpwnam(ACCOUNT)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


class Keeper:
    """Keeps the server alive, except while the file `down` lies in its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cluster = folder / "cluster"
        self._port = keeping.free_ports(1)[0]
        self._as = _account()
        self._environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        self._process: subprocess.Popen[bytes] | None = None
        folder.chmod(0o711)
        self._cluster.mkdir()
        if self._as:
            os.chown(self._cluster, self._as["user"], self._as["group"])
        self._make()

    def _make(self) -> None:
        secret = self._cluster / "password"
        secret.write_text(PASSWORD)
        data = self._cluster / "data"
        command = [
            programs() / "initdb",
            "-D",
            data,
            "-U",
            USER,
            "--pwfile",
            secret,
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
        ]
        subprocess.run(
            [*command, "--locale=C.UTF-8", "--no-sync"],
            env=self._environment, stdin=subprocess.DEVNULL, check=True, cwd=self._cluster, **self._as,
        )  # fmt: skip
        secret.unlink()

    def start(self) -> None:
        """Start the server."""
        options = {**_OPTIONS, "port": str(self._port), "unix_socket_directories": str(self._cluster)}
        given = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        command = [programs() / "postgres", "-D", self._cluster / "data", *given]
        log = self._folder / "server.log"
        self._process = keeping.spawn(command, self._environment, log, cwd=self._cluster, **self._as)
        (self._folder / "pid").write_text(str(self._process.pid))

    def step(self) -> None:
        """Say when the server is ready; start it again when it went."""
        if self._process is None or self._process.poll() is not None:
            if not (self._folder / "down").exists():
                self.start()
        elif not (self._folder / "ready.json").exists() and ready(self._port):
            keeping.say_ready(self._folder, {"port": self._port})

    def stop(self) -> None:
        """End the server at once; its memory and its children go with it."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            self._process.kill()
            self._process.wait()


def main() -> None:
    """The keeper: `python postgres.py FOLDER`, with the run's main process in KEEPER_MAIN."""
    folder = Path(sys.argv[1])
    keeper = Keeper(folder)
    keeper.start()
    keeping.keep(folder, keeper.step, keeper.stop)


if __name__ == "__main__":
    main()
