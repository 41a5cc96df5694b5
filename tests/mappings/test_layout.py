"""Mapping files: what they can say, what is wrong with them, and their examples."""

import json
import pickle

import pytest

from mappings.examples import list_mappings, run_examples
from mappings.layout import SHIPPED, MappingError, load_layout, parse_layout, shipped
from mappings.plans import plans_of
from mappings.reading import read

SHOP = """
name = "winshop"
title = "某门店软件"

[[shape]]
kind = "repair"
recognise = { all = ["order.no", "car"] }
ignored = ["order.total"]
[shape.members]
companycode = { constant = "330106000000001" }
companyname = ["shop.name", "shopname"]
plate = "car.plate"
vin = "car.vin"
repairdate = { from = "order.in", format = "%d.%m.%Y" }
settledate = { from = "order.out", epoch = "ms" }
mileage = { from = "car.tenThousandKm", scale = "10000" }
faultdescription = { from = "order.reason", codes = { M = "保养", R = "维修" } }
costlistcode = "order.no"
[shape.parts]
from = "jobs[].materials"
members = { name = "item.title", quantity = "count", code = "item.number" }
merge_by = "code"
[shape.projects]
from = "jobs"
members = { name = "title", hours = "hours" }
distinct = true
"""
PAYLOAD = {
    "shopname": "某店",
    "car": {"plate": "浙A12345", "vin": "LSVAL41Z882104202", "tenThousandKm": "2.156"},
    "order": {"no": "W1", "in": "18.03.2024", "out": 1710777600000, "reason": "m", "total": 5},
    "jobs": [
        {"title": "保养", "hours": 1, "materials": [{"item": {"title": "机油", "number": "O1"}, "count": 4}]},
        {"title": "保养", "hours": 1, "materials": '[{"item": "{\\"title\\": \\"机滤\\"}", "count": "1"}]'},
    ],
}


@pytest.fixture
def shop(tmp_path):
    path = tmp_path / "winshop.toml"
    path.write_text(SHOP, "utf-8")
    return path


def body(value):
    return json.dumps(value, ensure_ascii=False).encode()


def test_a_new_shop_software_needs_no_code(shop):
    draft = read(body(PAYLOAD), str(shop))
    assert (draft.kind, draft.dialect, draft.notes) == ("repair", "winshop", ())
    assert {name: str(value) for name, value in draft.members.items() if not isinstance(value, list)} == {
        "companycode": "330106000000001",
        "companyname": "某店",
        "plate": "浙A12345",
        "vin": "LSVAL41Z882104202",
        "repairdate": "2024-03-18",
        "settledate": "2024-03-19",
        "mileage": "21560.000",
        "faultdescription": "保养",
        "costlistcode": "W1",
    }
    assert draft.members["parts"] == [
        {"name": "机油", "quantity": 4, "code": "O1"},
        {"name": "机滤", "quantity": "1"},
    ]
    assert draft.members["projects"] == [{"name": "保养", "hours": 1}]
    assert draft.wire["companyname"] == "shopname"


def test_values_that_no_translation_fits_stay_as_sent(shop):
    order = {"no": "W1", "in": "2024-03-18", "out": "soon", "reason": "other"}
    members = read(body({"car": {"tenThousandKm": "many"}, "order": order}), str(shop)).members
    assert [members[name] for name in ("repairdate", "settledate", "mileage", "faultdescription")] == [
        "2024-03-18",
        "soon",
        "many",
        "other",
    ]


def test_tables_translate_texts(tmp_path):
    path = tmp_path / "operators.toml"
    path.write_text(
        'name = "operators"\n[[shape]]\nkind = "registration"\n[shape.members]\n'
        'companycategory = { from = "class", table = "company-categories" }\n',
        "utf-8",
    )
    assert read(b'{"class": "\xe4\xb8\x89\xe7\xb1\xbb"}', str(path)).members == {"companycategory": "03"}
    assert read(b'{"class": "ninth"}', str(path)).members == {"companycategory": "ninth"}


def test_a_changed_mapping_file_is_read_again(shop):
    import os

    assert read(body(PAYLOAD), str(shop)).members["plate"] == "浙A12345"
    shop.write_text(SHOP.replace('plate = "car.plate"', 'plate = "order.no"'), "utf-8")
    os.utime(shop, ns=(1, 1))
    assert read(body(PAYLOAD), str(shop)).members["plate"] == "W1"


@pytest.mark.parametrize(
    ("before", "after", "line", "says"),
    [
        ("[[shape]]", "[[shape]", 5, "TOML"),
        ('kind = "repair"', 'kind = "repairs"', 6, "repair"),
        ('ignored = ["order.total"]', 'ignore = ["order.total"]', 8, "remove"),
        ('vin = "car.vin"', 'vim = "car.vin"', 13, "vin"),
        ('scale = "10000"', 'scale = "ten"', 16, "scale"),
        ('epoch = "ms"', 'epoch = "days"', 15, "'ms'"),
        ('format = "%d.%m.%Y"', 'format = "%d.%d.%Y"', 14, "day"),
        ('format = "%d.%m.%Y"', 'format = "%Q"', 14, "day"),
        ('format = "%d.%m.%Y"', 'format = "%d.%m."', 14, "day"),
        ('format = "%d.%m.%Y"', 'format = "%d.%m.%Y%"', 14, "day"),
        ('merge_by = "code"', 'split = "["', 22, "regular expression"),
        ('name = "winshop"', 'name = "Win Shop"', 2, "name"),
        ('plate = "car.plate"', 'plate = "jobs[].plate"', 12, "jobs[].plate"),
        ('plate = "car.plate"', 'plate = ["car.plate", "jobs[].plate"]', 12, "jobs[].plate"),
        ('name = "item.title"', 'name = "items[].title"', 21, "items[].title"),
        ('all = ["order.no", "car"]', 'all = ["order.no", "jobs[].title"]', 7, "jobs[].title"),
        ('all = ["order.no", "car"]', 'none = ["jobs[]"]', 7, "jobs[]"),
        ('all = ["order.no", "car"]', 'equals = { "jobs[].title" = "x" }', 7, "jobs[].title"),
        ('scale = "10000"', 'scale = "10000", codes = { x = "1" }', 16, "codes"),
        ('epoch = "ms"', 'epoch = "ms", format = "%Y"', 15, "format"),
        ('epoch = "ms"', 'epoch = "ms", scale = "10"', 15, "scale"),
        ('title = "某门店软件"', 'extends = ["klingon"]', 0, "national"),
    ],
)
def test_what_is_wrong_with_a_mapping_is_told_with_line_and_remedy(before, after, line, says):
    with pytest.raises(MappingError) as caught:
        parse_layout(SHOP.replace(before, after, 1), "winshop.toml")
    assert says in str(caught.value)
    assert caught.value.line == line
    assert caught.value.remedy
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301 - our own


@pytest.mark.parametrize(
    "form", ["%d.%m.%Y %H:%M", "%y%m%d", "%Y-%m-%dT%H:%M:%S%z", "%Y年%m月%d日", "%Y-%j", "%d %b %Y"]
)
def test_any_form_that_names_a_day_is_one(form):
    assert parse_layout(SHOP.replace("%d.%m.%Y", form), "winshop.toml")


@pytest.mark.parametrize("written", ["10²", "1_5", "1５_0", "Infinity", "NaN", "0x10", "1,5", True, None])
def test_what_is_no_number_is_not_scaled(shop, written):
    assert read(body({**PAYLOAD, "car": {"tenThousandKm": written}}), str(shop)).members["mileage"] == written


@pytest.mark.parametrize("written", ["２.156", " 2.156 ", "21560e-4", 2.156])
def test_numbers_are_scaled_however_they_are_written(shop, written):
    assert read(body({**PAYLOAD, "car": {"tenThousandKm": written}}), str(shop)).members["mileage"] == 21560


@pytest.mark.parametrize("written", ["1_710_777_600_000", "1710777600000²", "1710777600000.5"])
def test_what_is_no_whole_number_is_no_moment(shop, written):
    order = {**PAYLOAD["order"], "out": written}
    assert read(body({**PAYLOAD, "order": order}), str(shop)).members["settledate"] == written


def test_a_mapping_without_shapes_or_without_file_is_refused(tmp_path):
    with pytest.raises(MappingError, match="shape"):
        parse_layout('name = "x"', "x.toml")
    with pytest.raises(MappingError, match="not readable"):
        load_layout(str(tmp_path / "none.toml"))
    with pytest.raises(MappingError, match="not readable"):
        load_layout(str(tmp_path.with_suffix(".toml").parent / "x.toml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_mappings_compile_and_their_examples_hold(name):
    assert plans_of(shipped(name))
    results = run_examples(name)
    assert results
    assert [result for result in results if not result.passed] == []


def test_mappings_are_listed_with_their_origin():
    listed = list_mappings()
    assert tuple(info.name for info in listed) == SHIPPED
    assert all(info.title and info.source and info.examples for info in listed)


def test_examples_beside_a_file_are_run_and_differences_told(shop):
    folder = shop.parent / "examples" / "winshop"
    folder.mkdir(parents=True)
    (folder / "good.in.json").write_bytes(body(PAYLOAD))
    (folder / "good.expected.json").write_text('{"kind": "repair", "notes": []}', "utf-8")
    (folder / "bad.in.json").write_bytes(body(PAYLOAD))
    (folder / "bad.expected.json").write_text('{"kind": "step", "members": {"vin": "other"}}', "utf-8")
    named_otherwise = shop.rename(shop.parent / "window-shop.toml")
    bad, good = run_examples(str(named_otherwise))
    assert good.passed
    assert not bad.passed
    assert any("members.vin" in text for text in bad.differences)
    assert any(text.startswith("kind:") for text in bad.differences)


@pytest.mark.parametrize(
    "expected",
    [None, "{", '{"member": {}}', "[]", '{"members": []}', '{"members": null}', '{"provenance": "x"}'],
)
def test_an_example_without_expectation_is_an_error(shop, expected):
    folder = shop.parent / "examples" / "winshop"
    folder.mkdir(parents=True)
    (folder / "x.in.json").write_bytes(b"{}")
    if expected is not None:
        (folder / "x.expected.json").write_text(expected, "utf-8")
    with pytest.raises(MappingError, match=r"x\.expected\.json"):
        run_examples(str(shop))
