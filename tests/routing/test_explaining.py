"""`vingate explain`: every rule, matched or not, and why, in both languages."""

import json
from datetime import date

import pytest

from mappings.records import VehicleRegistration
from routing.dealers import Dealer, Dealers, Oem
from routing.explaining import explain_vehicle
from routing.homes import MemoryRegistrations
from routing.table import SHIPPED, load_table

DAY = date(2025, 2, 15)
SVW, FAW = "LSVAL41Z882104202", "LFV2A21KXE4176550"
GUANGDONG = "440100000000001"
TABLES = [load_table(name) for name in SHIPPED]
DEALERS = Dealers(
    [Dealer(companycode=GUANGDONG, oem="SVW", valid_from=date(2020, 1, 1))],
    [Oem(oem="SVW", names=("上汽大众",), wmis=("LSV",), valid_from=date(2017, 7, 1))],
)


def explain(vin=SVW, plate="京A·12345", company=GUANGDONG, registrations=None, dealers=DEALERS, **more):
    return explain_vehicle(vin, plate, company, DAY, TABLES, registrations, dealers, **more)


def outcomes(found):
    return {entry["table"]: entry["outcome"] for entry in found.as_json()["tables"]}


@pytest.mark.parametrize("dealers", [DEALERS, Dealers(), None])
@pytest.mark.parametrize("company", [GUANGDONG, ""])
def test_every_rule_of_every_table_has_its_line(dealers, company):
    found = explain(dealers=dealers, company=company)
    assert list(dict.fromkeys(section.table for section in found.sections)) == list(SHIPPED)
    rules = {table.name: [rule.name for rule in table.rules] for table in TABLES}
    for section in found.sections:
        assert [line.name for line in section.lines if line.part == "rule"] == rules[section.table]
        assert all(f" {name}: " in found.text() for name in rules[section.table])


def test_what_a_headquarters_would_send_is_explained_as_from_it():
    found = explain().as_json()
    headquarters = next(entry for entry in found["tables"] if entry["table"] == "headquarters")
    assert headquarters["system"] == "oem-SVW"
    assert [route["destination"] for route in headquarters["routes"]] == ["ministry", "province-44"]


def test_what_a_headquarters_would_send_is_pushed_to_every_home_but_the_shop_s():
    tables = explain().as_json()["tables"]
    assert [(entry["table"], entry["system"]) for entry in tables] == [
        ("collect", "44"), ("headquarters", "oem-SVW"), ("report", "44"),
        ("push", "44"), ("push", "oem-SVW"), ("home", "44"),
    ]  # fmt: skip
    (rule,) = [line for line in tables[4]["lines"] if line["name"] == "home-of-headquarters"]
    assert (rule["verdict"], rule["destinations"]) == ("matched", ["province-11"])
    assert explain(plate="粤A12345").as_json()["tables"][4]["reason"] == "at-home"


def test_a_shop_that_is_no_dealer_has_no_headquarters_part():
    found = explain(dealers=Dealers())
    assert outcomes(found)["headquarters"] == "not-applicable"
    assert "no listed OEM's dealer that day" in found.text()
    assert "dealer_of is '', wanted" in found.text()


def test_nothing_is_said_of_a_register_that_was_not_asked():
    found = explain(dealers=None)
    assert outcomes(found)["headquarters"] == "not-applicable"
    assert "no dealer register given" in found.text()
    assert "no listed OEM's dealer" not in found.text()
    unnamed = explain(company="").text()
    assert "no company code given" in unnamed
    assert "no listed OEM's dealer" not in unnamed


def test_implausible_make_is_a_remark_and_changes_no_route():
    own, other = explain(SVW), explain(FAW)
    assert "other makes" in other.text()
    assert "other makes" not in own.text()
    assert [e["routes"] for e in own.as_json()["tables"]] == [e["routes"] for e in other.as_json()["tables"]]


def test_how_the_home_was_found():
    moves = MemoryRegistrations(
        [
            VehicleRegistration(vin=SVW, home="31", valid_from=date(2020, 1, 1)),
            VehicleRegistration(vin=SVW, home="bt", valid_from=date(2025, 6, 1)),
        ]
    )
    found = explain(registrations=moves)
    assert found.as_json()["home"]["provinces"] == ["31", "bt"]
    assert [entry["by"] for entry in found.as_json()["home"]["found"]] == ["registration", "later-registration"]
    assert "registration in force on 2025-02-15: Shanghai (31)" in found.text()
    assert "2025-02-15 之后的登记：新疆生产建设兵团(bt)" in found.text()
    assert "collected by 兵团's own system" in explain(plate="新A12345", company="659001000000001").text()
    assert "plate 京A12345: Beijing (11)" in explain().text()


def test_values_and_what_was_wanted_are_named():
    found = explain(dealers=None).text()
    assert "home is '11', wanted 'none'" in found
    assert "home = '11'，要求 'none'" in found
    assert "✗" in found
    assert "system is 'oem-SVW', wanted 'oem-SVW'" in explain().text()


def test_without_plate_and_company():
    found = explain(plate="", company="")
    assert outcomes(found) == {
        "collect": "no-route",
        "headquarters": "not-applicable",
        "report": "no-route",
        "push": "waiting",
        "home": "waiting",
    }
    assert "--company" in found.text()


def test_the_collecting_system_can_be_given():
    pushed = explain(plate="新A12345", system="bt").as_json()["tables"][3]
    assert (pushed["outcome"], pushed["reason"]) == ("filtered", "at-home")


def test_json_is_json():
    found = explain(plate="123456使").as_json()
    assert json.loads(json.dumps(found)) == found
    assert set(found) == {
        "vin", "plate", "company", "settledate", "shop_province", "dealer_of", "home", "remarks", "tables"
    }  # fmt: skip
    assert outcomes(explain(plate="123456使"))["push"] == "filtered"
