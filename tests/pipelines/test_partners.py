"""Stand-ins: they keep what fits once, name all that is wrong, and have bad days on request."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import orjson
import pytest

from connectors.contracts import Misconfigured
from pipelines.partners import catalogue, checks, server
from pipelines.partners.hosting import hosted
from pipelines.partners.protocol import Partner
from pipelines.partners.rows import plain


def _judge(members):
    return [f"{name}: 缺少 / missing" for name in ("a", "b") if name not in members]


@pytest.fixture
def partner(tmp_path, monkeypatch):
    monkeypatch.setitem(
        catalogue.PARTNERS, "tester", Partner("tester", "替身", "tester", [plain("things")], {"things": _judge})
    )
    with (
        hosted(["tester"], tmp_path) as running,
        httpx.Client(base_url=running.urls["tester"], trust_env=False) as client,
    ):
        yield client


def send(client, *records):
    body = {"batch": "b-1", "records": [{"id": name, "record": record} for name, record in records]}
    return client.post("/v1/things", content=orjson.dumps(body))


def codes(answer):
    return [one["code"] for one in answer.json()["results"]]


def test_what_fits_is_kept_once_and_what_does_not_is_named_whole(partner):
    answer = send(partner, ("1", {"a": 1, "b": 2}), ("2", {}), ("1", {"a": 1, "b": 2}))
    assert codes(answer) == ["0", "422", "114"]
    assert answer.json()["results"][1]["message"].count("missing") == 2
    assert codes(send(partner, ("1", {"a": 1, "b": 2}))) == ["114"]
    assert partner.get("/counts").json() == {"things": 1, "refused": 1}
    assert partner.get("/received/things").json()["rows"] == [{"id": "1", "a": 1, "b": 2}]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"records": 1}', b'{"records": [1]}', b'{"records":[{"id":1}]}'])
def test_what_is_no_message_is_refused(partner, body):
    answer = partner.post("/v1/things", content=body)
    assert (answer.status_code, answer.json()["results"]) == (400, [])


def test_bad_days(partner):
    good = ("1", {"a": 1, "b": 2})
    assert partner.put("/mood", json={"down": True}).json()["down"] is True
    assert send(partner, good).status_code == 503
    partner.put("/mood", json={"wrong": True})
    assert send(partner, good).text.startswith("<html>")
    assert partner.get("/counts").json()["things"] == 1
    partner.put("/mood", json={"picky": 2})
    assert sorted(codes(send(partner, *((str(i), {"a": 1, "b": 2}) for i in range(10, 14))))) == [
        "0",
        "0",
        "422",
        "422",
    ]
    assert partner.put("/mood", json={"gloomy": 1}).status_code == 422


def test_a_message_that_is_too_long_is_refused(partner, monkeypatch):
    monkeypatch.setattr(server, "MOST_BYTES", 1000)
    assert partner.post("/v1/things", content=b" " * 2000).status_code == 413


def test_a_port_that_is_taken_is_said(partner, tmp_path):
    with pytest.raises(Misconfigured, match="--port 0"), hosted(["tester"], tmp_path, port=partner.base_url.port):
        pass


def test_the_command_says_when_it_can_be_called_and_ends_on_a_signal(tmp_path):
    command = [sys.executable, "-m", "pipelines", "partner", "all", "--folder", str(tmp_path), "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
    ) as process:
        told = orjson.loads(process.stdout.readline())
        assert (told["ready"], set(told["partners"])) == (True, set(catalogue.PARTNERS))
        for url in told["partners"].values():
            assert httpx.get(url, trust_env=False, follow_redirects=True).json()["partner"] in catalogue.PARTNERS
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_an_unknown_stand_in_is_wrong_use(capsys):
    from pipelines.cli import main

    assert main(["partner", "nobody"]) == 2
    assert "nobody" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"quantity": "4"}, "0"),
        ({"quantity": "-4", "reverses": "E1"}, "0"),
        ({"quantity": "-4"}, "422"),
        ({"quantity": "4", "reverses": "E1"}, "422"),
        ({"quantity": "--4", "reverses": "E1"}, "422"),
        ({"quantity": True}, "422"),
    ],
)
def test_a_ledger_entry_below_zero_names_what_it_corrects(tmp_path, told, code):
    members = {"event": "generated", "code": "900-214-08", "category": "HW08", **told}
    record = {"kind": "waste-event", "companycode": "1", "costlistcode": "waste-event:E2", "version": 1}
    body = {"records": [{"id": "1", "record": {**record, "members": members}}]}
    with hosted(["solid-waste"], tmp_path) as running:
        url = f"{running.urls['solid-waste']}/v1/documents"
        answer = httpx.post(url, content=orjson.dumps(body), trust_env=False)
    assert codes(answer) == [code]


@pytest.mark.parametrize(
    ("members", "wrong"),
    [
        ({"evidence": "22b" + "13812345678" + "d" * 50, "parts": [{"name": "轮胎"}]}, 0),
        ({"parts": [{"name": "轮胎 13812345678"}]}, 1),
        ({"fault": "13812345678", "part": "粤A12345 车主"}, 2),
    ],
)
def test_digits_of_a_digest_are_no_phone_number(members, wrong):
    assert len(list(checks.impersonal(members))) == wrong
