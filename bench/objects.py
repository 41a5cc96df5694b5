"""A bucket of 100,000 objects: what it costs to see what is new in it, the first time and when all is known.

    make objects            # OBJECTS=10000: fewer

The server is that of the tests (S3Proxy over a folder), and the objects are laid into its folder by hand, since putting
them takes longer than all the rest. It walks the whole bucket for every page of a listing: most of the time that is
told is the server's, so that our own CPU is told beside it. The very last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from hashlib import md5
from pathlib import Path
from typing import Any

from servers import s3proxy

from connectors.s3line import client
from connectors.s3source import S3Source


def planned(settings: dict[str, Any], marks: Path) -> dict[str, Any]:
    """One plan in a process of its own: what it found and cost; the marks of what it found are added to a file."""
    made = S3Source.Settings(**settings)
    requests: list[str] = []
    client(made).meta.events.register("before-send.s3", lambda request, **_: requests.append(request.method))
    done = json.loads(marks.read_text()) if marks.exists() else {}
    before, cpu, start = _resident(), time.process_time(), time.perf_counter()
    found, new = 0, marks.with_suffix(".new")
    with new.open("w") as out:
        for item in S3Source(made).plan(done):
            found += 1
            out.write(json.dumps([item.source, item.extra["mark"]]) + "\n")
    told = {
        "items": found,
        "known": len(done),
        "requests": len(requests),
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_s": round(time.process_time() - cpu, 2),
        "grown_mb": round(_resident() - before, 1),
    }
    marks.write_text(json.dumps({**done, **dict(json.loads(line) for line in new.read_text().splitlines())}))
    return told


def _resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Lay the objects, plan twice, tell."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--objects", type=int, default=100_000)
    arguments.add_argument("--plan", type=Path, help="for this script's own processes")
    told = arguments.parse_args()
    if told.plan:
        print(json.dumps(planned(json.loads((told.plan / "settings.json").read_text()), told.plan / "marks.json")))
        return
    folder = tempfile.TemporaryDirectory(prefix="vingate-objects-")
    with folder as scratch, s3proxy.serving(Path(scratch) / "s3", ()) as server:
        bucket = server.bucket("objects")
        for number in range(told.objects):
            line = b'{"n": %d}\n' % number
            key = f"in/{number // 1000:03d}/{number:06d}.ndjson"
            server.lay(bucket, key, line, md5(line, usedforsecurity=False).digest())
        settings = {**server.settings(bucket, "in"), "call_seconds": 300.0}
        (Path(scratch) / "settings.json").write_text(json.dumps(settings))
        command = [sys.executable, __file__, "--plan", scratch]
        first, second = (json.loads(subprocess.run(command, check=True, stdout=-1).stdout) for _ in range(2))
    print(json.dumps({"objects": told.objects, "first": first, "second": second}))


if __name__ == "__main__":
    main()
