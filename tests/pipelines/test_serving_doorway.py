"""Children of a service that cannot begin yet: what they say of it, and how they end."""

import socket
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from connectors.contracts import Misconfigured, Unavailable
from pipelines.blame import waits
from pipelines.door.serving import CannotListen
from pipelines.serving import link
from pipelines.serving.children import Child
from pipelines.serving.doorway import sockets
from pipelines.serving.roles import Door, load

PATIENCE = 60


def wait_for(found):
    until = time.monotonic() + PATIENCE
    while not (seen := found()) and time.monotonic() < until:
        time.sleep(0.02)
    return seen


@contextmanager
def started(kind, folder, root, **role):
    data = {**load(root / "deploy" / "roles" / "province-embedded.toml", (), {}).data, **role}
    task = {"kind": kind, "state": str(folder), "role": data, "sockets": [], "limits": -1}
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


def of(**settings):
    return Door.model_validate({"port": 0, **settings})


def test_processes_of_a_door_have_one_address_with_each_other_and_with_nobody_else():
    with ExitStack() as stack:
        made = sockets(of(processes=3, foshan=True), 0)
        for one in chain(*made):
            stack.enter_context(one)
        ports = [{one.getsockname()[1] for one in ones} for ones in zip(*made, strict=True)]
        assert [len(made), *map(len, ports)] == [3, 1, 1]
        assert ports[0].isdisjoint(ports[1])
        for taken in (*ports[0], *ports[1]):
            for processes in (1, 3):
                with pytest.raises(CannotListen, match=str(taken)):
                    sockets(of(port=taken, processes=processes), 0)


def test_each_process_of_a_door_is_called():
    made = [one for (one,) in sockets(of(processes=2), 0)]
    with ExitStack() as stack:
        for one in made:
            stack.enter_context(one)
            one.setblocking(False)
        for _ in range(200):
            stack.enter_context(socket.create_connection(made[0].getsockname()))
        taken = [len(accepted(one, stack)) for one in made]
        assert (sum(taken), min(taken) > 0) == (200, True)


def accepted(listening, stack):
    found = []
    with suppress(BlockingIOError):
        while True:
            found.append(stack.enter_context(listening.accept()[0]))
    return found


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
