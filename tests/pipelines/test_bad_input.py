"""Whatever partners send: a letter with a typed reason, or an error with its remedy; nothing is lost, all balances."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import random
import resource
import zipfile
from collections import Counter

import fastavro
import pytest
from engine_samples import payload
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.contracts import ConnectorError
from connectors.files import FilesSource
from dlq.letters import LetterStore
from pipelines import ledger, runcounts
from pipelines.coordinator import Coordinator
from pipelines.lettering import replay_letters
from pipelines.settings import load
from pipelines.state import State

MB = 1 << 20
SETTINGS = """
name = "bad"
[source]
connector = "{connector}"
path = "{folder}/in"
{options}
[mapping]
dialect = "{dialect}"
[versions]
system = "shops"
[routing]
table = "home"
[sinks.provinces]
connector = "avro"
for = "province-*"
path = "{folder}/out"
"""


class Found:
    """What one run over some files came to."""

    def __init__(self, totals, letters):
        self.totals, self.letters = totals, letters

    def reasons(self, source):
        """Codes of the letters of one file, in order."""
        return [codes for name, _, _, codes in self.letters if name == source]

    def bodies(self, source):
        return [body for name, _, body, _ in self.letters if name == source]


def take(folder, files, connector="files", options="", dialect="auto", *more):
    """Run one exchange over files given by name; the ledger is proved against the sink and the letters."""
    (folder / "in").mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / "in" / name).write_bytes(content)
    text = SETTINGS
    for name, value in (("folder", folder), ("connector", connector), ("options", options), ("dialect", dialect)):
        text = text.replace(f"{{{name}}}", str(value))
    (folder / "bad.toml").write_text(text, "utf-8")
    with State(folder / "state", own=True) as state:
        run = Coordinator(state, load(folder / "bad.toml", more, {})).run()
        counts = runcounts.counts_of(state, run)
        assert list(counts.problems) == []
        assert [str(problem) for problem in ledger.prove(state).problems] == []
        with state.reading() as connection:
            store = LetterStore(connection, state.sealer(), folder.joinpath("in").joinpath)
            letters = [
                (
                    one.source,
                    one.offset,
                    store.body(one) if one.body_size < 8 * MB else one.ref,
                    [reason.code for reason in one.current],
                )
                for one in store.search()
            ]
    totals = counts.totals
    ends = ("delivered", "dead", "duplicate", "merged", "filtered", "waiting", "fragments")
    assert totals["received"] == sum(totals[end] for end in ends)
    return Found(totals, letters)


def good(seed, **changes):
    return json.dumps(payload(seed, **changes), ensure_ascii=False).encode()


def zipped(**members):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return held.getvalue()


QUANTITY = b'"partsquantity": "4"'
ODD = {
    "cut.json": (good(1)[:200], "NOT_JSON"),
    "words.txt": (b"hello", "NOT_JSON"),
    "brackets.json": (b"[" * 100_000, "STRUCTURE_WRONG"),
    "deep.json": (b'{"a":' * 500 + b"1" + b"}" * 500, "STRUCTURE_WRONG"),
    "nul.json": (good(2)[:100] + b"\0" + good(2)[100:], "NOT_JSON"),
    "latin.json": (good(3).replace("机油".encode(), b"\xff\xfe\xfa", 1), "NOT_JSON"),
    "twice.json": (good(4).replace(b'{"basicInfo": {', b'{"basicInfo": {"vin": "X",', 1), "STRUCTURE_WRONG"),
    "large.json": (good(5).replace(QUANTITY, b'"partsquantity": 1e400'), "QUANTITY_NOT_NUMERIC"),
    "nan.json": (good(6).replace(QUANTITY, b'"partsquantity": NaN'), "NOT_JSON"),
    "lone.json": (good(7).replace("机油".encode(), rb"\ud800", 1), "STRUCTURE_WRONG"),
    "number.json": (b"42", "STRUCTURE_WRONG"),
    "lines.ndjson": (b"\0\0\0\n", "NOT_JSON"),
}
"""Name -> a file with one payload that cannot be taken, and the reason that must be among those of its letter."""


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    files = {name: content for name, (content, _) in ODD.items()}
    return take(tmp_path_factory.mktemp("odd"), files)


@pytest.mark.parametrize("name", ODD)
def test_a_payload_that_cannot_be_taken_becomes_a_letter_with_its_bytes(odd, name):
    content, code = ODD[name]
    (codes,) = odd.reasons(name)
    assert code in codes
    assert odd.bodies(name) == [content.removesuffix(b"\n")]
    assert odd.totals["received"] == odd.totals["dead"] == len(ODD)


def test_other_encodings_and_a_byte_order_mark_are_read(tmp_path):
    text = good(1).decode()
    files = {
        "bom.json": b"\xef\xbb\xbf" + good(0),
        "gbk.json": text.encode("gbk"),
        "utf16.json": good(2).decode().encode("utf-16"),
    }
    found = take(tmp_path, files)
    assert (found.totals["delivered"], found.letters) == (3, [])


ARCHIVES = {
    "junk.gz": (b"\x1f\x8b" + b"x" * 40, "UNREADABLE"),
    "cut.ndjson.gz": (gzip.compress(b"\n".join(map(good, range(20))))[:-20], "UNREADABLE"),
    "cut.ndjson.xz": (lzma.compress(good(30) + b"\n")[:-4], "UNREADABLE"),
    "bomb.ndjson.gz": (gzip.compress(bytes(40 * MB)), "ARCHIVE_BOMB"),
    "bomb.ndjson.bz2": (bz2.compress(bytes(40 * MB)), "ARCHIVE_BOMB"),
    "bomb.zip": (zipped(a_ndjson=bytes(40 * MB)), "ARCHIVE_BOMB"),
    "nested.zip": (zipped(b_zip=zipped(a_json=good(31)), c_json=good(32)), "UNREADABLE"),
    "no.zip": (b"PK, no archive", "UNREADABLE"),
    "empty.json": (b"", "UNREADABLE"),
    "blank.ndjson": (b"\n \n\n", "UNREADABLE"),
}


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    (folder / "in/folder.json").mkdir(parents=True)
    os.mkfifo(folder / "in/pipe.json")
    (folder / "in/broken.json").symlink_to(folder / "nowhere")
    (folder / "in/failing.json").symlink_to("/proc/self/mem")  # opens, and reading it fails, for root too
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = take(folder, {name: content for name, (content, _) in ARCHIVES.items()})
    return found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


@pytest.mark.parametrize("name", ARCHIVES)
def test_what_cannot_be_unpacked_or_holds_nothing_is_a_letter_of_its_file(archives, name):
    found, _ = archives
    assert found.reasons(name) == [[ARCHIVES[name][1]]]


def test_what_is_no_file_has_a_letter_each_and_what_is_whole_in_a_bad_archive_goes_on(archives):
    found, grown = archives
    assert found.reasons("pipe.json") == [["UNREADABLE"]]
    assert found.reasons("broken.json") == [["UNREADABLE"]]
    assert found.reasons("failing.json") == [["UNREADABLE"]]
    assert not found.reasons("folder.json")
    assert found.totals["delivered"] >= 2  # of nested.zip, and of the line that stood before the cut
    assert grown < 200_000  # KB: 120 MB of zeros were never unpacked whole


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_a_letter(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/secret.json").write_bytes(good(1))
    (tmp_path / "in/secret.json").chmod(0)
    assert take(tmp_path, {}).reasons("secret.json") == [["UNREADABLE"]]


def test_a_line_beyond_the_limit_is_a_letter_with_all_its_bytes_and_its_neighbours_go_on(tmp_path):
    long = b'{"a":"' + b"x" * (3 * MB) + b'"}'
    content = b"\n".join([good(1), long, good(2), b""])
    found = take(tmp_path, {"a.ndjson": content}, "files", f"max_payload_bytes = {MB}")
    assert found.reasons("a.ndjson") == [["PAYLOAD_TOO_LARGE"]]
    assert found.bodies("a.ndjson") == [long]
    assert found.totals["delivered"] == 2
    found = take(tmp_path / "limits", {"a.ndjson": content}, "files", "", "auto", f"limits.payload_bytes={MB}")
    assert found.bodies("a.ndjson") == [long]
    assert found.totals["delivered"] == 2


def test_a_line_of_a_hundred_megabytes_is_never_held(tmp_path):
    (tmp_path / "in").mkdir()
    with (tmp_path / "in/a.ndjson").open("wb") as file:
        file.write(good(1) + b"\n")
        for _ in range(100):
            file.write(b"y" * MB)
        file.write(b"\n" + good(2) + b"\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = take(tmp_path, {})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000
    assert found.reasons("a.ndjson") == [["PAYLOAD_TOO_LARGE"]]
    assert found.bodies("a.ndjson") == [("a.ndjson", len(good(1)) + 1, 100 * MB, "")]
    assert found.totals["delivered"] == 2


LONG = json.dumps({"a": "x" * (3 * MB), "b": '],{"', "c": "\\\\"}).encode()
HEAD = b"\xef\xbb\xbf" + "企业编码,车架号\r\n".encode()


def zipped(**members):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return made.getvalue()


def an_array(*elements):
    return b" [" + b" ,\n ".join(elements) + b" \n ] "


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.ndjson.gz", gzip.compress(b"\n".join([good(1), LONG, good(2), b""]))),
        ("a.ndjson.bz2", bz2.compress(b"\n".join([good(1), LONG, good(2)]))),
        ("a.txt.xz", lzma.compress(b"\n".join([good(1), LONG, good(2), b""]))),
        ("a.zip", zipped(first_ndjson=good(1), second_ndjson=LONG + b"\n" + good(2))),
        ("a.json", an_array(good(1), LONG, good(2))),
        ("a.json.gz", gzip.compress(an_array(good(1), LONG, good(2)))),
        ("a.zip", zipped(first_json=an_array(good(1)), second_json=an_array(good(2), LONG))),
    ],
)
def test_a_payload_that_is_too_long_is_kept_by_reference_wherever_it_stands(tmp_path, name, content):
    found = take(tmp_path, {name: content}, "files", f"max_payload_bytes = {MB}\nmax_expansion = 100000.0")
    assert found.reasons(name) == [["PAYLOAD_TOO_LARGE"]]
    assert found.bodies(name) == [LONG]
    assert found.totals["delivered"] == 2


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress, lambda data: zipped(a_csv=data)])
@pytest.mark.parametrize("end", [b"\r\n", b""])
def test_a_row_that_is_too_long_is_kept_with_its_header(tmp_path, pack, end):
    name = {b"\x1f\x8b": "a.csv.gz", b"PK": "a.zip"}.get(pack(HEAD)[:2], "a.csv")
    row, short = b'"1","' + b"y" * (2 * MB) + b'"' + end, b"1,2\r\n"
    content = HEAD + short + (row + short if end else row)
    found = take(tmp_path, {name: pack(content)}, "files", f"max_payload_bytes = {MB}\nmax_expansion = 100000.0")
    assert found.bodies(name).count(HEAD + row) == 1
    assert found.bodies(name).count(HEAD + short) == (2 if end else 1)


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress])
@pytest.mark.parametrize(
    ("before", "rest"), [(b"", LONG), (b"[1,", LONG + b" "), (b"[", LONG[:-9]), (b"[1]", b"  ," + LONG)]
)
def test_what_is_no_array_is_kept_from_there_on(tmp_path, pack, before, rest):
    name = "a.json.gz" if pack is gzip.compress else "a.json"
    content = pack(before + rest)
    found = take(tmp_path, {name: content}, "files", f"max_payload_bytes = {MB}\nmax_expansion = 100000.0")
    assert found.bodies(name)[-1] == rest
    assert found.reasons(name)[-1] == ["PAYLOAD_TOO_LARGE"]


def test_a_packed_payload_of_a_hundred_megabytes_is_never_held_and_its_change_is_found(tmp_path):
    (tmp_path / "in").mkdir()
    place = tmp_path / "in/a.json.gz"

    def fill(letter):
        with gzip.open(place, "wb", 1) as file:
            file.write(b"[" + good(1) + b', "')
            for _ in range(100):
                file.write(letter * MB)
            file.write(b'" , ' + good(2) + b"]")

    fill(b"y")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = take(tmp_path, {}, "files", "max_expansion = 100000.0")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 250_000
    ((name, offset, length, inside),) = found.bodies("a.json.gz")
    assert (name, offset, length, inside) == ("a.json.gz", len(good(1)) + 3, 100 * MB + 2, '{"packed":"gz"}')
    assert found.totals["delivered"] == 2
    fill(b"z")
    with State(tmp_path / "state", own=False) as state:
        assert [problem.kind for problem in ledger.prove(state).problems] == ["altered-letter"]


def test_a_line_whose_quote_is_not_closed_is_kept_whole(tmp_path):
    line = b'1,"' + b"y" * 200_000 + b"\r\n"
    assert take(tmp_path, {"a.csv": HEAD + line}).bodies("a.csv") == [line]


def a_table(faults):
    """A CSV export in GBK, a row a fault."""
    head = "企业编码,企业名称,车牌号码,车架号,送修日期,送修里程,结算日期,故障描述,结算清单编号,维修项目,维修工时\r\n"
    basics = [payload(seed)["basicInfo"] for seed in range(len(faults))]
    rows = [
        ",".join(
            '"' + value.replace('"', '""') + '"'
            for value in (*list(basic.values())[:7], fault, basic["costlistcode"], "检查", "1.5")
        )
        for basic, fault in zip(basics, faults, strict=True)
    ]
    return (head + "\r\n".join(rows) + "\r\n").encode("gbk")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.ndjson", good(1) + b"\n" + good(2)),
        ("a.ndjson.gz", gzip.compress(good(1) + b"\n" + good(2))),
        ("a.zip", zipped(one_ndjson=good(1), two_json=an_array(good(2)))),
        ("a.json", an_array(good(1), good(2))),
        ("a.csv", a_table(["更换机油" * 9, "保养" * 9])),
        ("a.csv.gz", gzip.compress(a_table(["更换机油" * 9, "保养" * 9]))),
    ],
)
def test_what_was_too_long_is_replayed_from_its_file(tmp_path, name, content):
    found = take(tmp_path, {name: content}, "files", "max_payload_bytes = 150")
    assert found.reasons(name) == [["PAYLOAD_TOO_LARGE"]] * 2
    assert (found.totals["delivered"], found.totals["dead"]) == (0, 2)
    with State(tmp_path / "state", own=True) as state:
        with state.reading() as connection:
            ids = [letter.id for letter in LetterStore(connection, state.sealer()).search()]
        told = replay_letters(state, ids).letters
        assert [(one.outcome, one.why) for one in told] == [("resolved", "")] * 2
        assert [str(problem) for problem in ledger.prove(state).problems] == []


def test_a_table_with_quotes_and_line_breaks_inside_stays_one_row_each(tmp_path):
    faults = ['异响,"咚咚"\r\n下坡更甚', "保养\n及检查", "更换机油"]
    table = a_table(faults)
    found = take(tmp_path, {"a.csv": table, "b.csv": table[: len(table) // 2] + b'"'})
    assert not found.reasons("a.csv")
    assert found.totals["delivered"] + found.totals["dead"] + found.totals["duplicate"] == found.totals["received"]
    assert found.totals["received"] >= 4
    written = []
    for part in (tmp_path / "out").glob("*.avro"):
        with part.open("rb") as file:
            written += [record["faultdescription"] for record in fastavro.reader(file)]
    assert {"".join(fault.split()) for fault in faults} <= {"".join(text.split()) for text in written}


def test_avro_of_another_schema_or_cut_in_half(tmp_path):
    schema = {"type": "record", "name": "Other", "fields": [{"name": "colour", "type": "string"}]}
    whole = io.BytesIO()
    fastavro.writer(whole, schema, [{"colour": f"red {i}"} for i in range(2_000)], sync_interval=1_000)
    data = whole.getvalue()
    files = {"other.avro": data, "half.avro": data[: len(data) // 2], "junk.avro": b"Obj\x01" + b"\xff" * 30}
    found = take(tmp_path, files, "avro", "", "oem")
    assert Counter(code for (code,) in found.reasons("other.avro")) == {"DIALECT_UNKNOWN": 2_000}
    half = [code for codes in found.reasons("half.avro") for code in codes]
    assert half[-1] == "UNREADABLE"
    assert set(half[:-1]) == {"DIALECT_UNKNOWN"}
    assert found.reasons("junk.avro") == [["UNREADABLE"]]


def test_a_file_that_grows_is_read_as_far_as_it_was_planned_and_the_rest_by_the_next_run(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    place = tmp_path / "in/a.ndjson"
    place.write_bytes(good(1) + b"\n" + b"{\n")
    plan = FilesSource.plan

    def planned_then_grown(source, done):
        yield from plan(source, done)
        with place.open("ab") as file:
            file.write(good(2) + b"\n")

    monkeypatch.setattr(FilesSource, "plan", planned_then_grown)
    first = take(tmp_path, {})
    assert (first.totals["delivered"], first.totals["dead"]) == (1, 1)
    monkeypatch.undo()
    second = take(tmp_path, {})
    assert (second.totals["delivered"], second.totals["duplicate"]) == (1, 1)
    assert second.totals["received"] == 3


def test_a_file_changed_between_plan_and_read_stops_the_run_and_the_next_takes_it_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    place = tmp_path / "in/a.ndjson"
    place.write_bytes(good(1) + b"\n" + good(2) + b"\n")
    plan = FilesSource.plan

    def planned_then_cut(source, done):
        yield from plan(source, done)
        place.write_bytes(good(3) + b"\n")

    monkeypatch.setattr(FilesSource, "plan", planned_then_cut)
    with pytest.raises(ConnectorError, match="put the original file back and run again") as stopped:
        take(tmp_path, {})
    assert "while running" not in str(stopped.value)
    assert list((tmp_path / "state/staging").iterdir()) == []
    monkeypatch.undo()
    assert take(tmp_path, {}).totals["delivered"] == 1


def test_two_files_with_the_same_bad_line_are_accounted_for_both(tmp_path):
    found = take(tmp_path, {name: b"{bad\n" + good(1) + b"\n" for name in ("a.ndjson", "b.ndjson")})
    assert found.totals["received"] == 4
    assert (found.totals["delivered"], found.totals["dead"], found.totals["duplicate"]) == (1, 1, 2)


# -- any bytes ---------------------------------------------------------------------------------------------------------

_PIECES = [
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b'"',
    b"\\",
    b"\\u",
    b"\xff",
    b"\xe6",
    b"\0",
    b"\r",
    b" ",
    b"1e400",
    b"null",
]


def _mangled(seed):
    """A payload that something happened to on its way."""
    rnd = random.Random(seed)  # noqa: S311 - test data
    data = bytearray(good(seed % 40))
    for _ in range(rnd.randrange(4)):
        at = rnd.randrange(len(data))
        data[at : at + rnd.randrange(1, 12)] = rnd.choice(_PIECES) * rnd.randrange(3)
    return bytes(data[: rnd.choice((len(data), rnd.randrange(len(data) + 1)))])


_ANY = st.one_of(
    st.binary(min_size=1, max_size=200),
    st.lists(st.sampled_from(_PIECES), min_size=1, max_size=40).map(b"".join),
    st.integers(0, 10**6).map(_mangled),
)


@settings(max_examples=6)
@given(st.data())
def test_whatever_bytes_come_each_envelope_is_accounted_for_once(tmp_path_factory, data):
    rnd = data.draw(st.randoms(use_true_random=False))
    drawn = data.draw(st.lists(_ANY, min_size=20, max_size=60))
    lines = [line.replace(b"\n", b" ") for line in drawn + [_mangled(rnd.randrange(10**6)) for _ in range(440)]]
    folder = tmp_path_factory.mktemp("any")
    found = take(
        folder, {"any.ndjson": b"\n".join(lines) + b"\n"}, "files", 'format = "ndjson"', "auto", "batch.block=64"
    )
    given_ = [line for line in lines if line.strip(b" \t\r\n\x0b\x0c")]
    assert found.totals["received"] == len(given_)
    at = {}
    offset = 0
    for line in lines:
        at[offset] = line
        offset += len(line) + 1
    assert all(body == at[offset] for _, offset, body, _ in found.letters)
    assert len({offset for _, offset, _, _ in found.letters}) == len(found.letters) == found.totals["dead"]
