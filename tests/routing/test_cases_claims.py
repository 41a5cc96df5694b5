"""Insurers: which claim belongs to which repair, what is compared, who keeps old parts, and that prices stay behind."""

from datetime import date, timedelta
from decimal import Decimal

import orjson
import pytest
from case_facts import VIN, derived, fact, facts, repair
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from mappings.documents import Document, kinds
from mappings.documents.claims import (
    CONFIDENTIAL,
    LANE,
    POLICIES,
    SUMS,
    ApprovedWork,
    Assessment,
    Damage,
    Estimate,
    FittedPart,
    encode_claim,
)
from mappings.documents.interchange import encode_document
from mappings.documents.oldparts import OldPartDisposal
from mappings.encoding_interchange import MEMBERS
from mappings.records import Part, Project, RepairRecord
from routing.cases import comparing
from routing.cases.claims import Claims, DirectShop, Settings, load_shops
from routing.cases.comparing import Line, compared
from routing.errors import TableError
from routing.wasterules import PartWaste

SHOP = DirectShop(companycode="S1", valid_from=date(2020, 1, 1))
SETTINGS = Settings(shops=(SHOP,))
WASTE = {
    "机油滤清器": PartWaste("900-041-49", leaves=True),
    "蓄电池": PartWaste("900-052-31", leaves=True),
    "机油": PartWaste("900-214-08", leaves=False),
}
INCOMING = {"assessment", "estimate"}
CANARY = Decimal("73519.46")


def assessment(number="L1", report="R1", day=date(2026, 10, 2), fits=(), repairs=(), **members):
    base = {
        "insurer": "PICC",
        "lossno": number,
        "dmgvhclid": "1",
        "reportcode": report,
        "vin": VIN,
        "assessedon": day,
        "fits": fits,
        "repairs": repairs,
        **dict.fromkeys(SUMS, CANARY),
    }
    return Assessment(**{**base, **members})


def estimate(number="U1", report="R1", day=date(2026, 10, 1), **members):
    base = {
        "insurer": "PICC",
        "estimate_request_uuid": number,
        "report_no": report,
        "vin": VIN,
        "requestedon": day,
        **dict.fromkeys(POLICIES, "P73519"),
    }
    return Estimate(**{**base, **members})


def fit(partid="JY-0012", count=1, name=None, back=None):
    prices = dict.fromkeys(
        ("auditmaterialfee", "apprpartsum", "selfpayprice", "apprremainsprice", "managerate"), CANARY
    )
    return FittedPart(partid=partid, partname=name, auditcount=Decimal(count), fitbackflag=back, **prices)


def work(name="前保险杠喷漆", hours="4.5"):
    return ApprovedWork(
        repairid="PQ01", repairname=name, apprhour=Decimal(hours), auditmanpowerfee=CANARY, apprrepairsum=CANARY
    )


def disposal(code, listed="W1"):
    return OldPartDisposal(companycode="S1", costlistcode=listed, vin=VIN, settledate=date(2026, 10, 3), disposal=code)


def claims(*records, settings=SETTINGS, **parameters):
    return derived(Claims(settings, **parameters), facts(*records), VIN)


def matched(*records, settings=SETTINGS):
    found = claims(*records, settings=settings).values()
    return {(one.costlistcode, one.report_no) for one in found if one.KIND == "accident-repair"}


def test_a_repair_goes_out_with_the_numbers_of_its_claim():
    found = claims(repair(), estimate(estimate_no="ES1"), assessment("L2"), assessment("L1"))
    sent = found["S1", "accident-repair:W1"]
    assert (sent.report_no, sent.estimate_nos, sent.loss_nos, sent.insurer) == ("R1", ("ES1",), ("L1", "L2"), "PICC")
    assert (sent.parts[0].name, sent.projects[0].hours, sent.identity.day) == (
        "前保险杠",
        Decimal("4.5"),
        date(2026, 10, 3),
    )


def test_an_estimate_alone_is_compared_with_nothing():
    assert {key[1] for key in claims(repair(), estimate())} == {"accident-repair:W1"}


def test_neither_a_repair_nor_a_claim_alone_gives_anything():
    assert claims(repair()) == claims(estimate(), assessment()) == {}


@pytest.mark.parametrize(
    ("shop", "found"),
    [
        ({}, True),
        ({"companycode": "S2"}, False),
        ({"insurer": "PICC"}, True),
        ({"insurer": "CPIC"}, False),
        ({"valid_to": date(2026, 10, 2)}, False),
        ({"valid_from": date(2026, 10, 3)}, True),
    ],
)
def test_only_shops_of_the_register_are_settled_directly(shop, found):
    settings = Settings(shops=(SHOP.model_copy(update=shop),))
    assert bool(claims(repair(), assessment(), settings=settings)) == found


@pytest.mark.parametrize(
    ("plate", "found"), [(None, True), ("沪A12345", True), ("沪A·12345", True), ("沪B99999", False)]
)
def test_a_plate_that_is_named_must_agree(plate, found):
    assert bool(matched(repair(), assessment(plate=plate))) == found


@pytest.mark.parametrize(("days", "found"), [(-31, False), (-30, True), (0, True), (32, True), (33, False)])
def test_the_window_of_days(days, found):
    assert bool(matched(repair(), estimate(day=date(2026, 10, 1) + timedelta(days)))) == found


def test_the_nearest_repair_gets_the_claim_and_each_only_one():
    early = repair("W0", began=date(2026, 9, 20), settled=date(2026, 9, 21))
    late = repair("W9", began=date(2026, 10, 20), settled=date(2026, 10, 21))
    assert matched(early, repair(), late, estimate()) == {("W1", "R1")}
    both = matched(early, repair(), estimate(), estimate("U2", "R2", date(2026, 9, 19)))
    assert both == {("W1", "R1"), ("W0", "R2")}


def test_a_visit_that_two_systems_hold_goes_out_once():
    given = [*facts(repair(), estimate()), fact(repair(), system="33"), fact(estimate(), system="33")]
    assert len(derived(Claims(SETTINGS), given, VIN)) == 1


OTHER = "LSVAL41Z882104219"


@pytest.mark.parametrize(
    ("claim", "found"),
    [
        ({"plate": "沪A12345"}, True),
        ({"plate": "沪B99999"}, False),
        ({}, False),
        ({"plate": "沪A12345", "day": date(2026, 11, 30)}, False),
        ({"plate": "沪A12345", "insurer": "CPIC"}, False),
    ],
    ids=["plate", "other-plate", "nothing", "too-late", "other-insurer"],
)
def test_a_claim_without_a_vin_is_led_to_its_vehicle_by_plate_and_days(claim, found):
    settings = Settings(shops=(SHOP.model_copy(update={"insurer": "PICC"}),))
    assert bool(matched(repair(), assessment(vin="", **claim), settings=settings)) == found


@pytest.mark.parametrize(
    ("claim", "found"),
    [({}, ("L1",)), ({"plate": "沪A12345"}, ("L1",)), ({"plate": "沪B99999"}, ()), ({"insurer": "CPIC"}, ())],
)
def test_a_claim_without_a_vin_belongs_to_the_one_that_its_report_number_names(claim, found):
    (sent,) = [
        one
        for one in claims(repair(), estimate(), assessment(vin="", **claim)).values()
        if one.KIND == "accident-repair"
    ]
    assert sent.loss_nos == found


def test_a_claim_that_may_be_of_two_vehicles_is_nobodys():
    unnamed, other = assessment(vin="", plate="沪A12345"), repair("W2", vin=OTHER)
    assert claims(repair(), other, unnamed) == {}
    assert derived(Claims(SETTINGS), facts(repair(), other, unnamed), OTHER) == {}
    longago = repair("W2", vin=OTHER, began=date(2024, 1, 1), settled=date(2024, 1, 2))
    assert matched(repair(), longago, unnamed) == {("W1", "R1")}


def test_both_vehicles_of_one_accident_get_their_own():
    """One report number, two vehicles: the plate tells them apart."""
    given = [repair(), estimate(), estimate("U2", vin=OTHER, plate="沪B99999"), assessment(vin="", plate="沪B99999")]
    other = repair("W2", vin=OTHER, plate="沪B99999")
    mine = derived(Claims(SETTINGS), facts(*given, other), VIN)
    theirs = derived(Claims(SETTINGS), facts(*given, other), OTHER)
    assert mine["S1", "accident-repair:W1"].loss_nos == ()
    assert theirs["S1", "accident-repair:W2"].loss_nos == ("L1",)


def test_parts_and_hours_are_compared_line_by_line():
    row = repair(
        parts=(
            Part("前保险杠", Decimal(1), "JY-0012"),
            Part("机油滤清器", Decimal(3), "N/A"),
            Part("卡扣", Decimal(4), "K1"),
            Part("螺丝", None, "K2"),
        ),
        projects=(Project("前保险杠喷漆", Decimal(6)), Project("四轮定位", Decimal(1))),
    )
    one = claims(
        row,
        assessment(
            fits=(fit(), fit("9", 2, "机油滤清器"), fit("K2", 1), fit("X", 1, "大灯")), repairs=(work(hours="4.5"),)
        ),
    )["S1", "claim-comparison:W1"]
    told = {(line.what, line.code, line.name, line.repaired, line.approved, line.remark) for line in one.lines}
    assert told == {
        ("part", "JY-0012", "前保险杠", Decimal(1), Decimal(1), "equal"),
        ("part", "9", "机油滤清器", Decimal(3), Decimal(2), "more"),
        ("part", "K1", "卡扣", Decimal(4), None, "only-repaired"),
        ("part", "K2", "螺丝", None, Decimal(1), "unread"),
        ("part", "X", "大灯", None, Decimal(1), "only-approved"),
        ("work", "PQ01", "前保险杠喷漆", Decimal(6), Decimal("4.5"), "more"),
        ("work", None, "四轮定位", Decimal(1), None, "only-repaired"),
    }
    assert (one.differing, len(one.differences)) == (6, 6)
    assert (one.repairedhours, one.approvedhours) == (7, Decimal("4.5"))


def test_assessments_of_one_claim_add_up():
    one = claims(repair(), assessment("L1", fits=(fit(),)), assessment("L2", fits=(fit(),)))[
        "S1", "claim-comparison:W1"
    ]
    assert [(line.remark, line.approved) for line in one.lines if line.what == "part"] == [("less", 2)]


def test_a_corrected_assessment_replaces_the_earlier_one():
    old, new = assessment(fits=(fit(count=5),)), assessment(fits=(fit(count=1),))
    given = [fact(repair()), fact(new, version=2), fact(old, version=1)]
    one = derived(Claims(SETTINGS), given, VIN)["S1", "claim-comparison:W1"]
    assert [line.remark for line in one.lines if line.what == "part"] == ["equal"]


LINES = st.lists(
    st.builds(
        Line,
        st.sampled_from(["", "A1", "B2"]),
        st.sampled_from(["", "机油", "滤清器"]),
        st.none() | st.integers(1, 5).map(Decimal),
    ),
    max_size=5,
)


@given(LINES, LINES, st.randoms(use_true_random=False))
def test_comparing_loses_nothing_and_knows_no_order(done, approved, random):
    lines = compared("part", done, approved)
    for side, told in ((done, "repaired"), (approved, "approved")):
        if None not in [line.amount for line in side]:
            assert sum(getattr(line, told) or 0 for line in lines) == sum(line.amount for line in side)
    for side in (done, approved):
        random.shuffle(side)
    assert compared("part", done, approved) == lines
    mirrored = {"more": "less", "less": "more", "only-repaired": "only-approved", "only-approved": "only-repaired"}
    turned = compared("part", approved, done)
    remarks = sorted(mirrored.get(line.remark, line.remark) for line in turned)
    assert remarks == sorted(line.remark for line in lines)


def test_the_same_on_both_sides_is_equal_throughout():
    row = repair()
    lines = compared(comparing.WORK, comparing.work_done(row), comparing.work_done(row))
    assert {line.remark for line in lines} == {"equal"}


def test_old_parts_meet_the_waste_ledger():
    parts = (
        Part("前保险杠", Decimal(1), "JY-0012"),
        Part("机油滤清器", Decimal(1), "F1"),
        Part("蓄电池", Decimal(1), "B1"),
        Part("机油", Decimal(4), "O1"),
    )
    fits = (fit(back=False), fit("F1", back=False), fit("B1", back=True), fit("O1", back=True), fit("Z", back=None))
    one = claims(repair(parts=parts), assessment(fits=fits), waste=WASTE.get)["S1", "old-part-return:W1"]
    assert {(part.name, part.holder, part.wastecode, part.inledger) for part in one.parts} == {
        ("前保险杠", "shop", None, False),
        ("机油滤清器", "shop", "900-041-49", True),
        ("蓄电池", "insurer", "900-052-31", False),
        ("机油", "insurer", "900-214-08", True),
        (None, "unknown", None, False),
    }


def test_the_shops_own_word_is_held_against_the_insurers():
    given = (repair(), repair("W2"), assessment(fits=(fit(back=True),)))
    (part,) = claims(*given, disposal("1"), disposal("2", "W2"))["S1", "old-part-return:W1"].parts
    assert (part.holder, part.agrees) == ("insurer", False)
    (part,) = claims(*given, disposal("2"), disposal("1", "W2"))["S1", "old-part-return:W1"].parts
    assert (part.holder, part.agrees) == ("insurer", True)
    assert claims(repair(), disposal("1")) == {}


def test_an_estimate_says_what_the_assessment_leaves_open():
    told = estimate(damages=(Damage(parts_id="jy-0012", old_recycle=True, parts_cost=CANARY),))
    (part,) = claims(repair(), told, assessment(fits=(fit(),)))["S1", "old-part-return:W1"].parts
    assert part.holder == "insurer"


def names(model, seen=None):
    """Every member's name of a model, those of its rows too."""
    seen = set() if seen is None else seen
    for name, info in model.model_fields.items():
        seen.add(name)
        for inner in (info.annotation, *getattr(info.annotation, "__args__", ())):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                names(inner, seen)
    return seen


def test_prices_and_policies_stand_in_the_two_incoming_kinds_and_nowhere_else():
    assert names(kinds.kind("assessment")) | names(kinds.kind("estimate")) >= CONFIDENTIAL
    for name in kinds.KINDS.keys() - INCOMING:
        assert not names(kinds.kind(name)) & CONFIDENTIAL, name
    assert not names(RepairRecord) & CONFIDENTIAL
    assert not {str(member) for member in MEMBERS} & CONFIDENTIAL
    assert kinds.KINDS.keys() >= LANE


CODES = st.sampled_from(["W1", "W2", "W3"])
DAYS = st.dates(date(2026, 9, 1), date(2026, 11, 20))
FITS = st.lists(
    st.builds(
        fit,
        st.sampled_from(["JY-0012", "F1"]),
        st.integers(0, 3),
        st.none() | st.just("大灯"),
        st.none() | st.booleans(),
    ),
    max_size=3,
).map(tuple)
PLATES = st.sampled_from([None, "沪A12345", "沪B99999"])
REPORTS = st.sampled_from(["R1", "R2", "r1", ""])
RECORDS = st.one_of(
    st.builds(lambda code, day: repair(code, began=day, settled=day + timedelta(2)), CODES, DAYS),
    st.builds(
        lambda n, report, day, fits, plate: assessment(n, report, day, fits, (work(),), plate=plate),
        st.sampled_from(["L1", "L2"]),
        REPORTS,
        DAYS,
        FITS,
        PLATES,
    ),
    st.builds(disposal, st.sampled_from(["1", "2", "3"]), CODES),
    st.builds(
        lambda n, report, day, plate: estimate(n, report, day, plate=plate),
        st.sampled_from(["U1", "U2"]),
        REPORTS,
        DAYS,
        PLATES,
    ),
)
VERSIONS = st.lists(
    st.tuples(RECORDS, st.integers(1, 2), st.sampled_from(["31", "33"])),
    max_size=10,
    unique_by=lambda told: (fact(told[0], told[1], told[2]).key, told[1]),
)


@given(VERSIONS, st.randoms(use_true_random=False))
def test_order_doubles_and_outdated_versions_change_nothing_and_no_price_leaves(told, random):
    given = [fact(record, version, system) for record, version, system in told]
    newest = {one.key: one for one in sorted(given, key=lambda one: one.version)}
    derivation = Claims(SETTINGS, waste=WASTE.get)
    wanted = derived(derivation, list(newest.values()), VIN)
    shuffled = [*given, *random.sample(given, len(given) // 2)]
    random.shuffle(shuffled)
    assert derived(derivation, shuffled, VIN) == wanted
    provenance = {"system": "31", "dialect": "derived", "received_at": "2026-11-29T10:00:00+08:00"}
    for one in wanted.values():
        for body in (encode_claim(one), encode_document(one, provenance), one.content()):
            assert b"73519" not in body
            assert not _members(orjson.loads(body)) & CONFIDENTIAL


def _members(value):
    if isinstance(value, dict):
        return {*value, *(name for inner in value.values() for name in _members(inner))}
    return {name for inner in value for name in _members(inner)} if isinstance(value, list) else set()


def test_the_canary_would_be_seen():
    assert b"73519" in encode_document(assessment(), {"system": "1", "dialect": "x", "received_at": "x"})
    assert issubclass(kinds.kind("assessment"), Document)


def test_the_register_of_shops():
    one, two = load_shops("companycode,insurer,from,to\nS1,,20260101,\nS2,PICC,2026-01-01,2026-06-30\n")
    assert (one.insurer, two.insurer, two.valid(date(2026, 7, 1))) == ("", "PICC", False)
    with pytest.raises(TableError, match="from"):
        load_shops("companycode\nS1\n")
