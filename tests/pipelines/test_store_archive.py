"""`vingate store`: an exchange on PostgreSQL whose months leave its store: duplicates, ledger and trace stay true."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from engine_samples import TO_STORES, payload, write
from typer.testing import CliRunner

from connectors.archives import Refused
from pipelines.cli.state import app as state_app
from pipelines.cli.store import app
from pipelines.coordinator import Coordinator
from pipelines.errors import PipelineError, SettingsError
from pipelines.ledger import prove
from pipelines.relearning import Unplaced
from pipelines.retention import load_retention
from pipelines.settings import load
from pipelines.state import State
from pipelines.trace import trace

OLD, NEW = "20210310", "20260610"
SETTINGS = """
[store]
url = "{url}"
[archive]
folder = "{folder}"
rest_days = 0
[retention]
online_months = 60
archive_months = 120
reason = "省厅档案规定第 3 条 / provincial rule 3"
"""


@pytest.fixture
def world(tmp_path, postgres, postgres_url):
    settings = tmp_path / "store.toml"
    settings.write_text(SETTINGS.format(url=postgres_url, folder=tmp_path / "archive"), "utf-8")
    with postgres.database() as state:
        yield World(tmp_path, postgres_url, state, settings)


class World:
    """Store and state of one exchange, and the command beside it."""

    def __init__(self, folder, store, state, settings):
        self.folder, self.store, self.place, self.settings = folder, store, state, settings

    def take(self, records, name):
        text = TO_STORES.replace("{source}", str(write(self.folder / name, records)))
        text = text.replace("sqlite:///{stores}/{store}.db", self.store)
        (self.folder / "exchange.toml").write_text(text, "utf-8")
        with State(self.folder / "state", own=True, url=self.place) as state:
            Coordinator(state, load(self.folder / "exchange.toml", [], {})).run()

    def proof(self):
        with State(self.folder / "state", own=False) as state:
            return prove(state)

    def told(self, record):
        with State(self.folder / "state", own=False) as state:
            return trace(state, state.sealer(), record["basicInfo"]["vin"])["versions"]

    def call(self, verb, *arguments):
        found = CliRunner().invoke(app, [verb, str(self.settings), *arguments, "--json"])
        assert found.exit_code == 0, found.output + repr(found.exception)
        return json.loads(found.stdout)


def record(seed, day=OLD, **changes):
    changes = {"repairdate": day, "settledate": day} | changes
    return payload(seed, vehicleplatenumber=f"粤A{seed:05d}", **changes)


def test_what_was_archived_is_still_true(world):
    old, new = [record(n) for n in range(30)], [record(n, NEW) for n in range(30, 40)]
    world.take([*old, *new], "one.ndjson")
    before = world.proof()
    assert (before.balanced, before.totals["delivered"]) == (True, 40)
    file = world.call("archive", "2021-03")
    name = file.pop("file")
    assert (file, re.sub("[0-9a-f]{8}[.]", ".", name)) == (
        {"month": "2021-03", "archived": 30},
        "repairs-202103-001-.avro",
    )
    told = world.call("months", "--prove")
    assert told["strays"] == []
    assert told["months"] == [{"month": "2026-06", "online": 10}]
    assert [(one["month"], one["count"]) for one in told["archives"]] == [("2021-03", 30)]
    after = world.proof()
    assert (after.problems, after.totals) == ([], before.totals)
    world.take([*old, record(3, faultdescription="更正")], "again.ndjson")
    proof = world.proof()
    assert (proof.problems, proof.totals["duplicate"], proof.totals["delivered"]) == ([], 30, 41)
    first, second = world.told(old[3])[0], world.told(old[3])[-1]
    assert (first["version"], first["fate"], first["destinations"][0]["outcome"]) == (1, "addressed", "delivered")
    assert (second["version"], second["proved"]) == (2, True)
    (gone, _) = world.told(old[5])
    assert (gone["proved"], gone["note"]) == (False, name)
    assert world.call("reload", "2021-03") == {"month": "2021-03", "reloaded": 30}
    assert world.call("reload", "2021-03") == {"month": "2021-03", "reloaded": 0}
    assert world.proof().problems == []
    assert all(one["proved"] for one in world.told(old[5]))
    assert world.call("months")["strays"] == [name]


def test_a_changed_sum_in_the_catalogue_is_found(world, postgres):
    world.take([record(n) for n in range(5)], "one.ndjson")
    world.call("archive", "2021-03")
    name = world.store.rpartition("/")[2]
    postgres.execute("UPDATE repairs_archived SET count = count - 1", database=name)
    assert not world.proof().balanced


def test_periods_are_kept_with_their_reason(world):
    world.take([record(1), record(2, "20200601"), record(3, NEW), record(4, "20160105")], "one.ndjson")
    reason = "省厅档案规定第 3 条 / provincial rule 3"
    at = ("--today", "2026-06-30")
    due = [{"what": "archive", "month": month, "count": 1} for month in ("2016-01", "2020-06", "2021-03")]
    assert world.call("retention", *at) == {"due": due, "applied": False, "reason": reason}
    assert [one["month"] for one in world.call("months")["months"]] == ["2016-01", "2020-06", "2021-03", "2026-06"]
    assert world.call("retention", "--apply", *at) == {"due": due, "applied": True, "reason": reason}
    assert world.call("retention", "--apply", *at)["due"] == [{"what": "remove", "month": "2016-01", "count": 1}]
    assert [path.name[:18] for path in sorted((world.folder / "archive").iterdir())] == [
        "repairs-202006-001",
        "repairs-202103-001",
    ]
    assert world.call("retention", "--apply", *at)["due"] == []
    assert world.proof().balanced


def test_a_month_to_which_a_row_came_lately_stays(world, postgres):
    """Who reads the store may not have come to it."""
    world.take([record(1), record(2, "20200601"), record(3, NEW)], "one.ndjson")
    world.settings.write_text(world.settings.read_text("utf-8").replace("rest_days = 0", "rest_days = 7"), "utf-8")
    database = world.store.rpartition("/")[2]
    aged = "UPDATE repairs SET received_at = (now() - interval '8 days')::text WHERE settledate = "
    postgres.execute(f"{aged} '2020-06-01'", database=database)
    refused = CliRunner().invoke(app, ["archive", str(world.settings), "2021-03"])
    assert isinstance(refused.exception, Refused)
    assert "rest_days" in refused.exception.remedy
    at = ("--apply", "--today", "2026-06-30")
    due = [{"what": "archive", "month": "2020-06", "count": 1}, {"what": "wait", "month": "2021-03", "count": 1}]
    assert world.call("retention", *at)["due"] == due
    assert [one["month"] for one in world.call("months")["months"]] == ["2021-03", "2026-06"]
    postgres.execute(f"{aged} '2021-03-10'", database=database)
    assert world.call("archive", "2021-03")["archived"] == 1


def test_a_state_that_was_set_back_asks_for_archived_months_first(world):
    """What it would learn of a batch without them would be wrong for ever."""
    world.place, state, backup = "", world.folder / "state", world.folder / "backup"
    world.take([record(1, NEW)], "one.ndjson")
    shutil.copytree(state, backup)
    world.take([record(2), record(3, NEW)], "two.ndjson")
    world.take([record(4)], "three.ndjson")
    name = world.call("archive", "2021-03")["file"]
    shutil.rmtree(state)
    backup.rename(state)
    found = CliRunner().invoke(state_app, ["relearn", "--state", str(state), "--json"])
    assert isinstance(found.exception, PipelineError)
    assert name in str(found.exception)
    assert "store reload" in str(found.exception)
    assert world.call("reload", "2021-03")["reloaded"] == 2
    found = CliRunner().invoke(state_app, ["relearn", "--state", str(state), "--json"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["exchanges"]["to-stores"] == {"batches": 2, "records": 3}


def test_a_state_that_was_set_back_learns_of_destinations_that_are_new_to_it(world):
    world.place, state, backup = "", world.folder / "state", world.folder / "backup"
    world.take([record(1)], "one.ndjson")
    shutil.copytree(state, backup)
    elsewhere = [payload(n, vehicleplatenumber=f"沪A{n:05d}") for n in (2, 3, 4)]
    world.take(elsewhere[:1], "two.ndjson")
    world.take([record(5), *elsewhere[1:]], "three.ndjson")
    shutil.rmtree(state)
    backup.rename(state)
    found = CliRunner().invoke(state_app, ["relearn", "--state", str(state), "--json"])
    assert found.exit_code == 0, repr(found.exception)
    assert json.loads(found.stdout)["exchanges"]["to-stores"] == {"batches": 2, "records": 4}
    world.take(elsewhere, "again.ndjson")
    assert world.proof().totals["duplicate"] == 3


def test_a_row_that_nobody_can_place_is_told(world, postgres):
    world.place, state, backup = "", world.folder / "state", world.folder / "backup"
    world.take([record(1)], "one.ndjson")
    shutil.copytree(state, backup)
    world.take([record(2)], "two.ndjson")
    changed = "UPDATE repairs SET delivery_id = 'x' WHERE batch LIKE '%2'"
    postgres.execute(changed, database=world.store.rpartition("/")[2])
    shutil.rmtree(state)
    backup.rename(state)
    found = CliRunner().invoke(state_app, ["relearn", "--state", str(state), "--json"])
    assert isinstance(found.exception, Unplaced)
    assert "to-stores-000002: 1" in str(found.exception)
    world.take([record(3)], "three.ndjson")
    assert world.proof().problems == []


@pytest.mark.parametrize("given", [("retention", "--today", "morgen"), ("archive", "2021-13"), ("archive", "x")])
def test_what_is_no_day_or_month_is_told(world, given):
    verb, *more = given
    found = CliRunner().invoke(app, [verb, str(world.settings), *more])
    assert isinstance(found.exception, SettingsError)


@pytest.mark.parametrize(
    ("changed", "sign"),
    [
        (("archive_months = 120", "archive_months = 12"), "must not be less"),
        (('reason = "', 'reason = ""\n# "'), "reason"),
        (("online_months", "online_weeks"), "online_weeks"),
        (("[store]", "[stores]"), "stores"),
    ],
)
def test_wrong_settings_are_told(tmp_path, changed, sign):
    path = tmp_path / "wrong.toml"
    path.write_text(SETTINGS.format(url="x", folder=tmp_path).replace(*changed), "utf-8")
    with pytest.raises(SettingsError, match=sign):
        load_retention(path)


def test_settings_that_are_not_there_are_told(tmp_path):
    with pytest.raises(SettingsError, match="nowhere"):
        load_retention(tmp_path / "nowhere.toml")
