"""Every system outside keeps the contract of sinks: its sink as shipped, against its stand-in."""

from __future__ import annotations

from hashlib import sha256

import pytest
from outside_documents import TAKES, body, sink

from connectors.contracts import Delivery
from connectors.restpresets import with_preset
from connectors.restsink import HttpSink
from connectors.sendsettings import HttpSettings
from connectors.testing import SinkContract
from connectors.testing.common import TEXT
from pipelines.partners.catalogue import PARTNERS
from pipelines.partners.hosting import hosted
from pipelines.partners.server import Mood


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with hosted(list(TAKES), tmp_path_factory.mktemp("stand-ins")) as made:
        yield made


def test_every_stand_in_is_here():
    assert set(TAKES) == {name for name, one in PARTNERS.items() if one.protocols}


@pytest.mark.parametrize("system", sorted(TAKES), scope="class")
class TestOutsideSink(SinkContract):
    """Receipts prove what these systems took; they know a delivery by its id or its content, and no versions."""

    name = "http"
    remembers = False
    _bodies: dict[tuple[str, int, int], bytes] = {}  # noqa: RUF012 - made once for all tests

    @pytest.fixture(autouse=True)
    def _stand_in(self, system, running, tmp_path):
        self.system, self.url, self.stand_in = system, running.urls[system], running.stand_ins[system]
        self.stand_in.kept._connection.executescript("DELETE FROM received; DELETE FROM refused;")
        self.stand_in.mood = Mood()
        yield
        self.stand_in.mood = Mood()

    def working_settings(self, place):
        return sink(self.system, self.url, place / "receipts")

    def broken_settings(self, place):
        return self.working_settings(place) | {"auth": {"kind": "bearer", "token": "env:NOBODY_SETS_THIS"}}

    def sink(self, place):
        self.stand_in.mood = Mood()
        return HttpSink(HttpSettings(**with_preset(self.working_settings(place))))

    def no_room(self, place):
        made = self.sink(place)
        self.stand_in.mood = Mood(down=True)
        return made

    def body(self, number, size=0, version=1):
        known = self._bodies.get((self.system, number % 100, version))
        if known is None:
            known = self._bodies[self.system, number % 100, version] = body(self.system, number % 100, version)
        return known[:-1] + f',"n":{number},"text":"{TEXT}","filler":"{"x" * size}"}}'.encode()

    def delivery(self, number, version=1, batch="b1", content=0, size=0, merged=""):
        made = self.body(number + 1_000_000 * content, size, version)
        key, digest = f"系统|{number}|", sha256(made).hexdigest()
        identity = sha256(f"{key}|{version}|{digest}".encode()).hexdigest()
        return Delivery(identity, self.system, key, version, digest, made, batch, merged)

    def _file(self, place, delivery):
        return place / "receipts" / f"{delivery.batch}.receipts"

    def tamper(self, place, delivery):
        file = self._file(place, delivery)
        lines = file.read_text().splitlines()
        file.write_text("\n".join(f"{delivery.id} {0:016x}" if delivery.id in one else one for one in lines) + "\n")

    def remove(self, place, delivery):
        file = self._file(place, delivery)
        file.write_text("\n".join(one for one in file.read_text().splitlines() if delivery.id not in one) + "\n")

    def unmappable(self):
        return b"{no json"

    def test_what_its_receipts_say_is_what_the_system_took(self, place):
        given = [self.delivery(n) for n in range(30)]
        made = self.sink(place)
        assert self.statuses(made, given) == ["accepted"] * 30
        assert self.stand_in.kept.counts() == {self.stand_in_collection(): 30}

    def stand_in_collection(self):
        return "closures" if self.system == "environment" else TAKES[self.system]
