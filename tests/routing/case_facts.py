"""Facts for derivations: short builders, and the same facts shuffled, doubled and outdated."""

from datetime import UTC, date, datetime
from decimal import Decimal

from mappings.records import Part, Project, RepairRow
from routing.cases import REPAIR, Fact

VIN = "LSVAL41Z882104202"
TODAY = date(2026, 11, 29)
RECEIVED = datetime(2026, 11, 1, tzinfo=UTC)


def repair(code="W1", began=date(2026, 10, 1), settled=date(2026, 10, 3), **members):
    base = {
        "companycode": "S1",
        "companyname": "某店",
        "plate": "沪A12345",
        "vin": VIN,
        "repairdate": began,
        "settledate": settled,
        "mileage": Decimal(15000),
        "faultdescription": "事故维修",
        "costlistcode": code,
        "parts": (Part("前保险杠", Decimal(1), "JY-0012"),),
        "projects": (Project("前保险杠喷漆", Decimal("4.5")),),
    }
    return RepairRow(**{**base, **members})


def fact(record, version=1, system="31"):
    if isinstance(record, RepairRow):
        return Fact(REPAIR, f"{system}|{record.companycode}|{record.costlistcode}", version, system, RECEIVED, record)
    issuer = record.identity.issuer
    return Fact(record.KIND, f"{system}|{issuer}|{record.listed}", version, system, RECEIVED, record)


def facts(*records):
    return [fact(record) for record in records]


def derived(derivation, given, subject="S1"):
    """What follows, as key -> content."""
    found = list(derivation.derive(subject, given, TODAY))
    keyed = {(one.identity.issuer, one.listed): one for one in found}
    assert len(keyed) == len(found), "each key once"
    assert {one.KIND for one in found} <= derivation.gives
    assert all(type(one).of_members(one.members()) == one for one in found)
    return keyed
