"""Latency and throughput in real time: the door alone, the whole way from province to home province, queue to store.

    vingate bench realtime [--only door way queue] [--seconds N]
    vingate bench realtime --soak MINUTES [--rate N]

Starts what it needs itself (`realtime_network`) and loads it with a client of its own in Go (`client/`). A leg of a
record ends when the database commits its row: the moments are PostgreSQL's own (`pg_xact_commit_timestamp`), read after
the run, so measuring costs nothing meanwhile; they are taken just before the commit is synced, so a leg is too short by
that sync, which is told beside it. Legs begin at the moment when the record was due at the door. Writes its sections
of bench/RESULTS.md; see `realtime_parts` for what is measured, and `soak` for the long run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import realtime_parts  # noqa: E402
import soak  # noqa: E402
from realtime_network import Network  # noqa: E402
from run import write_results  # noqa: E402


class Client:
    """The load client, built where its source is newer."""

    def __init__(self, folder: Path) -> None:
        go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
        if go is None:
            sys.exit(
                "测量客户端用 Go 编写，请先安装 Go 1.21 或更新版本（Debian: apt-get install golang-go）"
                " / the load client is written in Go: install Go 1.21 or newer (Debian: apt-get install golang-go)"
            )
        self._program, self._folder = folder / "client", folder
        subprocess.run([go, "build", "-o", str(self._program), "."], cwd=HERE / "client", check=True)

    def start(self, work: str, **flags: object) -> subprocess.Popen[str]:
        """Start a work of it; see client/main.go."""
        given = [f"-{name}={value}" for name, value in flags.items()]
        return subprocess.Popen([self._program, work, *given], stdout=subprocess.PIPE, text=True, cwd=self._folder)

    def run(self, work: str, **flags: object) -> str:
        """Do a work of it; what it printed."""
        child = self.start(work, **flags)
        said, _ = child.communicate()
        if child.returncode:
            sys.exit(f"client {work}: exit {child.returncode}")
        return said

    def load(self, **flags: object) -> dict[str, Any]:
        """Send records; the summary."""
        found: dict[str, Any] = json.loads(self.run("load", **flags))
        return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=sorted(realtime_parts.PARTS), default=list(realtime_parts.PARTS))
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each run (default 10)")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="the long run instead: does all stay flat?")
    parser.add_argument("--rate", type=float, default=500.0, help="long run: records a second (default 500)")
    parser.add_argument("--plot", type=Path, default=HERE / "soak.svg", help="long run: file of its picture")
    parser.add_argument("--figures", type=Path, help="write the figures to this file, as JSON")
    parser.add_argument("--keep", type=Path, help="folder for databases and logs; kept")
    parser.add_argument("--dry", action="store_true", help="do not write bench/RESULTS.md")
    parser.add_argument("--profile", action="store_true", help="record where the processes spend their time (py-spy)")
    given = parser.parse_args(arguments)
    folder = given.keep or Path(tempfile.mkdtemp(prefix="vingate-realtime-", dir="/var/tmp"))
    folder.mkdir(parents=True, exist_ok=True)
    sections, figures = [], {}
    try:
        client = Client(folder)
        for name in ["soak"] if given.soak else given.only:
            place = folder / name
            place.mkdir()
            folder.chmod(0o711)
            with Network(place) as network:
                if given.soak:
                    section, found = soak.run(soak.Soak(network, client, given.soak, given.rate, given.plot))
                else:
                    bench = realtime_parts.Bench(network, client, place, given.seconds, given.profile)
                    section, found = realtime_parts.PARTS[name](bench)
            print(section, flush=True)
            sections.append(section)
            figures[name] = found
    finally:
        if not given.keep:
            shutil.rmtree(folder, ignore_errors=True)
    if given.figures:
        given.figures.write_text(json.dumps(figures), "utf-8")
    if not given.dry:
        write_results(sections)


if __name__ == "__main__":
    main()
