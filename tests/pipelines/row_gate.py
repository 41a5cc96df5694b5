"""A gateway on a state of its own, fed by hand through the shipped exchanges: what tests of row sinks share."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing, contextmanager

from sqlalchemy import select

from mappings.vin import check_digit
from pipelines import tables
from pipelines.coordinator import Coordinator
from pipelines.counting import count
from pipelines.ledger import prove
from pipelines.nation import DEPLOY
from pipelines.settings import load
from pipelines.state import State

SHOP, DEALER = "110105000000009", "110105000000001"
MOMENT = "2026-09-21T21:30:00+08:00"


def vin(serial, wmi="LSV"):
    tail = f"M{serial:07d}"
    head = f"{wmi}AL41Z"
    return head + check_digit(f"{head}0{tail}") + tail


def record(code, *, serial=1, plate="京A12345", day="20260910", fault="异响", mileage="50000", company=SHOP):
    basic = {
        "companycode": company,
        "companyname": "北京某某汽车维修有限公司",
        "vehicleplatenumber": plate,
        "vin": vin(serial),
        "repairdate": day,
        "settledate": day,
        "repairmileage": mileage,
        "faultdescription": fault,
        "costlistcode": code,
    }
    parts = [{"partsname": "火花塞", "partsquantity": "4", "partscode": "P-1"}]
    projects = [{"repairproject": "更换火花塞", "workinghours": "1.5"}]
    return {"basicInfo": basic, "vehiclepartslist": parts, "repairprojectlist": projects}


def visit(code, *, serial=1, plate="京A12345", day="2026-09-10", mileage=50000, complaint="异响"):
    return {
        "feed": "aftersales-visit/1",
        "maker": "SVW",
        "dealerCode": "D1",
        "dealerName": "北京某某汽车维修有限公司",
        "companyCode": DEALER,
        "vehicle": {"vin": vin(serial), "licensePlate": plate, "odometerKm": mileage},
        "visit": {"orderNo": code, "arrivedOn": day, "settledOn": day, "complaint": complaint},
        "lines": [{"type": "LABOR", "description": "更换火花塞", "hours": 1.5}],
    }


def registration(serial, home, since="2020-01-01", until=None):
    return {
        "schema": "vingate.registration/1",
        "vin": vin(serial),
        "plate": None,
        "home": home,
        "valid_from": since,
        "valid_to": until,
    }


class Gate:
    """A state and its partners' folders; every run ends with the ledger's equations checked."""

    def __init__(self, folder):
        self.folder = folder
        self.partners = folder / "partners"
        self.state = State(folder, own=True)
        self.moment = MOMENT
        self._files = Counter()
        for name in ("shops", "headquarters/SVW", "reference"):
            (self.partners / name).mkdir(parents=True)
        lines = f'[[dealer]]\ncompanycode = "{DEALER}"\noem = "SVW"\nfrom = 2024-01-01\n'
        (self.partners / "reference/dealers.toml").write_text(lines, "utf-8")
        oems = '[[oem]]\noem = "SVW"\nnames = ["上汽大众"]\nwmis = ["LSV"]\nfrom = 2024-01-01\n'
        (self.partners / "reference/oems.toml").write_text(oems, "utf-8")

    def put(self, place, *payloads, name=""):
        """Write payloads as one file of lines; files of a place come in the order in which they are put."""
        folder = self.partners / place
        folder.mkdir(parents=True, exist_ok=True)
        self._files[place] += 1
        lines = [p if isinstance(p, bytes) else json.dumps(p, ensure_ascii=False).encode() for p in payloads]
        path = folder / (name or f"{self._files[place]:04d}.ndjson")
        path.write_bytes(b"\n".join([*lines, b""]))
        return path

    def shop(self, *payloads, company=SHOP, system="11", name=""):
        return self.put(f"shops/{system}/{company}", *payloads, name=name)

    def exchange(self, name, *overrides):
        return load(DEPLOY / "exchanges" / f"{name}.toml", [f"received_at={self.moment}", *overrides])

    def run(self, name, *overrides):
        """Run an exchange; what it did, and what the ledger says of every run so far."""
        run = Coordinator(self.state, self.exchange(name, *overrides)).run()
        assert prove(self.state).problems == []
        with self.state.reading() as connection:
            found = [one for one in count(connection, [run]) if one.exchange == name]
        return found[0] if found else None

    def register(self, *registrations):
        path = self.put("registrations", *registrations)
        return self.run("registrations", f"source.path={path}")

    def account(self, exchange, destination):
        """What stands in the ledger for a destination, over all batches of an exchange."""
        b, d = tables.batches, tables.batch_destinations
        total = Counter()
        with self.state.reading() as connection:
            rows = connection.execute(
                select(d).join(b, b.c.id == d.c.batch).where(b.c.exchange == exchange, d.c.destination == destination)
            ).mappings()
            for row in rows:
                total.update({n: row[n] for n in ("addressed", "delivered", "duplicate", "merged", "filtered", "dead",
                                                  "waiting", "in_flight")})  # fmt: skip
        return +total

    def rows(
        self, store, columns="costlistcode, version, faultdescription, repaircomefrom, current, late, merged_into"
    ):
        place = self.folder / "stores" / f"{store}.db"
        if not place.exists():
            return []
        with closing(sqlite3.connect(place)) as connection:
            return connection.execute(f"SELECT {columns} FROM repairs ORDER BY seq").fetchall()

    def versions(self, store):
        return [row[:3] for row in self.rows(store)]

    def waiting(self):
        t = tables.waiting
        with self.state.reading() as connection:
            return connection.execute(select(t.c.exchange, t.c.destination, t.c.attempts).order_by(t.c.id)).all()

    def letters(self):
        t = tables.letters.letters
        with self.state.reading() as connection:
            return connection.execute(select(t).order_by(t.c.id)).mappings().all()

    @contextmanager
    def locked(self, store):
        """Another process writes to a store and does not end."""
        place = self.folder / "stores" / f"{store}.db"
        with closing(sqlite3.connect(place, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")
