"""Shop CSV exports: encodings, quotes, several lines, several entries in a cell, and what is refused."""

from datetime import UTC, datetime

import pytest

from mappings.findings import profile
from mappings.judging import Context
from mappings.reading import Limits, judge, read

HEADER = (
    "结算清单编号,企业名称,车牌号码,VIN,送修日期,结算日期,送修里程,故障描述,"
    "维修项目,维修工时,配件名称,配件编码,配件数量"
)
VISIT = "JS1,某店,浙A12345,LSVAL41Z882104202,20240318,20240319,21560"
FIRST = VISIT + ',"异响, ""左前""\n行驶时",换刹车片,1.5,刹车片,B1,2'
SECOND = VISIT + ",,,,刹车油,B2,0.5"


def table(*lines, newline="\r\n"):
    return newline.join((HEADER, *lines)) + newline


def codes(draft):
    return [note.code for note in draft.notes]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "utf-16"])
@pytest.mark.parametrize("newline", ["\r\n", "\n", "\r"])
def test_lines_of_one_list_are_one_record(encoding, newline):
    draft = read(table(FIRST, SECOND, newline=newline).encode(encoding))
    assert (draft.kind, draft.dialect, draft.notes) == ("repair", "csv", ())
    assert draft.members["faultdescription"] == '异响, "左前"\n行驶时'
    assert [row["name"] for row in draft.members["parts"]] == ["刹车片", "刹车油"]
    assert draft.members["projects"] == [{"name": "换刹车片", "hours": "1.5"}]


def test_cells_may_hold_lists():
    line = "JS1,某店,浙A12345,V,20240318,20240319,1,x,换油；检查,1;0.5,机油;机滤;垫片,A;B;C,4;1;1"
    draft = read(table(line).encode())
    assert [tuple(row.values()) for row in draft.members["parts"]] == [
        ("机油", "4", "A"),
        ("机滤", "1", "B"),
        ("垫片", "1", "C"),
    ]
    assert [row["hours"] for row in draft.members["projects"]] == ["1", "0.5"]


def test_cells_of_unequal_length_are_refused():
    draft = read(table("JS1,某店,浙A12345,V,20240318,20240319,1,x,换油,1,机油;机滤,A;B,4").encode())
    assert codes(draft) == ["STRUCTURE_WRONG"]
    assert draft.notes[0].field == "parts[0].quantity"


def test_two_visits_in_one_payload_are_refused():
    draft = read(table(FIRST, SECOND.replace("JS1", "JS2")).encode())
    assert [(note.code, note.field) for note in draft.notes] == [("STRUCTURE_WRONG", "costlistcode")]


def test_unknown_columns_are_named_and_known_ones_left_out():
    text = f"{HEADER},单价,车主生日\r\n{SECOND},9.9,19800101\r\n"
    draft = read(text.encode())
    assert [(note.code, note.value) for note in draft.notes] == [("UNKNOWN_MEMBER", "车主生日")]
    assert "19800101" not in repr(draft)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (HEADER + "\r\n", "NOT_JSON"),
        (table('JS1,"open quote'), "STRUCTURE_WRONG"),
        (table(SECOND + ",more"), "STRUCTURE_WRONG"),
        (table(SECOND.replace("某店", "某\0店")), "STRUCTURE_WRONG"),
        (table(*[SECOND] * 12), "STRUCTURE_WRONG"),
        (HEADER + ",VIN\r\n" + SECOND + ",other\r\n", "STRUCTURE_WRONG"),
        ("just some text\nand more", "NOT_JSON"),
    ],
    ids=["no data", "open quote", "too many cells", "NUL", "too many lines", "column twice", "no table"],
)
def test_what_is_no_good_table_says_why(text, code):
    assert code in codes(read(text.encode(), limits=Limits(rows=10)))


def test_separators_are_found():
    for mark in ("\t", ";", "|"):
        text = table(SECOND.replace("0.5", "3")).replace(",", mark)
        assert read(text.encode()).members["vin"] == "LSVAL41Z882104202"


def test_repeated_columns_are_named_in_the_order_of_the_header():
    """Not in that of a set, which is another one in every process: a letter's reasons are part of what is proved."""
    names = HEADER.split(",")
    text = f"{HEADER},{HEADER}\r\n{FIRST},{FIRST}\r\n"
    draft = read(text.encode())
    told = [note.wire or note.field for note in draft.notes if note.value == "repeated"]
    assert told == names


def test_a_blank_cell_is_blank_for_each_entry_beside_it():
    visit = "JS1,某店,浙A12345,LSVAL41Z882104202,20240318,20240319,21560,异响,换油,1"
    for blank in ("", "-", "N/A"):
        draft = read(table(f"{visit},火花塞;机油,A1;A2,{blank}").encode())
        assert [row["quantity"] for row in draft.members["parts"]] == [blank, blank]
        found = judge(draft, Context(profile("lenient"), datetime(2024, 6, 1, tzinfo=UTC))).findings
        assert [(f.code, f.severity, f.field, f.wire) for f in found] == [
            ("QUANTITY_NOT_NUMERIC", "flag", "parts[0].quantity", "rows[0].配件数量"),
            ("QUANTITY_NOT_NUMERIC", "flag", "parts[1].quantity", "rows[0].配件数量"),
        ]


def test_a_cell_is_named_by_its_line_and_a_row_by_its_number():
    draft = read(table(f"{VISIT},x,换油,1,机油;机滤,A;B,4;1", f"{VISIT},,,,垫片;螺母,C;D,1;2;3").encode())
    assert [(note.field, note.wire) for note in draft.notes] == [
        ("parts[2].name", "rows[1].配件名称"),
        ("parts[2].code", "rows[1].配件编码"),
    ]
