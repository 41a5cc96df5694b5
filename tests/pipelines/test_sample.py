"""The sample generator: same bytes for the same seed, realistic shares, and numbers that the judge agrees with."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from connectors.avrofiles import AvroSource
from connectors.files import FilesSource
from mappings import divisions, reading, uscc
from mappings.findings import profile
from mappings.judging import Context
from mappings.records import Operator
from pipelines.cli import main
from pipelines.cli.sample import sample as command
from pipelines.sample import NotOurs, generate
from pipelines.sample.broken import BROKEN
from pipelines.sample.faults import FAULTS
from pipelines.sample.shops import SOFTWARE
from routing.dealers import Dealers, load_dealers, load_oems
from routing.facts import facts_of
from routing.homes import MemoryRegistrations, homes_for
from routing.merging import Visit, match_one

INFORMAL = {"UNKNOWN_MEMBER", "SIGN_NOT_CHECKED", "ORDER_NOT_CHECKED"}
"""Codes of every payload of some dialects, which the generator does not count."""


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def known(root: Path) -> dict:
    return json.loads((root / "expected.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    """What the default sample knows about itself."""
    out = tmp_path_factory.mktemp("nation")
    summary = generate(out)
    return out, summary, known(out)


class Reading:
    """A small sample read back through connectors, mappings and routing."""

    def __init__(self, root: Path) -> None:
        self.root, self.expected = root, known(root)
        self.lenient = profile("lenient")
        self.received_at = datetime.fromisoformat(self.expected["received_at"])
        self.judgements = {"collect": [], "headquarters": []}
        self.problems = []
        shops = FilesSource.Settings(path=root / "shops", layout="{system}/{company}/*", group_by="结算清单编号")
        self._take("collect", FilesSource(shops))
        self._take("headquarters", AvroSource(AvroSource.Settings(path=root / "headquarters")))
        feed = FilesSource.Settings(path=root / "headquarters", include=("*.ndjson",))
        self._take("headquarters", FilesSource(feed))

    def _take(self, exchange, source):
        for item in source.plan({}):
            for block in source.read(item):
                self.problems += [(item.source, reason) for _, _, reason in block.problems]
                for body in block.bodies:
                    self.judgements[exchange].append((item, self.judge(body, item.company)))

    def judge(self, body, company=""):
        context = Context(self.lenient, self.received_at, company, company_required=True)
        return reading.judge(reading.read(body), context)

    def lines(self, name):
        return (self.root / name).read_bytes().splitlines()

    def orders(self):
        """(province, key, content) of each whole three-step order."""
        found = {}
        for item, judgement in self.judgements["collect"]:
            if judgement.kind == "step" and not judgement.rejected:
                steps = found.setdefault((item.system, item.company, judgement.order), {})
                steps.setdefault(judgement.step, judgement.members)
        for key, steps in found.items():
            if {"insert", "items", "settle"} <= steps.keys():
                day = date.fromisoformat(steps["settle"]["settledate"])
                yield key[0], key, SimpleNamespace(**steps["insert"], settledate=day)

    def firsts(self):
        """(province, system, record) of each record's first version, in the order of intake."""
        seen = set()
        for exchange, judged in self.judgements.items():
            for item, judgement in judged:
                row = judgement.record
                if row is None or judgement.kind != "repair":
                    continue
                system = item.system if exchange == "collect" else "oem-" + item.source.split("/")[0]
                key = (system, row.companycode, row.costlistcode)
                if key not in seen:
                    seen.add(key)
                    yield item.system or divisions.of_company(row.companycode), key, row


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    out = tmp_path_factory.mktemp("small")
    generate(out, seed=11, scale=0.06)
    return Reading(out)


def test_same_seed_same_bytes_even_in_another_process(tmp_path):
    generate(tmp_path / "a", seed=3, scale=0.02)
    code = "import sys; from pathlib import Path; from pipelines.sample import generate; "
    code += "generate(Path(sys.argv[1]), seed=3, scale=0.02)"
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "TZ": "America/New_York"}
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "b")], check=True, env=environment, cwd=root)
    first, second = digests(tmp_path / "a"), digests(tmp_path / "b")
    assert len(first) > 100
    assert first == second


def test_another_seed_other_bytes(tmp_path):
    generate(tmp_path / "a", seed=3, scale=0.02)
    generate(tmp_path / "b", seed=4, scale=0.02)
    a, b = digests(tmp_path / "a"), digests(tmp_path / "b")
    same = [name for name in a.keys() & b.keys() if name.startswith("shops/") and a[name] == b[name]]
    assert [name for name in same if not name.endswith("00000000.ndjson")] == []


def test_the_default_nation_is_as_large_as_promised(nation):
    _, summary, expected = nation
    assert summary.shops >= 200
    assert summary.systems == 32
    assert summary.envelopes >= 52_000
    assert summary.envelopes == summary.collect + summary.headquarters
    assert set(expected["exchanges"]["collect"]["by_system"]) == set(divisions.PROVINCES)
    assert set(expected["exchanges"]["headquarters"]["by_system"]) == {"oem-SVW", "oem-FAWVW", "oem-TESLA-SH"}
    assert set(expected["software"]) == set(SOFTWARE)
    assert summary.received_at == "2026-09-21T21:30:00+08:00"
    files = [path for name in ("shops", "headquarters") for path in (nation[0] / name).rglob("*") if path.is_file()]
    assert summary.bytes == sum(path.stat().st_size for path in files if path.suffix != ".part")


def test_shares_are_realistic(nation):
    _, _, expected = nation
    collect, homes = expected["exchanges"]["collect"], expected["homes"]
    assert 0.02 <= collect["rejected"] / collect["envelopes"] <= 0.03
    assert 0.10 <= collect["flagged"] / (collect["records"] + collect["corrections"]) <= 0.15
    assert 0.10 <= homes["away"] / (homes["away"] + homes["at_home"]) <= 0.15
    registered = sum(expected["registrations"].values())
    assert 0.13 <= registered / expected["vehicles"] <= 0.17
    assert expected["merged"]["pairs"] > 0.5 * expected["exchanges"]["headquarters"]["records"]


def test_every_quirk_occurs(nation):
    _, _, expected = nation
    listed = {fault.name for fault in FAULTS} | {one.name for one in BROKEN}
    listed |= {"blind-retry", "corrected", "sent-again", "order-corrected", "csv-line-break"}
    assert {name for name in listed if expected["quirks"].get(name, 0) < 2} == set()
    assert set(expected["registrations"]) >= {"agrees", "bingtuan", "contradicts-plate", "expired", "moved"}
    assert min(expected["later"].values()) > 10
    assert expected["homes"]["homeless"].keys() == {"armed-police", "embassy", "military", "temporary"}
    assert expected["plates"].keys() >= {"hk-macau", "nev-small", "nev-large", "police", "consulate", "rescue"}
    assert expected["shanghai"]["incomplete"] > 10
    assert {name for name in ("bom", "gz", "empty", "half-written") if not expected["special_files"].get(name)} == set()
    assert len(expected["special_files"]["repeated"]) >= 5


def test_every_fault_has_codes_of_the_catalogue():
    codes = {code for one in (*FAULTS, *BROKEN) for code in one.codes}
    assert codes <= set(profile("lenient").severities)
    assert len(codes) > 25


def test_every_payload_is_recognised_with_its_dialect(small):
    found = Counter(judgement.dialect for judged in small.judgements.values() for _, judgement in judged)
    quirks = small.expected["quirks"]
    unread = found.pop("", 0)
    assert unread <= sum(count for name, count in quirks.items() if name.startswith("line-"))
    exact = ("csv", "oem", "shanghai")
    assert {name: found[name] for name in exact} == {name: small.expected["dialects"][name] for name in exact}
    assert set(found) == set(small.expected["dialects"])


def test_the_judge_finds_what_the_generator_put_in(small):
    for exchange, judged in small.judgements.items():
        expected = small.expected["exchanges"][exchange]
        assert len(judged) == expected["envelopes"]
        records = [(item, j) for item, j in judged if j.kind in ("repair", "step", "")]
        assert len(judged) - len(records) == expected["calls"]
        assert sum(j.rejected for _, j in records) == expected["rejected"]
    assert len(list(small.orders())) == small.expected["shanghai"]["whole"]
    assert len(list(small.firsts())) == sum(e["records"] for e in small.expected["exchanges"].values())
    found = Counter(
        code for judged in small.judgements.values() for _, j in judged for code in {f.code for f in j.findings}
    )
    assert {c: n for c, n in found.items() if c not in INFORMAL} == small.expected["findings"]


def test_versions_are_counted(small):
    for exchange, judged in small.judgements.items():
        versions = {(item.system or item.source.split("/")[0], j.record) for item, j in judged if j.kind == "repair"}
        expected = small.expected["exchanges"][exchange]
        accepted = [record for _, record in versions if record is not None]
        assert len(accepted) == expected["records"] + expected["corrections"]


def test_flags_are_counted_version_by_version(small):
    for exchange, judged in small.judgements.items():
        versions = {
            (item.system or item.source.split("/")[0], judgement.record)
            for item, judgement in judged
            if judgement.kind == "repair" and any(finding.severity == "flag" for finding in judgement.findings)
        }
        accepted = [record for _, record in versions if record is not None]
        assert len(accepted) == small.expected["exchanges"][exchange]["flagged"]


def test_homes_are_those_that_routing_finds(small):
    registrations = [small.judge(line).record for line in small.lines("reference/registrations.ndjson")]
    table = MemoryRegistrations(registrations)
    away, at_home, homeless = Counter(), 0, Counter()
    for province, (system, company, _), row in (*small.firsts(), *small.orders()):
        homes = homes_for(facts_of(row.vin, row.plate, company, row.settledate, system), table)
        elsewhere = [key for key in homes.keys if key != province]
        away.update(elsewhere)
        at_home += bool(homes.keys) and not elsewhere
        if not homes.keys:
            homeless[homes.reason] += 1
    expected = small.expected["homes"]
    assert at_home == expected["at_home"]
    assert dict(away) == expected["away_by_home"]
    kinds = Counter(expected["homeless"])
    kinds["military"] += kinds.pop("armed-police", 0)
    assert homeless == kinds


def test_merged_pairs_are_those_that_routing_finds(small):
    reference = small.root / "reference"
    dealers = Dealers(
        load_dealers((reference / "dealers.toml").read_text("utf-8"), "toml"),
        load_oems((reference / "oems.toml").read_text("utf-8")),
    )
    visits, merged = {}, Counter()
    for province, key, row in small.firsts():
        system, company, code = key
        oem = dealers.oem_of(company, row.settledate)
        one = Visit("|".join(key), row.vin, company, row.settledate, row.mileage, code, system, oem)
        others = visits.setdefault((row.vin, company), [])
        partner = match_one(one, others)
        if partner is not None:
            merged[province] += 1
            others[others.index(partner)] = partner._replace(partner=one.key)
            one = one._replace(partner=partner.key)
        others.append(one)
    assert dict(merged) == small.expected["merged"]["by_system"]


def test_reference_data_is_valid(small):
    operators = [json.loads(line) for line in small.lines("reference/operators.ndjson")]
    for operator in operators:
        Operator.model_validate_json(json.dumps(operator))
        assert uscc.problems(operator["companyunifiedsocialcreditidentifier"]) == []
    folders = {path.name for path in small.root.glob("shops/*/*")}
    assert folders <= {operator["companycode"] for operator in operators}
    for line in (*small.lines("reference/registrations.ndjson"), *small.lines("later/registrations-2.ndjson")):
        judgement = small.judge(line)
        assert (judgement.kind, judgement.rejected) == ("vehicle", False)


def test_odd_files_lie_there(small):
    parts = [path for path in small.root.glob("shops/*/*/*.part")]
    assert len(parts) == small.expected["special_files"]["half-written"]
    assert all((path.parent / path.stem).read_bytes().startswith(path.read_bytes()) for path in parts)
    assert [source.rpartition("/")[2] for source, _ in small.problems] == ["00000000.ndjson"]
    for path in small.expected["special_files"]["repeated"]:
        again = small.root / "shops" / path
        assert again.read_bytes() == (again.parent / again.name.replace(".again.", ".")).read_bytes()


def test_an_earlier_sample_is_replaced_and_nothing_else(tmp_path):
    out = tmp_path / "out"
    generate(out, seed=3, scale=0.02)
    generate(out, seed=4, scale=0.02)
    generate(tmp_path / "fresh", seed=4, scale=0.02)
    assert digests(out) == digests(tmp_path / "fresh")
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "thesis.txt").write_text("years of work")
    with pytest.raises(NotOurs, match="not written by vingate sample"):
        generate(strange, scale=0.02)
    assert (strange / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("before", [False, True], ids=["into an empty folder", "over an earlier sample"])
@pytest.mark.parametrize("stage", ["visits", "shops", "reference"])
def test_what_an_interrupted_call_left_is_replaced(tmp_path, stage, before):
    def interrupt(now, _done, _of):
        if now == stage:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    if before:
        generate(out, seed=3, scale=0.02)
    with pytest.raises(KeyboardInterrupt):
        generate(out, seed=4, scale=0.02, progress=interrupt)
    assert not (out / "expected.json").exists(), "an unfinished sample is none"
    generate(out, seed=4, scale=0.02)
    generate(tmp_path / "fresh", seed=4, scale=0.02)
    assert digests(out) == digests(tmp_path / "fresh")


@pytest.mark.parametrize(("scale", "days"), [(0.0, 21), (-1.0, 21), (0.02, 6)])
def test_sizes_that_make_no_sense_are_refused(tmp_path, scale, days):
    with pytest.raises(ValueError, match="scale"):
        generate(tmp_path / "out", scale=scale, days=days)
    assert not (tmp_path / "out").exists()


def test_progress_is_told_to_the_end(tmp_path):
    told = {}
    generate(tmp_path / "out", scale=0.02, days=8, progress=lambda stage, done, of: told.update({stage: (done, of)}))
    assert list(told) == ["visits", "shops", "headquarters", "reference"]
    assert all(done == of for done, of in told.values())


@pytest.fixture(scope="module")
def app():
    made = typer.Typer()
    made.command()(command)
    return made


def test_command_answers_one_json_object(app, tmp_path):
    result = CliRunner().invoke(app, [str(tmp_path / "out"), "--scale", "0.02", "--json"])
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert answer["envelopes"] == known(tmp_path / "out")["envelopes"]


def test_command_says_where_things_lie(app, tmp_path):
    result = CliRunner().invoke(app, [str(tmp_path / "out"), "--scale", "0.02"], env={"COLUMNS": "300"})
    assert result.exit_code == 0
    assert "2026-09-21T21:30:00+08:00" in result.stdout
    assert "expected.json" in result.stdout


def test_command_leaves_other_folders_alone(tmp_path, capsys):
    (tmp_path / "mine").write_text("x")
    assert main(["sample", str(tmp_path)]) == 2
    assert "choose an empty folder" in capsys.readouterr().err


def test_a_disk_that_is_full_is_not_the_callers_fault(tmp_path, capsys, monkeypatch):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert main(["sample", str(tmp_path / "out"), "--scale", "0.02"]) == 3
    assert "make room" in capsys.readouterr().err
