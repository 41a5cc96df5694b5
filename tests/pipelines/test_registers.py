"""The state's registers: what came last stands, what stood before can still be counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from sqlalchemy import select, text

from connectors.contracts import ACCEPTED, DUPLICATE, Delivery, fingerprint
from pipelines import tables
from pipelines.registering import snapshot
from pipelines.registers import RegisterSink, reference
from pipelines.state import State

FIRST, SECOND = "registrations-000001", "registrations-000002"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State(tmp_path / "state", own=True) as made:
        yield made


def registration(home: str, place: int, batch: str = FIRST, day: str = "2025-01-01") -> Delivery:
    record = {"vin": "LSVAA218XK2000001", "plate": "粤A12345", "home": home, "valid_from": day, "valid_to": None}
    return reference(record, orjson.dumps(record), "registrations", place, batch)


def written(state: State, *deliveries: Delivery) -> list[str]:
    return [outcome.status for outcome in RegisterSink(state, "registrations").write(deliveries)]


def standing(state: State) -> list[str]:
    t = tables.registrations
    with state.reading() as connection:
        return list(
            connection.execute(select(t.c.home).where(t.c.current.is_(True)).order_by(t.c.valid_from)).scalars()
        )


def verified(state: State, batch: str) -> tuple[int, int]:
    count, digest = RegisterSink(state, "registrations").verify(batch)
    return count, digest


def test_what_came_last_stands_and_all_are_counted(state: State) -> None:
    old, new = registration("44", 1), registration("31", 2, SECOND)
    assert written(state, old) == [ACCEPTED]
    assert written(state, new) == [ACCEPTED]
    assert standing(state) == ["31"]
    assert verified(state, FIRST) == (1, fingerprint(old))
    assert verified(state, SECOND) == (1, fingerprint(new))


def test_the_same_again_is_a_duplicate_in_any_batch(state: State) -> None:
    assert written(state, registration("44", 1), registration("44", 2)) == [ACCEPTED, DUPLICATE]
    assert written(state, registration("44", 9, SECOND)) == [DUPLICATE]
    assert verified(state, FIRST)[0] == 1
    assert verified(state, SECOND) == (0, 0)


def test_back_to_what_it_was_is_a_change(state: State) -> None:
    assert written(state, *(registration(home, n) for n, home in enumerate(("44", "31", "44")))) == [ACCEPTED] * 3
    assert standing(state) == ["44"]
    assert verified(state, FIRST)[0] == 3


def test_doing_it_again_after_a_crash_gives_the_same_outcomes(state: State) -> None:
    homes = ("44", "44", "31", "44", "44", "11")
    deliveries = [registration(home, n) for n, home in enumerate(homes)]
    once = written(state, *deliveries)
    before = verified(state, FIRST)
    assert written(state, *deliveries) == once
    assert verified(state, FIRST) == before
    assert standing(state) == ["11"]


def test_one_that_comes_late_joins_the_history(state: State) -> None:
    assert written(state, registration("31", 7, SECOND), registration("44", 3)) == [ACCEPTED, ACCEPTED]
    assert standing(state) == ["31"]
    assert (verified(state, FIRST)[0], verified(state, SECOND)[0]) == (1, 1)


def test_other_days_stand_beside_each_other_and_the_snapshot_has_no_old_ones(state: State, tmp_path: Path) -> None:
    written(state, registration("44", 1), registration("31", 2), registration("11", 3, day="2026-01-01"))
    assert standing(state) == ["31", "11"]
    rows = [orjson.loads(line) for line in Path(snapshot(state, tmp_path / "s.ndjson")).read_bytes().splitlines()]
    assert [row["home"] for row in rows] == ["31", "11"]


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM registrations WHERE intake = 1",
        "UPDATE registrations SET home = '11' WHERE intake = 1",
        "UPDATE registrations SET record = replace(record, '44', '11') WHERE intake = 1",
        "UPDATE registrations SET record = 'x' WHERE intake = 1",
        "UPDATE registrations SET current = 1 WHERE intake = 1",
        "UPDATE registrations SET delivery_id = 'x' WHERE intake = 1",
    ],
)
def test_verify_sees_what_was_changed_by_hand(state: State, change: str) -> None:
    written(state, registration("44", 1), registration("31", 2, SECOND))
    before = verified(state, FIRST)
    with state.unit_of_work() as connection:
        assert connection.execute(text(change)).rowcount == 1
    assert verified(state, FIRST) != before
    assert verified(state, FIRST) == (0, 0)


def test_operators_are_kept_alike(state: State) -> None:
    sink = RegisterSink(state, "operators")
    made = []
    for place, name in enumerate(("甲汽修", "乙汽修")):
        record = {"companycode": "44010001", "companyname": name}
        made.append(reference(record, orjson.dumps(record), "operators", place, FIRST))
    assert [outcome.status for outcome in sink.write(made)] == [ACCEPTED, ACCEPTED]
    assert sink.verify(FIRST) == (2, sum(map(fingerprint, made)) % 2**64)
    assert "1 records" in sink.check()[0]
