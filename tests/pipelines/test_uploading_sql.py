"""A shop's database -> uploader (the shipped role, running) -> the real door of a province -> its store."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager

import pytest
from engine_samples import vin_of
from test_serving_service import PASSWORD, PATIENCE, ROOT, SHOP, Running, vingate, wait_for

from pipelines.cli import main

COMPANY = "440300000000001"
SECRET = "reader-Geheim-9"  # noqa: S105 - of an invented database
SCHEMA = """
CREATE TABLE settlements (code TEXT, shop TEXT, plate TEXT, vin TEXT, received TEXT, mileage INTEGER, settled TEXT,
                          complaint TEXT, changed TEXT);
CREATE TABLE settlement_lines (code TEXT, line INTEGER, job TEXT, hours REAL, part TEXT, part_code TEXT, quantity REAL);
"""


class Garage:
    """The database of a shop's own software."""

    def __init__(self, path):
        self.path = path
        self._do(lambda shop: shop.executescript(SCHEMA))

    def _do(self, what):
        with closing(sqlite3.connect(self.path)) as shop:
            what(shop)
            shop.commit()

    def settle(self, number, day="2025-06-05", changed="2025-06-05 18:00:00"):
        head = (f"JS{number}", "某某汽修", f"粤B1234{number}", vin_of(f"{number:06d}"), day, 52_000 + number, day)
        lines = [(f"JS{number}", 1, "换火花塞", 2.5, "火花塞", "9-A", 4), (f"JS{number}", 2, "", None, "机油", "5", 1)]
        self._do(
            lambda shop: shop.execute(
                f"INSERT INTO settlements VALUES ({'?,' * 9}".rstrip(",") + ")", (*head, "异响", changed)
            )
        )
        self._do(lambda shop: shop.executemany("INSERT INTO settlement_lines VALUES (?,?,?,?,?,?,?)", lines))

    def correct(self, number, complaint, changed):
        statement = "UPDATE settlements SET complaint = ?, changed = ? WHERE code = ?"
        self._do(lambda shop: shop.execute(statement, (complaint, changed, f"JS{number}")))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    monkeypatch.setenv("SHOP_CODE", COMPANY)
    monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)
    monkeypatch.setenv("SHOP_DATABASE_URL", f"sqlite:///{tmp_path}/garage.db")
    monkeypatch.setenv("SHOP_DATABASE_PASSWORD", SECRET)
    return tmp_path


@contextmanager
def uploader(folder, url):
    """The shipped role, running."""
    role = folder / "deploy/roles/shop-uploader-sql.toml"
    said = [
        f"exchanges.upload.sinks.province.url={url}",
        "exchanges.upload.every=1s",
        "exchanges.upload.retry.first_seconds=1",
    ]
    command = [sys.executable, "-m", "pipelines", "serve", role, "--state", folder / "shop"]
    with (folder / "shop.log").open("a") as log:
        process = subprocess.Popen(
            [*map(str, command), *(part for one in said for part in ("--set", one))],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ,
        )  # fmt: skip
    try:
        assert json.loads(process.stdout.readline())["ready"], (folder / "shop.log").read_text()
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()


def versions(province, number):
    return [one["version"] for one in province.trace(vin_of(f"{number:06d}")) if one["fate"] == "addressed"]


def test_settlements_of_a_database_reach_the_store_and_so_do_their_changes(folder):
    garage = Garage(folder / "garage.db")
    for number in (1, 2, 3):
        garage.settle(number)
    before = (folder / "garage.db").stat().st_mtime_ns
    with closing(Running(folder)) as province:
        province.call("lcipproaccountcompany", SHOP)
        with uploader(folder, province.told["door"]) as running:
            for number in (1, 2, 3):
                wait_for(lambda n=number: versions(province, n) == [1], (folder / "shop.log").read_text)
            assert (folder / "garage.db").stat().st_mtime_ns == before, "nothing is changed there"
            garage.correct(2, "更正：异响", "2025-06-05 19:00:00")
            garage.settle(4, changed="2025-06-05 18:55:00")  # commits late, behind the mark
            wait_for(lambda: versions(province, 2) == [1, 2], (folder / "shop.log").read_text)
            wait_for(lambda: versions(province, 4) == [1], (folder / "shop.log").read_text)
            running.send_signal(signal.SIGKILL)
            running.wait(PATIENCE)
        garage.settle(5, changed="2025-06-05 20:00:00")
        with uploader(folder, province.told["door"]) as running:
            wait_for(lambda: versions(province, 5) == [1], (folder / "shop.log").read_text)
            running.send_signal(signal.SIGTERM)
            assert running.wait(PATIENCE) == 0
        assert [versions(province, number) for number in (1, 2, 3, 4)] == [[1], [1, 2], [1], [1]]
        (store,) = (folder / "state" / "stores").glob("*.db")
        with closing(sqlite3.connect(store)) as connection:
            rows = connection.execute(
                "SELECT companycode, faultdescription, parts FROM repairs WHERE costlistcode = 'JS2' AND current"
            ).fetchall()
        ((company, complaint, parts),) = rows
        assert (company, complaint) == (COMPANY, "更正：异响")
        assert [part["name"] for part in json.loads(parts)] == ["火花塞", "机油"], "lines in their order"
    proof = json.loads(vingate("ledger", "--state", folder / "shop", "--json").stdout)
    assert (proof["balanced"], proof["problems"], proof["totals"]["delivered"]) == (True, [], 6)
    for place in ("shop.log", "log"):
        assert SECRET not in (folder / place).read_text()
    assert SECRET.encode() not in (folder / "shop" / "vingate.db").read_bytes()


SETTINGS = """
name = "upload"
[source]
connector = "query"
url = "env:SHOP_DATABASE_URL"
query = "SELECT s.code AS 结算清单编号, s.shop AS 企业名称, s.plate AS 车牌号码, s.vin AS 车辆识别代码, s.received AS 送修日期, s.mileage AS 送修里程, s.settled AS 结算日期, s.complaint AS 故障描述, l.part AS 配件名称, l.part_code AS 配件编码, l.quantity AS 配件数量, s.changed FROM settlements s JOIN settlement_lines l ON l.code = s.code"
key = "结算清单编号"
cursor = "changed"
day = "结算日期"
company = "env:SHOP_CODE"
without = ["changed"]
[mapping]
profile = "lenient"
company = "source"
[versions]
system = "shop"
[routing]
table = "{root}/deploy/tables/to-province.toml"
[sinks.province]
connector = "sql"
for = "province"
url = "sqlite:///{{state}}/store.db"
"""  # noqa: E501 - a query


def test_days_that_were_never_sent_are_made_up_for_and_nothing_is_sent_twice(folder, root, capsys):
    garage = Garage(folder / "garage.db")
    for number, day in ((1, "2025-06-01"), (2, "2025-06-02"), (3, "2025-06-03")):
        garage.settle(number, day, f"{day} 18:00:00")
    settings = folder / "upload.toml"
    settings.write_text(SETTINGS.format(root=root), "utf-8")

    def run(*more):
        capsys.readouterr()
        code = main(["run", str(settings), "--state", str(folder / "shop"), "--json", *more])
        told = json.loads(capsys.readouterr().out)
        return code, told["totals"]["delivered"], told["totals"]["duplicate"]

    assert run() == (0, 3, 0)
    garage.settle(7, "2025-06-02", "2025-06-01 00:00:00")  # entered far behind the mark
    assert run() == (0, 0, 0)
    assert run("--from", "2025-06-02", "--to", "2025-06-03") == (0, 1, 2)
    assert run("--from", "2025-06-02", "--to", "2025-06-03") == (0, 0, 3)
    garage.settle(8, "2025-06-09", "2025-06-09 08:00:00")
    assert run() == (0, 1, 0), "the mark stayed where it was"
    assert main(["ledger", "--state", str(folder / "shop")]) == 0
    assert main(["run", str(settings), "--state", str(folder / "shop"), "--to", "2025-06-02"]) == 2
    text = settings.read_text("utf-8").replace('day = "结算日期"\n', "")
    settings.write_text(text, "utf-8")
    assert main(["run", str(settings), "--state", str(folder / "shop"), "--from", "2025-06-02"]) == 2
    assert "source.day" in capsys.readouterr().err
