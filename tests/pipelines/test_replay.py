"""Replays: the original bytes enter by the same door again, once, and three failures park a letter."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import fastavro
import pytest
from sqlalchemy import select, update

from connectors.memory import hub
from dlq.letters import Filters, LetterStore
from pipelines import tables
from pipelines.coordinator import Coordinator
from pipelines.errors import SettingsError
from pipelines.ledger import prove
from pipelines.lettering import replay_letters
from pipelines.replayorders import MOST, portions
from pipelines.settings import Exchange
from pipelines.state import State


def record(number, **basic):
    members = {
        "companycode": "440300000000001",
        "companyname": "某某汽车维修有限公司",
        "vehicleplatenumber": "粤B12345",
        "vin": "LVSHCAMB1CE054249",
        "repairdate": "20250605",
        "repairmileage": "52000",
        "settledate": "20250605",
        "faultdescription": "发动机异响",
        "costlistcode": f"JS{number}",
    }
    parts = [{"partsname": "火花塞", "partsquantity": "6", "partscode": "999"}]
    projects = [{"repairproject": "更换火花塞", "workinghours": "2"}]
    return {"basicInfo": members | basic, "vehiclepartslist": parts, "repairprojectlist": projects}


def exchange(folder, **more):
    settings = {
        "name": "collect",
        "source": {"connector": "files", "path": str(folder / "in"), "format": "ndjson"},
        "mapping": {"dialect": "national"},
        "versions": {"system": "44"},
        "routing": {"table": "home"},
        "sinks": {"out": {"connector": "avro", "path": str(folder / "out")}},
        "received_at": "2025-06-06T10:00:00+08:00",
    }
    return Exchange.model_validate(settings | more)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path


def feed(place, *records, name="one.ndjson"):
    text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records)
    (place / "in" / name).write_text(text, "utf-8")


def run(state, settings):
    return Coordinator(state, settings).run()


def letters(state, **filters):
    with state.reading() as connection:
        return list(LetterStore(connection, state.sealer()).search(Filters(**filters)))


def delivered(place):
    found = []
    for path in (place / "out").rglob("*.avro"):
        with path.open("rb") as file:
            found += [record["costlistcode"] for record in fastavro.reader(file)]
    return sorted(found)


def ledger_holds(state):
    """Both equations for every batch; letters counted are letters that stand."""
    with state.reading() as connection:
        store = LetterStore(connection, state.sealer())
        for b in connection.execute(select(tables.batches)):
            into = b.decoded + b.dead_intake + b.duplicate_intake + b.fragments
            assert b.received == into, dict(b._mapping)
            on = b.addressed + b.dead_records + b.duplicate_records + b.filtered + b.unplaced
            assert b.decoded == on, dict(b._mapping)
            tally = store.tally(b.id)
            assert (b.letters, int(b.letters_digest)) == (tally.count, tally.digest), b.id
        for d in connection.execute(select(tables.batch_destinations)):
            ways = d.delivered + d.duplicate + d.merged + d.filtered + d.dead + d.waiting + d.in_flight
            assert d.addressed == ways, dict(d._mapping)
    return True


LENIENT = {"dialect": "national", "profile": "lenient"}


def test_a_letter_goes_through_once_its_cause_is_mended(place):
    feed(place, record(1), record(2, vin="LVSHCAMB2CE054249"))
    with State(place / "state", own=True) as state:
        run(state, exchange(place))
        (dead,) = letters(state)
        assert (dead.reason, delivered(place)) == ("VIN_CHECK_DIGIT", ["JS1"])
        settings = place / "lenient.toml"
        settings.write_text(toml(exchange(place, mapping=LENIENT)), "utf-8")
        told = replay_letters(state, [dead.id], settings)
        assert told.went_through
        assert [one.outcome for one in told.letters] == ["resolved"]
        assert delivered(place) == ["JS1", "JS2"]
        assert letters(state)[0].resolved_by == told.batches[0]
        assert ledger_holds(state)


def toml(settings):
    plain = settings.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items() if not isinstance(value, dict)]
    for key, value in plain.items():
        if isinstance(value, dict):
            inner = {k: v for k, v in value.items() if not isinstance(v, dict)}
            lines += [f"[{key}]", *(f"{k} = {json.dumps(v)}" for k, v in inner.items())]
            for name, deeper in value.items():
                if isinstance(deeper, dict):
                    lines += [f"[{key}.{name}]", *(f"{k} = {json.dumps(v)}" for k, v in deeper.items())]
    return "\n".join(lines)


def test_an_unmended_letter_dies_again_with_one_generation_more(place):
    feed(place, record(1, vin="LVSHCAMB2CE054249"))
    with State(place / "state", own=True) as state:
        run(state, exchange(place))
        (dead,) = letters(state)
        told = replay_letters(state, [dead.id])
        assert [(one.outcome, one.why) for one in told.letters] == [("open", "VIN_CHECK_DIGIT")]
        (after,) = letters(state)
        assert (after.id, after.generation, after.attempts, after.state) == (dead.id, 1, 1, "open")
        assert not told.went_through
        assert ledger_holds(state)


def test_three_failures_park_a_letter_until_it_is_reopened(place):
    feed(place, record(1, vin="LVSHCAMB2CE054249"))
    with State(place / "state", own=True) as state:
        run(state, exchange(place))
        name = letters(state)[0].id
        outcomes = [replay_letters(state, [name]).letters[0].outcome for _ in range(4)]
        assert outcomes == ["open", "open", "parked", "skipped"]
        assert letters(state)[0].generation == 3
        with state.unit_of_work() as connection:
            LetterStore(connection, state.sealer()).reopen(name, datetime.now(UTC), "mended")
        assert replay_letters(state, [name]).letters[0].outcome == "parked"
        assert ledger_holds(state)


def test_a_replay_done_twice_does_nothing_twice(place):
    feed(place, record(1, vin="LVSHCAMB2CE054249"))
    with State(place / "state", own=True) as state:
        run(state, exchange(place))
        name = letters(state)[0].id
        settings = place / "lenient.toml"
        settings.write_text(toml(exchange(place, mapping=LENIENT)), "utf-8")
        replay_letters(state, [name], settings)
        again = replay_letters(state, [name, name], settings)
        assert again.went_through
        assert again.batches == ()
        assert delivered(place) == ["JS1"]
        run(state, exchange(place))
        assert delivered(place) == ["JS1"]
        assert ledger_holds(state)


def test_an_older_version_that_is_replayed_never_overtakes_a_newer_one(place):
    feed(place, record(1, vin="LVSHCAMB2CE054249"))
    with State(place / "state", own=True) as state:
        run(state, exchange(place))
        name = letters(state)[0].id
        feed(place, record(1, faultdescription="已更正"), name="two.ndjson")
        run(state, exchange(place))
        settings = place / "lenient.toml"
        settings.write_text(toml(exchange(place, mapping=LENIENT)), "utf-8")
        assert replay_letters(state, [name], settings).letters[0].outcome == "resolved"
        assert delivered(place) == ["JS1"]
        with state.reading() as connection:
            batch = connection.execute(select(tables.batches).where(tables.batches.c.kind == "letters")).one()
        assert (batch.received, batch.filtered, batch.addressed) == (1, 1, 0)
        assert ledger_holds(state)


def test_letters_of_several_companies_are_replayed_as_the_company_they_came_from(place):
    for company in ("440300000000001", "440300000000002"):
        (place / "in" / company).mkdir()
        bad = record(7, companycode=company, vin="LVSHCAMB2CE054249")
        foreign = record(8, companycode="440300000000009")
        feed(place, bad, foreign, name=f"{company}/a.ndjson")
    source = {"connector": "files", "path": str(place / "in"), "layout": "{company}/*", "format": "ndjson"}
    with State(place / "state", own=True) as state:
        run(state, exchange(place, source=source))
        assert [x.reason for x in letters(state)].count("COMPANY_CODE_MISMATCH") == 2
        settings = place / "lenient.toml"
        settings.write_text(toml(exchange(place, source=source, mapping=LENIENT)), "utf-8")
        told = replay_letters(state, [x.id for x in letters(state)], settings)
        outcomes = {one.why or one.outcome for one in told.letters}
        assert outcomes == {"resolved", "COMPANY_CODE_MISMATCH"}
        assert len(delivered(place)) == 2
        assert ledger_holds(state)


def test_a_refused_delivery_is_delivered_again_to_its_one_destination(place):
    feed(place, record(1), record(2))
    broken = exchange(place, sinks={"out": {"connector": "memory", "hub": "replay-mend", "mode": "refuse"}})
    with State(place / "state", own=True) as state:
        run(state, broken)
        dead = letters(state)
        assert {x.stage for x in dead} == {"deliver"}
        first = [replay_letters(state, [x.id]).letters[0].outcome for x in dead]
        assert first == ["open", "open"]
        assert [x.generation for x in letters(state)] == [1, 1]
        assert ledger_holds(state)
        settings = place / "mended.toml"
        mended = exchange(place, sinks={"out": {"connector": "memory", "hub": "replay-mend"}})
        settings.write_text(toml(mended), "utf-8")
        told = replay_letters(state, [x.id for x in dead], settings)
        assert [one.outcome for one in told.letters] == ["resolved", "resolved"]
        assert len(hub("replay-mend").delivered) == 2
        assert ledger_holds(state)


def test_a_replayed_delivery_whose_destination_is_away_waits_and_ends_by_itself(place):
    def to(mode):
        sink = {"connector": "memory", "hub": "replay-away", "mode": mode, "deadline": 0}
        return exchange(place, sinks={"out": sink})

    feed(place, record(1))
    with State(place / "state", own=True) as state:
        run(state, to("refuse"))
        (dead,) = letters(state)
        settings = place / "away.toml"
        settings.write_text(toml(to("stall")), "utf-8")
        assert replay_letters(state, [dead.id], settings).letters[0].outcome == "waiting"
        assert (letters(state)[0].state, letters(state)[0].generation) == ("claimed", 0)
        assert ledger_holds(state)
        with state.unit_of_work() as connection:
            connection.execute(update(tables.waiting).values(next_attempt="2025-01-01"))
        run(state, to("accept"))
        assert letters(state)[0].state == "resolved"
        assert len(hub("replay-away").delivered) == 1
        assert ledger_holds(state)


def test_settings_of_another_exchange_are_refused(place):
    feed(place, record(1, vin="LVSHCAMB2CE054249"))
    with State(place / "state", own=True) as state:
        run(state, exchange(place))
        settings = place / "other.toml"
        settings.write_text(toml(exchange(place, name="report")), "utf-8")
        with pytest.raises(SettingsError, match="collect"):
            replay_letters(state, [letters(state)[0].id], settings)
        with pytest.raises(SettingsError, match="--settings"):
            replay_letters(state, [letters(state)[0].id], None, ["mapping.profile=lenient"])
        assert letters(state)[0].state == "open"


def test_a_replay_does_not_end_a_run_that_was_killed(place):
    feed(place, record(1, vin="LVSHCAMB2CE054249"))
    with State(place / "state", own=True) as state:
        number = run(state, exchange(place))
        with state.unit_of_work() as connection:
            connection.execute(update(tables.runs).values(ended_at=None))
        replay_letters(state, [letters(state)[0].id])
        assert run(state, exchange(place)) == number


def test_hundreds_of_letters_are_replayed_in_portions_and_die_again_under_short_keys(place):
    feed(place, *(record(number, vin="LVSHCAMB2CE054249") for number in range(620)))
    with State(place / "state", own=True) as state:
        run(state, exchange(place))
        ids = [one.id for one in letters(state)]
        seen = []
        told = replay_letters(state, ids, observer=lambda event: seen.append(event.name))
        assert (len(ids), len(told.batches), seen.count("closed")) == (620, 2, 2)
        assert {one.outcome for one in told.letters} == {"open"}
        assert {(one.generation, one.attempts) for one in letters(state)} == {(1, 1)}
        with state.reading() as connection:
            assert max(map(len, connection.execute(select(tables.items.c.digest)).scalars())) < 80
        assert {one.outcome for one in replay_letters(state, ids[:3]).letters} == {"open"}
        assert {one.generation for one in letters(state) if one.id in ids[:3]} == {2}
        assert ledger_holds(state)
        assert prove(state).balanced


def test_a_payload_longer_than_what_the_exchange_reads_is_not_held_to_die_again(place):
    feed(place, record(1, vin="LVSHCAMB2CE054249", faultdescription="异响" * 900), record(2, vin="LVSHCAMB2CE054249"))
    with State(place / "state", own=True) as state:
        run(state, exchange(place))
        settings = place / "narrow.toml"
        settings.write_text(toml(exchange(place, mapping=LENIENT, limits={"payload_bytes": 1024})), "utf-8")
        told = replay_letters(state, [one.id for one in letters(state)], settings)
        assert sorted((one.outcome, "limits.payload_bytes" in one.why) for one in told.letters) == [
            ("resolved", False),
            ("skipped", True),
        ]
        assert delivered(place) == ["JS2"]
        assert ledger_holds(state)


def test_portions_are_bounded_by_number_and_by_bytes(place):
    feed(place, record(1, vin="LVSHCAMB2CE054249"))
    with State(place / "state", own=True) as state:
        run(state, exchange(place))
        (letter,) = letters(state)
    sized = [letter._replace(body_size=size) for size in (300, 60, 40, 1, 100)]
    assert [[one.body_size for one in portion] for portion in portions(sized, 100)] == [[300], [60, 40], [1], [100]]
    assert [len(portion) for portion in portions([letter] * (MOST * 2 + 1), 1 << 40)] == [MOST, MOST, 1]
