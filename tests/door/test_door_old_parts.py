"""旧件处理 from the 二级维护 order that shop software signs and sends, to the balance of the shop's waste ledger."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any

import orjson
import pytest
import test_door_to_store as to_store
from door_kit import Kit, payload
from test_door_signed import SECRET, USCC, Caller, maintenance

import pipelines.live
from pipelines.coordinator import Coordinator
from pipelines.door import applications
from pipelines.ledger import prove
from pipelines.nation import DEPLOY
from pipelines.partners.hosting import hosted
from pipelines.settings import load

run = to_store.run
BATTERY = "900-052-31"
MOMENT = "received_at=2021-02-01T12:00:00+08:00"


def order(disposal: str, **changed: str) -> dict[str, Any]:
    """The order upload as that software writes it: nested objects as texts."""
    part = {
        "partSeq": "1",
        "partName": "蓄电池",
        "partBrand": "",
        "partNo": "B-1",
        "productSeq": "",
        "oneselfPart": "0",
    }
    parts = [{**part, "partUnitPrice": "1", "partUnitNumber": "1", "partMoney": "1"}]
    item = {"itemSeq": "1", "itemName": "二级维护", "settlementTime": "2"}
    items = [{**item, "workHoursUnitPrice": "1", "workHoursFee": "2"}]
    return {
        "incomingInspectionId": "20201222106036",
        "deliveryDate": "2020-12-22",
        "repairMileage": "66000",
        "settlementDate": "2020-12-23",
        "settlementSeq": "JS1",
        "repairItems": json.dumps({"subtotal": "2", "items": items}),
        "repairParts": json.dumps({"subtotal": "1", "parts": parts}),
        "otherFee": "[]",
        "total": "3",
        "oldPartDisposal": disposal,
        **changed,
    }


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    """Orders are assembled in every round, not once in a while."""
    monkeypatch.setattr(pipelines.live, "FOLLOW_UP_SECONDS", 0.0)


class Shop:
    """Shop software at the door, and what follows behind it."""

    def __init__(self, door: Kit, drain: Any, url: str) -> None:
        self._caller, self._door, self._drain, self._url, self._nonce = Caller(door), door, drain, url, 0
        self._stores = door.state.path / "stores"

    async def enrol(self) -> None:
        company = await self._door.shop()
        with self._door.state.unit_of_work() as connection:
            applications.enrol(connection, self._door.state.sealer(), USCC, company, SECRET)

    async def send(self, step: str, body: dict[str, Any]) -> dict[str, Any]:
        self._nonce += 1
        return await self._caller.send(f"/repair/{step}/upload", maintenance(body, f"n{self._nonce}"))

    async def upload(self, *uploads: tuple[str, dict[str, Any]]) -> None:
        """Uploads that are accepted; then collect, and the exchanges that derive what follows."""
        for step, body in uploads:
            assert (await self.send(step, body))["code"] == 0
        self._drain()
        repairs = f"source.of.repairs.url=sqlite:///{self._stores}/province-33.db"
        self._run("old-parts", "source.system=33")
        self._run("solid-waste", repairs, f"sinks.solid-waste.url={self._url}", "source.today=2021-02-01")

    def _run(self, name: str, *changed: str) -> None:
        Coordinator(self._door.state, load(DEPLOY / "exchanges" / f"{name}.toml", [MOMENT, *changed])).run()
        assert prove(self._door.state).problems == []

    def said(self) -> list[tuple[str, int, str]]:
        """List code, version and word of what stands of old parts."""
        return [
            (row["costlistcode"], version, row["disposal"])
            for version, row in self._rows("documents-44", "old-part-disposal")
        ]

    def expected(self) -> list[str]:
        """What the balance of batteries expects."""
        return [row["expected"] for _, row in self._rows("cases-44", "waste-balance") if row["code"] == BATTERY]

    def _rows(self, store: str, kind: str) -> list[tuple[int, dict[str, Any]]]:
        with closing(sqlite3.connect(self._stores / f"{store}.db")) as connection:
            rows = connection.execute(
                "SELECT version, members FROM documents WHERE kind = ? AND current AND withdrawn IS NULL", (kind,)
            ).fetchall()
        return [(version, orjson.loads(members)) for version, members in rows]


def test_the_order_s_word_meets_the_waste_balance_and_follows_its_corrections(run, tmp_path):
    car = json.loads(payload("20"))

    async def story(door: Kit, drain: Any) -> None:
        shop = Shop(door, drain, running.urls["solid-waste"])
        await shop.enrol()
        await shop.upload(("car", car), ("order", order("2")))
        assert (shop.said(), shop.expected()) == ([("JS1", 1, "2")], ["1"]), "the shop keeps the old battery"
        await shop.upload(("order", order("1")))
        assert (shop.said(), shop.expected()) == ([("JS1", 2, "1")], []), "its owner has it"
        await shop.upload(("order", order("1")))
        assert shop.said() == [("JS1", 2, "1")], "the same again is no version"
        await shop.upload(("order", order("")))
        assert (shop.said(), shop.expected()) == ([], ["1"]), "the word is taken back"
        await shop.upload(("order", order("3", settlementSeq="JS2")))
        assert shop.said() == [("JS2", 1, "3")]
        refused = await shop.send("order", order("9"))
        assert (refused["code"], "oldPartDisposal" in refused["message"]) == (100, True)

    with hosted(["solid-waste"], tmp_path / "stand-ins") as running:
        run(story)


def test_an_order_waits_for_its_car_and_says_nothing_before(run, tmp_path):
    async def story(door: Kit, drain: Any) -> None:
        shop = Shop(door, drain, "http://127.0.0.1:9")
        await shop.enrol()
        assert (await shop.send("order", order("2")))["code"] == 0
        drain()
        shop._run("old-parts", "source.system=33")
        assert not (shop._stores / "documents-44.db").exists() or shop.said() == []
        assert (await shop.send("car", json.loads(payload("20"))))["code"] == 0
        drain()
        shop._run("old-parts", "source.system=33")
        assert shop.said() == [("JS1", 1, "2")]

    run(story)
