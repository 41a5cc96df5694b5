"""Insurers and a service on PostgreSQL: what was answered is kept, once, also where the service is killed behind it."""

import json
import re
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from decimal import Decimal

import httpx
from pydantic import SecretStr
from test_serving_service import PASSWORD, PATIENCE, ROOT, SHOP, Running, vingate, wait_for

from mappings.documents.claims import Assessment, Estimate
from pipelines.casebook import current

INSURER = "440300000000002"
PACKET = (ROOT / "tests/payloads/insurers/loss-assessment.xml").read_bytes().replace(b"2026-10-02", b"2026-09-12")
ESTIMATE = json.loads((ROOT / "tests/payloads/27_alipay_autodamage_estimate_submit.json").read_bytes())


def settings(state, documents):
    told = {
        "state.url": state,
        "door.insurers.exchange": "insurers-in",
        f"door.insurers.callers.{INSURER}": "PICC",
        "exchanges.insurers-in.file": str(ROOT / "deploy/exchanges/insurers-in.toml"),
        "exchanges.insurers-in.sinks.documents.url": documents,
    }
    return [part for name, value in told.items() for part in ("--set", f"{name}={value}")]


def bearer(running, company):
    given = {"companycode": company, "companypassword": PASSWORD}
    return {"authorization": f"Bearer {running.call('lcipprogetaccesstoken', given)['access_token']}"}


def assessed(running, headers, packet=PACKET):
    """Response code of an assessment that is sent."""
    url = f"{running.told['door']}/insurers/assessments"
    answer = httpx.post(url, content=packet, headers=headers, timeout=PATIENCE)
    found = re.search("<ResponseCode>(.*)</ResponseCode>", answer.content.decode("gbk"))
    return answer.status_code, found[1] if found else ""


def estimated(running, headers, **members):
    """Code of an estimate that is sent."""
    url = f"{running.told['door']}/insurers/estimates"
    return httpx.post(url, json=ESTIMATE | members, headers=headers, timeout=PATIENCE).json()["code"]


def test_what_insurers_were_told_is_kept_is_there_once_whatever_breaks(tmp_path, postgres):
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    with ExitStack() as held:
        state, documents = (held.enter_context(postgres.database()) for _ in range(2))
        with closing(Running(tmp_path, *settings(state, documents))) as running:
            running.call("lcipproaccountcompany", SHOP)
            running.call("lcipproaccountcompany", SHOP | {"companyunifiedsocialcreditidentifier": "91310112132259241T"})
            insurer, shop = bearer(running, INSURER), bearer(running, "440300000000001")
            assert assessed(running, shop)[0] == 403
            assert assessed(running, {"authorization": "Bearer nobody"})[0] == 401
            assert assessed(running, insurer, PACKET.replace(b"<LossNo>DS2026100012", b"<LossNo>")) == (200, "402")
            with ThreadPoolExecutor(8) as threads:
                told = [*threads.map(lambda _: assessed(running, insurer), range(8))]
                codes = [*threads.map(lambda _: estimated(running, insurer), range(8))]
            assert (set(told), set(codes)) == ({(200, "000")}, {"1"})
            corrected = PACKET.replace(b"<TotalSum>2860.50", b"<TotalSum>2870.50")
            assert assessed(running, insurer, corrected) == (200, "000")
            running.process.send_signal(signal.SIGKILL)
            running.process.wait()

        with closing(Running(tmp_path, *settings(state, documents))) as running:
            insurer = bearer(running, INSURER)
            store = SecretStr(documents)
            wait_for(lambda: [*current(store, Estimate)], running.log.read_text)
            wait_for(
                lambda: [one.totalsum == Decimal("2870.50") for one in current(store, Assessment)] == [True],
                running.log.read_text,
            )
            assert estimated(running, insurer, report_no="ANOTHER") == "0"
            (assessment,), (estimate,) = current(store, Assessment), current(store, Estimate)
            assert (assessment.insurer, assessment.lossno) == ("PICC", "DS2026100012")
            assert estimate.estimate_request_uuid == ESTIMATE["estimate_request_uuid"]
            ledger = vingate("ledger", "--state", running.state, "--json")
            assert json.loads(ledger.stdout)["balanced"], ledger.stdout
