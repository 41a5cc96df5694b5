"""Items of the credit file: four namings of an evaluation, spot checks, complaints, appeals."""

import json
from datetime import date

import pytest
from document_samples import DROP, EVALUATIONS, FORMS, VIN, changed, judged, seen
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mappings.documents import kinds
from mappings.documents.credit import Appeal, Correction, Evaluation, SpotCheck, Transmission, put_right, span
from mappings.documents.interchange import encode_document

CREDIT = [name for name in FORMS if name != "damage-estimate"]
PROVENANCE = {"system": "31", "dialect": "document", "received_at": "2026-11-29T10:00:00+08:00"}


@pytest.mark.parametrize("form", CREDIT)
@pytest.mark.parametrize("dialect", ["auto", None])
def test_clean_payloads_are_taken_without_a_finding(form, dialect):
    found = judged(FORMS[form], dialect or form)
    assert (found.dialect, found.findings) == (form, ())
    assert found.record.members() == found.members


@pytest.mark.parametrize(
    ("form", "edition", "asked"),
    [
        ("evaluation-2021", "82-2021", (5, 4, 3, 2, 1, None)),
        ("evaluation-2017", "guide-2017", (5, 4, 3, 2, 1, None)),
        ("evaluation-city", "city", (5, 4, 3, None, 1, 4)),
        ("evaluation-app", "app", (5, 4, None, 2, 1, 3)),
    ],
)
def test_every_naming_gives_the_same_items(form, edition, asked):
    one = judged(FORMS[form]).record
    assert (one.quality, one.efficiency, one.charge, one.attitude, one.environment, one.overall) == asked
    assert one.edition == edition
    assert one.identity._replace(number="") == ("310000010001", "", date(2026, 10, 3), VIN)


def test_an_evaluation_with_a_number_of_its_own_bears_it():
    one = judged(changed("evaluation-2021", evaluationno="E-9")).record
    assert (one.identity.number, one.numbered) == ("E-9", True)


@pytest.mark.parametrize("form", EVALUATIONS)
def test_one_without_a_number_is_the_same_only_where_it_says_the_same(form):
    one = judged(FORMS[form]).record
    item = next(name for name, value in FORMS[form].items() if value in (5, "5"))
    others = [changed(form, **{item: 1}), changed(form, evaluationdate="2026-10-04")]
    assert one.identity.number.startswith(f"W1/{VIN}/")
    assert not one.numbered
    assert judged(FORMS[form]).record == one
    assert len({one.identity.number, *(judged(other).record.identity.number for other in others)}) == 3


def test_an_evaluation_is_never_taken_for_a_repair_record():
    for form in EVALUATIONS:
        assert judged(FORMS[form]).kind == "evaluation"
    assert judged(FORMS["complaint"]).kind == "complaint"


@pytest.mark.parametrize("name", ["comment", "enterpriseComment", "img1", "评论"])
def test_free_text_is_named_and_kept_nowhere(name):
    found = judged(changed("evaluation-city", **{name: "师傅张三 13800000000"}))
    assert seen(found) == [("UNKNOWN_MEMBER", name)]
    assert "138" not in repr(found)
    assert "张三" not in repr(found)


def test_a_flood_of_unknown_members_is_named_in_part():
    found = judged(changed("complaint", **{f"x{n}": n for n in range(80)}))
    assert len(found.findings) == 51
    assert found.findings[-1].value == "+30"


CASES = [
    ("evaluation-2021", {"维修质量": 6}, "SCORE_OUT_OF_RANGE", "quality"),
    ("evaluation-2021", {"维修质量": "4.5"}, "SCORE_OUT_OF_RANGE", "quality"),
    ("evaluation-2021", {"维修质量": [5]}, "SCORE_OUT_OF_RANGE", "quality"),
    ("evaluation-2021", {"维修质量": True}, "SCORE_OUT_OF_RANGE", "quality"),
    ("evaluation-2021", {"服务态度": "无"}, "MANDATORY_MISSING", "attitude"),
    ("evaluation-app", {"overallEvaluation": DROP}, "MANDATORY_MISSING", "overall"),
    ("evaluation-2017", {"costlistcode": DROP}, "MANDATORY_MISSING", "costlistcode"),
    ("evaluation-2017", {"vin": "N/A"}, "VIN_MISSING", "vin"),
    ("evaluation-2017", {"vin": "LSVAL41Z88210420"}, "VIN_LENGTH", "vin"),
    ("evaluation-2017", {"evaluationdate": "昨天"}, "DATE_FORMAT", "evaluatedon"),
    ("evaluation-2017", {"evaluationdate": "20261202"}, "DAY_IN_FUTURE", "evaluatedon"),
    ("evaluation-2017", {"costlistcode": "9" * 51}, "TOO_LONG", "costlistcode"),
    ("spot-check", {"result": "7"}, "CODE_NOT_IN_TABLE", "result"),
    ("spot-check", {"items": {"item": "01"}}, "STRUCTURE_WRONG", "items"),
    ("spot-check", {"items": ["01"]}, "STRUCTURE_WRONG", "items[0]"),
    ("spot-check", {"items": [{"item": "01"}]}, "MANDATORY_MISSING", "items[0].result"),
    ("spot-check", {"items": [{"item": "88", "result": "1"}]}, "CODE_NOT_IN_TABLE", "items[0].item"),
    ("spot-check", {"rectifyBy": "20261002"}, "DATE_ORDER", "checkedon"),
    ("complaint", {"outcome": DROP}, "MANDATORY_MISSING", "outcome"),
    ("complaint", {"closeddate": "20261001"}, "DATE_ORDER", "receivedon"),
    ("complaint", {"vin": "X"}, "VIN_LENGTH", "vin"),
    ("appeal", {"about": "weather"}, "CODE_NOT_IN_TABLE", "about"),
    ("appeal", {"decideddate": DROP}, "MANDATORY_MISSING", "decidedon"),
    ("appeal", {"corrections": [{"member": "vin", "value": "1"}]}, "CORRECTION_UNUSABLE", "corrections[0].member"),
    ("appeal", {"corrections": [{"member": "late", "value": "-1"}]}, "CORRECTION_UNUSABLE", "corrections[0].value"),
    ("appeal", {"corrections": [{"member": "late", "value": "9" * 40}]}, "CORRECTION_UNUSABLE", "corrections[0].value"),
    ("appeal", {"corrections": [{"member": "late"}]}, "CORRECTION_UNUSABLE", "corrections[0].value"),
    (
        "appeal",
        {"about": "evaluation", "corrections": [{"member": "quality", "value": 6}]},
        "CORRECTION_UNUSABLE",
        "corrections[0].value",
    ),
    (
        "appeal",
        {"about": "spot-check", "corrections": [{"member": "rectifiedon", "value": "2026-10"}]},
        "CORRECTION_UNUSABLE",
        "corrections[0].value",
    ),
    (
        "appeal",
        {"about": "complaint", "corrections": [{"member": "outcome", "value": "8"}]},
        "CORRECTION_UNUSABLE",
        "corrections[0].value",
    ),
]


@pytest.mark.parametrize(("form", "changes", "code", "field"), CASES)
def test_code(form, changes, code, field):
    found = judged(changed(form, **changes))
    assert (code, field) in seen(found)
    assert found.rejected == (found.record is None)
    assert found.rejected


def test_all_findings_come_at_once():
    found = judged(changed("evaluation-2021", 维修质量=0, 服务环境="x", vin="", evaluationdate="x"))
    assert [code for code, _ in seen(found)] == ["VIN_MISSING", "DATE_FORMAT", *["SCORE_OUT_OF_RANGE"] * 2]


def test_lenient_maps_the_words_of_tables():
    found = judged(changed("complaint", subject="收费", outcome="部分属实"), name="lenient")
    assert (found.record.subject, found.record.outcome) == ("2", "2")
    assert {code for code, _ in seen(found)} == {"CODE_MAPPED"}


def test_findings_name_the_partners_members():
    (finding,) = judged(changed("evaluation-app", overallEvaluation=9)).findings
    assert (finding.field, finding.wire) == ("overall", "overallEvaluation")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"period": "2026-13"}, "period"),
        ({"period": "2026-Q1"}, "period"),
        ({"received": -1}, "received"),
        ({"late": 6}, "part"),
        ({"accepted": 10}, "part"),
        ({"silentdays": 32}, "part"),
        ({"received": 10**9}, "received"),
    ],
)
def test_a_transmission_whose_parts_are_more_than_the_whole_is_none(changes, told):
    counts = {"companycode": "1", "period": "2026-10", "received": 9, "accepted": 5, "dead": 4, **changes}
    with pytest.raises(ValidationError):
        Transmission(**counts)


def test_what_travels_in_our_own_form_comes_back():
    for document in (
        Transmission(companycode="1", period="2026-10", received=9, accepted=5, dead=4, silentdays=3),
        *(judged(FORMS[form]).record for form in CREDIT),
    ):
        again = judged(encode_document(document, PROVENANCE))
        assert (again.record, again.findings, again.kind) == (document, (), document.KIND)


def test_a_wrong_transmission_in_our_own_form_is_a_finding():
    sent = encode_document(Transmission(companycode="1", period="2026-10", received=9, accepted=5), PROVENANCE)
    found = judged(sent.replace(b'"accepted":5', b'"accepted":50'))
    assert {code for code, _ in seen(found)} == {"STRUCTURE_WRONG"}


@pytest.mark.parametrize(
    ("period", "first", "last"),
    [
        ("2026-10-05", "2026-10-05", "2026-10-05"),
        ("2024-02", "2024-02-01", "2024-02-29"),
        ("2026-Q4", "2026-10-01", "2026-12-31"),
        ("2026", "2026-01-01", "2026-12-31"),
    ],
)
def test_spans(period, first, last):
    assert [day.isoformat() for day in span(period)] == [first, last]


@pytest.mark.parametrize("period", ["", "2026-1", "2026-02-30", "2026-Q5", "0000", "２０２６"])
def test_what_is_no_period(period):
    with pytest.raises(ValueError, match=r".+"):
        span(period)


def test_put_right_changes_what_may_be_changed_and_nothing_else():
    check = judged(FORMS["spot-check"]).record
    right = put_right(check, (Correction(member="rectifiedon", value="2026-11-01"),))
    assert right == SpotCheck(**{**dict(check), "rectifiedon": date(2026, 11, 1)})
    one = judged(FORMS["evaluation-2021"]).record
    assert put_right(one, (Correction(member="quality", value="4"),)) == Evaluation(**{**dict(one), "quality": 4})
    for member, value in (("quality", "9"), ("quality", "x"), ("quality", "9" * 5000), ("vin", "1"), ("quality", "²")):
        assert put_right(one, (Correction(member=member, value=value),)) is None


EDGES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**60), 10**60),
    st.text(max_size=12),
    st.sampled_from(["", "N/A", "20261003", "1e400", "5", "2", "\ud800", "99990909", VIN, "transmission"]),
    st.lists(st.dictionaries(st.sampled_from(["item", "result", "member", "value"]), st.text(max_size=3)), max_size=2),
)
NAMES = sorted({name for form in CREDIT for name in FORMS[form]})


@given(st.sampled_from(CREDIT), st.dictionaries(st.sampled_from(NAMES), EDGES, max_size=6), st.booleans())
def test_judging_never_raises_and_a_document_is_what_is_not_rejected(form, wild, lenient):
    body = json.dumps({**FORMS[form], **wild}).encode()
    for dialect in ("auto", form):
        found = judged(body, dialect, "lenient" if lenient else "strict")
        if found.kind in kinds.KINDS:
            assert (found.record is None) == found.rejected
            if found.record is not None:
                assert type(found.record).of_members(found.record.members()) == found.record
                assert "document" in judged(encode_document(found.record, PROVENANCE)).dialect


def test_an_appeal_whose_corrections_are_half_read_is_never_taken_for_a_striking_one():
    sent = changed("appeal", corrections=[{"member": "late", "value": "x"}])
    assert judged(sent).record is None
    assert isinstance(judged(changed("appeal", corrections=[])).record, Appeal)
