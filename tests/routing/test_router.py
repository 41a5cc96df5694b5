"""The quick way decides exactly as the table does."""

from datetime import date
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st
from routing_strategies import DEALERS, REGISTRATIONS, facts

from mappings.documents.roadadmin import OperatorFiling
from mappings.documents.usedcars import HistoryOrder
from mappings.records import RepairRow, VehicleRegistration
from routing import router as routers
from routing.facts import facts_of
from routing.homes import MemoryRegistrations, homes_for
from routing.router import Router
from routing.table import SHIPPED, load_table, parse_table

DAY = date(2025, 2, 15)

BY_COMPANY = """
name = "by-company"
zh = "按企业"
en = "by company"
mapping = "record"

[[rule]]
name = "one-shop"
zh = "一家企业"
en = "one shop"
when = { company = "440100000000001", plate = { prefix = "京" } }
to = "province-{shop_province}"
"""


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.sampled_from([*SHIPPED, "by-company"]), st.lists(facts(), max_size=12), REGISTRATIONS)
def test_router_equals_table(name, several, registrations):
    table = parse_table(BY_COMPANY) if name == "by-company" else load_table(name)
    router = Router(table, registrations, DEALERS)
    for seen in several + several:
        found = router.route_row(
            seen.plate, seen.vin, seen.company, seen.settledate, seen.system, seen.repaircomefrom, seen.held
        )
        assert found == table.decide(seen, homes_for(seen, registrations))


BY_HOME = """
name = "by-home"
zh = "按车籍"
en = "by home"
mapping = "record"

[[rule]]
name = "orders"
zh = "本地企业的订单"
en = "orders of shops here"
when = { kind = "history-order", shop_province = "44" }
to = "province-{home}"
"""


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.sampled_from(["outside", "by-home"]), st.lists(facts(), min_size=1, max_size=8), REGISTRATIONS)
def test_documents_are_routed_as_the_table_says(name, several, registrations):
    table = parse_table(BY_HOME) if name == "by-home" else load_table(name)
    router = Router(table, registrations, DEALERS)
    for seen in several + several:
        order = HistoryOrder(
            requester=seen.company, number="1", purpose="trade", approval="A", vin=seen.vin, day=seen.settledate
        )
        filing = OperatorFiling(companycode=seen.company, number="1", companyname="店", filed=seen.settledate)
        for of in (order, filing):
            issuer, _, day, vin = of.identity
            asked = facts_of(vin, "", issuer, day, seen.system, dealers=DEALERS, kind=of.KIND)
            assert router.route_document(of, seen.system) == table.decide(asked, homes_for(asked, registrations))


def row(plate, company="440100000000001"):
    return RepairRow(company, "店", plate, "V", DAY, DAY, Decimal(1), "x", "L", (), ())


def test_block_keeps_the_order_and_holes_are_values():
    router = Router(load_table("push"))
    plates = ["京A12345", "粤A12345", "京a·12345", "123456使", "N/A"]
    found = router.block([row(plate) for plate in plates], "44")
    assert [r.outcome for r in found] == ["routed", "filtered", "routed", "filtered", "waiting"]
    (hole,) = Router(load_table("collect")).block([row("京A12345")], "")
    assert (hole.outcome, hole.hole.table) == ("no-route", "collect")


def test_block_asks_each_row_s_own_held_set():
    rows = [row("京A12345"), row("京A12345")]
    found = Router(load_table("push")).block(rows, "44", held=[frozenset({"province-11"}), frozenset()])
    assert [r.outcome for r in found] == ["filtered", "routed"]


def test_a_temporary_plate_after_one_of_the_same_province():
    router = Router(load_table("push"))
    assert [r.outcome for r in router.block([row("京A12345"), row("京A临12345")], "44")] == ["routed", "filtered"]


def test_held_counts_for_registered_vehicles_too():
    entry = VehicleRegistration(vin="V", home="31", valid_from=date(2020, 1, 1))
    router = Router(load_table("push"), MemoryRegistrations([entry]))
    rows = [row("京A12345"), row("京A12345")]
    found = router.block(rows, "44", held=[frozenset(), frozenset({"province-31"})])
    assert [(r.outcome, r.filtered) for r in found] == [("routed", ""), ("filtered", "held")]


def test_a_table_that_does_not_ask_for_the_home_asks_for_no_registration():
    class Asked(MemoryRegistrations):
        def all_homes(self, vin):
            raise AssertionError(vin)

    router = Router(load_table("collect"), Asked())
    assert [r.outcome for r in router.block([row("京A12345"), row("？？")], "44")] == ["routed", "routed"]


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(routers, "MOST_REMEMBERED", 4)
    table = parse_table(BY_COMPANY)
    router = Router(table)
    for number in range(40):
        assert router.route_row("京A1", "V", str(number), DAY, "44").outcome == "no-route"
    assert len(router._by_character) <= 4
