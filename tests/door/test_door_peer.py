"""Another vingate's sink at the real door: the preset `vingate` sends records, many to a request."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import orjson
import pytest
from door_kit import PASSWORD, REGISTER, registration
from test_door_server import door, kept
from test_door_v1 import RECORD

from connectors import registry
from connectors.contracts import Delivery, Unavailable


def delivery(number, **changes):
    body = orjson.dumps({**RECORD, "system": "shop", "version": 1, "costlistcode": f"L{number}", **changes})
    return Delivery(f"id{number}", "province", f"shop|1|L{number}", 1, "00", body, "b1")


def test_records_go_in_by_the_hundred_and_each_has_its_answer(tmp_path):
    with door(tmp_path) as running:
        company = httpx.post(running.url + REGISTER, json=registration()).json()["companycode"]
        secrets = {"companycode": company, "companypassword": PASSWORD}
        sink = registry.sink("http", {"preset": "vingate", "url": running.url, "secrets": secrets})
        outcomes = sink.write([delivery(1), delivery(2, vin="short"), *map(delivery, range(3, 130))])
        assert [one.status for one in outcomes] == ["accepted", "refused"] + ["accepted"] * 127
        assert "VIN" in outcomes[1].reason or "车辆识别" in outcomes[1].reason
        assert len(kept(tmp_path)) == 129, "what is refused is kept as a letter-to-be"
        with pytest.raises(Unavailable, match="501"):
            list(sink.held(datetime.now(UTC), []))
        sink.close()
        wrong = registry.sink(
            "http", {"preset": "vingate", "url": running.url, "secrets": {**secrets, "companypassword": "no"}}
        )
        (outcome,) = wrong.write([delivery(1)])
        assert (outcome.status, outcome.reason.startswith("AUTH_FAILED")) == ("unavailable", True)
        wrong.close()
