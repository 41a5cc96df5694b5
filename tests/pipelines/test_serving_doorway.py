"""Children of a service that cannot begin yet: what they say of it, and how they end."""

import sys
import time
from contextlib import contextmanager

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from connectors.contracts import Misconfigured, Unavailable
from pipelines.blame import waits
from pipelines.serving import link
from pipelines.serving.children import Child
from pipelines.serving.roles import load

PATIENCE = 60


def wait_for(found):
    until = time.monotonic() + PATIENCE
    while not (seen := found()) and time.monotonic() < until:
        time.sleep(0.02)
    return seen


@contextmanager
def started(kind, folder, root, **role):
    data = {**load(root / "deploy" / "roles" / "province-embedded.toml", (), {}).data, **role}
    task = {"kind": kind, "state": str(folder), "role": data, "sockets": []}
    child = Child(kind, [sys.executable, "-m", "pipelines.serving.child"], task)
    child.start()
    try:
        yield child
    finally:
        child.kill()
        child.ended()


def test_a_door_that_waits_for_its_state_stops_at_once_when_told(tmp_path, root):
    with started("door", tmp_path / "nothing-yet", root) as door:
        (beat, *_) = wait_for(door.hear)  # from now on it waits for the gateway
        assert (beat["report"], beat["full"]) == (link.BEAT, False)
        door.tell({"order": link.STOP})
        assert wait_for(lambda: door.gone)
        assert door.ended() == 0


def test_a_gateway_whose_database_is_away_says_that_it_waits(tmp_path, root):
    away = {"url": "postgresql+psycopg://nobody@127.0.0.1:1/none"}
    with started("gateway", tmp_path, root, state=away) as gateway:
        (failed,) = wait_for(gateway.hear)
        assert (failed["report"], failed["waits"], failed["final"]) == (link.FAILED, True, False)


@pytest.mark.parametrize(
    ("error", "waited"),
    [
        (OperationalError("connect", {}, OSError()), True),
        (PoolTimeout("QueuePool limit"), True),
        (Unavailable("away"), True),
        (IntegrityError("insert", {}, ValueError()), False),
        (Misconfigured("no such option"), False),
        (KeyError("a bug"), False),
    ],
)
def test_what_is_waited_for(error, waited):
    assert waits(error) == waited
