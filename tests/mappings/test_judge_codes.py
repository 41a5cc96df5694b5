"""Every code of table 9.1 that judging a repair record or a registration can give: when, where, how severe."""

from __future__ import annotations

import judge_samples as s
import pytest

from mappings.findings import FLAG, INFO, REJECT, Finding, catalogue
from mappings.judge import judge
from mappings.judging import Draft

R, F, I = REJECT, FLAG, INFO  # noqa: E741 - the letters of the table
BAD_CN, BAD_EU = "LVGBM51K8NG062816", "WAUAFEF58JA036323"
USCC = "companyunifiedsocialcreditidentifier"
FIVE = [{"name": "钣金", "hours": 24}] * 4 + [{"name": "喷漆", "hours": "4.1"}]

# (kind, changes to the clean payload, code, field, strict, lenient); None: the profile does not give this code.
CASES = [
    ("repair", {"faultdescription": ["x"]}, "STRUCTURE_WRONG", "faultdescription", R, R),
    ("repair", {"parts": {"name": "x"}}, "STRUCTURE_WRONG", "parts", R, R),
    ("repair", {"projects": ["x"]}, "STRUCTURE_WRONG", "projects[0]", R, R),
    ("repair", {"parts.quantity": {}}, "STRUCTURE_WRONG", "parts[0].quantity", R, R),
    ("repair", {"companyname": True}, "STRUCTURE_WRONG", "companyname", R, R),
    ("repair", {"settledate": {}}, "STRUCTURE_WRONG", "settledate", R, R),
    ("repair", {"mileage": []}, "STRUCTURE_WRONG", "mileage", R, R),
    ("repair", {"companyname": "a\ud800b"}, "STRUCTURE_WRONG", "companyname", R, R),
    ("repair", {"plate": "Ｎ／Ａ"}, "MANDATORY_MISSING", "plate", R, R),
    ("repair", {"companyname": "无"}, "MANDATORY_MISSING", "companyname", R, R),
    ("repair", {"repairdate": s.DROP}, "MANDATORY_MISSING", "repairdate", R, R),
    ("repair", {"settledate": " "}, "MANDATORY_MISSING", "settledate", R, R),
    ("repair", {"costlistcode": "Undefined"}, "MANDATORY_MISSING", "costlistcode", R, R),
    ("repair", {"mileage": "null"}, "MANDATORY_MISSING", "mileage", R, R),
    ("repair", {"parts.name": s.DROP}, "MANDATORY_MISSING", "parts[0].name", R, R),
    ("repair", {"parts.quantity": s.DROP}, "MANDATORY_MISSING", "parts[0].quantity", R, R),
    ("repair", {"projects.name": s.DROP}, "MANDATORY_MISSING", "projects[0].name", R, R),
    ("repair", {"projects.hours": s.DROP}, "MANDATORY_MISSING", "projects[0].hours", R, R),
    ("repair", {"vin": "N/A"}, "VIN_MISSING", "vin", R, R),
    ("repair", {"vin": "4454465656565"}, "VIN_LENGTH", "vin", R, R),
    ("repair", {"vin": "WP1AG2923CLA6412O"}, "VIN_ALPHABET", "vin", R, R),
    ("repair", {"vin": BAD_CN}, "VIN_CHECK_DIGIT", "vin", R, F),
    ("repair", {"vin": BAD_EU}, "VIN_CHECK_DIGIT_NOT_APPLICABLE", "vin", I, I),
    ("repair", {"vin": "LVGBM51K0ZG062816"}, "VIN_MODEL_YEAR", "vin", F, F),
    ("repair", {"vin": "LRW3E7FAXRC093951"}, "VIN_MODEL_YEAR", "vin", F, F),
    ("repair", {"plate": "沪12345678901"}, "PLATE_SYNTAX", "plate", F, F),
    ("repair", {"plate": "宁Z12345"}, "PLATE_LETTER_UNKNOWN", "plate", I, I),
    ("repair", {"plate": "X1"}, "PLATE_PROVINCE_UNKNOWN", "plate", R, R),
    ("repair", {"settledate": "20251332"}, "DATE_FORMAT", "settledate", R, R),
    ("repair", {"repairdate": "20230229"}, "DATE_FORMAT", "repairdate", R, R),
    ("repair", {"repairdate": "20180414"}, "DATE_ORDER", "repairdate", R, R),
    ("repair", {"settledate": "20240603"}, "SETTLEDATE_IN_FUTURE", "settledate", R, R),
    ("repair", {"mileage": "5万"}, "MILEAGE_NOT_NUMERIC", "mileage", R, R),
    ("repair", {"mileage": -5}, "MILEAGE_NEGATIVE", "mileage", R, R),
    ("repair", {"mileage": "0"}, "MILEAGE_ZERO", "mileage", F, F),
    ("repair", {"mileage": "3000000.1"}, "MILEAGE_OUTLIER", "mileage", F, F),
    ("repair", {"parts.quantity": "N/A"}, "QUANTITY_NOT_NUMERIC", "parts[0].quantity", R, F),
    ("repair", {"parts.quantity": None}, "QUANTITY_NOT_NUMERIC", "parts[0].quantity", R, F),
    ("repair", {"projects.hours": "N/A"}, "HOURS_NOT_NUMERIC", "projects[0].hours", R, F),
    ("repair", {"parts.quantity": "-1"}, "QUANTITY_NEGATIVE", "parts[0].quantity", R, F),
    ("repair", {"projects.hours": "-0.5"}, "HOURS_NEGATIVE", "projects[0].hours", R, F),
    ("repair", {"parts.quantity": "0.0"}, "QUANTITY_ZERO", "parts[0].quantity", F, F),
    ("repair", {"projects.hours": 0}, "HOURS_ZERO", "projects[0].hours", F, F),
    ("repair", {"projects.hours": "24.1"}, "HOURS_OUTLIER", "projects[0].hours", F, F),
    ("repair", {"projects": FIVE}, "HOURS_OUTLIER", "projects", F, F),
    ("repair", {"parts": [], "projects": None}, "EMPTY_CONTENT", "parts", R, R),
    ("repair", {"faultdescription": "-"}, "PLACEHOLDER_FAULT", "faultdescription", F, F),
    ("repair", {"faultdescription": s.DROP}, "PLACEHOLDER_FAULT", "faultdescription", F, F),
    ("repair", {"parts.code": "N/A"}, "PLACEHOLDER_PARTSCODE", "parts[0].code", F, F),
    ("repair", {"parts.code": s.DROP}, "PLACEHOLDER_PARTSCODE", "parts[0].code", F, F),
    ("repair", {"parts.name": "N/A"}, "PLACEHOLDER_NAME", "parts[0].name", F, F),
    ("repair", {"projects.name": ""}, "PLACEHOLDER_NAME", "projects[0].name", F, F),
    ("repair", {"companyname": "修" * 101}, "TOO_LONG", "companyname", R, F),
    ("repair", {"parts.name": "件" * 101}, "TOO_LONG", "parts[0].name", R, F),
    ("repair", {"parts.code": "1" * 51}, "TOO_LONG", "parts[0].code", R, F),
    ("repair", {"projects.name": "修" * 101}, "TOO_LONG", "projects[0].name", R, F),
    ("repair", {"costlistcode": "1" * 51}, "TOO_LONG", "costlistcode", R, F),
    ("repair", {"faultdescription": "异" * 501}, "TOO_LONG", "faultdescription", R, F),
    (
        "repair",
        {"faultdescription": "治理 报告编码{330100112108211315501011}"},
        "REPORT_LINK",
        "faultdescription",
        I,
        I,
    ),
    ("registration", {USCC: ""}, "MANDATORY_MISSING", USCC, R, R),
    ("registration", {"companypassword": s.DROP}, "MANDATORY_MISSING", "companypassword", R, R),
    ("registration", {"companyoperationstate": "营业"}, "CODE_NOT_IN_TABLE", "companyoperationstate", R, None),
    ("registration", {"companyoperationstate": "营业"}, "CODE_MAPPED", "companyoperationstate", None, F),
    ("registration", {"companycategory": 3}, "CODE_NOT_IN_TABLE", "companycategory", R, None),
    ("registration", {"companycategory": 3}, "CODE_MAPPED", "companycategory", None, F),
    ("registration", {"companycategory": "三类"}, "CODE_MAPPED", "companycategory", None, F),
    ("registration", {"companyeconomiccategory": "个体自营"}, "CODE_MAPPED", "companyeconomiccategory", None, F),
    ("registration", {"companyeconomiccategory": "101"}, "CODE_NOT_IN_TABLE", "companyeconomiccategory", R, R),
    ("registration", {"companypostalcode": "31000"}, "CODE_NOT_IN_TABLE", "companypostalcode", R, R),
    (
        "registration",
        {"companyadministrativedivisioncode": "990106"},
        "CODE_NOT_IN_TABLE",
        "companyadministrativedivisioncode",
        R,
        R,
    ),
    (
        "registration",
        {"roadtransportationlicensestartdate": "x"},
        "DATE_FORMAT",
        "roadtransportationlicensestartdate",
        R,
        R,
    ),
    ("registration", {USCC: "913101121322592441T"}, "USCC_LENGTH", USCC, R, R),
    ("registration", {USCC: "91350100M000100Y4Z"}, "USCC_ALPHABET", USCC, R, R),
    ("registration", {USCC: "94630106MA2CDCP98B"}, "USCC_CHECK_CHAR", USCC, R, R),
    ("registration", {USCC: "91370000MA3D3M001X"}, "USCC_ORG_CODE", USCC, F, F),
    ("registration", {USCC: "94630106MA2CDCP98B"}, "USCC_DEPARTMENT", USCC, F, F),
]
BASES = {"repair": s.REPAIR, "registration": s.REGISTRATION}

ELSEWHERE = {
    "NOT_JSON": "unwrapping",
    "DIALECT_UNKNOWN": "unwrapping",
    "UNKNOWN_MEMBER": "unwrapping",
    "SIGN_NOT_CHECKED": "unwrapping",
    "ORDER_NOT_CHECKED": "steps",
    **dict.fromkeys(("SIGN_MISSING", "SIGN_WRONG", "TIMESTAMP_EXPIRED", "NONCE_REPLAYED"), "door"),
    **dict.fromkeys(("ORDER_UNKNOWN", "ORDER_EXISTS"), "assembly"),
    **dict.fromkeys(("MILEAGE_REGRESSION", "VIN_MANY_PLATES", "PLATE_MANY_VINS", "PRICE_AS_HOURS"), "history"),
    **dict.fromkeys(("COMPANY_NAME_MISMATCH", "SETTLED_LATE"), "history"),
    **dict.fromkeys(("BRAND_WMI_MISMATCH", "ENGINE_PLACEHOLDER", "NAME_WITH_QUANTITY"), "secondary maintenance"),
    **dict.fromkeys(("WASTE_CATEGORY_MISMATCH", "WEIGHT_DIFFERENCE", "UNIT_MISSING"), "waste"),
    **dict.fromkeys(("WASTE_CODE_FORMAT", "WASTE_CODE_UNKNOWN", "WASTE_CODE_OLD", "WEIGHT_NOT_NUMERIC"), "waste"),
    **dict.fromkeys(
        ("WEIGHT_NOT_POSITIVE", "BATCH_CODE_FORMAT", "RED_WITHOUT_ORIGINAL", "MANIFEST_NUMBER_FORMAT"), "waste"
    ),
    **dict.fromkeys(("MANIFEST_STATE", "PRODUCER_NOT_ACTIVE", "WASTE_CATEGORY_CLOSED", "RECEIVER_NOT_ACTIVE"), "waste"),
    **dict.fromkeys(("RECEIVER_NOT_LICENSED", "PLAN_NOT_APPROVED", "PLAN_EXCEEDED", "LICENCE_EXCEEDED"), "waste"),
    **dict.fromkeys(("CROSS_PROVINCE_RESTRICTED", "TRIP_HAS_MANIFEST"), "waste"),
    **dict.fromkeys(("JUDGE_INCONSISTENT", "JUDGE_AGAINST_LIMIT", "METHOD_MISMATCH"), "inspections"),
    **dict.fromkeys(("MEASURE_NOT_NUMERIC", "TIME_IN_FUTURE", "REPORT_NUMBER_AREA"), "inspections"),
    "REPORT_NUMBER_MISSING": "closures",
    "WITHDRAWAL_UNKNOWN": "versions",
    **dict.fromkeys(("SCORE_OUT_OF_RANGE", "DAY_IN_FUTURE", "CORRECTION_UNUSABLE"), "credit"),
    **dict.fromkeys(("XML_UNREADABLE", "CHARSET_MISMATCH", "AMOUNT_NOT_NUMERIC", "AMOUNT_NEGATIVE"), "claims"),
    "CLAIM_VEHICLE_UNNAMED": "claims",
}


@pytest.mark.parametrize("name", ["strict", "lenient"])
@pytest.mark.parametrize(("kind", "changes", "code", "field", "strict", "lenient"), CASES)
def test_code(kind, changes, code, field, strict, lenient, name):
    found = s.judged(kind, s.changed(BASES[kind], changes), name)
    severities = [f.severity for f in found.findings if (f.code, f.field) == (code, field)]
    wanted = strict if name == "strict" else lenient
    assert severities == ([] if wanted is None else [wanted])
    assert found.rejected == any(f.severity == REJECT for f in found.findings)


def test_every_code_has_a_case():
    covered = {case[2] for case in CASES}
    assert covered | ELSEWHERE.keys() == catalogue().keys()
    assert not covered & ELSEWHERE.keys()


@pytest.mark.parametrize("name", ["strict", "lenient"])
def test_clean_payloads_have_no_finding(name):
    for kind, members in (
        *BASES.items(),
        ("vehicle", s.VEHICLE),
        ("token", {"companycode": "1", "companypassword": "x"}),
    ):
        assert s.judged(kind, members, name).findings == ()


@pytest.mark.parametrize("name", ["strict", "lenient"])
@pytest.mark.parametrize("code", sorted(catalogue()))
def test_notes_of_unwrapping_are_weighed_by_the_profile(code, name):
    note = Finding(code, "", "vin", "x", "y", "basicInfo.vin")
    found = judge(Draft("repair", "test", s.REPAIR, notes=(note,)), s.context(name))
    assert found.findings == (note._replace(severity=s.context(name).profile.severities[code]),)


def test_a_draft_that_could_not_be_read_is_rejected_with_its_notes():
    note = Finding("NOT_JSON", "", "", "line 1", "JSON")
    found = judge(Draft("", "", {}, notes=(note,)), s.context())
    assert [f.code for f in found.findings] == ["NOT_JSON"]
    assert found.rejected
    assert s.seen(judge(Draft("unheard-of", "", {}), s.context())) == [("DIALECT_UNKNOWN", "")]
