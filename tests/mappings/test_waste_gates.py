"""The gates of a manifest: each opens, each closes, and what is not known is not asked."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
import waste_samples as ws
from hypothesis import given

from mappings.documents.waste import LicenceScope, WasteLicence, WasteManifest, WastePlan
from mappings.findings import catalogue, profile
from mappings.waste.gates import Standing, failed_gates

MANIFEST = ws.judged(ws.MANIFEST).record
LICENCE = ws.judged(ws.LICENCE).record
PLAN = ws.judged(ws.PLAN).record


def changed(document, **members):
    return type(document).model_validate({**dict(document), **members})


def standing(**known):
    given = {"producers": {ws.SHOP: "ACTIVE"}, "licences": (LICENCE,), "plans": (PLAN,)}
    return Standing(**{**given, **known})


def codes(manifest=MANIFEST, **known):
    return [failed.code for failed in failed_gates(manifest, standing(**known))]


def other(number, **members):
    return changed(MANIFEST, number=number, vehicle="浙B00001", received=None, **members)


def test_the_sample_passes_every_gate():
    assert codes() == []


@pytest.mark.parametrize(
    ("members", "known", "code"),
    [
        ({"quantity": Decimal(0)}, {}, "WEIGHT_NOT_POSITIVE"),
        ({}, {"producers": {}}, "PRODUCER_NOT_ACTIVE"),
        ({}, {"producers": {ws.SHOP: "SUSPENDED"}}, "PRODUCER_NOT_ACTIVE"),
        ({}, {"closed": frozenset({"HW08"})}, "WASTE_CATEGORY_CLOSED"),
        ({}, {"licences": (changed(LICENCE, standing="REVOKED"),)}, "RECEIVER_NOT_ACTIVE"),
        ({"licence": "another"}, {}, "RECEIVER_NOT_LICENSED"),
        ({"licence": None, "receiver": "another"}, {}, "RECEIVER_NOT_LICENSED"),
        ({"shipped": date(2027, 1, 1)}, {"plans": None}, "RECEIVER_NOT_LICENSED"),
        ({}, {"licences": (changed(LICENCE, scopes=(LicenceScope(category="HW49"),)),)}, "RECEIVER_NOT_LICENSED"),
        (
            {},
            {"licences": (changed(LICENCE, scopes=(LicenceScope(category="HW08", codes=("900-249-08",)),)),)},
            "RECEIVER_NOT_LICENSED",
        ),
        ({}, {"plans": (changed(PLAN, state="SUBMITTED"),)}, "PLAN_NOT_APPROVED"),
        ({}, {"plans": (changed(PLAN, category="HW49"),)}, "PLAN_NOT_APPROVED"),
        ({}, {"plans": (changed(PLAN, year=2023, day=date(2023, 1, 1)),)}, "PLAN_NOT_APPROVED"),
        ({}, {"plans": (changed(PLAN, quantity=Decimal(1199)),)}, "PLAN_EXCEEDED"),
        ({}, {"issued": (other("1", quantity=Decimal(1801)),)}, "PLAN_EXCEEDED"),
        ({"destination": "310112"}, {"kept": frozenset({"HW08"})}, "CROSS_PROVINCE_RESTRICTED"),
        ({"destination": "310112"}, {"kept": frozenset({"900-214-08"})}, "CROSS_PROVINCE_RESTRICTED"),
        ({}, {"plans": None, "issued": (other("1", quantity=Decimal(48801), issuer="another"),)}, "LICENCE_EXCEEDED"),
        ({}, {"issued": (changed(MANIFEST, number="1", quantity=Decimal(1)),)}, "TRIP_HAS_MANIFEST"),
    ],
)
def test_a_gate_closes(members, known, code):
    assert codes(changed(MANIFEST, **members), **known) == [code]


@pytest.mark.parametrize(
    ("members", "known"),
    [
        ({}, {"producers": None, "licences": None, "plans": None}),
        ({"licence": None, "receiver": None, "receivername": None}, {"licences": None}),
        ({"shipped": date(2026, 12, 31)}, {"plans": None}),  # the last day of the licence
        ({}, {"issued": (other("1", quantity=Decimal(1800)),)}),  # to the kilogram
        ({}, {"issued": (other("1", quantity=Decimal(9000), state="SUBMITTED"),)}),
        ({}, {"issued": (other("1", quantity=Decimal(9000), shipped=date(2023, 5, 4), day=date(2023, 5, 4)),)}),
        ({}, {"issued": (other("1", quantity=Decimal(9000), code="900-041-49", category="HW49"),)}),
        ({"destination": "330200"}, {"kept": frozenset({"HW08"})}),
        ({"destination": "310112"}, {"kept": frozenset({"HW49"})}),
        ({}, {"issued": (MANIFEST,)}),  # itself
        ({}, {"issued": (changed(MANIFEST, number="1", quantity=Decimal(1), state="REJECTED"),)}),
        ({}, {"issued": (changed(MANIFEST, number="1", quantity=Decimal(1), code="900-041-49", category="HW49"),)}),
    ],
)
def test_a_gate_opens(members, known):
    assert codes(changed(MANIFEST, **members), **known) == []


def test_general_waste_needs_neither_licence_nor_plan():
    assert codes(changed(MANIFEST, code="900-006-S17", category="SW17"), licences=(), plans=()) == []


def test_what_was_received_counts_by_its_weighed_quantity():
    received = changed(other("1", quantity=Decimal(2000)), received=Decimal(1700))
    assert codes(issued=(received,)) == []
    assert codes(issued=(changed(received, received=Decimal(1900)),)) == ["PLAN_EXCEEDED"]


def test_all_closed_gates_are_told_at_once():
    bare = changed(MANIFEST, licence="another", quantity=Decimal(0))
    assert codes(bare, producers={}, plans=()) == [
        "WEIGHT_NOT_POSITIVE",
        "PRODUCER_NOT_ACTIVE",
        "RECEIVER_NOT_LICENSED",
        "PLAN_NOT_APPROVED",
    ]


@given(ws.manifests(), ws.licences(), ws.plans())
def test_every_closed_gate_is_a_rejecting_code_of_the_catalogue(manifest, licence, plan):
    for failed in failed_gates(manifest, Standing({}, (licence,), (plan,), frozenset({"HW31"}), issued=(manifest,))):
        assert failed.code in catalogue()
        assert profile("strict").severities[failed.code] == "reject"


def test_the_samples_are_of_their_kinds():
    assert [type(one) for one in (MANIFEST, LICENCE, PLAN)] == [WasteManifest, WasteLicence, WastePlan]
