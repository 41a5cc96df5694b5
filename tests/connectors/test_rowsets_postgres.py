"""The sink of somebody else's tables on PostgreSQL: the whole suite of SQLite's, and tables of others' making."""

from __future__ import annotations

import pytest
import test_rowsets as lite
from test_sqlstore_postgres import Place

from connectors.contracts import ACCEPTED, REFUSED
from connectors.rowsetsink import RowsetSink


class TestPostgresRowsets(lite.TestRowsetSink):
    @pytest.fixture
    def place(self, postgres, postgres_url):
        return Place(postgres, postgres_url)

    def broken_settings(self, place):
        return lite.settings(place, url=place.url.replace(place.name, "nowhere"))

    def no_room(self, place):
        lite.make_sink(place)
        place.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF current_setting('application_name') = 'full' AND (SELECT count(*) FROM \"RepairInfo_M\") > 300 THEN"
            " RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END IF; RETURN NEW; END $$"
        )
        place.execute(
            'CREATE TRIGGER full_disk AFTER INSERT ON "RepairInfo_M" FOR EACH ROW EXECUTE FUNCTION full_disk()'
        )
        return RowsetSink(RowsetSink.Settings(**lite.settings(place, url=f"{place.url}?application_name=full")))

    def test_tables_of_their_own_making(self, place):
        place.execute(
            'CREATE TABLE "RepairInfo_M" ("RepairVeID" varchar(32) PRIMARY KEY, n int, text varchar(40), filler text,'
            ' mileage numeric(12, 1), day date, "uploadTime" timestamp)'
        )
        place.execute(
            'CREATE TABLE "VehiclePartslist_M" ("RepairVeID" varchar(32) REFERENCES "RepairInfo_M", rowno int,'
            " partsname varchar(50))"
        )
        sink = lite.make_sink(place, make=False)
        assert len(sink.check()) == 3
        long = lite.delivery(3, given=lite.rows(3, text="长" * 41))
        given = [lite.delivery(1), lite.delivery(2), long]
        assert self.statuses(sink, given) == [ACCEPTED, ACCEPTED, REFUSED]
        assert self.statuses(sink, [lite.delivery(1, 2, "b2", lite.rows(1, parts=2))]) == [ACCEPTED]
        assert [sink.verify(batch).count for batch in ("b1", "b2")] == [2, 1]
