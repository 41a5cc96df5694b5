"""Defect leads: what makes one, that few never make one, and that none of them tells of anybody."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import date
from decimal import Decimal

import market_facts as m
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mappings.records import Part
from mappings.symptoms import part_name, symptom
from routing.cases.defects import Defects, Settings

FEW = Settings(k=3, threshold=3)


def leads(facts, rules=None, subject=m.MODEL):
    return list(Defects(rules).derive(subject, facts, m.TODAY))


def test_a_fault_that_many_vehicles_of_many_shops_share_is_a_lead():
    (lead,) = leads(m.many(12, 6))
    assert (lead.model, lead.maker, lead.region, lead.month) == (m.MODEL, "上汽大众", "44", "2026-09")
    assert (lead.fault, lead.part, lead.partcode, lead.count) == ("发动机异响", "正时链条", "06A-109-503", 12)
    assert (lead.mileagefrom, lead.mileageto) == (40_000, 50_000)
    assert lead.identity.vin == ""
    assert lead.identity.day == date(2026, 9, 1)


def test_a_maker_learns_of_its_own_models_only():
    facts = m.many(12, 6)
    assert leads(facts, Settings(wmis={m.MODEL[:3], "LFV"})) == leads(facts)
    assert leads(facts, Settings(wmis={"LFV"})) == []
    with pytest.raises(ValidationError):
        Settings(wmis={"上汽大众"})


@pytest.mark.parametrize(
    ("vehicles", "shops", "told"), [(10, 5, True), (9, 5, False), (10, 4, False), (4, 4, False), (40, 1, False)]
)
def test_both_vehicles_and_shops_must_be_many(vehicles, shops, told):
    assert bool(leads(m.many(vehicles, shops))) == told


def test_one_vehicle_that_comes_often_counts_once():
    facts = [m.fact(m.repair(1, number, costlistcode=f"A{number}")) for number in range(50)]
    assert leads(facts) == []


def test_clusters_are_of_one_province_month_and_part():
    assert leads([m.fact(m.repair(n, n, companycode=m.shop(n, ("440106", "330106")[n % 2]))) for n in range(12)]) == []
    assert leads([m.fact(m.repair(n, n, repairdate=date(2026, 8 + n % 2, 1))) for n in range(12)]) == []
    assert (
        leads([m.fact(m.repair(n, n, parts=(Part(f"件{'甲乙'[n % 2]}", Decimal(1), "X"),))) for n in range(12)]) == []
    )


def test_texts_are_compared_without_what_stands_around_the_fault():
    said = ["客户反映：发动机异响", "发动机，异响！", "车主王五电话13800000012 发动机异响", "发动机 异响"]
    facts = [m.fact(m.repair(n, n, faultdescription=said[n % 4])) for n in range(12)]
    assert [(lead.fault, lead.count) for lead in leads(facts)] == [("发动机异响", 12)]


@pytest.mark.parametrize("text", ["常规保养", "更换机油机滤", "无", "小修", "二级维护", "", "13800000012", "钣金喷漆"])
def test_routine_visits_are_no_faults(text):
    assert leads(m.many(12, 6, faultdescription=text)) == []


def test_a_code_is_told_only_where_many_have_it():
    own = [m.fact(m.repair(n, n, parts=(Part("正时链条", Decimal(1), f"INT-{n}"),))) for n in range(12)]
    assert [lead.partcode for lead in leads(own)] == [None]
    mixed = own[:6] + m.many(12, 12)[6:]
    assert [lead.partcode for lead in leads(mixed)] == ["06A-109-503"]


def test_without_parts_the_fault_alone_is_a_lead():
    assert [(lead.part, lead.count) for lead in leads(m.many(12, 6, parts=()))] == [(None, 12)]


def test_a_shop_without_a_known_province_counts_where_its_record_was_collected():
    facts = [m.fact(m.repair(n, n, companycode=f"8818120000000{n:02d}")) for n in range(12)]
    assert [lead.region for lead in leads(facts)] == ["44"]
    assert leads([one._replace(system="oem-SVW") for one in facts]) == []


def test_the_name_of_a_shop_in_every_text_keeps_the_lead_back():
    assert leads(m.many(12, 6, companyname="百联车坊", faultdescription="百联车坊 发动机异响")) == []


def test_a_lead_keeps_its_number_while_it_grows():
    (before,), (after,) = leads(m.many(12, 6)), leads(m.many(15, 6))
    assert before.identity == after.identity
    assert before.evidence != after.evidence


def test_another_subject_and_what_is_no_subject_have_no_leads():
    assert leads(m.many(12, 6), subject="LFV2A21K") == []
    assert leads(m.many(12, 6), subject="?") == []


def test_k_below_two_is_no_setting():
    with pytest.raises(ValidationError):
        Settings(k=1)


CANARIES = {
    "13812345678": "12345678",
    "138-1234-5678": "12345678",
    "１３８ １２３４ ５６７８": "12345678",
    "一三八一二三四五六七八": "一二三四五六七八",
    "0755-88776655": "88776655",
    "400-810-8888": "8108888",
    "110105194912310021": "194912310021",
    "LSVAL41Z882104202": "LSVAL41Z882104202",
    "粤B·K7P23": "K7P23",
    "京AD12345": "D12345",
    "车主张伟国": "张伟",
    "联系人：欧阳修远": "欧阳",
    "李建军先生": "李建军",
    "客户：ZHANG SAN": "ZHANG",
    "在鑫达汽车修理厂": "鑫达",
    "广州恒通汽车服务有限公司": "恒通",
    "zhang.san@example.com": "SAN",
    "wxid_a1b2c3d4": "A1B2C3D4",
    "WJ粤12345": "12345",
}
"""What people type beside a fault, and what must not be seen of it."""


def seen(lead):
    """All that a lead says, but for its digests."""
    content = lead.model_copy(update={"number": "", "evidence": ""}).content().decode().upper()
    return re.sub(r"[ -]", "", content)


@pytest.mark.parametrize(("canary", "secret"), list(CANARIES.items()))
@pytest.mark.parametrize("form", ["{} 发动机异响", "发动机异响，{}", "发动机异响{}", "{}"])
def test_no_canary_leaves_even_where_all_have_the_same(canary, secret, form):
    text = form.format(canary)
    facts = m.many(12, 6, faultdescription=text, parts=(Part(text, Decimal(1), canary),))
    assert secret not in "".join(seen(lead) for lead in leads(facts))


numbers = st.integers(0, 11)
visits = st.builds(
    lambda vehicle, shop, text, part, day, canary: m.repair(
        vehicle,
        shop,
        faultdescription=text.format(canary=canary),
        parts=(Part(part.format(canary=canary), Decimal(1), "06A-109-503"),),
        repairdate=day,
        costlistcode=f"{vehicle}-{shop}-{text}-{day.day}",
    ),
    numbers,
    numbers,
    st.sampled_from(["发动机异响", "客户反映发动机异响 {canary}", "{canary}刹车抖动", "常规保养"]),
    st.sampled_from(["正时链条", "刹车盘{canary}", "无"]),
    st.sampled_from([date(2026, 9, 1), date(2026, 9, 30), date(2026, 10, 1)]),
    st.sampled_from(sorted(CANARIES)),
)


@settings(max_examples=150)
@given(st.lists(visits, max_size=60), st.randoms(use_true_random=False))
def test_leads_are_k_anonymous_and_of_the_set_alone(rows, chance):
    facts = [m.fact(row) for row in rows]
    found = leads(facts, FEW)
    sharing = defaultdict(set)
    for row in {one.key: one.record for one in facts}.values():
        cluster = (f"{row.repairdate:%Y-%m}", symptom(row.faultdescription), part_name(row.parts[0].name) or None)
        sharing[cluster].add((row.vin, row.companycode))
    for lead in found:
        having = sharing[(lead.month, lead.fault, lead.part)]
        assert len({vehicle for vehicle, _ in having}) == lead.count >= 3
        assert len({shop for _, shop in having}) >= 3
        hidden = {
            *CANARIES.values(),
            *(value for row in rows for value in (row.vin, row.plate, row.companycode, row.companyname)),
        }
        assert [value for value in hidden if value in seen(lead)] == []
    again = [*facts, *facts[: len(facts) // 2]]
    chance.shuffle(again)
    last = {one.key: one for one in facts}
    first_of_key = [one for one in again if last[one.key] is one]
    assert sorted(map(str, leads(first_of_key, FEW))) == sorted(map(str, leads(list(last.values()), FEW)))


@given(st.lists(st.tuples(numbers, st.integers(0, 2)), min_size=1, max_size=40))
def test_below_k_shops_nothing_leaves(pairs):
    facts = [m.fact(m.repair(vehicle, shop, costlistcode=f"{vehicle}-{shop}")) for vehicle, shop in pairs]
    rules = Settings(k=4, threshold=2)
    vehicles, shops = {vehicle for vehicle, _ in pairs}, {shop for _, shop in pairs}
    assert bool(leads(facts, rules)) == (len(vehicles) >= 4 and len(shops) >= 4)


def test_the_derivation_names_what_it_takes_and_gives():
    one = Defects()
    assert (one.name, one.by, one.daily) == ("defects", "model", False)
    assert (one.takes, one.gives) == ({"repair"}, {"defect-lead"})
