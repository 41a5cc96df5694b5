"""Two gateways on hosts of their own: what each kind of fault takes from one of them is the other's while it lasts.

`make side-by-side` is the long run.
"""

from __future__ import annotations

import pytest
from realtime.links import STALL
from side_by_side import STOP, UNPLUG, Fault, made
from test_sharing_cuts import BROKER


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    with made(tmp_path_factory.getbasetemp(), tmp_path_factory.mktemp("pair"), 20261129) as one:
        yield one


@pytest.mark.parametrize("fault", [Fault(STOP), Fault(STALL, BROKER), Fault(UNPLUG)], ids=lambda fault: fault.name)
def test_what_a_leader_had_is_taken_over_while_it_cannot_go_on(pair, fault):
    if fault not in (*pair.faults, Fault(STALL, BROKER)):
        pytest.skip("no network namespaces can be made here")
    told = pair.befalls(pair.leader(), fault)  # waits until another does all that it did, the fault still there
    assert told["leader"]
    pair.rest()
    pair.proved()
