"""A PostgreSQL cluster of the tests' own: folder, port and sockets, nothing shared with an installed service.

One server serves a whole test run, each test has a database of its own in it. Who kills the server has it alone
meanwhile.

    server = start(tmp_path_factory.getbasetemp())
    with server.shared(), server.database() as url:
        create_engine(url)
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers import keeping

from pipelines.local.postgres import USER, Cluster, answers
from pipelines.local.processes import wait_for

PASSWORD = "s3cret-of-the-tests"  # noqa: S105 - guards nothing


class Server:
    """The server, as tests see it."""

    def __init__(self, about: dict[str, Any]) -> None:
        self.port = int(about["port"])
        self.folder = Path(about["folder"])
        self._lock = Path(about["lock"])

    def url(self, database: str = "postgres") -> str:
        """The address of a database, with user and password."""
        return f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def _address(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user={USER} password={PASSWORD} dbname={database} connect_timeout=5"

    @property
    def pid(self) -> int:
        """The server's main process."""
        return int((self.folder / "pid").read_text())

    def execute(self, statement: str, *values: Any, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement beside what is tested; its rows, if it has any."""
        with psycopg.connect(self._address(database), autocommit=True) as connection:
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
            wait_for(lambda: not _alive(pid), "PostgreSQL gone")
            yield
        finally:
            gate.unlink()
            wait_for(lambda: answers(self._address("postgres")), "PostgreSQL back")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def start(basetemp: Path) -> Server:
    """The test run's server, started if need be. Needs what `scripts/servers` installs."""
    about = keeping.shared("postgres", basetemp, lambda folder: [sys.executable, __file__, folder])
    return Server({**about, "lock": str(keeping.run_folder(basetemp)[0] / "postgres-use.lock")})


# -- the keeper --------------------------------------------------------------------------------------------------------


class Keeper:
    """Keeps the server alive, except while the file `down` lies in its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.chmod(0o711)
        self._cluster = Cluster(folder / "cluster", PASSWORD)
        self._cluster.make()

    def start(self) -> None:
        """Start the server."""
        self._cluster.start()
        (self._folder / "pid").write_text(str(self._cluster.pid))

    def step(self) -> None:
        """Say when the server is ready; start it again when it went."""
        if not self._cluster.running:
            if not (self._folder / "down").exists():
                self.start()
        elif not (self._folder / "ready.json").exists() and answers(self._cluster.address()):
            keeping.say_ready(self._folder, {"port": self._cluster.port})

    def stop(self) -> None:
        """End the server at once; its memory and its children go with it."""
        self._cluster.kill()


def main() -> None:
    """The keeper: `python postgres.py FOLDER`, with the run's main process in KEEPER_MAIN."""
    folder = Path(sys.argv[1])
    keeper = Keeper(folder)
    keeper.start()
    keeping.keep(folder, keeper.step, keeper.stop)


if __name__ == "__main__":
    main()
