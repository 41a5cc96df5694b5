"""Months out of a divided store and back: nothing is lost wherever a call is cut off, and sums stay what they were."""

from __future__ import annotations

from threading import Event, Thread

import fastavro
import pytest
import test_sqlstore as lite
from sqlalchemy import event
from test_pgmonths import DIVIDED, make_sink, statuses, where
from test_sqlstore import delivery
from test_sqlstore_postgres import Place

from connectors import archives as module
from connectors import pgwriting
from connectors.archives import Archives, Refused
from connectors.contracts import ACCEPTED, Misconfigured, Unavailable
from connectors.sqlbase import Store, StoreSettings
from connectors.sqlstore import SqlSink

GIVEN = (
    *(delivery(n, day="2023-09-30", parts=[n], filler="x" * n, price="1.50") for n in range(40)),
    delivery(1, 2, day="2023-10-01"),
    *(delivery(n, day="2023-10-05", batch="b2") for n in range(100, 120)),
    delivery(200, day="2023-09-02", batch="b2"),
    delivery(300, batch="b2"),
)


class Cut(BaseException):
    """Stands for a kill."""


@pytest.fixture
def place(postgres, postgres_url):
    return Place(postgres, postgres_url)


@pytest.fixture
def sink(place):
    sink = make_sink(place)
    assert set(statuses(sink, *GIVEN)) == {ACCEPTED}
    return sink


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "archive"


def archives(place, folder):
    return Archives(StoreSettings(url=place.url, table=DIVIDED), folder)


def sums(sink):
    return sink.verify_many(["b1", "b2", "b3"])


def everything(place):
    return place.execute("SELECT * FROM things ORDER BY seq")


def test_a_month_leaves_and_comes_back_as_it_was(place, sink, folder):
    before, rows = sums(sink), everything(place)
    assert before["b1"] == lite.TestSqlSink.tally(GIVEN[:41])
    ours = archives(place, folder)
    assert ours.months() == {0: 1, 202309: 42, 202310: 20}
    known = ours.archive(202309)
    assert (known.count, known.last_day, known.part) == (42, "2023-10-01", 1)
    assert 202309 not in where(place)
    assert sums(sink) == before
    assert ours.archives() == [known]
    ours.prove(known)
    with (folder / known.file).open("rb") as file:
        assert [record["text"] for record in fastavro.reader(file)] == [lite.TEXT] * 42
    assert ours.archive(202309) is None
    assert ours.reload(202309) == 42
    assert (everything(place), sums(sink), ours.archives()) == (rows, before, [])
    assert ours.reload(202309) == 0


class _Steps:
    """Where a call is cut off: each sets a trap and says how to take it away."""

    @staticmethod
    def in_mid_file(monkeypatch):
        seen = module._Summing.seen
        count = iter(range(10_000))

        def cut(self, row):
            if next(count) == 20:
                raise Cut
            return seen(self, row)

        monkeypatch.setattr(module._Summing, "seen", cut)

    @staticmethod
    def before_the_file_has_its_name(monkeypatch):
        monkeypatch.setattr(module.Path, "rename", _cut)

    @staticmethod
    def behind_its_name(monkeypatch):
        monkeypatch.setattr(Archives, "_read_back", _cut)

    @staticmethod
    def before_the_catalogue(monkeypatch):
        monkeypatch.setattr(Archives, "_drop", _cut)

    @staticmethod
    def before_the_commit(monkeypatch):
        init = Archives.__init__

        def listening(self, *given):
            init(self, *given)
            event.listen(self._store.engine, "commit", _cut)

        monkeypatch.setattr(Archives, "__init__", listening)


def _cut(*_, **__):
    raise Cut


STEPS = [value.__func__ for value in vars(_Steps).values() if isinstance(value, staticmethod)]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_archiving_that_is_cut_off_is_done_again(place, sink, folder, step):
    before, rows = sums(sink), everything(place)
    with pytest.MonkeyPatch.context() as patch:
        step(patch)
        with pytest.raises(Cut):
            archives(place, folder).archive(202309)
    assert (everything(place), sums(sink)) == (rows, before)
    known = archives(place, folder).archive(202309)
    assert (known.part, known.count) == (1, 42)
    archives(place, folder).prove(known)
    assert sums(sink) == before
    assert archives(place, folder).reload(202309) == 42
    assert everything(place) == rows


@pytest.mark.parametrize("name", ["copy_rows", "make_partitions", "delete"])
def test_loading_that_is_cut_off_is_done_again(place, sink, folder, name):
    before, rows = sums(sink), everything(place)
    archives(place, folder).archive(202309)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, _cut)
        with pytest.raises(Cut):
            archives(place, folder).reload(202309)
    assert sums(sink) == before
    assert archives(place, folder).reload(202309) == 42
    assert (everything(place), sums(sink)) == (rows, before)


def test_versions_that_come_meanwhile_stay_current(place, sink, folder):
    ours = archives(place, folder)
    ours.archive(202309)
    newer, late = delivery(1, 3, batch="b3"), delivery(200, 2, batch="b3", day="2026-01-01")
    assert statuses(sink, newer, late) == [ACCEPTED] * 2
    assert where(place)[202309] == [("k000001", 3), ("k000200", 2)]
    before = sums(sink)
    assert (before["b3"].count, before["b1"]) == (2, lite.TestSqlSink.tally(GIVEN[:41]))
    again = ours.archive(202309)
    assert (again.part, again.count, again.last_day) == (2, 2, "2026-01-01")
    assert sums(sink) == before
    assert ours.reload(202309) == 44
    assert sums(sink) == before
    versions = "SELECT version, current, late FROM things WHERE record_key = 'k000001' ORDER BY version"
    assert place.execute(versions) == [(1, False, False), (2, False, False), (3, True, False)]


def test_what_is_written_again_meanwhile_stands_once(place, sink, folder):
    ours = archives(place, folder)
    ours.archive(202309)
    assert statuses(sink, GIVEN[0]) == [ACCEPTED]
    assert sums(sink)["b1"].count == 42  # a ledger tells that there is one too many
    assert ours.reload(202309) == 41
    assert sums(sink)["b1"] == lite.TestSqlSink.tally(GIVEN[:41])


def test_records_that_come_while_a_month_is_archived_keep_it_in_the_store(place, sink, folder, monkeypatch):
    read = Archives._read_back

    def comes(self, name):
        sink.write([delivery(999, day="2023-09-09", batch="b3")])
        return read(self, name)

    monkeypatch.setattr(Archives, "_read_back", comes)
    with pytest.raises(Refused, match="records came"):
        archives(place, folder).archive(202309)
    monkeypatch.undo()
    assert len(where(place)[202309]) == 43
    assert archives(place, folder).archive(202309).count == 43


@pytest.mark.parametrize("damage", ["gone", "cut", "another"])
def test_a_file_that_is_not_what_was_archived_is_refused(place, sink, folder, damage):
    ours = archives(place, folder)
    known, other = ours.archive(202309), ours.archive(202310)
    path = folder / known.file
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-30])
    else:
        path.write_bytes((folder / other.file).read_bytes())
    with pytest.raises(Refused):
        ours.reload(202309)
    assert 202309 not in where(place)
    assert ours.reload(202310) == 20


def test_rows_that_contradict_their_versions_are_not_archived(place, sink, folder):
    place.execute("UPDATE things SET current = true WHERE delivery_id = '1-1'")
    with pytest.raises(Refused, match="vingate ledger"):
        archives(place, folder).archive(202309)
    assert not folder.exists()


def test_a_file_whose_time_is_over_goes_and_its_sums_stay(place, sink, folder):
    before, ours = sums(sink), archives(place, folder)
    known = ours.archive(202309)
    ours.expire(known)
    ours.expire(known)
    assert not list(folder.iterdir())
    assert [(one.state, one.file) for one in ours.archives()] == [("over", known.file)]
    assert sums(sink) == before
    assert ours.reload(202309) == 0


def test_two_that_archive_a_month_at_a_time_lose_nothing(place, sink, folder, monkeypatch):
    """The slower one looked before the last record came, and has its file when the quicker one has read its own."""
    write, read, waits, goes_on, told = Archives._write, Archives._read_back, Event(), Event(), []
    quicker = archives(place, folder)

    def slowly(self, *given):
        if self is not quicker:
            waits.set()
            goes_on.wait(20)
        return write(self, *given)

    def read_back(self, name):
        found = read(self, name)
        if self is quicker and not goes_on.is_set():
            goes_on.set()
            slower.join()
        return found

    def work():
        try:
            archives(place, folder).archive(202309)
        except Refused as error:
            told.append(str(error))

    slower = Thread(target=work)
    monkeypatch.setattr(Archives, "_write", slowly)
    monkeypatch.setattr(Archives, "_read_back", read_back)
    slower.start()
    assert waits.wait(20)
    sink.write([delivery(999, day="2023-09-09", batch="b3")])
    known = quicker.archive(202309)
    assert (known.count, "records came" in told[0]) == (43, True)
    quicker.prove(known)
    assert quicker.reload(202309) == 43


def test_two_stores_that_are_given_one_folder_lose_nothing(place, sink, folder, postgres):
    with postgres.database() as url:
        other = Place(postgres, url)
        make_sink(other).write([delivery(500, day="2023-09-09", batch="b9")])
        known, another = archives(place, folder).archive(202309), archives(other, folder).archive(202309)
        archives(place, folder).prove(known)
        archives(other, folder).prove(another)


def test_what_another_call_did_meanwhile_is_not_done_again(place, sink, folder, monkeypatch):
    ours, prove = archives(place, folder), Archives.prove
    ours.archive(202309)

    def meanwhile(self, known):
        prove(self, known)
        monkeypatch.undo()
        archives(place, folder).reload(202309)
        sink.write([delivery(999, day="2023-09-09", batch="b3")])
        archives(place, folder).archive(202309)

    monkeypatch.setattr(Archives, "prove", meanwhile)
    with pytest.raises(Refused, match="another command"):
        ours.reload(202309)
    assert (sums(sink)["b3"].count, [one.count for one in ours.archives()]) == (1, [43])


def test_a_file_whose_time_is_over_goes_wherever_its_removal_is_cut_off(place, sink, folder):
    ours = archives(place, folder)
    known = ours.archive(202309)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.Path, "unlink", _cut)
        with pytest.raises(Cut):
            ours.expire(known)
    assert [one.state for one in ours.archives()] == ["archived"]  # so that it is due again
    ours.expire(known)
    assert not list(folder.iterdir())


def test_files_are_for_their_owner_alone_also_in_a_folder_that_was_there(place, sink, folder):
    folder.mkdir(mode=0o755)
    known = archives(place, folder).archive(202309)
    assert (folder / known.file).stat().st_mode & 0o077 == 0


def test_files_that_the_catalogue_does_not_name_are_told(place, sink, folder, monkeypatch):
    ours = archives(place, folder)
    known = ours.archive(202309)
    assert ours.strays() == []
    ours.reload(202309)
    (folder / f".things-202309-001.{'0' * 16}.writing").write_bytes(b"cut off")
    assert ours.strays() == [f".things-202309-001.{'0' * 16}.writing", known.file]
    sink.write([delivery(999, day="2023-09-09", batch="b3")])
    assert ours.archive(202309).file != known.file
    assert ours.strays() == [f".things-202309-001.{'0' * 16}.writing", known.file]


def test_a_month_may_take_longer_than_a_statement_of_a_writer(place, sink, folder, monkeypatch):
    good = module._good
    monkeypatch.setattr(module, "_good", lambda name: good(name).replace("SELECT", "SELECT pg_sleep(0.02),", 1))
    ours = Archives(StoreSettings(url=place.url, table=DIVIDED, statement_seconds=0.3), folder)
    assert ours.archive(202309).count == 42


def test_writers_go_on_while_rows_are_copied_in(place, sink, folder, monkeypatch):
    ours, copy = archives(place, folder), module.copy_rows
    ours.archive(202309)
    quick = make_sink(place, busy_seconds=1)

    def meanwhile(*given, **more):
        assert statuses(quick, delivery(999, day="2023-10-09", batch="b3")) == [ACCEPTED]
        copy(*given, **more)

    monkeypatch.setattr(module, "copy_rows", meanwhile)
    assert ours.reload(202309) == 42


def test_a_call_that_was_stopped_holds_off_writers_for_some_seconds_only(place, sink, folder, monkeypatch):
    ours, makes = archives(place, folder), module.make_partitions
    ours.archive(202309)
    monkeypatch.setattr(pgwriting, "IDLE_SECONDS", 0.5)

    def stopped(*given):
        assert statuses(make_sink(place, busy_seconds=5), delivery(999, day="2023-10-09", batch="b3")) == [ACCEPTED]
        makes(*given)

    monkeypatch.setattr(module, "make_partitions", stopped)
    with pytest.raises(Unavailable):
        ours.reload(202309)
    monkeypatch.undo()
    assert ours.reload(202309) == 42


def test_a_file_outlives_the_columns_that_came_since(place, sink, folder):
    before, known = sums(sink), archives(place, folder).archive(202309)
    columns = {**DIVIDED.columns, "later": "text"}
    wider = DIVIDED.model_copy(update={"columns": columns, "added": ("later",)})
    settings = StoreSettings(url=place.url, table=wider)
    SqlSink(SqlSink.Settings(**vars(settings))).create()
    ours = Archives(settings, folder)
    ours.prove(known)
    assert ours.reload(202309) == 42
    assert sums(sink) == before


def test_a_ledger_that_looks_while_a_month_is_loaded_counts_each_row_once(place, sink, folder, monkeypatch):
    before, ours = sums(sink), archives(place, folder)
    ours.archive(202309)
    archived = Store.archived

    def loaded_meanwhile(self, *given):
        monkeypatch.undo()
        assert ours.reload(202309) == 42
        return archived(self, *given)

    monkeypatch.setattr(Store, "archived", loaded_meanwhile)
    assert sums(sink) == before
    assert ours.archives() == []


def test_a_store_that_is_not_divided_is_not_archived(tmp_path):
    with pytest.raises(Misconfigured, match="divided by months"):
        Archives(StoreSettings(url=f"sqlite:///{tmp_path}/store.db", table=DIVIDED), tmp_path)
