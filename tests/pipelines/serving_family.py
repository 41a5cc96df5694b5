"""A supervisor and children that behave and misbehave on request, as processes of their own (run as a script)."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def child():
    from pipelines.serving import link

    line = link.connected()
    does, folder = line.task["does"], Path(line.task["folder"])
    with (folder / f"{line.task['name']}.pids").open("a") as pids:
        pids.write(f"{os.getpid()}\n")
    if does == "crash":
        return 7
    if does == "wait" and len((folder / f"{line.task['name']}.pids").read_text().split()) < 7:
        line.report(link.FAILED, text="数据库不在 / the database is away", code=3, final=False, waits=True)
        return 3
    if does == "refuse":
        line.report(link.FAILED, text="设置不可用 / cannot be used", code=2, final=True)
        return 2
    if does == "parent-of":
        inner = subprocess.Popen(["sleep", "1000"])
        with (folder / f"{line.task['name']}.pids").open("a") as pids:
            pids.write(f"{inner.pid}\n")
    line.report(link.READY, door=line.task.get("door"))
    line.report(link.BEAT, metrics=[["m", "help", "gauge", [["m", {}, 1.0]]]], loops={})
    if does == "crash-once" and not (folder / "crashed").exists():
        (folder / "crashed").touch()
        return 9
    while does == "hang" or not line.stopping.is_set():
        if does == "die":
            os.kill(os.getpid(), 9)
        order = line.order()
        if order is not None:
            (folder / f"{line.task['name']}.heard").write_text(json.dumps(order))
        time.sleep(0.01)
    (folder / f"{line.task['name']}.finished").touch()
    return 0


def parent():
    from pipelines.serving import children, logs
    from pipelines.serving.children import Child
    from pipelines.serving.supervisor import GaveUp, Supervisor

    given = json.loads(sys.argv[2])
    children.FIRST_DELAY = 0.05
    logs.set_up("test", "supervisor", logs.LogSettings())
    command = [sys.executable, __file__, "child"]
    made = [Child(one["name"], command, one, after=one.get("after", "")) for one in given["children"]]
    for one in made:
        one._delay = 0.05

    def say(**what):
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()

    def reload():
        made[0].tell({"order": "reload", "role": {"n": 1}})
        if given.get("restart"):
            supervisor.restart(made[0], {**made[0].task, "does": given["restart"]})

    supervisor = Supervisor(
        made,
        given.get("stop_seconds", 5),
        on_ready=lambda: say(ready=True),
        on_beat=lambda one, beat: say(beat=one.name, starts=one.starts, metrics=beat["metrics"]),
        reload=reload,
        drain_seconds=given.get("drain_seconds", 0.0),
    )
    try:
        return supervisor.run()
    except GaveUp as error:
        say(gave_up=str(error))
        return error.exit_code


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if sys.argv[1] == "child":
        del sys.argv[1]
        sys.exit(child())
    sys.exit(parent())
