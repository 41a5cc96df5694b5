"""`vingate serve` as a whole, from outside: the embedded province with its door, killed, reloaded, stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest
from engine_samples import payload
from sqlalchemy import select

from pipelines import agreeing, tables
from pipelines.state import State

ROOT = Path(__file__).parents[2]
PATIENCE = 120
BASE = "/restservices/lcipprodatarest"
PASSWORD = "Geheim-123456"  # noqa: S105 - of an invented shop
SHOP = {
    "companyname": "某某汽修",
    "companypassword": PASSWORD,
    "companyroadtransportationlicense": "440100000001",
    "companyunifiedsocialcreditidentifier": "91440300MA5H0HLK5U",
    "companyaddress": "深圳",
    "companypostalcode": "518000",
    "companyeconomiccategory": "170",
    "companycategory": "02",
    "companylinkmanname": "张三",
    "companylinkmantel": "13812345678",
    "companysuperintendentname": "李四",
    "companysuperintendenttel": "13812345679",
    "companybusinessscope": "维修",
    "roadtransportationlicensestartdate": "20200101",
    "roadtransportationlicenseenddate": "20300101",
    "companyoperationstate": "1",
    "companyadministrativedivisioncode": "440300",
    "companyemail": "a@b.cn",
}


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(what() if callable(what) else what)


def vingate(*arguments):
    command = [sys.executable, "-m", "pipelines", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)


def children_of(pid):
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Running:
    """A service that runs, and a shop that calls it."""

    def __init__(self, folder, *overrides):
        self.state, self.role = folder / "state", folder / "deploy/roles/province-embedded.toml"
        self.log = folder / "log"
        command = [sys.executable, "-m", "pipelines", "serve", str(self.role), "--state", str(self.state)]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*command, "--set", "door.port=0", *overrides], cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True
            )
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        self.told = json.loads(line)
        self.token = ""

    def post(self, method, body):
        return httpx.post(f"{self.told['door']}{BASE}/{method}/query", json=body, timeout=PATIENCE)

    def call(self, method, body):
        answer = self.post(method, body)
        assert answer.json()["code"] == "1", answer.text
        return answer.json()

    def login(self):
        given = {"companycode": "440300000000001", "companypassword": PASSWORD}
        self.token = self.call("lcipprogetaccesstoken", given)["access_token"]

    def upload(self, seed):
        """Upload a record; its VIN."""
        body = payload(seed) | {"access_token": self.token}
        body["basicInfo"].pop("companycode")
        assert "新增成功" in self.call("lcipprocarfixrecordadd", body)["status"]
        return body["basicInfo"]["vin"]

    def trace(self, vin):
        done = vingate("trace", "--vin", vin, "--state", self.state, "--json")
        assert done.returncode == 0, done.stderr
        return [one for one in json.loads(done.stdout)["versions"] if one["destinations"]]

    def logged(self, event):
        found = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    def get(self, path):
        answer = httpx.get(self.told["health"] + path, timeout=PATIENCE)
        return answer.status_code, answer.text

    def end(self, number):
        pids = children_of(self.process.pid)
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        for pid in pids:
            wait_for(lambda pid=pid: not Path(f"/proc/{pid}/cmdline").exists() or _dead(pid), f"{pid} is left behind")
        return code

    def close(self):
        if self.process.poll() is None:
            self.end(signal.SIGKILL)
        self.process.stdout.close()


def _dead(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    return tmp_path


def test_what_the_door_accepted_is_there_beside_the_process_and_after_it_was_killed(folder):
    with closing(Running(folder)) as first:
        assert set(first.told) == {"ready", "door", "foshan", "health"}
        first.call("lcipproaccountcompany", SHOP)
        first.login()
        vin = first.upload(1)
        (version,) = wait_for(lambda: first.trace(vin), first.log.read_text)
        (destination,) = version["destinations"]
        assert (destination["name"], destination["outcome"]) == ("province-44", "delivered")
        assert [told["agreement"] for told in version["disclosed"]] == ["collect"]
        assert json.loads(vingate("ledger", "--state", first.state, "--json").stdout)["balanced"]
        assert first.get("/healthz")[0] == 200
        wait_for(lambda: first.get("/readyz")[0] == 200, lambda: first.get("/readyz")[1])
        page = first.get("/metrics")[1]
        for name in (
            "vingate_records_total",
            "vingate_door_answers_total",
            "vingate_inbox_rows",
            "vingate_ledger_gap",
            "vingate_build_info",
        ):
            assert f"\n{name}{{" in page
        bad = payload(99) | {"access_token": first.token}
        bad["basicInfo"]["vin"] = "LSVAA21"
        refused = httpx.post(f"{first.told['door']}{BASE}/lcipprocarfixrecordadd/query", json=bad, timeout=PATIENCE)
        assert refused.json()["code"] != "1"
        batches = wait_for(lambda: [one for one in first.logged("batch") if "letters" in one], first.log.read_text)
        assert "VIN_" in batches[0]["letters"][0]
        vins = [first.upload(seed) for seed in range(2, 12)]
        first.end(signal.SIGKILL)
    with closing(Running(folder)) as second:
        for vin in vins:
            wait_for(lambda vin=vin: second.trace(vin), second.log.read_text)
        proof = json.loads(vingate("ledger", "--state", second.state, "--json").stdout)
        assert (proof["balanced"], proof["destinations"]["province-44"]["records"]) == (True, 11)
        assert second.end(signal.SIGTERM) == 0
    assert PASSWORD not in second.log.read_text()


def test_processes_of_one_door_count_a_companys_calls_together_and_one_that_is_killed_loses_nothing(folder):
    settings = ("door.processes=2", "door.requests_per_second=0.01", "door.lock_after=5")
    with closing(Running(folder, *[part for one in settings for part in ("--set", one)])) as running:
        running.call("lcipproaccountcompany", SHOP)
        running.login()
        first, second = children_of(running.process.pid)[1:]
        vin = running.upload(1)  # all that the company may send for a hundred seconds, whichever process it meets
        for pid in (first, second):
            os.kill(pid, signal.SIGSTOP)
            refused = None
            while refused is None:
                with suppress(httpx.TimeoutException):  # the kernel gave the call to the process that is stopped
                    refused = httpx.post(
                        f"{running.told['door']}{BASE}/lcipprocarfixrecordadd/query",
                        json=payload(2) | {"access_token": running.token}, timeout=1,
                    )  # fmt: skip
            assert refused.status_code == 429, refused.text
            os.kill(pid, signal.SIGCONT)
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: len(running.logged("child-ready")) == 4, running.log.read_text)
        (crashed,) = running.logged("child-crashed")
        assert crashed["child"] in ("door", "door-2")
        wait_for(lambda: running.trace(vin), running.log.read_text)
        assert running.end(signal.SIGTERM) == 0


def test_settings_are_reloaded_while_it_runs_and_bad_ones_change_nothing(folder):
    with closing(Running(folder)) as running:
        profile = folder / "deploy/profiles/nation.toml"
        good = profile.read_text("utf-8")
        profile.write_text(good + "\nno = [\n", "utf-8")
        running.process.send_signal(signal.SIGHUP)
        (refused,) = wait_for(lambda: running.logged("reload-refused"), "not refused")
        assert "profiles/nation.toml" in refused["text"]
        assert running.logged("reloaded") == []
        profile.write_text(good + '\nVIN_LENGTH = "flag"\n', "utf-8")
        wait_for(lambda: running.logged("reloaded"), running.log.read_text)  # nobody told it: the file changed
        wait_for(lambda: len(running.logged("child-ready")) == 3, "the door did not start anew")
        running.call("lcipproaccountcompany", SHOP)
        running.login()
        vin = running.upload(1)
        wait_for(lambda: running.trace(vin), running.log.read_text)


def test_a_crashed_gateway_starts_again_while_the_door_stays_open(folder):
    with closing(Running(folder)) as running:
        running.call("lcipproaccountcompany", SHOP)
        running.login()
        gateway, _ = children_of(running.process.pid)  # in the order in which they were started
        os.kill(gateway, signal.SIGKILL)
        vin = running.upload(1)
        wait_for(lambda: running.trace(vin), running.log.read_text)
        assert [line["child"] for line in running.logged("child-crashed")] == ["gateway"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["--set", "door.exchange=nowhere"], "nowhere"),
        (["--set", "exchanges.collect.mapping.profile={here}/gone.toml"], "gone.toml"),
        (["--set", "health.port=port"], "health.port"),
        (["--set", "tracing.enabled=true", "--set", "tracing.colour=red"], "tracing.colour"),
    ],
)
def test_a_role_that_cannot_be_used_ends_at_once_with_the_reason(folder, overrides, said):
    role = folder / "deploy/roles/province-embedded.toml"
    done = vingate("serve", role, "--state", folder / "state", "--set", "door.port=0", *overrides)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_service_on_the_state_is_refused(folder):
    with closing(Running(folder)) as running:
        done = vingate("serve", running.role, "--state", running.state, "--set", "door.port=0")
        assert done.returncode == 3
        assert "another vingate is using the state folder" in done.stderr
        assert running.get("/healthz")[0] == 200


# -- agreements --------------------------------------------------------------------------------------------------------


def agreement(folder, more=""):
    """The agreement of the embedded province's own, as a file that somebody edits."""
    text = (ROOT / "routing/data/agreements/collect.toml").read_text("utf-8")
    (folder / "agreed.toml").write_text(text.replace("[kinds.repair]", f"{more}\n[kinds.repair]"), "utf-8")
    return ["--set", f'exchanges.collect.agreements=["{folder / "agreed.toml"}"]']


def test_a_revoked_agreement_stops_a_running_service_and_looks_are_demanded_and_logged(folder):
    with closing(Running(folder, *agreement(folder), "--set", "audit.demanded=true")) as running:
        running.call("lcipproaccountcompany", SHOP)
        running.login()
        vin = running.upload(1)
        by = ("--by", "李四", "--for", "投诉 12")

        def traced(vin):
            done = vingate("trace", "--vin", vin, *by, "--state", running.state, "--json")
            assert done.returncode == 0, done.stderr
            return [one for one in json.loads(done.stdout)["versions"] if one["destinations"]]

        (version,) = wait_for(lambda: traced(vin), running.log.read_text)
        assert version["destinations"][0]["outcome"] == "delivered"
        assert version["disclosed"][0]["approval"].startswith("交通运输部办公厅")
        agreement(folder, "revoked = 2026-01-01T00:00:00+08:00")
        time.sleep(2 * agreeing.LOOK_SECONDS)  # what is agreed is looked at no more often: only then it must count
        after = running.upload(2)
        (version,) = wait_for(lambda: traced(after), running.log.read_text)
        assert (version["destinations"][0]["outcome"], version["disclosed"]) == ("dead", [])
        assert json.loads(vingate("ledger", "--state", running.state, "--json").stdout)["balanced"]
        agreement(folder)
        time.sleep(2 * agreeing.LOOK_SECONDS)
        again = running.upload(3)
        (version,) = wait_for(lambda: traced(again), running.log.read_text)
        assert version["destinations"][0]["outcome"] == "delivered"
        refused = vingate("trace", "--vin", vin, "--state", running.state, "--json")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "--by" in refused.stderr
        with State(running.state, own=False) as state, state.reading() as connection:
            looks = connection.execute(select(tables.looks.c["who", "purpose", "vin"])).all()
        assert {(look.who, look.purpose) for look in looks} == {("李四", "投诉 12")}
        assert vin not in str(looks)


def test_a_role_that_demands_audits_does_not_start_under_an_example_approval(folder):
    pattern = (ROOT / "routing/data/agreements/credit.toml").read_text("utf-8")
    pattern = pattern.replace('"credit", "credit-*"', '"province-*"')
    repairs = pattern.partition("[kinds.repair]")[0] + '[kinds.repair]\n"*" = "pass"\n'
    (folder / "example.toml").write_text(repairs, "utf-8")
    chosen = ["--set", f'exchanges.collect.agreements=["{folder / "example.toml"}"]']
    role = folder / "deploy/roles/province-embedded.toml"
    begin = ("serve", role, "--state", folder / "state", "--set", "door.port=0", *chosen)
    done = vingate(*begin, "--set", "audit.demanded=true")
    assert (done.returncode, done.stdout) == (2, "")
    assert "credit-示例-1" in done.stderr
    checked = vingate("check", role, "--state", folder / "state", *chosen, "--set", "audit.demanded=true", "--json")
    assert checked.returncode == 1
    (part,) = [one for one in json.loads(checked.stdout)["parts"] if one["part"] == "agreements"]
    assert "example approval" in part["problem"]
    lenient = vingate("check", role, "--state", folder / "state", *chosen, "--json")
    (part,) = [one for one in json.loads(lenient.stdout)["parts"] if one["part"] == "agreements"]
    assert (part["problem"], "example approval" in part["said"][0]) == ("", True)


def test_what_is_asked_for_at_the_door_needs_a_real_approval_too(folder):
    role = folder / "deploy/roles/province-embedded.toml"
    closures = {"store": "sqlite:///{state}/cases.db", "callers": '{ "440100000000001" = {} }'}
    chosen = [part for name, value in closures.items() for part in ("--set", f"door.closures.{name}={value}")]
    demanded = ("--set", "audit.demanded=true")
    done = vingate("serve", role, "--state", folder / "state", "--set", "door.port=0", *chosen, *demanded)
    assert (done.returncode, done.stdout) == (2, "")
    assert "door.closures.agreements" in done.stderr
    assert "environment-示例-1" in done.stderr
    checked = vingate("check", role, "--state", folder / "state", *chosen, *demanded, "--json")
    assert checked.returncode == 1
    (part,) = [one for one in json.loads(checked.stdout)["parts"] if one["part"] == "door.closures"]
    assert "example approval" in part["problem"]
    lenient = vingate("check", role, "--state", folder / "state", *chosen)
    assert (lenient.returncode, "! door.closures" in lenient.stdout) == (0, True)
