"""Exchanges that write rows: versions, duplicates, what waits, what is refused, merging, homes and steps."""

from __future__ import annotations

import itertools

import orjson
import pytest
from row_gate import DEALER, MOMENT, SHOP, Gate, record, registration, vin, visit
from sqlalchemy import insert, select

from connectors.memory import forget, hub
from mappings.records import Receipt
from pipelines import tables
from pipelines.coordinator import Coordinator
from pipelines.errors import SettingsError
from pipelines.settings import Exchange

HURRY = ("sinks.provinces.busy_seconds=0", "retry.first_seconds=0")


class Killed(BaseException):
    """The end of a process."""


@pytest.fixture
def gate(tmp_path):
    made = Gate(tmp_path / "state")
    yield made
    made.state.close()


# -- versions and duplicates -------------------------------------------------------------------------------------------


def test_the_same_record_again_is_a_duplicate_in_a_batch_and_in_a_later_one(gate):
    gate.shop(record("J1"), record("J1"), record("J2"))
    first = gate.run("collect")
    assert (first.totals["received"], first.totals["delivered"], first.totals["duplicate"]) == (3, 2, 1)
    gate.shop(record("J2"), record("J3"))
    second = gate.run("collect")
    assert (second.totals["received"], second.totals["delivered"], second.totals["duplicate"]) == (2, 1, 1)
    assert gate.versions("province-11") == [("J1", 1, "异响"), ("J2", 1, "异响"), ("J3", 1, "异响")]


def test_there_and_back_is_three_versions(gate):
    gate.shop(record("J1", fault="甲"), record("J1", fault="乙"))
    gate.run("collect")
    gate.shop(record("J1", fault="甲"))
    gate.run("collect")
    assert gate.versions("province-11") == [("J1", 1, "甲"), ("J1", 2, "乙"), ("J1", 3, "甲")]
    assert [row[4] for row in gate.rows("province-11")] == [0, 0, 1]


def test_equal_bytes_of_two_shops_are_two_records(gate):
    payload = record("J1")
    del payload["basicInfo"]["companycode"]
    gate.shop(payload, company="110105000000007")
    gate.shop(payload, company="110105000000008")
    assert gate.run("collect").totals["delivered"] == 2
    assert gate.rows("province-11", "companycode") == [("110105000000007",), ("110105000000008",)]


def test_a_run_with_nothing_new_does_nothing(gate):
    gate.shop(record("J1"))
    gate.run("collect")
    assert gate.run("collect") is None
    assert len(gate.rows("province-11")) == 1


def test_a_record_of_another_company_is_refused_with_the_shops_code(gate):
    gate.shop(record("J1", company="440300000000001"))
    assert gate.run("collect").totals["dead"] == 1
    assert gate.rows("province-11") == []
    assert [letter["company"] for letter in gate.letters()] == [SHOP]


# -- what waits --------------------------------------------------------------------------------------------------------


def test_a_locked_store_makes_deliveries_wait_and_the_next_run_delivers_them(gate):
    gate.shop(record("J0"))
    gate.run("collect")
    gate.shop(record("J1"), record("J2"))
    with gate.locked("province-11"):
        stuck = gate.run("collect", *HURRY)
    assert stuck.destinations["province-11"]["waiting"] == 2
    assert [w.destination for w in gate.waiting()] == ["province-11"] * 2
    assert gate.letters() == []
    gate.run("collect", *HURRY)
    assert gate.waiting() == []
    assert gate.account("collect", "province-11") == {"addressed": 3, "delivered": 3}
    assert [row[0] for row in gate.rows("province-11")] == ["J0", "J1", "J2"]


def test_what_a_crash_left_does_not_overtake_an_earlier_record_of_its_vehicle_that_waits(gate):
    gate.shop(record("N0", serial=2))
    gate.run("collect")
    gate.shop(record("N1"))
    with gate.locked("province-11"):
        gate.run("collect", *HURRY)
    gate.shop(record("N2"), record("N3", serial=3))

    def dies(event):
        if event.name == "decided":
            raise Killed

    with pytest.raises(Killed):
        Coordinator(gate.state, gate.exchange("collect", *HURRY), dies).run()
    gate.run("collect", *HURRY)
    codes = [row[0] for row in gate.rows("province-11")]
    assert sorted(codes) == ["N0", "N1", "N2", "N3"]
    assert codes.index("N1") < codes.index("N2")


def test_one_stores_trouble_is_its_own(gate):
    gate.shop(record("J1"))
    gate.shop(record("S1", company="310101000000001", plate="沪A12345"), company="310101000000001", system="31")
    gate.run("collect")
    gate.shop(record("J2"))
    gate.shop(record("S2", company="310101000000001", plate="沪A12345"), company="310101000000001", system="31")
    with gate.locked("province-11"):
        gate.run("collect", *HURRY)
    assert gate.account("collect", "province-11") == {"addressed": 2, "delivered": 1, "waiting": 1}
    assert gate.account("collect", "province-31") == {"addressed": 2, "delivered": 2}


def test_attempts_are_counted_and_spaced(gate):
    gate.shop(record("J0"))
    gate.run("collect")
    gate.shop(record("J1"))
    with gate.locked("province-11"):
        gate.run("collect", *HURRY)
        gate.run("collect", *HURRY)
        assert [w.attempts for w in gate.waiting()] == [3]
        gate.run("collect", "retry.first_seconds=3600", *HURRY[:1])
    gate.run("collect", "retry.first_seconds=3600")
    assert gate.account("collect", "province-11")["waiting"] == 1


def test_a_version_that_waited_does_not_follow_a_newer_one(gate):
    gate.shop(record("J0"))
    gate.run("collect")
    gate.shop(record("J1", fault="旧"))
    with gate.locked("province-11"):
        gate.run("collect", *HURRY)
    gate.shop(record("J1", fault="新"))
    gate.run("collect", *HURRY)
    assert gate.versions("province-11") == [("J0", 1, "异响"), ("J1", 2, "新")]
    assert gate.account("collect", "province-11") == {"addressed": 3, "delivered": 2, "filtered": 1}
    assert gate.waiting() == []


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.fixture
def refusing(gate):
    name = f"refusing-{gate.folder}"
    base = gate.exchange

    def exchange(which, *overrides):
        made = base(which)
        sinks = {**made.model_dump(mode="json", by_alias=True)["sinks"]}
        sinks["provinces"] = {"connector": "memory", "for": "province-*", "hub": name}
        settings = made.model_dump(mode="json", by_alias=True) | {"sinks": sinks}
        for override in overrides:
            key, _, value = override.partition("=")
            settings["sinks"]["provinces"][key] = value
        return type(made).model_validate(settings)

    gate.exchange = exchange
    yield hub(name)
    forget(name)


def test_a_refused_delivery_is_a_letter_and_its_replay_delivers_it_once(gate, refusing):
    gate.shop(record("J1"), record("J2"))
    stuck = gate.run("collect", "mode=refuse", "match=J1")
    assert (stuck.destinations["province-11"]["dead"], stuck.destinations["province-11"]["delivered"]) == (1, 1)
    (letter,) = gate.letters()
    assert (letter["stage"], letter["destination"], letter["state"]) == ("deliver", "province-11", "open")
    Coordinator(gate.state, gate.exchange("collect")).replay([letter["id"]])
    assert sorted(d.key for d in refusing.delivered.values()) == [f"11|{SHOP}|J1", f"11|{SHOP}|J2"]
    assert gate.account("collect", "province-11") == {"addressed": 2, "delivered": 2}
    assert [one["state"] for one in gate.letters()] == ["resolved"]


def test_a_replay_that_is_refused_again_is_a_letter_again(gate, refusing):
    gate.shop(record("J1"))
    gate.run("collect", "mode=refuse")
    (letter,) = gate.letters()
    Coordinator(gate.state, gate.exchange("collect", "mode=refuse")).replay([letter["id"]])
    assert gate.account("collect", "province-11") == {"addressed": 1, "dead": 1}
    assert len([one for one in gate.letters() if one["state"] == "open"]) == 1
    assert refusing.delivered == {}


# -- report, homes and moves -------------------------------------------------------------------------------------------


def test_what_came_down_never_goes_up_again(gate):
    gate.shop(record("J1", plate="沪A12345"), record("J2", serial=2))
    for name in ("collect", "report", "push"):
        gate.run(name)
    assert [(r[0], r[3]) for r in gate.rows("province-31")] == [("J1", 2)]
    again = gate.run("report")
    assert again is None or again.totals["received"] == 0
    assert [(r[0], r[3]) for r in gate.rows("ministry")] == [("J1", 1), ("J2", 1)]


def test_versions_are_carried_through_report_and_push(gate):
    gate.shop(record("J1", plate="沪A12345", fault="甲"), record("J1", plate="沪A12345", fault="乙"))
    gate.run("collect")
    gate.shop(record("J1", plate="沪A12345", fault="丙"))
    gate.run("collect")
    gate.run("report")
    gate.run("push")
    wanted = [("J1", 1, "甲"), ("J1", 2, "乙"), ("J1", 3, "丙")]
    assert gate.versions("ministry") == wanted
    assert gate.versions("province-31") == wanted


def report_line(version, fault):
    members = record("J1", fault=fault)["basicInfo"]
    return {
        "schema": "vingate.repair/1",
        "kind": "report",
        "system": "11",
        **{name: members[name] for name in ("companycode", "companyname", "vin", "faultdescription", "costlistcode")},
        "plate": members["vehicleplatenumber"],
        "repairdate": "2026-09-10",
        "settledate": "2026-09-10",
        "mileage": "50000",
        "parts": [],
        "projects": [{"name": "更换火花塞", "hours": "1.5"}],
        "version": version,
        "repaircomefrom": 1,
        "dialect": "national",
        "received_at": MOMENT,
        "findings": [],
    }


def test_what_was_read_of_a_store_is_marked_in_the_commit_that_decides_it(gate):
    gate.shop(record("N1"), record("N2"))
    gate.run("collect")

    def dies(event):
        if event.name == "decided":
            raise Killed

    with pytest.raises(Killed):
        Coordinator(gate.state, gate.exchange("report"), dies).run()
    p, b = tables.positions, tables.batches
    with gate.state.reading() as connection:
        marks = connection.execute(select(p.c.mark).where(p.c.exchange == "report")).scalars().all()
    assert marks == ["2"]
    gate.run("report")
    assert gate.account("report", "ministry") == {"addressed": 2, "delivered": 2}
    with gate.state.reading() as connection:
        assert connection.execute(select(b.c.kind).where(b.c.exchange == "report")).scalars().all() == ["source"]


def test_a_carried_version_that_comes_late_is_kept_as_late(gate):
    settings = gate.exchange("report").model_dump(mode="json", by_alias=True)
    settings["source"] = {"connector": "files", "path": str(gate.partners / "reports"), "format": "ndjson"}
    gate.exchange = lambda name: Exchange.model_validate(settings)
    gate.put("reports", report_line(3, "丙"))
    gate.run("report")
    gate.put("reports", report_line(1, "甲"), report_line(3, "丙"), report_line(2, "乙"))
    late = gate.run("report")
    assert (late.totals["delivered"], late.totals["duplicate"]) == (2, 1)
    columns = "version, faultdescription, current, late"
    assert gate.rows("ministry", columns) == [(3, "丙", 1, 0), (1, "甲", 0, 1), (2, "乙", 0, 1)]


def test_a_correction_to_a_new_home_reaches_the_old_holder_too(gate):
    gate.shop(record("J1", plate="沪A12345"))
    for name in ("collect", "report", "push"):
        gate.run(name)
    gate.shop(record("J1", plate="粤B12345"))
    for name in ("collect", "report", "push"):
        gate.run(name)
    assert [r[1] for r in gate.rows("province-31")] == [1, 2]
    assert [r[1] for r in gate.rows("province-44")] == [2]


def test_an_unknown_home_waits_and_a_registration_places_it(gate):
    gate.shop(record("J1", plate="未上牌"), record("J2", serial=2, plate="未上牌"))
    for name in ("collect", "report"):
        gate.run(name)
    assert gate.run("push").totals["waiting"] == 2
    assert gate.run("push") is None
    gate.register(registration(1, "31"))
    gate.run("push")
    assert [r[0] for r in gate.rows("province-31")] == ["J1"]
    assert [w.destination for w in gate.waiting()] == [""]
    assert gate.account("push", "province-31") == {"addressed": 1, "delivered": 1}
    assert gate.rows("province-11", "costlistcode") == [("J1",), ("J2",)]


def test_a_home_at_the_collecting_province_ends_the_wait(gate):
    gate.shop(record("J1", plate="未上牌"))
    for name in ("collect", "report", "push"):
        gate.run(name)
    gate.register(registration(1, "11"))
    gate.run("push")
    assert gate.waiting() == []
    assert [r[3] for r in gate.rows("province-11")] == [1]


def test_a_move_pushes_what_is_held_to_the_new_home_once(gate):
    gate.register(registration(2, "11"))
    gate.shop(record("J1", plate="沪A12345"), record("J2", serial=2))
    for name in ("collect", "report"):
        gate.run(name)
    assert gate.run("push").totals["received"] == 2  # what is known before the first push is no news to it
    gate.register(registration(1, "44", since="2026-09-20"), registration(2, "44", since="2026-09-20"))
    moved = gate.run("push")
    assert moved.destinations["province-44"]["delivered"] == 2
    assert sorted(r[0] for r in gate.rows("province-44")) == ["J1", "J2"]
    assert [r[0] for r in gate.rows("province-31")] == ["J1"]
    assert gate.run("push") is None


def test_a_correction_after_a_move_reaches_both_homes(gate):
    gate.shop(record("J1", plate="沪A12345"))
    for name in ("collect", "report", "push"):
        gate.run(name)
    gate.register(registration(1, "44", since="2026-09-20"))
    gate.run("push")
    gate.shop(record("J1", plate="沪A12345", fault="已修正"))
    for name in ("collect", "report", "push"):
        gate.run(name)
    assert gate.versions("province-31") == gate.versions("province-44") == [("J1", 1, "异响"), ("J1", 2, "已修正")]


# -- one visit by two ways ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(itertools.permutations(("collect", "headquarters"))))
def test_a_visit_by_both_ways_is_merged_whichever_comes_first(gate, order):
    gate.shop(record("J1", company=DEALER), company=DEALER)
    gate.put("headquarters/SVW", visit("SVW1", day="2026-09-11"))
    for name in order:
        gate.run(name)
    gate.run("report")
    shop, oem = f"11|{DEALER}|J1", f"oem-SVW|{DEALER}|SVW1"
    first = shop if order[0] == "collect" else oem
    second = oem if first == shop else shop
    keys = gate.rows("province-11", "record_key, merged_into")
    assert keys == [(first, ""), (second, first)]
    assert gate.rows("ministry", "record_key, merged_into") == [(oem, ""), (shop, oem)]
    assert gate.account("report", "ministry") == {"addressed": 1, "merged": 1}


def test_later_versions_of_a_merged_visit_stay_with_their_pair(gate):
    gate.shop(record("J1", company=DEALER), company=DEALER)
    gate.put("headquarters/SVW", visit("J1"))
    gate.run("collect")
    gate.run("headquarters")
    gate.put("headquarters/SVW", visit("J1", complaint="已修正", mileage=60000))
    gate.shop(record("J1", company=DEALER, fault="已修正", mileage="70000"), company=DEALER)
    gate.run("headquarters")
    gate.run("collect")
    shop = f"11|{DEALER}|J1"
    found = gate.rows("province-11", "system, version, merged_into")
    assert found == [("11", 1, ""), ("oem-SVW", 1, shop), ("oem-SVW", 2, shop), ("11", 2, "")]


def test_of_a_merged_visit_one_record_is_pushed(gate):
    gate.shop(record("J1", company=DEALER, plate="沪A12345"), company=DEALER)
    gate.put("headquarters/SVW", visit("J1", plate="沪A12345"))
    for name in ("collect", "headquarters", "report", "push"):
        gate.run(name)
    assert len(gate.rows("province-31")) == 1


def test_a_correction_by_headquarters_goes_its_own_way_and_to_the_home(gate):
    gate.put("headquarters/SVW", visit("J1", plate="沪A12345"))
    for name in ("headquarters", "push"):
        gate.run(name)
    gate.put("headquarters/SVW", visit("J1", plate="沪A12345", complaint="已修正"))
    for name in ("headquarters", "push"):
        gate.run(name)
    wanted = [("J1", 1, "异响"), ("J1", 2, "已修正")]
    assert gate.versions("province-11") == gate.versions("province-31") == gate.versions("ministry") == wanted
    assert gate.account("push", "province-11") == {}
    assert gate.waiting() == []


# -- orders in steps ---------------------------------------------------------------------------------------------------

_INSERT = {
    "vin": vin(1),
    "vpn": "沪A12345",
    "orderCode": "G1",
    "repairTime": "2026-09-10 09:00:00",
    "repairMileage": "50000",
    "serviceType": "一般维修",
    "fuelType": "A",
    "requirement": "",
    "faultDesc": "异响",
    "natureOfUse": 2,
    "carPhoto": "",
    "drivingPermitPhoto": "",
}
_PART = {"partName": "滤芯", "brandName": "原厂", "partType": "原厂件", "partCode": "P-1", "partQty": "1", "unit": "个"}
_PROJECT = {"projectName": "更换滤芯", "projectType": "维修", "workingHours": "1", "repairPartList": [_PART]}
_ITEMS = {"orderCode": "G1", "repairProjectList": [_PROJECT]}
_SETTLE = {"orderCode": "G1", "payTime": "2026-09-10 17:00:00"}
_CORRECTION = {**_INSERT, "payTime": "2026-09-10 17:00:00", "faultDesc": "已修正", "repairProjectList": [_PROJECT]}
_SIGNED = {"appId": "demo", "sign": "0" * 32, "nonce": 1, "timestamp": "1788192000000"}
WORKSHOP = "310101000000001"


@pytest.fixture
def steps(gate):
    operator = {
        "companycode": WORKSHOP,
        "companyname": "上海某某汽车维修有限公司",
        "companyunifiedsocialcreditidentifier": "91310112132259241T",
        "companyaddress": "上海某某路1号",
        "companypostalcode": "200000",
        "companyeconomiccategory": "150",
        "companycategory": "02",
        "companylinkmanname": "张某",
        "companylinkmantel": "13800000000",
        "companysuperintendentname": "张某",
        "companysuperintendenttel": "13800000000",
        "companybusinessscope": "机动车维修",
        "companyoperationstate": "1",
        "companyadministrativedivisioncode": "310101",
        "companyemail": "shop@example.com",
    }
    gate.put("reference", operator, name="operators.ndjson")
    gate.run("operators")

    def send(*payloads):
        gate.shop(*({**one, **_SIGNED} for one in payloads), company=WORKSHOP, system="31")

    return send


@pytest.mark.parametrize("order", list(itertools.permutations((_INSERT, _ITEMS, _SETTLE))))
def test_steps_make_one_record_in_any_order_over_batches(gate, steps, order):
    for step in order[:2]:
        steps(step)
        assert gate.run("collect").totals["waiting"] == 1
        assert gate.rows("province-31") == []
    steps(order[2])
    gate.run("collect")
    wanted = ("G1", 1, "异响", "上海某某汽车维修有限公司", WORKSHOP)
    assert gate.rows("province-31", "costlistcode, version, faultdescription, companyname, companycode") == [wanted]


def test_a_correction_of_a_whole_order_is_a_new_version(gate, steps):
    steps(_INSERT, _ITEMS, _SETTLE)
    gate.run("collect")
    steps(_CORRECTION)
    gate.run("collect")
    assert gate.versions("province-31") == [("G1", 1, "异响"), ("G1", 2, "已修正")]
    steps(_SETTLE)
    assert gate.run("collect").totals["duplicate"] == 1
    assert len(gate.rows("province-31")) == 2


def test_pieces_that_nobody_completes_become_letters(gate, steps):
    steps(_INSERT, _ITEMS)
    gate.run("collect")
    assert gate.run("collect") is None
    gate.moment = "2026-11-21T21:30:00+08:00"
    expired = gate.run("collect")
    assert expired.totals["dead"] == 2
    assert {letter["company"] for letter in gate.letters()} == {WORKSHOP}
    assert gate.run("collect") is None


def test_an_order_of_an_unregistered_shop_waits_for_its_register(gate):
    gate.shop(*({**one, **_SIGNED} for one in (_INSERT, _ITEMS, _SETTLE)), company=WORKSHOP, system="31")
    assert gate.run("collect").totals["waiting"] == 3
    assert gate.rows("province-31") == []
    assert gate.letters() == []


# -- receipts ----------------------------------------------------------------------------------------------------------


def test_every_payload_has_a_receipt(gate):
    bad = record("J2", mileage="约5万公里")
    bad["basicInfo"]["vin"] = ""
    gate.shop(record("J1"), bad, record("J1"), b"{")
    gate.run("collect")
    (path,) = (gate.folder / "receipts").rglob("*.ndjson")
    found = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert [list(r) for r in found] == [list(Receipt.model_fields)] * 4
    assert [Receipt.model_validate_json(line).verdict for line in path.read_bytes().splitlines()] == [
        r["verdict"] for r in found
    ]
    assert [r["verdict"] for r in found] == ["accept", "reject", "accept", "reject"]
    assert [r["duplicate"] for r in found] == [False, False, True, False]
    assert {f["code"] for f in found[1]["findings"] if f["severity"] == "reject"} == {
        "VIN_MISSING",
        "MILEAGE_NOT_NUMERIC",
    }
    assert gate.account("collect", "receipts") == {"addressed": 4, "delivered": 4}


# -- settings that cannot work -----------------------------------------------------------------------------------------


def test_sinks_of_files_and_of_rows_do_not_mix(gate):
    exchange = gate.exchange(
        "collect", "sinks.more.connector=files", "sinks.more.path=out", "sinks.more.for=province-99"
    )
    with pytest.raises(SettingsError, match="two exchanges"):
        Coordinator(gate.state, exchange)


def test_receipts_need_a_sink_of_files(gate):
    with pytest.raises(SettingsError, match="no sink of files"):
        Coordinator(gate.state, gate.exchange("collect", "rules.receipts=elsewhere"))
    with pytest.raises(SettingsError, match="no sink of files"):
        Coordinator(gate.state, gate.exchange("collect", "rules.receipts=province-11"))


def test_many_waiting_deliveries_of_one_item_are_settled_together(gate):
    gate.shop(record("J0"))
    gate.run("collect")
    gate.shop(*(record(f"J{i}", serial=i) for i in range(1, 1301)))
    with gate.locked("province-11"):
        gate.run("collect", *HURRY)
    assert gate.account("collect", "province-11") == {"addressed": 1301, "delivered": 1, "waiting": 1300}
    gate.run("collect", *HURRY)
    assert gate.account("collect", "province-11") == {"addressed": 1301, "delivered": 1301}


_CAR = {
    "companyIdentity": "91310112132259241T",
    "incomingInspectionId": "G1",
    "licensePlate": "沪A12345",
    "vin": vin(1),
    **dict.fromkeys(("vehicleType", "engineNum", "vehicleOwner", "entrustRepair", "contact", "contactDetails"), ""),
    **dict.fromkeys(("obd", "carType", "vehicleClassCode", "drivingLicenseImg", "color", "brand"), ""),
}
_ORDER = {
    "companyIdentity": "91310112132259241T",
    "incomingInspectionId": "G1",
    "deliveryDate": "2026-09-10",
    "repairMileage": "50000",
    "settlementDate": "2026-09-10",
    "settlementSeq": "S-1",
    "repairItems": '{"subtotal": "", "items": [{"itemName": "二级维护", "settlementTime": "3"}]}',
    "repairParts": '{"subtotal": "", "parts": []}',
    **dict.fromkeys(("otherFee", "total", "oldPartDisposal"), ""),
}


@pytest.mark.parametrize("first", [_CAR, _ORDER])
def test_maintenance_uploads_make_one_record_beside_an_order_of_the_same_code(gate, steps, first):
    steps(first, _INSERT, _SETTLE)
    assert gate.run("collect").totals["waiting"] == 3
    steps(_ORDER if first is _CAR else _CAR)
    gate.run("collect")
    wanted = ("S-1", 1, "上海某某汽车维修有限公司", WORKSHOP, vin(1))
    assert gate.rows("province-31", "costlistcode, version, companyname, companycode, vin") == [wanted]
    steps(_ITEMS)
    gate.run("collect")
    assert gate.rows("province-31", "costlistcode") == [("S-1",), ("G1",)]
    assert gate.run("collect") is None


def test_an_account_at_the_door_names_a_shop_until_the_register_does(gate):
    def send(*payloads):
        gate.shop(*payloads, company=WORKSHOP, system="31")

    send(_CAR, _ORDER)
    assert gate.run("collect").totals["waiting"] == 2
    account = {"company": WORKSHOP, "companyname": "名册之前", "uscc": "", "password": "", "state": "active"}
    with gate.state.unit_of_work() as connection:
        connection.execute(insert(tables.accounts), {**account, "registered_at": "", "changed_at": ""})
    gate.run("collect")
    assert gate.rows("province-31", "costlistcode, companyname") == [("S-1", "名册之前")]
