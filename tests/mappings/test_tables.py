"""Code tables are what their index says; divisions and MOT codes lead to the right province."""

import hashlib

import pytest

from mappings import divisions
from mappings.tables import NAMES, TableDamagedError, index, read_table, table

ROWS = {
    "gb2260": 500, "mot": 34, "plate-characters": 31, "plate-letters": 31, "wmi": 78, "economic-categories": 33,
    "operating-states": 7, "company-categories": 3, "fuel": 15, "fuel-jinhua": 7, "use-of-vehicle": 20,
    "nature-of-use": 2, "plate-colours": 6, "plate-kinds": 27, "inspection-kinds": 10, "emission-standards": 7,
    "waste-hazardous": 20, "waste-general": 7, "waste-old-codes": 1, "waste-categories": 10, "waste-units": 3,
    "waste-events": 9, "waste-manifest-states": 5, "waste-standings": 4, "waste-plan-states": 3,
    "uscc-departments": 37, "filing-items": 8, "check-results": 3, "complaint-subjects": 6, "complaint-outcomes": 5,
    "appeal-decisions": 3,
    "history-purposes": 2, "old-part-disposals": 3, "rectification-matters": 6,
    "test-types": 5, "iu-types": 6, "inspection-natures": 3, "judgements": 2,
    "obd-communication": 3, "obd-monitors": 8,
}  # fmt: skip


def test_index_and_names_agree():
    assert tuple(index()) == NAMES
    assert set(ROWS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_table_is_held_by_its_index(name):
    found = table(name)
    assert found.rows == len(found.entries) == ROWS[name] == index()[name]["rows"]
    assert found.edition
    assert found.source
    assert len(found.sha256) == 64
    assert all(code and meaning and code == code.strip() for code, meaning in found.entries.items())


def damaged(body, **changes):
    entry = {"edition": "e", "source": "s", "rows": 2, "sha256": hashlib.sha256(body).hexdigest(), **changes}
    return read_table("t", body, entry)


def test_a_sound_table_is_read():
    found = damaged("code,name,texts\n1,营业,开业|正常*\n2,停业,\n".encode())
    assert found.name_of("1") == "营业"
    assert found.name_of("3") is None
    assert "2" in found
    assert "3" not in found
    assert [found.code_for(text) for text in ("1", "营业", " 开 业 ", "正常经营", "歇业", "")] == [
        "1",
        "1",
        "1",
        "1",
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("body", "changes", "message"),
    [
        ("code,name\n1,a\n2,b\n", {"sha256": "0"}, "checksum"),
        ("code,name\n1,a\n2,b\n", {"rows": 3}, "2 codes in 2 rows, not 3"),
        ("code,name\n1,a\n1,b\n", {}, "1 codes in 2 rows"),
        ("code,name,texts\n1,a,x\n2,b,x\n", {}, "one text for two codes"),
        ("code,name,texts\n1,a,\n2,b,a\n", {}, "one text for two codes"),
    ],
)
def test_a_damaged_table_is_refused(body, changes, message):
    with pytest.raises(TableDamagedError, match=message):
        damaged(body.encode(), **changes)


def test_the_longest_beginning_wins():
    found = damaged(b"code,name,texts\n1,a,x*|xyz*\n2,b,xy*\n")
    assert [found.code_for(text) for text in ("x", "xy1", "xyz1")] == ["1", "2", "1"]


def test_a_name_that_two_codes_share_stands_for_none():
    assert damaged(b"code,name\n1,a\n2,a\n").code_for("a") is None


def test_unknown_table_names_those_shipped():
    with pytest.raises(KeyError, match="plate-colours"):
        table("colours")


def test_tables_cannot_be_changed():
    with pytest.raises(TypeError):
        table("fuel").entries["A"] = "x"
    with pytest.raises(AttributeError):
        table("fuel").rows = 1


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("operating-states", "营业", "1"), ("operating-states", "停业", "2"), ("operating-states", "停业整顿", "4"),
        ("operating-states", "7", "9"), ("operating-states", "9", "9"), ("operating-states", "8", None),
        ("company-categories", "三类", "03"), ("company-categories", "3", "03"), ("company-categories", "03", "03"),
        ("company-categories", "三类机动车维修", "03"), ("company-categories", "１", "01"),
        ("company-categories", "四类", None), ("economic-categories", "个体", "175"),
        ("economic-categories", "个体自营", "175"), ("economic-categories", "个体工商户", "175"),
        ("economic-categories", "有限责任公司", "150"), ("economic-categories", "其他", "900"),
        ("economic-categories", "私营有限责任", "173"), ("economic-categories", "无此类型", None),
        ("fuel", "汽油", "A"), ("fuel", "a", "A"), ("nature-of-use", "营运", "1"), ("nature-of-use", "非营运", "2"),
        ("plate-colours", "蓝", "1"), ("plate-colours", "渐变绿", "5"), ("mot", "兵团", None),
    ],
)  # fmt: skip
def test_texts_and_short_forms(name, text, code):
    assert table(name).code_for(text) == code


@pytest.mark.parametrize(
    ("name", "code", "meaning"),
    [
        ("fuel", "P", "氢"), ("fuel-jinhua", "X", "氢"), ("plate-kinds", "52", "小型新能源"),
        ("plate-kinds", "02", "小型汽车"), ("inspection-kinds", "2", "抽检复检"), ("use-of-vehicle", "L", "营转非"),
        ("mot", "34", "长航"), ("economic-categories", "175", "个体经营"), ("emission-standards", "6", "国六"),
        ("gb2260", "659012", "白杨市"), ("gb2260", "330100", "杭州市"), ("gb2260", "440600", "佛山市"),
        ("gb2260", "620100", "兰州市"), ("gb2260", "431300", "娄底市"),
    ],
)  # fmt: skip
def test_meanings(name, code, meaning):
    assert table(name).name_of(code) == meaning


def test_hydrogen_is_x_only_at_jinhua():
    assert "X" not in table("fuel")


def test_provinces():
    keys = "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 bt".split()  # noqa: SIM905 - reads better
    assert list(divisions.PROVINCES) == keys
    assert {p.key for p in divisions.PROVINCES.values()} == set(keys)
    assert len({p.mot for p in divisions.PROVINCES.values()}) == 32
    assert len({p.name_en for p in divisions.PROVINCES.values()}) == 32
    assert "".join(divisions.BY_CHARACTER) == "京津冀晋蒙辽吉黑沪苏浙皖闽赣鲁豫鄂湘粤桂琼渝川贵云藏陕甘青宁新"
    assert divisions.PROVINCES["44"] == divisions.Province("44", "广东省", "Guangdong", "粤", "20")
    assert divisions.PROVINCES["bt"].mot == "33"


def test_xinjiang_plate_is_xinjiang():
    assert divisions.by_character("新") == "65"
    assert divisions.by_character("港") is None


@pytest.mark.parametrize(
    ("code", "key"),
    [
        ("330106", "33"), ("310000", "31"), ("650100", "65"), ("659001", "bt"), ("659012", "bt"), ("6590", "bt"),
        ("65", "65"), ("661001", None), ("710100", None), ("810000", None), ("820000", None), ("881812", None),
        ("", None), ("3", None), ("33x", None), ("３３０１０６", None), ("粤", None),
    ],
)  # fmt: skip
def test_division_to_province(code, key):
    assert divisions.of_division(code) == key


@pytest.mark.parametrize(
    ("code", "key"),
    [
        ("330103000000001", "33"), ("620103000000001", "62"), ("310000011234", "31"), ("659001000000001", "bt"),
        ("881812000000001", None), ("111111111111001", "11"), ("", None), ("31000123", "31"),
    ],
)  # fmt: skip
def test_company_to_province(code, key):
    assert divisions.of_company(code) == key


@pytest.mark.parametrize(
    ("code", "key"), [("33", "bt"), ("31", "64"), ("10", "31"), ("12", "33"), ("32", "65"), ("34", None), ("01", None)]
)
def test_mot_codes_are_not_gb2260(code, key):
    assert divisions.of_mot(code) == key


def test_every_division_lies_in_a_listed_level_above():
    codes = table("gb2260").entries
    for code in codes:
        assert code[:2] + "0000" in codes
        assert code.endswith("0000") or code[:4] + "00" in codes


def test_prefectures_are_complete_in_number():
    rows = table("gb2260").details.values()
    collective = {"市辖区", "县", "省直辖县级行政区划", "自治区直辖县级行政区划"}
    in_force = [r for r in rows if r["level"] == "2" and not r["mark"] and r["name"] not in collective]
    assert len(in_force) == 333


def test_name_of_division():
    assert divisions.name_of("510107") is None
    assert divisions.name_of("510100") == "成都市"
