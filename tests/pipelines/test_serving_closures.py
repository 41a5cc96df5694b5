"""A service on PostgreSQL: a repair becomes a closure, goes to the department, and the department asks for it."""

import json
import shutil
import time
from contextlib import ExitStack, closing

import httpx
import pytest
from emission_gate import inspection
from row_gate import record, vin
from test_serving_service import PASSWORD, PATIENCE, ROOT, SHOP, Running, vingate, wait_for

from pipelines import agreeing
from pipelines.partners.hosting import hosted

COMPANY, DEPARTMENT = "440300000000001", "440300000000002"
REPORT = "440305112609011315501011"
APPROVAL = "粤环函〔2026〕7号"


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    return tmp_path


def agreement(folder, more=""):
    """The department's agreement under an approval of its own, as a file that somebody edits."""
    text = (ROOT / "routing/data/agreements/environment.toml").read_text("utf-8")
    text = text.replace("environment-示例-1 / example 1", APPROVAL).replace("[kinds.repair]", f"{more}\n[kinds.repair]")
    text = text.replace('"members.plate" = "pass"', '"members.plate" = "province"')
    (folder / "environment.toml").write_text(text, "utf-8")
    return str(folder / "environment.toml")


def settings(folder, state, store, documents, cases, stand_in):
    agreed, closures = agreement(folder), "exchanges.environment"
    told = {
        "state.url": state,
        "audit.demanded": True,
        "exchanges.collect.sinks.province.url": store,
        "exchanges.outside-in.file": str(folder / "deploy/exchanges/outside-in.toml"),
        "exchanges.outside-in.every": "1s",
        "exchanges.outside-in.source.path": str(folder / "outside"),
        "exchanges.outside-in.sinks.documents.url": documents,
        "exchanges.outside-in.agreements": ["own-store"],
        "exchanges.outside-in.mapping.kinds": ["inspection"],
        f"{closures}.file": str(folder / "deploy/exchanges/environment.toml"),
        f"{closures}.every": "1s",
        f"{closures}.agreements": ["own-store", agreed],
        f"{closures}.source.of.repairs.url": store,
        f"{closures}.source.of.documents.url": documents,
        f"{closures}.sinks.environment.url": stand_in,
        f"{closures}.sinks.cases.url": cases,
        "door.closures.store": cases,
        "door.closures.agreements": [agreed],
        f"door.closures.callers.{DEPARTMENT}.districts": ["4403"],
    }
    plain = {name: value if isinstance(value, str) else json.dumps(value) for name, value in told.items()}
    return [part for name, value in plain.items() for part in ("--set", f"{name}={value}")]


def token(running, company):
    given = {"companycode": company, "companypassword": PASSWORD}
    return running.call("lcipprogetaccesstoken", given)["access_token"]


def asked(running, bearer, **query):
    url = f"{running.told['door']}/v1/closures"
    return httpx.get(url, params=query, headers={"authorization": f"Bearer {bearer}"}, timeout=PATIENCE)


def disclosed(running, vehicle):
    """What the department received of a vehicle's closure."""
    by = ("--by", "李四", "--for", "投诉 12")
    done = vingate("trace", "--vin", vehicle, *by, "--state", running.state, "--json")
    assert done.returncode == 0, done.stderr
    listed = [one for one in json.loads(done.stdout)["versions"] if one["costlistcode"] == f"closure:J1/{vehicle}"]
    return [told for one in listed for told in one["disclosed"] if told["destination"] == "environment"]


def test_a_department_is_sent_its_closures_asks_for_them_and_both_are_written_down(folder, postgres):
    (folder / "outside").mkdir()
    lines = [inspection(REPORT) | {"StationCode": "4403050001"}]
    (folder / "outside/inspections.ndjson").write_text("".join(f"{json.dumps(one)}\n" for one in lines), "utf-8")
    with ExitStack() as held:
        urls = [held.enter_context(postgres.database()) for _ in range(4)]
        stand_in = held.enter_context(hosted(["environment"], folder / "stand-ins"))
        given = settings(folder, *urls, stand_in.urls["environment"])
        running = held.enter_context(closing(Running(folder, *given)))
        running.call("lcipproaccountcompany", SHOP)
        running.call("lcipproaccountcompany", SHOP | {"companyunifiedsocialcreditidentifier": "91310112132259241T"})
        body = record("J1", plate="粤B12345", fault=f"尾气超标，联系 13812345678 报告编码{{{REPORT}}}")
        body["basicInfo"].pop("companycode")
        shop, department = token(running, COMPANY), token(running, DEPARTMENT)
        running.call("lcipprocarfixrecordadd", body | {"access_token": shop})

        (closure,) = wait_for(lambda: asked(running, department).json().get("closures"), running.log.read_text)
        assert (closure["vin"], closure["members"]["test_no"], closure["version"]) == (vin(1), REPORT, 1)
        assert (closure["members"]["plate"], "13812345678" in json.dumps(closure)) == ("44", False)
        assert asked(running, department, district="4403", vin=vin(1)).json()["closures"] == [closure]
        assert asked(running, department, district="4401").json()["closures"] == []
        refused = asked(running, department, vin=vin(1), **{"from": "x"})
        assert (refused.status_code, asked(running, shop).status_code) == (400, 403)

        wait_for(lambda: stand_in.stand_ins["environment"].kept.counts().get("closures"), running.log.read_text)
        wait_for(lambda: "" in {one["asked_by"] for one in disclosed(running, vin(1))}, running.log.read_text)
        told = disclosed(running, vin(1))
        assert [one["asked_by"] for one in told] == ["", DEPARTMENT, DEPARTMENT]
        assert {one["approval"] for one in told} == {APPROVAL}
        for one in told:
            how = {field["path"]: field["treatment"] for field in one["fields"]}
            assert (how["members.plate"], how["members.faultdescription"]) == ("province", "mask")

        agreement(folder, "revoked = 2026-02-01T00:00:00+08:00")
        time.sleep(2 * agreeing.LOOK_SECONDS)  # what is agreed is looked at no more often: only then it must count
        stopped = asked(running, department)
        assert (stopped.status_code, "J1" in stopped.text) == (403, False)
        assert json.loads(vingate("ledger", "--state", running.state, "--json").stdout)["balanced"]
        balanced = vingate("cases", "closures", "--state", running.state, "--json")
        assert json.loads(balanced.stdout)["exchanges"][0]["received"] == 1, balanced.stderr
