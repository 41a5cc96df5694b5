"""An exchange whose files come from an SFTP server and go to one: whole runs, receipts, and a server that is away."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers import sshd
from servers.cutting import Proxy

from pipelines.cli import main

SETTINGS = """
name = "handing-on"

[source]
connector = "sftp"
url = "{here}"
known_hosts = "{known}"
key = "file:{key}"
path = "{place}/spool"
layout = "{{system}}/{{company}}/*"
finished = "archive"

[mapping]
dialect = "auto"
profile = "lenient"
company = "source"

[versions]
mode = "assign"

[rules]
receipts = "receipts"

[routing]
table = "{root}/deploy/tables/to-province.toml"

[sinks.province]
connector = "sftp"
for = "province"
url = "{there}/in"
known_hosts = "{proxied}"
key = "file:{key}"
staging = "{{state}}/sftp-province"

[sinks.receipts]
connector = "sftp"
for = "receipts"
url = "{there}/receipts"
known_hosts = "{proxied}"
key = "file:{key}"
staging = "{{state}}/sftp-receipts"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with sshd.serving(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def proxy(server):
    made = Proxy(server.port)
    yield made
    made.close()


@pytest.fixture
def vingate(tmp_path, root, server, proxy, capsys):
    text = SETTINGS.format(
        place=tmp_path,
        root=root,
        here=server.url(tmp_path / "out"),
        there=server.url(tmp_path, proxy.port),
        known=server.known(server.port),
        proxied=server.known(proxy.port),
        key=server.folder / "client",
    )
    (tmp_path / "handing-on.toml").write_text(text, "utf-8")

    def call(command):
        capsys.readouterr()
        where = [str(tmp_path / "handing-on.toml")] if command == "run" else []
        code = main([command, *where, "--state", str(tmp_path / "state"), "--json"])
        return code, json.loads(capsys.readouterr().out.splitlines()[-1])

    return call


def put(place, payloads, name):
    folder = place / "out" / "44" / "440300000000001"
    folder.mkdir(parents=True, exist_ok=True)
    record = json.loads((payloads / "15_shanghai_webform_record.json").read_bytes())
    lines = []
    for number in range(3):
        record["basicInfo"]["costlistcode"] = f"{name}-{number}"
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    (folder / name).write_text("".join(lines), "utf-8")


def standing(folder):
    return sorted(one.name for one in folder.glob("*") if one.is_file())


def test_files_come_from_one_server_and_go_to_another(tmp_path, payloads, vingate):
    put(tmp_path, payloads, "a.ndjson")
    code, told = vingate("run")
    assert (code, told["totals"]["delivered"], told["balanced"]) == (0, 3, True)
    (part,) = standing(tmp_path / "in")
    found = [json.loads(one) for one in (tmp_path / "in" / part).read_text("utf-8").splitlines()]
    assert [one["costlistcode"] for one in found] == ["a.ndjson-0", "a.ndjson-1", "a.ndjson-2"]
    (receipt,) = standing(tmp_path / "receipts")
    assert len((tmp_path / "receipts" / receipt).read_text("utf-8").splitlines()) == 3
    assert (tmp_path / "out" / ".archive" / "44" / "440300000000001" / "a.ndjson").exists()
    code, told = vingate("ledger")
    assert (code, told["balanced"], told["verified"], told["problems"]) == (0, True, True, [])
    assert {name: one["records"] for name, one in told["destinations"].items()} == {"province": 3, "receipts": 3}
    (tmp_path / "in" / part).write_text("{}\n")
    _, told = vingate("ledger")
    assert told["problems"]


def test_a_server_that_is_away_loses_nothing_and_doubles_nothing(tmp_path, payloads, vingate, proxy):
    put(tmp_path, payloads, "a.ndjson")
    with proxy.away():
        vingate("run")
    assert standing(tmp_path / "in") == []
    put(tmp_path, payloads, "b.ndjson")
    vingate("run")
    _, told = vingate("ledger")
    assert (told["balanced"], told["problems"], told["totals"]["delivered"]) == (True, [], 6)
    lines = [line for one in (tmp_path / "in").glob("*") for line in one.read_text("utf-8").splitlines()]
    assert len({json.loads(line)["costlistcode"] for line in lines}) == len(lines) == 6
