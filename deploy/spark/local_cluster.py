"""A Spark cluster on this machine alone: master, one-core workers, Beam's job server and a pool of SDK workers.

    python deploy/spark/local_cluster.py --home var/spark        until Ctrl-C; prints the job server and the pool

Everything listens on 127.0.0.1, on ports that the system gives. `scripts/cluster` fills the home folder: `spark/` (the
jars and scripts of pyspark's own distribution) and `jobserver/` (what `deploy/spark/pom.xml` resolves).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from pipelines.local.processes import free_ports, spawn

ADDRESS = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[2]
START = ROOT / "deploy" / "spark" / "start"
PATIENCE = 120.0


class LostServer(Exception):
    """A server of the cluster did not come up; with the end of what it wrote."""


class Cluster:
    """The processes of one cluster; `stop` ends them all, and the kernel does where nobody stops them.

    Args:
        home: what `scripts/cluster` filled.
        folder: logs and work folders.
        workers: how many Spark workers, one core each.
    """

    def __init__(self, home: Path, folder: Path, workers: int = 2) -> None:
        self.home, self.folder, self.workers = home.resolve(), folder.resolve(), workers
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.master = self.endpoint = self.pool = ""

    def __enter__(self) -> Cluster:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything, and wait until it serves."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.start_server("master", "master", MASTER_PORT=0)
        self.start_pool()
        port = self.port("master", r"Starting Spark master at spark://127.0.0.1:(\d+)")
        self.master = f"spark://{ADDRESS}:{port}"
        for number in range(self.workers):
            self.start_server(f"worker-{number}", "worker", MASTER=self.master)
        for number in range(self.workers):
            self.port(f"worker-{number}", r"Successfully registered with master spark://127.0.0.1:(\d+)")
        self.start_job_server()

    def start_job_server(self) -> None:
        """Beam's job server: it holds one Spark context, and the jobs that it is told of."""
        told = {"MASTER": self.master, "JOB_PORT": 0, "ARTIFACT_PORT": 0, "PARALLELISM": self.workers * 4}
        self.start_server("job-server", "job-server", **told)
        port = self.port("job-server", r"JobService started on [^:]*:(\d+)")
        self.endpoint = f"{ADDRESS}:{port}"

    def start_pool(self) -> None:
        """A pool that starts SDK workers as processes; on a port that stays the same when it is started again."""
        port = self.pool.rpartition(":")[2] or str(free_ports(1)[0])
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-m", "pipelines", "workers", "--listen", f"{ADDRESS}:{port}"]
        self._run("pool", command, {"PYTHONPATH": path})
        self.pool = f"{ADDRESS}:{port}"

    def settings(self) -> list[str]:
        """What `--set` says of it."""
        named = {"runner": "spark", "job_endpoint": self.endpoint, "environment_config": self.pool}
        return [f"{name}={value}" for name, value in named.items()]

    def executors(self) -> list[int]:
        """Processes of the executors that Spark's workers have now."""
        return [one for n in range(self.workers) for one in _children(self.processes[f"worker-{n}"].pid)]

    def sdk_workers(self) -> list[int]:
        """Processes of the SDK workers that the pool has now: they are forks of its one child."""
        return [one for host in _children(self.processes["pool"].pid) for one in _children(host)]

    def cpu_seconds(self) -> dict[str, float]:
        """What each server has used of processors, with what it started: living, and ended and waited for."""
        tick = os.sysconf("SC_CLK_TCK")
        return {
            name: sum(_ticks(pid) for pid in [process.pid, *_descendants(process.pid)]) / tick
            for name, process in self.processes.items()
        }

    def listening(self) -> list[str]:
        """Where its processes listen, as `ADDRESS:PORT`."""
        found = [one for process in self.processes.values() for one in [process.pid, *_descendants(process.pid)]]
        sockets = {link for pid in found for link in _links(pid) if link.startswith("socket:")}
        return sorted(place for place, inode in _listening() if f"socket:[{inode}]" in sockets)

    def kill(self, name: str) -> None:
        """End one server at once, as a machine's failure would."""
        process = self.processes.pop(name)
        _end(process, signal.SIGKILL)

    def stop(self) -> None:
        """End every process, and those that they started."""
        for name in ("job-server", "pool", "worker", "master"):
            for one in [found for found in self.processes if found.startswith(name)]:
                _end(self.processes.pop(one), signal.SIGTERM)

    def said(self, name: str) -> str:
        """What a server wrote."""
        return (self.folder / f"{name}.log").read_text("utf-8", "replace")

    def port(self, name: str, pattern: str) -> str:
        """The port that a server says it listens on.

        Raises:
            LostServer: it does not.
        """
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            gone = self.processes[name].poll() is not None
            found = re.search(pattern, self.said(name))
            if found:
                return found[1]
            if gone:
                break
            time.sleep(0.1)
        message = f"{name}: {self.said(name)[-2_000:]}"
        raise LostServer(message)

    def start_server(self, name: str, role: str, **told: object) -> None:
        """A server that the start script starts, in a folder of its own."""
        work = self.folder / name
        work.mkdir(exist_ok=True)
        homes = {"SPARK_HOME": self.home / "spark", "BEAM_HOME": self.home, "LISTEN": ADDRESS, "WORK": work}
        self._run(name, ["bash", str(START), role], {**homes, **told})

    def _run(self, name: str, command: list[str], told: Mapping[str, object]) -> None:
        # Executors' folders and SDK workers' temporary files are this cluster's.
        environment = {**os.environ, "TMPDIR": str(self.folder), **{key: str(value) for key, value in told.items()}}
        log = self.folder / f"{name}.log"
        log.unlink(missing_ok=True)  # what it said before it was killed
        self.processes[name] = spawn(command, environment, log, cwd=self.folder, start_new_session=True)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(one) for one in task.read_text().split()]
    return found


def _ticks(pid: int) -> int:
    with suppress(OSError):
        return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return 0


def _links(pid: int) -> list[str]:
    found = []
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.append(str(link.readlink()))
    return found


def _listening() -> Iterator[tuple[str, str]]:
    """All TCP sockets of this machine that listen: address and port, and inode."""
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] != "0A":
                continue
            address, port = fields[1].split(":")
            words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
            yield f"{ip_address(b''.join(words))}:{int(port, 16)}", fields[9]


def _descendants(pid: int) -> list[int]:
    below = _children(pid)
    return below + [one for child in below for one in _descendants(child)]


def _end(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    below = _descendants(process.pid)
    process.send_signal(number)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    for one in [process.pid, *below] if process.poll() is None else below:
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    process.wait()


def main() -> int:
    """Run a cluster until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=ROOT / "var" / "spark")
    parser.add_argument("--workers", type=int, default=2)
    told = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="vingate-spark-"))
    try:
        with Cluster(told.home, folder, told.workers) as cluster, suppress(KeyboardInterrupt):
            print(f"--runner spark --job-endpoint {cluster.endpoint} --environment-config {cluster.pool}", flush=True)
            signal.pause()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
