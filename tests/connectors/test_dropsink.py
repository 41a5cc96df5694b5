"""The sink of files for a partner to fetch keeps the contract, into a folder and onto a real SFTP server."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers import sshd

from connectors.contracts import ACCEPTED, REFUSED, Delivery, Misconfigured
from connectors.dropsink import DropSink
from connectors.testing import SinkContract, small_files


class TestDropSink(SinkContract):
    name = "drop"
    remembers = False

    def into(self, place):
        return {"connector": "files", "path": str(place / "out")}

    def working_settings(self, place):
        return {"into": self.into(place), "receipts": str(place / "given")}

    def broken_settings(self, place):
        (place / "file").write_text("")
        return {"into": {"connector": "files", "path": str(place / "file")}, "receipts": str(place / "given")}

    @pytest.fixture(autouse=True)
    def _all(self):
        self.known: dict[bytes, list[Delivery]] = {}

    def delivery(self, *args, **given):
        made = super().delivery(*args, **given)
        known = self.known.setdefault(made.body + made.batch.encode(), [])
        known += [made] if made not in known else []
        return made

    def sink(self, place):
        return DropSink(DropSink.Settings(**self.working_settings(place)))

    def lines(self, place):
        """Batch and line of all that was dropped, in the order of files by name."""
        for file in sorted((place / "out").glob("*.ndjson")):
            for line in file.read_bytes().splitlines():
                yield file.name.split("--")[1], line

    def stands(self, place, sink, batch):
        """Lines as deliveries: the n-th line of a content is the n-th version that has it."""
        found, seen = {}, Counter()
        for name, line in self.lines(place):
            if name == batch:
                known = self.known.get(line + name.encode(), [Delivery("?", "", "", 0, "", line, batch)])
                one = known[min(seen[line], len(known) - 1)]
                seen[line] += 1
                found[one.id] = one
        return self.tally(list(found.values()))

    def tamper(self, place, delivery):
        self._edit(place, delivery, b"{}")

    def remove(self, place, delivery):
        self._edit(place, delivery, None)

    def _edit(self, place, delivery, line):
        for file in (place / "out").glob("*.ndjson"):
            kept = [line if one == delivery.body else one for one in file.read_bytes().splitlines()]
            file.write_bytes(b"".join(one + b"\n" for one in kept if one is not None))

    def no_room(self, place):
        sink = self.sink(place)
        original = sink.write

        def write(deliveries):
            with small_files(200_000):
                return original(deliveries)

        sink.write = write
        return sink

    def unmappable(self):
        return b"two\nlines"

    # -- its own ------------------------------------------------------------------------------------------------------

    def test_files_by_name_are_in_the_order_of_writing(self, place):
        sink = self.sink(place)
        given = [self.delivery(1, version=v, content=v) for v in range(1, 13)]
        for one in given:
            sink.write([one])
        assert [line for _, line in self.lines(place)] == [one.body for one in given]

    def test_what_has_a_receipt_is_not_written_again_however_it_is_called(self, place):
        sink = self.sink(place)
        given = [self.delivery(n) for n in range(9)]
        sink.write(given[:5])
        assert self.statuses(self.sink(place), given[3:]) == [ACCEPTED] * 6
        assert [line for _, line in self.lines(place)] == [one.body for one in given]

    def test_a_crash_before_the_receipts_gives_the_same_file_again(self, place):
        sink, given = self.sink(place), [self.delivery(n) for n in range(5)]
        sink.write(given)
        for file in (place / "given").iterdir():
            file.unlink()
        assert self.statuses(self.sink(place), given) == [ACCEPTED] * 5
        assert [line for _, line in self.lines(place)] == [one.body for one in given]

    def test_nothing_to_do_leaves_no_file(self, place):
        assert self.statuses(self.sink(place), [Delivery("i", "d", "k", 1, "c", b"", "b")]) == [REFUSED]
        assert list(place.glob("out/*.ndjson")) == []

    def test_into_what_writes_no_files_is_refused(self, place):
        with pytest.raises(Misconfigured, match="into"):
            DropSink(DropSink.Settings(into={"connector": "memory"}, receipts=place / "given"))


def test_onto_an_sftp_server(tmp_path):
    (tmp_path / "server").mkdir()
    with sshd.serving(tmp_path / "server") as server:
        into = {
            "connector": "sftp", **server.settings(tmp_path / "there"), "staging": str(tmp_path / "staging"),
        }  # fmt: skip
        sink = DropSink(DropSink.Settings(into=into, receipts=tmp_path / "given"))
        contract = TestDropSink()
        contract.known = {}
        given = [contract.delivery(n) for n in range(30)]
        assert contract.statuses(sink, given) == [ACCEPTED] * 30
        assert contract.statuses(sink, given) == [ACCEPTED] * 30
        (file,) = (tmp_path / "there").glob("*.ndjson")
        assert file.read_bytes().splitlines() == [one.body for one in given]
        assert sink.verify("b1") == contract.tally(given)
        assert sink.check()


def csv_sink(tmp_path):
    into = {"connector": "files", "path": str(tmp_path / "out"), "ending": ".csv"}
    return DropSink(DropSink.Settings(into=into, format="csv", receipts=tmp_path / "given"))


def row(number, body, batch="b1"):
    return Delivery(f"id{number}", "waste", f"key{number}", 1, "0", body, batch)


def test_rows_become_tables_with_a_file_for_each_set_of_columns(tmp_path):
    sink = csv_sink(tmp_path)
    given = [
        row(1, '{"批次":"A1","量":"1,5"}'.encode()),
        row(2, '{"批次":"B1","去向":"x\\ny"}'.encode()),
        row(3, '{"批次":"A2","量":"=2"}'.encode()),
    ]
    assert [one.status for one in sink.write(given)] == [ACCEPTED] * 3
    files = [file.read_text("utf-8") for file in sorted((tmp_path / "out").glob("*.csv"))]
    assert files == ['批次,量\nA1,"1,5"\nA2,=2\n', "批次,去向\nB1,x y\n"]
    assert sink.verify("b1").count == 3
    assert [one.status for one in sink.write(given)] == [ACCEPTED] * 3
    assert len(list((tmp_path / "out").glob("*.csv"))) == 2, "the same call again writes nothing"


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b"{}", b'{"a":1}', b'{"a":{"b":"c"}}', b'{"a":null}'])
def test_what_is_no_row_of_cells_is_refused(tmp_path, body):
    sink = csv_sink(tmp_path)
    outcomes = sink.write([row(1, body), row(2, b'{"a":"1"}')])
    assert [one.status for one in outcomes] == [REFUSED, ACCEPTED]
