"""An uploader and the real door of a province: what the door says it holds against what was sent, through a restore."""

from __future__ import annotations

import json
import shutil
import signal
from contextlib import closing
from datetime import datetime

import httpx
import pytest
from engine_samples import payload, vin_of
from test_serving_service import PASSWORD, PATIENCE, SHOP, Running, wait_for
from test_uploading import HEAD

from mappings.dates import SHANGHAI
from pipelines.cli import main

SETTINGS = """
name = "upload"

[source]
connector = "files"
path = "{place}/outbox"
layout = "{{company}}/*"
group_by = "结算清单编号"
finished = "archive"

[mapping]
dialect = "auto"
profile = "lenient"
company = "source"

[versions]
system = "shop"

[routing]
table = "{root}/deploy/tables/to-province.toml"

[retry]
first_seconds = 0

[sinks.province]
connector = "http"
for = "province"
preset = "lcippro"
url = "{url}"
secrets = {{ companycode = "{company}", companypassword = "env:UPLOAD_PASSWORD" }}
receipts = "{{state}}/accepted"

[reconcile.ask.province]
connector = "http"
for = "province"
preset = "vingate"
url = "{url}"
secrets = {{ companycode = "{company}", companypassword = "env:UPLOAD_PASSWORD" }}
"""
COMPANY = "440300000000001"


@pytest.fixture
def folder(tmp_path, root):
    shutil.copytree(root / "deploy", tmp_path / "deploy")
    return tmp_path


class Shop:
    """A shop with an uploader of its own, and commands on its state."""

    def __init__(self, folder, root, capsys):
        self.folder, self._root, self._capsys = folder, root, capsys

    def export(self, name, *numbers):
        place = self.folder / "outbox" / COMPANY
        place.mkdir(parents=True, exist_ok=True)
        rows = [
            f"JS{n},某某汽修,粤B1234{n},{vin_of(f'{n:06d}')},2025-06-05,{52_000 + n},2025-06-05,异响 ,换火花塞,2.50,"
            f"火花塞,9-A,{n}.0\n"
            for n in numbers
        ]
        (place / name).write_text(HEAD + "".join(rows), "utf-8")

    def call(self, url, command, *more):
        settings = self.folder / "upload.toml"
        text = SETTINGS.format(place=self.folder, root=self._root, url=url, company=COMPANY)
        settings.write_text(text, "utf-8")
        self._capsys.readouterr()
        where = [str(settings)] if command == "run" else []
        code = main([command, *where, "--state", str(self.folder / "shop"), "--json", *more])
        return code, json.loads(self._capsys.readouterr().out.splitlines()[-1])

    def reconcile(self, url, *more):
        code, told = self.call(url, "reconcile", "--from", f"{datetime.now(SHANGHAI):%Y-%m-%d}", *more)
        return code, told["exchanges"][0]


def test_a_province_that_came_back_from_a_backup_gets_what_it_lost(folder, root, capsys, monkeypatch):
    monkeypatch.setenv("UPLOAD_PASSWORD", PASSWORD)
    shop = Shop(folder, root, capsys)
    with closing(Running(folder)) as province:
        province.call("lcipproaccountcompany", SHOP)
        url = province.told["door"]
        shop.export("a.csv", 1, 2, 3)
        assert shop.call(url, "run")[1]["totals"]["delivered"] == 3
        code, told = wait_for(lambda: _agreed(shop.reconcile(url)), province.log.read_text)
        side = told["destinations"]["province"]
        assert (code, side["how"], side["held"]) == (0, "listed", 3), "the same digests on both sides of the interface"
        assert province.end(signal.SIGTERM) == 0
    shutil.copytree(folder / "state", folder / "backup")
    with closing(Running(folder)) as province:
        url = province.told["door"]
        shop.export("b.csv", 4, 5)
        assert shop.call(url, "run")[1]["totals"]["delivered"] == 2
        wait_for(lambda: _agreed(shop.reconcile(url)), province.log.read_text)
        province.end(signal.SIGKILL)
    shutil.rmtree(folder / "state")
    shutil.copytree(folder / "backup", folder / "state")
    with closing(Running(folder)) as province:
        url = province.told["door"]
        province.login()
        body = payload(77) | {"access_token": province.token}
        body["basicInfo"].pop("companycode")
        assert "新增成功" in province.call("lcipprocarfixrecordadd", body)["status"]
        wait_for(lambda: province.trace(body["basicInfo"]["vin"]), province.log.read_text)
        shop.call(url, "run")  # the door has another port now: a run keeps the settings that it had
        _, told = shop.reconcile(url, "--backfill")
        found = sorted((one["kind"], one["record"].rpartition("|")[2]) for one in told["differences"])
        assert found == [("missing", "JS4"), ("missing", "JS5"), ("unknown", body["basicInfo"]["costlistcode"])]
        assert told["backfill"] == {"queued": 2}
        kinds = wait_for(lambda: _healed(shop.reconcile(url)), province.log.read_text)
        assert kinds == ["unknown"], "what another system of the shop sent stays named"
        code, ledger = shop.call(url, "ledger")
        assert (code, ledger["problems"], ledger["totals"]["delivered"]) == (0, [], 5)
        held = f"{url}/v1/held"
        assert httpx.get(held, timeout=PATIENCE).status_code == 401


def _agreed(answer):
    return answer if answer[1]["agreed"] else None


def _healed(answer):
    kinds = sorted(one["kind"] for one in answer[1]["differences"])
    return None if "missing" in kinds else kinds
