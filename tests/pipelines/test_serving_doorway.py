"""The door as a child process: told to stop before it listens, it ends at once and well."""

import sys
import time

from pipelines.serving import link
from pipelines.serving.children import Child
from pipelines.serving.roles import load

PATIENCE = 60


def wait_for(found):
    until = time.monotonic() + PATIENCE
    while not (seen := found()) and time.monotonic() < until:
        time.sleep(0.02)
    return seen


def test_a_door_that_waits_for_its_state_stops_at_once_when_told(tmp_path, root):
    role = load(root / "deploy" / "roles" / "province-embedded.toml", (), {})
    task = {"kind": "door", "state": str(tmp_path / "nothing-yet"), "role": role.data, "sockets": []}
    door = Child("door", [sys.executable, "-m", "pipelines.serving.child"], task)
    door.start()
    try:
        assert wait_for(door.hear)[0].items() >= {"report": link.BEAT, "full": False}.items(), "it waits for the gateway"
        door.tell({"order": link.STOP})
        assert wait_for(lambda: door.gone)
    finally:
        door.kill()
        code = door.ended()
    assert code == 0
