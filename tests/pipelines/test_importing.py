"""`vingate import`: codes and hashes kept, misfits told by reason, run again without harm, secrets in one safe file."""

from __future__ import annotations

import csv
import hashlib
import json
import sqlite3
import stat
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from door_samples import CHEAP
from row_gate import Gate
from sqlalchemy import select
from test_live import drain, live

from pipelines import tables
from pipelines.cli import main
from pipelines.door import accounts, applications
from pipelines.door.passwords import Given, hashed
from pipelines.importing import inlet
from pipelines.importing.records import _left_out
from pipelines.importing.registrations import _home
from pipelines.importing.remarks import DELETED
from pipelines.importing.tabular import encoding_of, shown_address
from pipelines.inbox import Inbox
from pipelines.ledger import prove
from pipelines.state import State

USCC = "91310112132259241T"
MD5 = hashlib.md5(b"old-secret").hexdigest()  # noqa: S324 - what old platforms have
FULL = {
    "companycode": "330106000000001",
    "companyname": "某某汽修一厂",
    "companyunifiedsocialcreditidentifier": USCC,
    "companyaddress": "某某路1号",
    "companypostalcode": "310000",
    "companyeconomiccategory": "150",
    "companycategory": "02",
    "companylinkmanname": "张某",
    "companylinkmantel": "13800000000",
    "companysuperintendentname": "张某",
    "companysuperintendenttel": "13800000000",
    "companybusinessscope": "机动车维修",
    "companyoperationstate": "1",
    "companyadministrativedivisioncode": "330106",
    "companyemail": "shop@example.com",
}


@pytest.fixture
def run(tmp_path, capsys):
    def call(*arguments, code=0, state="state"):
        given = ["import", *map(str, arguments), "--state", str(tmp_path / state), "--json"]
        assert main(given) == code, capsys.readouterr().err
        captured = capsys.readouterr()
        return captured.err if code else json.loads(captured.out)

    return call


@pytest.fixture
def look(tmp_path):
    def call(work, name="state"):
        with State(tmp_path / name, own=False) as state, state.unit_of_work() as connection:
            return work(connection, state)

    return call


def table(path, rows, encoding="utf-8"):
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return path


def login(look, company, password):
    return look(lambda connection, _: accounts.login(connection, company, Given(password, CHEAP), datetime.now(UTC)))


def waiting(look, exchange):
    def read(connection, state):
        found = Inbox(exchange, state.sealer()).take(connection, 10_000, 1 << 30, 1)
        connection.rollback()
        return found

    return look(read)


# -- companies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "utf-16"])
def test_codes_and_hashes_are_kept_and_shops_log_in_unchanged(run, look, tmp_path, encoding):
    rows = [
        {"企业代号": "31000001001X", "企业名称": "某某汽修一厂", "统一社会信用代码": USCC, "密码": MD5},
        {
            "企业代号": "111111111111001",
            "企业名称": "某某汽修二厂",
            "统一社会信用代码": "",
            "密码": "{SHA1}" + "0" * 40,
        },
        {"企业代号": "3", "企业名称": "某某汽修三厂", "统一社会信用代码": "", "密码": hashed("third-secret", CHEAP)},
    ]
    path = table(tmp_path / "shops.csv", rows, encoding)
    found = run("companies", path, "--column", "companycode=企业代号", "--hash", "md5")
    assert (found["read"], found["new"], found["left_out"]) == (3, 3, 0)
    assert login(look, "31000001001X", "old-secret").token
    assert login(look, "31000001001X", "old-secret").token
    assert login(look, "111111111111001", "old-secret").cause == "wrong"
    assert login(look, "3", "third-secret").token


def test_what_does_not_fit_is_told_by_reason_and_without_values(run, tmp_path):
    rows = [
        {"companycode": "1", "companyname": "a", "uscc": USCC, "password": "{MD5}" + MD5},
        {"companycode": "1", "companyname": "a", "uscc": USCC, "password": ""},
        {"companycode": "1", "companyname": "a", "uscc": "91110108551385082Q", "password": ""},
        {"companycode": "有 空格", "companyname": "b", "uscc": "", "password": ""},
        {"companycode": "2", "companyname": "", "uscc": "", "password": ""},
        {"companycode": "3", "companyname": "c", "uscc": "913101121322592441T", "password": "swordfish-plain"},
        {"companycode": "4", "companyname": "d", "uscc": "", "password": "", "state": "whatever"},
    ]
    path = table(tmp_path / "shops.csv", rows)
    with path.open("a") as file:
        file.write("5,e,x,y,z,too,many\n")
    report = tmp_path / "misfits.ndjson"
    found = run("companies", path, "--report", report, "--operators", "")
    assert (found["read"], found["new"], found["known"], found["left_out"]) == (8, 3, 1, 4)
    assert found["reasons"] == {
        "CODE_FORM": 1,
        "COMPANY_DIFFERS": 1,
        "NAME_MISSING": 1,
        "PASSWORD_FORM": 1,
        "PASSWORD_NONE": 2,
        "REGISTER_INCOMPLETE": 3,
        "ROW_BROKEN": 1,
        "STATE_UNKNOWN": 1,
        "USCC_LENGTH": 1,
    }
    told = report.read_text()
    assert "swordfish" not in told
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    (third,) = [line for line in map(json.loads, told.splitlines()) if line["key"] == "3"]
    assert (third["place"], third["outcome"]) == ("line 7", "new")
    assert {"code": "PASSWORD_FORM", "field": "password"} in third["reasons"]


def test_plain_passwords_are_hashed(run, look, tmp_path):
    path = table(tmp_path / "shops.csv", [{"companycode": "1", "companyname": "a", "password": "plain-secret"}])
    run("companies", path, "--hash", "plain")
    (stored,) = look(lambda connection, _: accounts.hashes_of(connection, company="1"))
    assert stored.startswith("$scrypt$ln=14,")
    assert login(look, "1", "plain-secret").token


def test_new_passwords_stand_in_a_list_that_only_its_owner_reads_and_work(run, look, tmp_path):
    path = table(tmp_path / "shops.csv", [{"companycode": str(n), "companyname": "a"} for n in range(300)])
    resets = tmp_path / "resets.csv"
    found = run("companies", path, "--reset-list", resets)
    assert (found["new"], found["reasons"]["PASSWORD_RESET"], found["reset_list"]) == (300, 300, str(resets))
    assert stat.S_IMODE(resets.stat().st_mode) == 0o600
    with resets.open() as file:
        made = {row["companycode"]: row["password"] for row in csv.DictReader(file)}
    assert len(set(made.values())) == 300
    assert login(look, "299", made["299"]).token
    assert run("companies", path, "--reset-list", resets)["known"] == 300
    assert len(resets.read_text().splitlines()) == 301


def test_companies_without_a_password_get_one_when_a_list_is_asked_for_later(run, look, tmp_path):
    rows = [
        {"companycode": "1", "companyname": "a", "password": "{MD5}" + MD5},
        {"companycode": "2", "companyname": "b"},
    ]
    path, resets = table(tmp_path / "shops.csv", rows), tmp_path / "resets.csv"
    assert run("companies", path)["reasons"]["PASSWORD_NONE"] == 1
    found = run("companies", path, "--reset-list", resets)
    assert (found["known"], found["reasons"]["PASSWORD_RESET"]) == (2, 1)
    (line,) = resets.read_text().splitlines()[1:]
    code, password = line.split(",")
    assert code == "2"
    assert login(look, "2", password).token
    assert login(look, "1", "old-secret").token


def test_no_password_is_made_for_another_companys_account(run, look, tmp_path):
    ours = {"companycode": "1", "companyname": "a", "uscc": USCC}
    run("companies", table(tmp_path / "a.csv", [ours]))
    other = table(tmp_path / "b.csv", [{**ours, "uscc": "91110108551385082Q"}])
    found = run("companies", other, "--reset-list", tmp_path / "resets.csv")
    assert (found["left_out"], found["reasons"]["COMPANY_DIFFERS"], found["reset_list"]) == (1, 1, "")


@pytest.mark.parametrize("trouble", ["readable", "link", "folder"])
def test_secrets_go_to_no_file_that_others_reach(run, look, tmp_path, trouble):
    path, resets = table(tmp_path / "shops.csv", [{"companycode": "1", "companyname": "a"}]), tmp_path / "resets.csv"
    if trouble == "readable":
        resets.write_text("")
        resets.chmod(0o644)
    elif trouble == "link":
        resets.symlink_to(tmp_path / "elsewhere")
    else:
        resets.mkdir(mode=0o700)
    assert "resets.csv" in run("companies", path, "--reset-list", resets, code=3 if trouble == "folder" else 2)
    assert look(lambda connection, _: accounts.counts(connection)) == {}


def test_an_account_that_is_there_is_never_changed(run, look, tmp_path):
    first = table(
        tmp_path / "a.csv", [{"companycode": "1", "companyname": "a", "uscc": USCC, "password": "{MD5}" + MD5}]
    )
    run("companies", first)
    other = hashlib.md5(b"other-secret").hexdigest()  # noqa: S324 - what old platforms have
    again = table(
        tmp_path / "b.csv", [{"companycode": "1", "companyname": "b", "uscc": USCC, "password": "{MD5}" + other}]
    )
    assert run("companies", again)["known"] == 1
    assert login(look, "1", "old-secret").token
    assert look(lambda connection, _: accounts.find(connection, "1").companyname) == "a"


def test_secrets_of_signing_software_come_over(run, look, tmp_path):
    rows = [
        {"companycode": "1", "companyname": "a", "appId": "app-1", "appSecret": "as-it-was"},
        {"companycode": "2", "companyname": "b", "appId": "app-1", "appSecret": "stolen"},
        {"companycode": "3", "companyname": "c", "appId": "app-3", "appSecret": ""},
    ]
    report = tmp_path / "misfits.ndjson"
    found = run("companies", table(tmp_path / "shops.csv", rows), "--report", report)
    assert (found["reasons"]["APPLICATION_TAKEN"], found["reasons"]["APPLICATION_HALF"]) == (1, 1)
    one = look(lambda connection, state: applications.application_of(connection, state.sealer(), "app-1"))
    assert (one.company, one.secret) == ("1", "as-it-was")
    assert "stolen" not in report.read_text()


def test_states_come_over(run, look, tmp_path):
    rows = [{"companycode": str(n), "companyname": "a", "state": s} for n, s in enumerate(("停用", "pending", "", "?"))]
    run("companies", table(tmp_path / "shops.csv", rows))
    found = look(lambda connection, _: [one.state for one in accounts.listed(connection)])
    assert found == ["closed", "pending", "active", "pending"]


def test_whole_registrations_reach_the_register_of_operators(run, look, tmp_path):
    path = table(tmp_path / "shops.csv", [FULL, {**FULL, "companycode": "2", "companypostalcode": ""}])
    found = run("companies", path)
    assert found["reasons"]["REGISTER_INCOMPLETE"] == 1
    (kept,) = waiting(look, "operators")
    assert json.loads(kept.body) == FULL


def test_new_shops_get_codes_behind_those_brought_over(run, look, tmp_path):
    from door_samples import NOW, operator

    run("companies", table(tmp_path / "shops.csv", [FULL | {"companycode": "330106000000017"}]))
    who = operator(companyunifiedsocialcreditidentifier="91110108551385082Q")
    made = look(lambda c, _: accounts.register(c, who, Given("secret", CHEAP), NOW, approve=True))
    assert made.company == "330106000000018"


# -- an older platform's database --------------------------------------------------------------------------------------

VINS = ["WP1AG2923CLA64129", "LFV2A21K8G4043336", "WAUAYD4LXAD021549"]


def platform(path, *, parts=True, many=3):
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            """
            CREATE TABLE rr_repair_record (recordId TEXT PRIMARY KEY, maintId TEXT, maintName TEXT, maintCode TEXT,
              vin TEXT, vehicleplatenumber TEXT, repairdate TEXT, repairrmileate REAL, settledate TEXT,
              faultdescription TEXT, costlistcode TEXT, repaircomefrom TEXT, repairtype TEXT, repeirnature TEXT,
              createDate TEXT, delFlag TEXT);
            CREATE TABLE rr_repair_item (itemId INTEGER PRIMARY KEY, recordId TEXT, repairproject TEXT,
              workinghours DOUBLE, repairmark TEXT);
            CREATE TABLE company (code TEXT, name TEXT, pw TEXT);
            """
        )
        if parts:
            connection.execute("CREATE TABLE rr_repair_part (recordId, partsname, partsquantity, partscode)")
        for n in range(many):
            come, gone = ("2" if n == 1 else "1"), ("1" if n == 2 else "0")
            row = (f"r{n:04d}", "m1", "某某汽修一厂", "330106000000001", VINS[n % 3], "浙A12345", "2024-03-18", 48211.0)
            row = (*row, "20240319", "异响", f"L{n}", come, "小修", "x", "2024-03-19 10:00:00", gone)
            connection.execute(f"INSERT INTO rr_repair_record VALUES ({','.join('?' * 16)})", row)
            connection.execute(
                "INSERT INTO rr_repair_item VALUES (?,?,?,?,?)", (2 * n + 1, f"r{n:04d}", "检查", 1.5, "x")
            )
            connection.execute("INSERT INTO rr_repair_item VALUES (?,?,?,?,?)", (2 * n, f"r{n:04d}", "换片", 2, "x"))
            if parts:
                connection.execute("INSERT INTO rr_repair_part VALUES (?,?,?,?)", (f"r{n:04d}", "刹车片", 1, "B1"))
        connection.execute("INSERT INTO company VALUES ('330106000000001', '某某汽修一厂', ?)", (MD5,))
        connection.commit()
    return f"sqlite:///{path}"


def test_records_of_the_platforms_shape_become_national_payloads(run, look, tmp_path):
    url = platform(tmp_path / "old.db")
    found = run("records", url)
    assert (found["read"], found["new"], found["left_out"], found["refused"]) == (3, 1, 2, 0)
    assert found["reasons"] == {"DELETED": 1, "FROM_ABOVE": 1}
    (kept,) = waiting(look, "collect")
    assert (kept.company, kept.dialect, kept.source) == ("330106000000001", "national", "import:records")
    assert json.loads(kept.body) == {
        "basicInfo": {
            "companycode": "330106000000001",
            "companyname": "某某汽修一厂",
            "vehicleplatenumber": "浙A12345",
            "vin": VINS[0],
            "repairdate": "2024-03-18",
            "repairmileage": "48211.0",
            "settledate": "20240319",
            "faultdescription": "异响",
            "costlistcode": "L0",
        },
        "vehiclepartslist": [{"partsname": "刹车片", "partsquantity": "1", "partscode": "B1"}],
        "repairprojectlist": [
            {"repairproject": "换片", "workinghours": "2.0"},
            {"repairproject": "检查", "workinghours": "1.5"},
        ],
    }


def test_a_platform_without_parts_is_read_too(run, look, tmp_path):
    run("records", platform(tmp_path / "old.db", parts=False))
    assert json.loads(waiting(look, "collect")[0].body)["vehiclepartslist"] == []


def test_a_stopped_import_goes_on_and_a_whole_one_changes_nothing(run, look, tmp_path, monkeypatch):
    url = platform(tmp_path / "old.db", many=1_203)
    real, calls = inlet.Inlet.put, []

    def put(self, page):
        calls.append(len(page))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, page)

    monkeypatch.setattr(inlet.Inlet, "put", put)
    run("records", url, code=130)
    monkeypatch.setattr(inlet.Inlet, "put", real)
    assert len(waiting(look, "collect")) == calls[0]
    found = run("records", url)
    assert (found["read"], found["known"], found["new"]) == (1_203, calls[0], 1_201 - calls[0])
    assert run("records", url)["new"] == 0
    codes = [json.loads(kept.body)["basicInfo"]["costlistcode"] for kept in waiting(look, "collect")]
    assert len(codes) == len(set(codes)) == 1_201


@pytest.mark.parametrize("wrong", ["NULL", "'r0001'"], ids=["none", "shared"])
def test_records_without_a_key_of_their_own_are_refused_before_any_is_read(run, look, tmp_path, wrong):
    url = platform(tmp_path / "old.db")
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        connection.execute("ALTER TABLE rr_repair_record ADD COLUMN own TEXT")
        connection.execute("ALTER TABLE rr_repair_item ADD COLUMN own TEXT")
        connection.execute("ALTER TABLE rr_repair_part ADD COLUMN own TEXT")
        connection.execute("UPDATE rr_repair_record SET own = recordId")
        connection.execute(f"UPDATE rr_repair_record SET own = {wrong} WHERE recordId = 'r0002'")
        connection.commit()
    assert "--key" in run("records", url, "--key", "own", code=2)
    assert waiting(look, "collect") == []


@pytest.mark.parametrize(
    ("standing", "gone"), [("0", "1"), ("", "1"), ("false", "true"), (False, True), (b"\0", b"\1"), (0, 2)]
)
def test_marks_of_deletion_are_text_numbers_booleans_and_bits(standing, gone):
    assert not _left_out(SimpleNamespace(delFlag=standing))
    assert _left_out(SimpleNamespace(delFlag=gone)) == DELETED


def test_where_too_much_waits_the_import_stops_and_says_what_to_do(run, tmp_path, monkeypatch):
    url = platform(tmp_path / "old.db", many=12)
    monkeypatch.setattr(inlet.Inlet.__init__, "__defaults__", (5,))
    assert run("records", url)["new"] == 10
    assert "vingate serve" in run("records", url, code=3)


def test_companies_of_a_platform_with_and_without_a_table_of_them(run, look, tmp_path):
    url = platform(tmp_path / "old.db")
    named = ("--table", "company", "--column", "companycode=code", "--column", "companyname=name")
    found = run("companies", url, *named, "--column", "password=pw", "--hash", "md5")
    assert found["new"] == 1
    assert login(look, "330106000000001", "old-secret").token
    found = run("companies", url, "--reset-list", tmp_path / "resets.csv", state="other")
    assert (found["new"], found["reasons"]["PASSWORD_RESET"]) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("records", "sqlite:///{missing}"), "no file"),
        (("records", "{old}", "--table", "nothing"), "no table nothing"),
        (("records", "{old}", "--key", "id"), "no column id"),
        (("records", "{old}", "--items-table", "nothing"), "name it by --items-table"),
        (("companies", "{old}", "--records", "nothing"), "name it by --records"),
        (("companies", "{old}", "--table", "company"), "--column companycode="),
        (("companies", "{old}", "--column", "colour=x"), "no member colour"),
        (("companies", "{old}", "--column", "x"), "MEMBER=HEADER"),
        (("companies", "{old}", "--hash", "crc32"), "--hash crc32"),
        (("companies", "{missing}"), "no such file"),
        (("registrations", "{old}"), "--table"),
        (("records", "mysql://u:hunter2@127.0.0.1/x"), "export it as CSV"),
        (("records", "nonsense://u:hunter2@127.0.0.1/x"), "export it as CSV"),
        (("records", "env:VINGATE_TEST_NOWHERE"), "VINGATE_TEST_NOWHERE"),
    ],
)
def test_what_cannot_be_read_is_said_with_what_to_do(run, tmp_path, arguments, told):
    old = platform(tmp_path / "old.db")
    given = [argument.format(old=old, missing=tmp_path / "missing.db") for argument in arguments]
    said = run(*given, code=2)
    assert told in said
    assert "hunter2" not in said
    assert not (tmp_path / "missing.db").exists()


# -- files of records, registrations ---------------------------------------------------------------------------------

SHEET = """企业编码,企业名称,结算单号,车牌号,VIN,进厂日期,结算日期,进厂里程,故障描述,配件名称,配件数量,\
配件编码,维修项目,工时
330106000000001,某某汽修一厂,L1,浙A12345,WP1AG2923CLA64129,2024-03-18,2024-03-19,100,异响,刹车片,1,B1,检查,1
330106000000001,某某汽修一厂,L1,浙A12345,WP1AG2923CLA64129,2024-03-18,2024-03-19,100,异响,刹车油,2,B2,,
330106000000001,某某汽修一厂,L2,浙A12345,WP1AG2923CLA6412,2024-03-18,2024-03-19,100,异响,刹车片,1,B1,检查,1
"""


@pytest.mark.parametrize("encoding", ["utf-8", "gbk"])
def test_records_from_csv(run, look, tmp_path, encoding):
    path = tmp_path / "records.csv"
    path.write_text(SHEET, encoding)
    found = run("records", path, "--report", tmp_path / "misfits.ndjson")
    assert (found["read"], found["new"], found["refused"]) == (2, 1, 1)
    assert found["reasons"] == {"VIN_LENGTH": 1}
    first, second = waiting(look, "collect")
    assert first.company == second.company == "330106000000001"
    assert first.body.count(b"\n") >= 2
    line = json.loads((tmp_path / "misfits.ndjson").read_text())
    assert line["reasons"] == [{"code": "VIN_LENGTH", "field": "vin"}]
    assert run("records", path)["known"] == 2


def test_a_file_without_payloads_is_told_and_nothing_is_put(run, look, tmp_path):
    path = tmp_path / "records.csv"
    path.write_text("")
    found = run("records", path)
    assert (found["left_out"], found["new"], found["reasons"]) == (1, 0, {"ROW_BROKEN": 1})
    assert waiting(look, "collect") == []


def test_addresses_are_shown_without_their_passwords():
    assert (
        shown_address("postgresql+psycopg://reader:hunter2@127.0.0.1/x")
        == "postgresql+psycopg://reader:***@127.0.0.1/x"
    )
    assert shown_address("://hunter2") == "?"
    assert shown_address("shops.csv") == "shops.csv"


def test_registrations_from_csv(run, look, tmp_path):
    rows = [
        {"车架号": VINS[0], "车牌号": "浙A12345", "车籍地": "330106", "登记日期": "2020/03/01"},
        {"车架号": VINS[1], "车牌号": "川A12345", "车籍地": "", "登记日期": "20200301"},
        {"车架号": VINS[2], "车牌号": "", "车籍地": "上海", "登记日期": "2020-03-01"},
        {"车架号": "AAA", "车牌号": "", "车籍地": "Mars", "登记日期": "x"},
    ]
    found = run("registrations", table(tmp_path / "vehicles.csv", rows, "gbk"))
    assert (found["new"], found["refused"]) == (3, 1)
    assert found["reasons"] == {"CODE_NOT_IN_TABLE": 1, "DATE_FORMAT": 1, "HOME_FROM_PLATE": 1, "VIN_LENGTH": 1}
    kept = [json.loads(one.body) for one in waiting(look, "registrations")]
    assert [one["home"] for one in kept] == ["33", "51", "31", "Mars"]
    assert kept[0] == {
        "schema": "vingate.registration/1",
        "vin": VINS[0],
        "plate": "浙A12345",
        "home": "33",
        "valid_from": "2020-03-01",
        "valid_to": None,
    }
    assert kept[2]["plate"] is None


@pytest.mark.parametrize(
    ("given", "home"),
    [
        *(("河北省", "13"), ("河北", "13"), ("内蒙", "15"), ("内蒙古自治区", "15"), ("广西", "45"), ("新疆", "65")),
        *(("新疆生产建设兵团", "bt"), ("北京市", "11"), ("130100", "13"), ("bt", "bt")),
        *((wrong, wrong) for wrong in ("省", "市", "河", "江", "自治区", "山", "Mars")),
    ],
)
def test_a_home_is_a_province_that_was_named_and_never_a_guess(given, home):
    assert _home(given) == home


def test_registrations_from_a_table(run, look, tmp_path):
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        connection.execute("CREATE TABLE vehicle (VIN, plate, home, since)")
        connection.execute("INSERT INTO vehicle VALUES (?, '沪A12345', 31, '20200301')", (VINS[2],))
        connection.commit()
    named = ("--table", "vehicle", "--column", "valid_from=since")
    assert run("registrations", f"sqlite:///{tmp_path / 'old.db'}", *named)["new"] == 1


def test_an_import_runs_beside_a_gateway(run, tmp_path):
    with State(tmp_path / "state", own=True):
        assert run("companies", table(tmp_path / "shops.csv", [{"companycode": "1", "companyname": "a"}]))["new"] == 1


def test_what_is_kept_is_sealed(run, look, tmp_path):
    run("records", platform(tmp_path / "old.db"))
    bodies = look(lambda connection, _: connection.execute(select(tables.inbox.c.body)).scalars().all())
    assert all(VINS[0].encode() not in body for body in bodies)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"", "utf-8-sig"),
        ("企业".encode() * 500_000, "utf-8-sig"),
        ("企业".encode("gbk") * 10, "gb18030"),
        ("企业".encode("utf-16"), "utf-16"),
        ("企".encode()[:2], "gb18030"),
    ],
)
def test_encodings_are_found(tmp_path: Path, body, encoding):
    path = tmp_path / "x.csv"
    path.write_bytes(body)
    assert encoding_of(path) == encoding


def test_what_was_imported_goes_the_way_of_everything_else(tmp_path, capsys):
    gate = Gate(tmp_path / "state")
    url = platform(tmp_path / "old.db", many=7)
    assert main(["import", "records", url, "--state", str(gate.folder)]) == 0
    assert "未迁入 left out 2" in capsys.readouterr().out
    drain(live(gate, 'versions.system="33"'))
    wanted = ("L0", 1, "某某汽修一厂", "330106000000001")
    assert wanted in gate.rows("province-33", "costlistcode, version, companyname, companycode")
    assert prove(gate.state).totals["received"] == 5
    gate.state.close()


def test_a_state_on_postgresql_is_made_by_an_import_and_found_by_later_commands(run, tmp_path, postgres):
    path = table(tmp_path / "shops.csv", [{**FULL, "password": "{MD5}" + MD5}])
    with postgres.database() as url:
        assert run("companies", path, "--state-url", url)["new"] == 1
        found = run("records", platform(tmp_path / "old.db"))
        assert (found["new"], found["left_out"]) == (1, 2)
        assert run("records", platform(tmp_path / "again.db"))["known"] == 1
        assert main(["companies", "close", "330106000000001", "--state", str(tmp_path / "state")]) == 0
        assert not (tmp_path / "state" / "vingate.db").exists()
