"""Symptoms: what is taken out of a fault text, what stays, and that doing it twice changes nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappings.symptoms import LONGEST, part_code, part_name, symptom


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("客户反映：发动机异响，电话138-0000-0012", "发动机异响"),
        ("车主张三 13800000012 发动机异响", "发动机异响"),
        ("粤B·12345 刹车抖动", "刹车抖动"),
        ("王师傅 水温高", "水温高"),
        ("报告编码{330100112108211315501011} 尾气超标", "尾气超标"),
        ("故障码 p0171，怠速不稳", "故障码P0171怠速不稳"),
        ("高速行驶抖动", "高速行驶抖动"),
        ("A柱异响", "A柱异响"),
        ("1380张先生0000李先生0012漏水", "漏水"),
        ("N/A", ""),
        ("异" * (LONGEST + 1), ""),
    ],
)
def test_symptom(text, left):
    assert symptom(text) == left


@pytest.mark.parametrize(
    ("code", "kept"),
    [
        ("06A-109-503", "06A-109-503"),
        (" 999 170 22190 ", "99917022190"),
        ("13800000012", ""),
        ("0755-88776655", ""),
        ("LSVAL41Z882104202", ""),
        ("440106000000001", ""),
        ("粤B12345", ""),
        ("无", ""),
    ],
)
def test_part_code(code, kept):
    assert part_code(code) == kept


PIECES = ["发动机", "异响", "车主", "张三", "先生", "汽修厂", "鑫达", "粤B", "P0171", " ", "，", "：", "-", "\u200b"]
NUMBERS = [
    "13812345678",
    "138 1234",
    "12345",
    "一三八零零一二三四五六",
    "LSVAL41Z882104202",
    "110105194912310021",
    "ａｂ１２３４５６",
]
words = st.sampled_from([*PIECES, *NUMBERS])


@settings(max_examples=300)
@given(st.lists(words, max_size=12).map("".join))
def test_twice_is_once_and_no_long_number_is_left(text):
    for reduce in (symptom, part_name):
        left = reduce(text)
        assert reduce(left) == left
        assert not re.search(r"\d{5}", left)
        assert "LSVAL41Z882104202" not in left


@given(st.text(max_size=300))
def test_no_text_raises(text):
    assert len(symptom(text)) <= LONGEST
    part_code(text)
