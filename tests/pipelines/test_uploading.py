"""A shop's exports to the national interface of its province: accepted, refused, and while the province is down."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers import httppeer

from pipelines.cli import main

SETTINGS = """
name = "upload"

[source]
connector = "files"
path = "{place}/outbox"
layout = "{{company}}/*"
group_by = "结算清单编号"

[mapping]
dialect = "auto"
profile = "lenient"
company = "source"

[versions]
mode = "assign"
system = "shop"

[routing]
table = "{root}/deploy/tables/to-province.toml"

[sinks.province]
connector = "http"
for = "province"
preset = "lcippro"
url = "{url}"
secrets = {{ companycode = "{user}", companypassword = "env:UPLOAD_PASSWORD" }}
receipts = "{{state}}/accepted"
retry = {{ tries = 1 }}
breaker = {{ failures = 100 }}
"""
HEAD = (
    "结算清单编号,企业名称,车牌号码,车辆识别代码,送修日期,送修里程,结算日期,故障描述,"
    "维修项目,维修工时,配件名称,配件编码,配件数量\n"
)


@pytest.fixture(scope="module")
def server():
    with httppeer.serving() as running:
        yield running


@pytest.fixture
def hub(server, tmp_path, root, monkeypatch):
    monkeypatch.setenv("UPLOAD_PASSWORD", httppeer.PASSWORD)
    hub = server.hub(tmp_path.name)
    text = SETTINGS.format(place=tmp_path, root=root, url=hub.url, user=httppeer.USER)
    (tmp_path / "upload.toml").write_text(text, "utf-8")
    return hub


@pytest.fixture
def vingate(tmp_path, capsys):
    def call(command, *more):
        capsys.readouterr()
        where = [tmp_path / "upload.toml"] if command == "run" else []
        code = main([*command.split(), *map(str, where), "--state", str(tmp_path / "state"), "--json", *more])
        return code, json.loads(capsys.readouterr().out.splitlines()[-1])

    return call


def export(place, name, *numbers):
    folder = place / "outbox" / httppeer.USER
    folder.mkdir(parents=True, exist_ok=True)
    rows = "".join(
        f"JS{n},杭州某某,浙A1234{n},LVSHCAMB1CE054249,2025-06-05,{52_000 + n},2025-06-05,异响,换火花塞,2.5,火花塞,9,6\n"
        for n in numbers
    )
    (folder / name).write_text(HEAD + rows, "utf-8")


def records(hub):
    return [json.loads(one.body)["basicInfo"] for one in hub.calls if "carfixrecordadd" in one.path]


def test_exports_reach_the_interface_as_it_wants_them(tmp_path, hub, vingate):
    export(tmp_path, "a.csv", 1, 2)
    code, told = vingate("run")
    assert (code, told["totals"]["delivered"], told["balanced"]) == (0, 2, True)
    assert [one["costlistcode"] for one in records(hub)] == ["JS1", "JS2"]
    assert records(hub)[0] == {
        "vehicleplatenumber": "浙A12341",
        "companyname": "杭州某某",
        "vin": "LVSHCAMB1CE054249",
        "repairdate": "20250605",
        "repairmileage": "52001",
        "settledate": "20250605",
        "faultdescription": "异响",
        "costlistcode": "JS1",
    }
    code, told = vingate("ledger")
    assert (code, told["balanced"], told["verified"], told["problems"]) == (0, True, True, [])
    vingate("run")
    assert len(records(hub)) == 2


def test_while_the_province_is_down_all_waits_and_nothing_is_a_letter(tmp_path, hub, vingate):
    export(tmp_path, "a.csv", 1, 2, 3)
    hub.always = "503"
    _, told = vingate("run")
    assert (told["totals"]["waiting"], told["totals"]["dead"], told["letters"]) == (3, 0, 0)
    hub.always = ""
    hub.faults.clear()
    export(tmp_path, "b.csv", 4)
    vingate("run")
    _, told = vingate("ledger")
    assert told["balanced"]
    assert told["totals"]["delivered"] + told["totals"]["waiting"] == 4
    assert told["totals"]["dead"] == 0


def test_what_the_province_refuses_is_a_letter_with_its_words(tmp_path, hub, vingate):
    export(tmp_path, "a.csv", 1, 2)
    hub.answers.append({"code": "0", "status": "车牌号错误"})
    text = (tmp_path / "upload.toml").read_text("utf-8")
    path = '[sinks.province.request]\npath = "/say"\n'
    (tmp_path / "upload.toml").write_text(text + path, "utf-8")
    _, told = vingate("run")
    assert (told["totals"]["dead"], told["letters"], told["balanced"]) == (2, 2, True)
    _, letter = vingate("letters list")
    assert "车牌号错误" in json.dumps(letter, ensure_ascii=False)


def test_a_wrong_password_stops_the_flow_at_the_first_refusal(tmp_path, hub, vingate):
    hub.word = "another"
    export(tmp_path, "a.csv", *range(1, 9))
    _, told = vingate("run")
    assert (told["totals"]["waiting"], told["totals"]["dead"]) == (8, 0)
    assert hub.logins == 1
    assert not records(hub)
    assert httppeer.PASSWORD.encode() not in (tmp_path / "state" / "vingate.db").read_bytes()
