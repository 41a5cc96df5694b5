"""Laws of the judge: it never raises, repeats itself exactly, and a profile changes verdicts, never what is seen."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import judge_samples as s
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mappings.findings import FLAG, INFO, REJECT, Finding, catalogue, profile
from mappings.records import Operator, RepairRow, VehicleRegistration

EDGY = st.sampled_from(
    ["", "N/A", "无", "-", "0", "-1", "1e400", "NaN", "20230229", "99990909", "2024-06-01", "报告编码{", "\0", "\ud800"]
)
SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.decimals(allow_nan=True, allow_infinity=True),
    st.just(Decimal("1e999999")),
    st.text(alphabet=st.characters(), max_size=20),
    EDGY,
)
ANY = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
ROW = st.dictionaries(st.sampled_from(["name", "quantity", "code", "hours", "x"]), ANY, max_size=4)
ROWS = st.one_of(ANY, st.lists(st.one_of(ROW, ANY), max_size=4))
NAMES = sorted(
    {*RepairRow._fields, *s.REGISTRATION, *VehicleRegistration.model_fields, *Operator.model_fields, "fuel", "use"}
)
WILD = st.builds(
    lambda members, parts, projects: {**members, **parts, **projects},
    st.dictionaries(st.sampled_from(NAMES), ANY, max_size=12),
    st.dictionaries(st.just("parts"), ROWS, max_size=1),
    st.dictionaries(st.just("projects"), ROWS, max_size=1),
)
BASES = {
    "repair": s.REPAIR,
    "registration": s.REGISTRATION,
    "vehicle": s.VEHICLE,
    "step": s.INSERT,
    "token": {"companycode": "1", "companypassword": "x"},
}
PAYLOAD = st.one_of(
    st.tuples(st.sampled_from([*BASES, ""]), WILD),
    st.sampled_from(sorted(BASES)).flatmap(
        lambda kind: st.tuples(st.just(kind), WILD.map(lambda wild: {**BASES[kind], **dict(list(wild.items())[:3])}))
    ),
)
STEPS = st.sampled_from(["insert", "items", "settle", "correction", "unheard-of"])
MODEST = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@MODEST
@given(PAYLOAD, STEPS, ANY, st.sampled_from(["strict", "lenient"]))
def test_judging_never_raises_and_repeats_itself(payload, step, header, name):
    kind, members = payload
    first = s.judged(kind, members, name, step=step, header_date=header)
    assert first.findings == s.judged(kind, members, name, step=step, header_date=header).findings
    assert len(set(s.seen(first))) == len(first.findings)
    for finding in first.findings:
        assert isinstance(finding, Finding)
        assert finding.code in catalogue()
        assert len(finding.value) <= 100
        assert len(finding.expected) <= 100
        "".join(finding).encode()
    if kind in ("repair", "registration", "vehicle"):
        assert (first.record is None) == first.rejected


@MODEST
@given(PAYLOAD, STEPS, st.randoms(use_true_random=False))
def test_severities_change_verdicts_and_never_what_is_seen(payload, step, random):
    kind, members = payload
    strict = profile("strict")
    other = replace(strict, severities={code: random.choice([REJECT, FLAG, INFO]) for code in strict.severities})
    one, two = (s.judged(kind, members, chosen, step=step) for chosen in (strict, other))
    assert s.seen(one) == s.seen(two)
    assert [f.value for f in one.findings] == [f.value for f in two.findings]


@MODEST
@given(st.permutations(list(s.REPAIR)), WILD)
def test_order_of_members_does_not_matter(names, wild):
    members = {**s.REPAIR, **dict(list(wild.items())[:4])}
    shuffled = {name: members[name] for name in [*reversed([n for n in members if n not in names]), *names]}
    assert s.judged("repair", members).findings == s.judged("repair", shuffled).findings


@MODEST
@given(WILD)
def test_a_record_judged_again_is_unchanged(wild):
    members = {**s.REPAIR, **dict(list(wild.items())[:2])}
    first = s.judged("repair", members, "lenient")
    assume(first.record is not None)
    again = {**first.record._asdict(), "companycode": first.record.companycode or None}
    again["parts"] = [part._asdict() for part in first.record.parts]
    again["projects"] = [project._asdict() for project in first.record.projects]
    assert s.judged("repair", again, "lenient").record == first.record
