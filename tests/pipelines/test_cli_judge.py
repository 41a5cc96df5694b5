"""`vingate judge` on the payloads of real clients, and on files that are none."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import fastavro
import pytest

from mappings.findings import profile
from mappings.judging import Context
from pipelines.cli import judge as judging
from pipelines.cli import main
from pipelines.cli.payloads import Payload

PAYLOADS = Path(__file__).parent.parent / "payloads"
MEMBERS = {
    *("companycode", "companyname", "plate", "vin", "repairdate", "settledate", "mileage", "faultdescription"),
    *("costlistcode", "parts", "projects"),
}
EXPECTED = {
    "01": "national accept",
    "02": "national reject UNKNOWN_MEMBER VIN_MISSING QUANTITY_NOT_NUMERIC PLACEHOLDER_PARTSCODE HOURS_NOT_NUMERIC",
    "04": "national accept HOURS_OUTLIER",
    "05": "chengdu accept",
    "06": "chengdu accept HOURS_OUTLIER",
    "07": "chengdu reject MANDATORY_MISSING CODE_NOT_IN_TABLE CODE_NOT_IN_TABLE CODE_NOT_IN_TABLE",
    "09": "foshan accept",
    "10": "foshan reject UNKNOWN_MEMBER VIN_LENGTH SETTLEDATE_IN_FUTURE",
    "13": "national reject USCC_CHECK_CHAR USCC_DEPARTMENT",
    "15": "national accept",
    "16": "shanghai reject SIGN_NOT_CHECKED VIN_LENGTH VIN_ALPHABET",
    "17": "shanghai accept SIGN_NOT_CHECKED ORDER_NOT_CHECKED",
    "19": "shanghai accept SIGN_NOT_CHECKED",
    "20": "secondary reject SIGN_NOT_CHECKED USCC_LENGTH ENGINE_PLACEHOLDER BRAND_WMI_MISMATCH",
    "23": "waste-order reject UNIT_MISSING WASTE_CATEGORY_MISMATCH",
    "24": "istation accept",
    "25": "national accept UNKNOWN_MEMBER",
    "27": "damage-estimate accept",
}


@pytest.fixture
def judge(capsys):
    """Judge files in this process: exit code and the objects on stdout, numbers exact."""

    def call(*arguments):
        code = main(["judge", *map(str, arguments), "--json"])
        return code, [json.loads(line, parse_float=Decimal) for line in capsys.readouterr().out.splitlines()]

    return call


def payload(number):
    (path,) = PAYLOADS.glob(f"{number}_*.json")
    return path


def good():
    return json.loads(payload("15").read_text("utf-8"))


def test_every_payload_gets_the_verdict_that_its_readme_asks(judge):
    code, found = judge(*sorted(PAYLOADS.glob("*.json")))
    assert code == 1
    told = {Path(one["file"]).name[:2]: one for one in found}
    assert set(told) == set(EXPECTED)
    for number, wanted in EXPECTED.items():
        one = told[number]
        codes = [finding["code"] for finding in one["findings"]]
        assert " ".join(filter(None, (one["dialect"], one["verdict"], *codes))) == wanted, number


def test_documents_are_judged_by_their_forms(judge):
    files = [*sorted((PAYLOADS / "credit").glob("*.json")), PAYLOADS / "insurers/loss-assessment.xml"]
    code, found = judge(*files)
    assert code == 0
    assert [one["dialect"] for one in found] == [path.stem for path in files]
    assert all(one["records"] and not one["findings"] for one in found)


def test_a_line_has_exactly_the_promised_members_in_order(judge):
    code, (one,) = judge(payload("04"))
    assert code == 0
    assert list(one) == ["file", "item", "dialect", "verdict", "findings", "records"]
    assert one["findings"] == [
        {"code": "HOURS_OUTLIER", "severity": "flag", "field": "projects[0].hours", "value": "50", "expected": "<= 24"}
    ]
    assert list(one["findings"][0]) == ["code", "severity", "field", "value", "expected"]
    (record,) = one["records"]
    assert set(record) >= MEMBERS
    assert record["settledate"] == "2017-09-18"
    assert (record["mileage"], type(record["mileage"])) == (15230, int)
    assert record["parts"][0]["quantity"] == 1
    assert record["projects"] == [{"name": "小保养服务", "hours": 50}]


def test_fractions_are_exact_numbers(judge):
    _, (one,) = judge(payload("25"))
    assert one["records"][0]["projects"][0]["hours"] == Decimal("0.5")
    assert one["records"][0]["vin"] == "LRW3E7FS6PC834425"


def test_a_single_step_shows_what_it_has(judge):
    _, (items, pick) = judge(payload("17"), payload("19"))
    assert items["records"] == [
        {
            "costlistcode": "1",
            "parts": [{"name": "机油机滤", "quantity": 9, "code": "1024"}],
            "projects": [{"name": "更换机油机滤", "hours": 8}],
        }
    ]
    assert pick["records"][0]["plate"] == "沪A12345"


def test_neither_token_nor_password_is_shown(judge, capsys):
    code, found = judge(*(payload(number) for number in ("01", "05", "07", "09", "13", "15")))
    assert code == 1
    shown = json.dumps([[one["records"], one["findings"]] for one in found], default=str).lower()
    assert "password" not in shown
    assert "access_token" not in shown
    assert found[0]["records"] == [{"companycode": "330106000000001"}]
    secrets = [_password(json.loads(payload(number).read_text("utf-8"))) for number in ("01", "07", "13")]
    assert all(secrets)
    main(["judge", *(str(payload(number)) for number in ("01", "07", "13"))])
    out = capsys.readouterr().out
    assert "national" in out
    assert not [secret for secret in secrets if secret in out or secret in shown]


def _password(tree):
    if isinstance(tree, dict):
        for name, value in tree.items():
            found = value if "password" in name.lower() else _password(value)
            if found:
                return found
    return None


def test_many_payloads_of_a_file_are_counted_from_0(judge, tmp_path):
    lines = tmp_path / "day.ndjson.gz"
    bad = good()
    bad["basicInfo"]["vin"] = ""
    body = "\n".join([json.dumps(good()), json.dumps(bad), "{broken", "", json.dumps(good())])
    lines.write_bytes(gzip.compress(body.encode()))
    array = tmp_path / "array.json"
    array.write_text(json.dumps([good(), good()]), "utf-8")
    code, found = judge(lines, array)
    assert code == 1
    assert [(one["item"], one["verdict"]) for one in found] == [
        (0, "accept"),
        (1, "reject"),
        (2, "reject"),
        (3, "accept"),
        (0, "accept"),
        (1, "accept"),
    ]
    assert [finding["code"] for finding in found[2]["findings"]] == ["NOT_JSON"]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("empty.json", b""),
        ("blank.ndjson", b"\n \n"),
        ("none.json", b"[]"),
        ("garbage.bin", bytes(range(256))),
        ("cut.json.gz", gzip.compress(b'{"a": 1}' * 500, mtime=0)[:-9]),
        ("not-avro.avro", b"Obj\x01 and no more"),
        ("no.zip", b"PK\x03\x04 and no more"),
        ("header-only.csv", "结算清单编号,车牌号,VIN\n".encode()),
    ],
)
def test_what_cannot_be_read_is_a_rejected_line(judge, tmp_path, name, body):
    (tmp_path / name).write_bytes(body)
    code, found = judge(tmp_path / name)
    assert code == 1
    assert found
    assert all(one["verdict"] == "reject" and one["findings"] and one["records"] == [] for one in found)
    assert found[0]["findings"][0]["severity"] == "reject"


HEAD = "结算清单编号,企业名称,车牌号,VIN,送修日期,结算日期,送修里程,故障描述,"
CSV = f"""{HEAD}配件名称,配件数量,配件编码,维修项目,维修工时
S1,某某汽修,沪BL7806,WP1AG2923CLA64129,2018-04-12,2018-04-13,52000,异响,火花塞,6,999,更换火花塞,2
S1,,,,,,,,机油,1.5,888,更换机油,0.5
S2,某某汽修,沪BL7806,WP1AG2923CLA64129,2018-05-12,2018-05-13,53000,保养,机油,4,888,更换机油,0.5
"""


@pytest.mark.parametrize("encoding", ["utf-8", "gbk", "utf-8-sig"])
@pytest.mark.parametrize(("separator", "newline"), [(",", "\n"), (";", "\r\n"), ("\t", "\r")])
def test_lines_of_one_list_code_are_one_payload(judge, tmp_path, encoding, separator, newline):
    path = tmp_path / "export.csv"
    path.write_bytes(CSV.replace(",", separator).replace("\n", newline).encode(encoding))
    code, found = judge(path)
    assert [(one["dialect"], one["verdict"]) for one in found] == [("csv", "accept")] * 2
    assert code == 0
    first = found[0]["records"][0]
    assert [(part["name"], part["quantity"]) for part in first["parts"]] == [("火花塞", 6), ("机油", Decimal("1.5"))]
    assert found[1]["records"][0]["costlistcode"] == "S2"


def test_a_mapping_file_names_the_column_that_groups(judge, tmp_path, capsys):
    assert main(["mappings", "show", "csv"]) == 0
    shown = capsys.readouterr().out
    own = tmp_path / "ours.toml"
    own.write_text(shown.replace('name = "csv"', 'name = "ours"').replace('"结算单号"', '"单据号"'), "utf-8")
    path = tmp_path / "export.csv"
    path.write_text(CSV.replace("结算清单编号", "单据号"), "utf-8")
    code, found = judge(path, "--dialect", own)
    assert (code, [one["dialect"] for one in found]) == (0, ["ours", "ours"])


def test_avro_files_are_judged_record_by_record(judge, tmp_path):
    example = files("mappings").joinpath("data/mappings/examples/oem/visit.in.json")
    visit = json.loads(example.read_text("utf-8"))
    path = tmp_path / "feed.avro"
    with path.open("wb") as file:
        fastavro.writer(file, _avro(visit), iter([visit, visit]))
    _, found = judge(path)
    assert [(one["item"], one["dialect"]) for one in found] == [(0, "oem"), (1, "oem")]


def _avro(value, name="visit"):
    if isinstance(value, dict):
        fields = [{"name": n, "type": _avro(v, f"{name}_{n}")} for n, v in value.items()]
        return {"type": "record", "name": name, "fields": fields}
    if isinstance(value, list):
        del value[1:]
        return {"type": "array", "items": _avro(value[0], f"{name}_row")}
    return {bool: "boolean", int: "long", float: "double", str: "string", type(None): "null"}[type(value)]


def test_the_moment_of_receipt_is_read_in_chinas_time(judge, tmp_path):
    late = good()
    late["basicInfo"] |= {"repairdate": "20180501", "settledate": "20180502"}
    path = tmp_path / "late.json"
    path.write_text(json.dumps(late), "utf-8")

    def codes(moment):
        return [finding["code"] for finding in judge(path, "--received-at", moment)[1][0]["findings"]]

    assert codes("2018-04-30T23:59:59") == ["SETTLEDATE_IN_FUTURE"]
    assert codes("2018-05-01T00:00:00") == []
    assert codes("2018-04-30T16:00:00Z") == []
    assert codes("2018-04-30T15:59:59+00:00") == ["SETTLEDATE_IN_FUTURE"]


def test_profile_and_dialect_are_obeyed(judge):
    code, (one,) = judge(payload("07"), "--profile", "lenient")
    assert [finding["code"] for finding in one["findings"]].count("CODE_MAPPED") == 3
    code, (one,) = judge(payload("15"), "--dialect", "shanghai")
    assert (code, one["dialect"], one["findings"][0]["code"]) == (1, "shanghai", "DIALECT_UNKNOWN")


def test_a_chosen_mapping_is_named_whether_it_recognised_the_payload_or_not(judge, tmp_path):
    own = tmp_path / "file-of-ours.toml"
    own.write_text('name = "ours"\nextends = ["national"]\n', "utf-8")
    (tmp_path / "day.ndjson").write_text(f'{json.dumps(good())}\n{{"a": 1}}\n{{broken\n', "utf-8")
    (tmp_path / "empty.json").write_bytes(b"")
    code, found = judge(tmp_path / "day.ndjson", tmp_path / "empty.json", "--dialect", own)
    assert (code, [one["dialect"] for one in found]) == (1, ["ours"] * 4)


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        ("PAYLOAD_TOO_LARGE: 单条超长 / payload too long: 70000000 bytes", "STRUCTURE_WRONG"),
        ("NOT_AN_ARCHIVE: 无法读取 / cannot be read: too long a visit.zip", "NOT_JSON"),
        ("文件中没有报文 / the file holds no payload", "NOT_JSON"),
    ],
)
def test_a_payload_beyond_the_limit_is_known_by_the_connector_s_code(monkeypatch, tmp_path, problem, code):
    monkeypatch.setattr(judging, "payloads", lambda *_: [Payload(b"", 0, problem)])
    (found,) = judging.judged_file(tmp_path / "x", "auto", Context(profile("strict"), datetime.now(UTC)))
    assert [(finding.code, finding.value) for finding in found.findings] == [(code, problem)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-file.json"], "no such file: no-such-file.json"),
        ([str(PAYLOADS)], "is a folder"),
        ([str(PAYLOADS / "README.md"), "--profile", "mild"], "strict, lenient"),
        ([str(PAYLOADS / "README.md"), "--dialect", "klingon"], "known: "),
        ([str(PAYLOADS / "README.md"), "--received-at", "yesterday"], "ISO 8601"),
        ([], "Missing argument"),
    ],
)
def test_wrong_use_is_explained_and_exits_with_2(capsys, arguments, said):
    assert main(["judge", *arguments, "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in " ".join(err.split())
    assert "Traceback" not in err


def test_a_missing_file_is_told_before_anything_is_judged(capsys):
    assert main(["judge", str(payload("15")), "no-such-file", "--json"]) == 2
    assert capsys.readouterr().out == ""


def test_people_get_texts_in_two_languages(capsys):
    assert main(["judge", str(payload("02"))]) == 1
    shown = capsys.readouterr().out
    assert "缺少车辆识别代号 / The VIN is missing" in shown
    assert "VIN_MISSING vin" in shown
    assert "1 payloads, 1 rejected" in shown


def test_a_file_name_that_is_no_unicode_is_shown_all_the_same(judge, tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + "/上传.json".encode("gbk")))
    path.write_bytes(payload("15").read_bytes())
    code, (one,) = judge(path)
    assert (code, one["verdict"]) == (0, "accept")
    assert "\ufffd" in one["file"]


def test_judging_in_a_process_of_its_own_is_quick_and_loads_no_engine():
    code = (
        "import sys; from pipelines.cli import main; code = main(sys.argv[1:]);"
        "heavy = {'apache_beam', 'sqlalchemy', 'rich', 'fastavro', 'cryptography'} & set(sys.modules);"
        "print(sorted(heavy), file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, "judge", str(payload("15")), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "[]")
    assert json.loads(done.stdout)["verdict"] == "accept"


def test_a_stranger_is_told_every_known_dialect(judge, tmp_path):
    (tmp_path / "stranger.json").write_text('{"stranger": 1}', "utf-8")
    _, (one,) = judge(tmp_path / "stranger.json")
    for name in ("report", "push", "shanghai", "chengdu", "foshan", "oem", "national", "root", "csv"):
        assert name in one["findings"][0]["expected"]


@pytest.mark.parametrize(
    ("fuel", "use", "wanted"),
    [("A", 2, []), ("", "", []), ("9", 2, [("CODE_NOT_IN_TABLE", "fuel")]), ("A", 3, [("CODE_NOT_IN_TABLE", "use")])],
)
def test_fuel_and_use_of_a_shanghai_step_are_held_against_their_tables(judge, tmp_path, fuel, use, wanted):
    step = json.loads(payload("19").read_text("utf-8")) | {"fuelType": fuel, "natureOfUse": use}
    (tmp_path / "step.json").write_text(json.dumps(step), "utf-8")
    code, (one,) = judge(tmp_path / "step.json")
    refused = [(found["code"], found["field"]) for found in one["findings"] if found["severity"] == "reject"]
    assert (code, refused) == (int(bool(wanted)), wanted)
    assert not {"fuel", "use"} & set(one["records"][0] if one["records"] else {})


@pytest.mark.parametrize("place", ["in basicInfo", "beside it", "without basicInfo"])
def test_number_of_an_inspection_report_is_linked_wherever_it_stands(judge, tmp_path, place):
    record = good()
    (record["basicInfo"] if place == "in basicInfo" else record)["test_no"] = "330100112108211315501011"
    if place == "without basicInfo":
        record |= record.pop("basicInfo")
    (tmp_path / "record.json").write_text(json.dumps(record), "utf-8")
    code, (one,) = judge(tmp_path / "record.json")
    assert (code, [found["code"] for found in one["findings"]]) == (0, ["REPORT_LINK"])
    assert one["findings"][0]["value"] == "330100112108211315501011"
    assert set(one["records"][0]) == MEMBERS
