"""Records of the national interface for the laws of the quick path: clean ones, and what partners do to them."""

# ruff: noqa: E501 - nasty values stand side by side; chance is seeded
from __future__ import annotations

import json
import random
from datetime import datetime, timedelta

from mappings.vin import check_digit

NASTY_TEXTS = (
    "", " ", "　", "\u00a0", "n/a", "N/A", "Ｎ／Ａ", "无", "-", "－", "null", "NULL", "Undefined", " null ", "0", "00", "-0", "+1",
    "-1", "1", "01", "1.0", "1.50", "1.005", "1.23456", "999999", "1000000", "3000001", "999999999999", "1" * 40, "1e3", "1E-2",
    "1e400", "NaN", "Infinity", "１２", "１２３４５６", "²", "٣", "五", "1,5", "1 5", ".5", "5.", "24", "24.01", "25", "100", "100.01",
    "20250605", "20250229", "20240229", "20250631", "20251332", "99990909", "00000000", "19491231", "19500101", "20260602",
    "20260603", "22010101", "2025-06-05", "2025-6-5", "2025/6/5", "2025-06-05 10:00:00", "2025-06-05T23:30:00Z", "２０２５０６０５",
    "2025060５", "202506051", "2025060", " 20250605", "20250605 ", "粤B12345", "粤b12345", "粤B1234", "粤BD12345", "粤B12345D", "粤BI2345",
    "粤BABC12", "粤BAB123", "粤O12345", "粤I12345", "粤Z1234港", "粤B1234学", "粤B1234警", "粤B123应急", "使123456", "WJ粤1234A", "VA12345",
    "临粤B12345", "B12345", "粤 B12345", "粤·B12345", "粤B-12345", "台A12345", "新A12345", "藏Z12345", "渝T12345",
    "LVSHCAMB1CE054249", "LVSHCAMB2CE054249", "lvshcamb1ce054249", "LVSHCAMB1CE05424", "LVSHCAMB1CE0542490", "LVSHCAMBICE054249",
    "ＬVSHCAMB1CE054249", " LVSHCAMB1CE054249", "LVSHCAMB1 CE054249", "WP1AG2923CLA64129", "00000000000000000", "11111111111111111",
    "a\tb", "a\nb", "a\u0000b", "a\u200bb", "\ufeffa", "a\u2028b", "\ud800", "\U0001f600", "é", "e\u0301", "a:b", 'a":b', '":', ":",
    '\\":', "x" * 50, "x" * 51, "x" * 100, "x" * 101, "修" * 100, "修" * 101, "修" * 500, "修" * 501, "A-1", "A_1", "-1A", "A|B", "A.B", "A/B",
    "A#B", "A B", "ａ1", "N1", "n", "NA", "报告编码：{123456789012345678901234}", "报告编码", "‘null’",
)  # fmt: skip
NASTY_VALUES = (*NASTY_TEXTS, None, True, False, 0, 1, -5, 1.5, 20250605, 10**20, [], {}, ["a"], {"a": "b"}, [[]])
BASIC = ("companycode", "companyname", "vehicleplatenumber", "vin", "repairdate", "repairmileage", "settledate",
         "faultdescription", "costlistcode")  # fmt: skip
PART, PROJECT = ("partsname", "partsquantity", "partscode"), ("repairproject", "workinghours")


def clean(rnd: random.Random) -> dict:
    """A record with nothing to remark, of the kinds that shops send every day."""
    head = (
        rnd.choice(["LSV", "LFV", "LVS", "1HG", "WBA"])
        + "AB12C0"
        + rnd.choice("ABCDEF123456789")
        + f"E{rnd.randrange(10**6):06d}"
    )
    number = head[:8] + check_digit(head) + head[9:]
    start = datetime(2020, 1, 1) + timedelta(days=rnd.randrange(2000))  # noqa: DTZ001 - only its day is used
    parts = [
        {"partsname": rnd.choice(["机油", "火花塞 NGK", "a:b"]), "partsquantity": rnd.choice(["1", "4", "0.5", "4.50", "12.00"]),
         "partscode": rnd.choice(["P1", "06A-115", "A/1", "1|2", "X" * 50])}
        for _ in range(rnd.randrange(4))
    ]  # fmt: skip
    projects = [
        {"repairproject": rnd.choice(["四轮定位", "更换机油"]), "workinghours": rnd.choice(["1", "0.5", "24", "2.0"])}
        for _ in range(rnd.randrange(4))
    ]
    basic = {
        "companycode": "31000001",
        "companyname": "上海某某维修有限公司",
        "vehicleplatenumber": rnd.choice(["沪A12345", "京AD12345", "粤B12345D", "浙A1B2C3", "沪AAB123"]),
        "vin": number,
        "repairdate": start.strftime("%Y%m%d"),
        "repairmileage": str(rnd.randrange(1, 10**6)),
        "settledate": (start + timedelta(days=rnd.randrange(9))).strftime("%Y%m%d"),
        "faultdescription": rnd.choice(["保养", "异响: 左前", "保养，检查"]),
        "costlistcode": rnd.choice(["JS1", "2023-04_1", "A" * 50]),
    }
    if rnd.random() < 0.2:
        del basic["companycode"]
    if not parts and not projects:
        projects = [{"repairproject": "检查", "workinghours": "1"}]
    record = {"basicInfo": basic, "vehiclepartslist": parts, "repairprojectlist": projects}
    return {"access_token": "secret:1", **record} if rnd.random() < 0.2 else record


def fixed(**basic) -> dict:
    """One clean record."""
    members = {
        "companycode": "31000001",
        "companyname": "上海某某维修有限公司",
        "vehicleplatenumber": "沪A12345",
        "vin": "LVSHCAMB1CE054249",
        "repairdate": "20250604",
        "repairmileage": "52000",
        "settledate": "20250605",
        "faultdescription": "保养",
        "costlistcode": "JS1",
    }
    parts = [{"partsname": "机油", "partsquantity": "1", "partscode": "P1"}]
    return {"basicInfo": members | basic, "vehiclepartslist": parts, "repairprojectlist": []}


def mutated(rnd: random.Random, record: dict) -> dict:
    """The record with one thing about it that a partner might do."""
    choice = rnd.randrange(12)
    basic = record["basicInfo"]
    if choice <= 5:
        basic[rnd.choice(BASIC)] = rnd.choice(NASTY_VALUES)
    elif choice <= 7 and record["vehiclepartslist"]:
        rnd.choice(record["vehiclepartslist"])[rnd.choice(PART)] = rnd.choice(NASTY_VALUES)
    elif choice == 8 and record["repairprojectlist"]:
        rnd.choice(record["repairprojectlist"])[rnd.choice(PROJECT)] = rnd.choice(NASTY_VALUES)
    elif choice == 9:
        place = rnd.choice([record, basic, *record["vehiclepartslist"], *record["repairprojectlist"]])
        name = rnd.choice(list(place))
        value = place.pop(name)
        if rnd.random() < 0.6:
            place[rnd.choice([name.upper(), name + " ", "x", name[:-1], "ｖin"])] = value
    elif choice == 10:
        place = rnd.choice([record, basic])
        place[rnd.choice(["sign", "VIN", "timestamp", "access_token", "nonce"])] = rnd.choice(NASTY_VALUES)
    else:
        record[rnd.choice(["vehiclepartslist", "repairprojectlist", "basicInfo"])] = rnd.choice(
            [[], None, {}, "", "[]", [None], [[]]]
        )
    return record


def written(rnd: random.Random, record: dict) -> bytes:
    """The record as bytes in one of the ways in which JSON can be written."""
    separators = rnd.choice([(",", ":"), (", ", ": "), (" ,", " : "), (",\n", ":\t"), (",", " :")])
    text = json.dumps(record, ensure_ascii=rnd.random() < 0.3, separators=separators)
    if rnd.random() < 0.15:
        text = repeated(rnd, text)
    body = text.encode("utf-8", "surrogatepass")
    twist = rnd.random()
    if twist < 0.02:
        return b"\xef\xbb\xbf" + body
    if twist < 0.04:
        return body + rnd.choice([b"\n", b" \r\n", b"x", b"{}", b"\x00"])
    if twist < 0.05:
        return text.encode("gb18030", "replace")
    if twist < 0.06:
        return body.replace("机油".encode(), rnd.choice([b"\xed\xa0\x80", b"\xff", b"\xc0\xaf", b"\x01"]))
    return body


def repeated(rnd: random.Random, text: str) -> str:
    """A member written twice, with or without a blank before its colon."""
    name = rnd.choice(["vin", "costlistcode", "partscode", "workinghours", "vehiclepartslist", "v\\u0069n"])
    gap = rnd.choice(["", " ", "\t", "\n"])
    value = "[]" if name.endswith("list") else '"LVSHCAMB1CE054249"'
    at = text.find('"' + name.replace("\\u0069", "i") + '"')
    return text if at < 0 else f'{text[:at]}"{name}"{gap}:{value},{text[at:]}'


def plain(row):
    """A row as tuples all through, decimals with their digits."""
    return repr((*row[:9], tuple(map(tuple, row.parts)), tuple(map(tuple, row.projects))))
