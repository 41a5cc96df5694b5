"""The migration history: what it makes is what `create_all` makes, and only older databases ever see it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.script import Script, ScriptDirectory
from engine_samples import payload, run_bulk
from sqlalchemy import Column, Connection, Engine, MetaData, Text, create_engine, delete, inspect, select, text

import pipelines.migrations as history
from connectors.contracts import Delivery
from connectors.sqlstore import SqlSink
from connectors.tables import TableSpec
from connectors.tables import tables as store_table
from dlq.letters import LetterStore
from dlq.reasons import reason
from dlq.replay import after
from dlq.tables import define
from pipelines import tables
from pipelines.errors import StateMissing, StateTooNew, StateTooOld
from pipelines.ledger import prove
from pipelines.schema import Standing, note, standing
from pipelines.state import SCHEMA_SINCE, SCHEMA_VERSION, State
from pipelines.storeform import REPAIRS

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KINDS = TableSpec(
    name="kinds", columns={"a": "text", "b": "int", "c": "date", "d": "decimal", "e": "json"}, indexes=("a", "c")
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{tmp_path / 'some.db'}")
    yield made
    made.dispose()


def shape(connection: Connection) -> dict[str, object]:
    """Tables, columns, keys and indexes as the database itself tells them."""
    found = inspect(connection)
    return {
        name: (
            [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in found.get_columns(name)],
            found.get_pk_constraint(name)["constrained_columns"],
            sorted((f["constrained_columns"], f["referred_table"]) for f in found.get_foreign_keys(name)),
            sorted((i["name"] or "", i["column_names"], i["unique"]) for i in found.get_indexes(name)),
            sorted(u["column_names"] for u in found.get_unique_constraints(name)),
        )
        for name in found.get_table_names()
        if not name.endswith(("alembic_version", "_revision"))
    }


def test_newest_revision_is_the_schema_of_the_state() -> None:
    assert history.head() == SCHEMA_VERSION


def test_migrated_state_is_what_create_all_makes(engine: Engine, tmp_path: Path) -> None:
    history.upgrade(engine)
    with State(tmp_path / "state", own=True) as state, state.reading() as fresh, engine.connect() as migrated:
        assert history.differences(migrated) == [], "python -m pipelines.migrations prints what is missing"
        assert shape(migrated) == shape(fresh)
        kept = select(tables.meta.c.name, tables.meta.c.value)
        assert migrated.execute(kept).all() == fresh.execute(kept).all()
        sets = select(tables.destination_sets)
        assert migrated.execute(sets).all() == fresh.execute(sets).all()


@pytest.mark.parametrize("spec", [REPAIRS, KINDS], ids=lambda spec: spec.name)
def test_migrated_store_is_what_the_sink_makes(engine: Engine, tmp_path: Path, spec: TableSpec) -> None:
    history.upgrade(engine, spec)
    sink = SqlSink(SqlSink.Settings(url=f"sqlite:///{tmp_path / 'fresh.db'}", table=spec))
    sink.create()
    sink.close()
    other = create_engine(f"sqlite:///{tmp_path / 'fresh.db'}")
    with engine.connect() as migrated, other.connect() as fresh:
        assert history.differences(migrated, spec) == []
        assert shape(migrated) == shape(fresh)
    other.dispose()


def test_migrated_store_is_written_to(engine: Engine, tmp_path: Path) -> None:
    history.upgrade(engine, KINDS)
    sink = SqlSink(SqlSink.Settings(url=f"sqlite:///{tmp_path / 'some.db'}", table=KINDS))
    (outcome,) = sink.write([Delivery("1", "d", "s|c|k", 1, "c", KINDS.body({"a": "x", "b": 2}), "b-000001")])
    assert outcome.status == "accepted"
    assert sink.verify("b-000001").count == 1
    sink.close()


def test_stores_of_two_specs_share_a_database(engine: Engine) -> None:
    history.upgrade(engine, REPAIRS)
    history.upgrade(engine, KINDS)
    with engine.connect() as connection:
        assert {"repairs", "kinds"} <= set(inspect(connection).get_table_names())


def test_store_made_by_the_sink_is_taken_over(engine: Engine) -> None:
    metadata = MetaData()
    store_table(REPAIRS, metadata)
    metadata.create_all(engine)
    history.upgrade(engine, REPAIRS)
    with engine.connect() as connection:
        assert history.differences(connection, REPAIRS) == []
        assert connection.execute(text("SELECT version_num FROM repairs_revision")).scalar() == SCHEMA_VERSION


def test_differences_are_seen(engine: Engine) -> None:
    history.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE runs DROP COLUMN settings"))
        connection.execute(text("DROP INDEX batches_by_exchange"))
        kinds = {change[0] if isinstance(change, tuple) else change[0][0] for change in history.differences(connection)}
    assert kinds == {"add_column", "add_index"}


def test_draft_of_a_revision_is_empty_today() -> None:
    assert "create_table" not in history.draft()
    assert "add_column" not in history.draft()


def test_upgrading_twice_and_a_state_with_data_changes_nothing(tmp_path: Path) -> None:
    run_bulk(tmp_path, [payload(1), payload(2)])
    with State(tmp_path / "state", own=True) as state:
        history.upgrade(state.engine)
        history.upgrade(state.engine)
        with state.reading() as connection:
            assert history.differences(connection) == []
            assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == SCHEMA_VERSION
    with State(tmp_path / "state", own=False) as state:
        assert prove(state).balanced


# -- the state at its start --------------------------------------------------------------------------------------------


def aged(folder: Path, schema: str, since: str = "") -> None:
    with State(folder, own=True) as state, state.unit_of_work() as connection:
        note(connection, Standing(schema, since or schema))


def test_state_of_an_older_schema_is_upgraded_by_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aged(tmp_path, "0000")
    seen: list[Engine] = []
    monkeypatch.setattr(history, "upgrade", seen.append)
    with State(tmp_path, own=True) as state:
        assert seen == [state.engine]


def test_state_of_this_schema_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aged(tmp_path, SCHEMA_VERSION)
    seen: list[Engine] = []
    monkeypatch.setattr(history, "upgrade", seen.append)
    State(tmp_path, own=True).close()
    assert seen == []


def test_state_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    aged(tmp_path, "9999")
    for own in (True, False):
        with pytest.raises(StateTooNew, match="9999"):
            State(tmp_path, own=own)
    with pytest.raises(StateTooNew):  # and not StateBusy: the lock was given back
        State(tmp_path, own=True)


def test_state_of_a_newer_schema_that_serves_us_is_used_as_it_is(tmp_path: Path) -> None:
    aged(tmp_path, "9999", SCHEMA_VERSION)
    for own in (True, False):
        with State(tmp_path, own=own) as state, state.reading() as connection:
            assert standing(connection) == Standing("9999", SCHEMA_VERSION)
            assert prove(state).balanced


def test_a_schema_serves_builds_since_the_last_revision_that_did_not_expand() -> None:
    assert [Standing("5", "3").serves(known) for known in "123456"] == [False, False, True, True, True, False]
    bounds = [one.revision for one in revisions() if not getattr(one.module, "expands", False)]
    assert bounds[0] == SCHEMA_SINCE


def revisions() -> list[Script]:
    return list(ScriptDirectory.from_config(history._config()).walk_revisions())


def test_a_state_made_before_this_was_noted_serves_its_own_builds_only(tmp_path: Path) -> None:
    with State(tmp_path, own=True) as state, state.unit_of_work() as connection:
        connection.execute(delete(tables.meta).where(tables.meta.c.name == "schema-since"))
        assert standing(connection) == Standing(SCHEMA_VERSION, SCHEMA_VERSION)


def test_who_expands_is_told_by_the_revisions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert history.expands(SCHEMA_VERSION)
    assert not history.expands("0009")
    assert not history.expands("9999")
    monkeypatch.setattr(history, "_expands", lambda one: one.revision == SCHEMA_VERSION)
    assert history.expands("0013")
    assert not history.expands("0012")


def test_looking_changes_no_schema(tmp_path: Path) -> None:
    aged(tmp_path, "0000")
    with pytest.raises(StateTooOld, match="0000"):
        State(tmp_path, own=False)


def test_a_database_without_tables_is_no_state(tmp_path: Path) -> None:
    (tmp_path / "vingate.db").touch()
    with pytest.raises(StateMissing):
        State(tmp_path, own=False)


def test_the_normal_path_does_not_import_alembic(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from pipelines.state import State; import pipelines.ledger\n"
        f"State(Path({str(tmp_path / 'state')!r}), own=True).close()\n"
        "sys.exit(any(name.split('.')[0] in ('alembic', 'apache_beam') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.fixture(params=["columns of today", "a column of tomorrow"])
def letters_table(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """What a later version of the program does to the table of letters, from when it is called on."""

    def later() -> None:
        if request.param == "a column of tomorrow":
            changed = define(MetaData())
            changed.letters.append_column(Column("tomorrow", Text, server_default=""))
            monkeypatch.setattr("dlq.rows.TABLES", changed)

    return later


def test_letters_of_an_older_state_are_marked_as_they_stand(tmp_path: Path, letters_table: Callable[[], None]) -> None:
    run_bulk(tmp_path, [payload(1), *({"basicInfo": {"vin": str(n)}} for n in range(3))])
    letters = tables.letters.letters
    with State(tmp_path / "state", own=True) as state:
        with state.unit_of_work() as connection:
            store = LetterStore(connection, state.sealer())
            one, two, _ = (letter.id for letter in store.search())
            store.discard(one, "note", NOW)
            store.claim(two, "b", NOW)
            before = store.get(two)
            store.settle(before, after(before, "b", (reason("DATE_ORDER"),), NOW), "b")
            marks = {row.id: row.mark for row in connection.execute(select(letters))}
        with state.engine.begin() as connection:
            for statement in (
                "DROP INDEX items_by_batch",
                "DROP INDEX fragments_by_batch",
                "ALTER TABLE letters DROP COLUMN mark",
                "ALTER TABLE letters DROP COLUMN ref_inside",
                "DROP TABLE replay_orders",
                "DROP TABLE budgets",
                "DROP TABLE staged_rows",
                "DROP INDEX inbox_by_partition",
                "ALTER TABLE inbox DROP COLUMN partition",
                "ALTER TABLE batches DROP COLUMN member",
                "DROP TABLE backfill_orders",
                "DROP TABLE vin_journals",
                "DROP INDEX letters_vin",
                "DROP TABLE pulls",
                "DROP TABLE disclosures",
                "DROP TABLE terms",
                "DROP TABLE looks",
                "UPDATE meta SET value = '0003' WHERE name = 'schema'",
            ):
                connection.execute(text(statement))
    letters_table()
    with State(tmp_path / "state", own=True) as state, state.reading() as connection:
        assert {row.id: row.mark for row in connection.execute(select(letters))} == marks
        assert len({*marks.values()}) == 3
        assert history.differences(connection) == []
