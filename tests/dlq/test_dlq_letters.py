from datetime import timedelta

import pytest
from letter_samples import BODY, FINDINGS, NOW, ORIGIN, SEALER, VIN, letter
from sqlalchemy import MetaData, create_engine, func, select, text

from connectors.contracts import Tally
from dlq import letter as letter_module
from dlq.errors import BodyChanged, BodyGone, NoSuchLetter, NoteMissing, Tampered, WrongKey, WrongState
from dlq.letter import BodyRef, Letter, fingerprint, storable, tally_of
from dlq.letters import Count, Filters, LetterStore
from dlq.reasons import reason
from dlq.replay import after
from dlq.rows import failed_replay, to_row, utc
from dlq.sealing import Sealer
from dlq.tables import define


@pytest.fixture
def conn():
    engine = create_engine("sqlite://")
    metadata = MetaData()
    assert define(metadata) == define(metadata)
    metadata.create_all(engine)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def store(conn):
    return LetterStore(conn, SEALER)


def bare(kept):
    return kept._replace(sealed=None)


def test_row_stands_in_the_order_of_the_columns():
    names = define(MetaData()).letters.c.keys()
    row = dict(zip(names, to_row(letter(7, ref=BodyRef("p", 1, 2)), "[]", 255), strict=True))
    assert (row["id"], row["ref_path"], row["ref_length"], row["reason"]) == (letter(7).id, "p", 2, "VIN_CHECK_DIGIT")
    assert row["codes"] == " VIN_CHECK_DIGIT DATE_ORDER "
    assert row["updated_at"] == ORIGIN.received_at
    assert (row["mark"], row["ref_inside"]) == ("00000000000000ff", "")


def test_what_is_kept_comes_back(store):
    made = [letter(n) for n in range(3)]
    assert store.put_many(made) == tally_of(made)
    assert list(store.search()) == [bare(one) for one in made]
    assert store.get(made[1].id) == bare(made[1])
    assert store.get(made[1].id[:8]) == bare(made[1])
    assert store.body(store.get(made[2].id)) == BODY


def test_same_death_is_the_same_letter_and_is_kept_once(store, conn):
    first, again = letter(1), letter(1)
    assert first.id == again.id
    assert first.sealed != again.sealed
    assert store.put_many([first]) == store.put_many([again, first]).__class__(*tally_of([again]))
    assert conn.execute(text("select count(*) from letters")).scalar() == 1
    assert conn.execute(text("select count(*) from letter_bodies")).scalar() == 1
    assert store.body(first) == BODY
    assert len({letter(1).id, letter(2).id, letter(1, stage="decode").id, letter(1, destination="44").id}) == 4


def test_nothing_personal_stands_plain_in_any_row(store, conn):
    store.put_many([letter()])
    everything = repr([conn.execute(text(f"select * from {name}")).all() for name in ("letters", "letter_bodies")])
    for secret in (VIN, "A12345", "王小二"):
        assert secret not in everything
    assert "LSV***4202" in everything


@pytest.mark.parametrize(
    "wrong",
    [
        {"reasons": ()},
        {"reasons": (reason("UNAVAILABLE"),)},
        {"stage": "nowhere"},
    ],
)
def test_letter_without_ground_is_refused(wrong):
    with pytest.raises(ValueError, match="a letter needs"):
        letter(**wrong)


def test_hostile_texts_are_storable(store):
    made = letter(record_key="44|\ud800|\x00", source_key="\udfff\x00")
    store.put_many([made])
    assert store.get(made.id).record_key == "44|\\ud800|\\x00"
    assert storable("普通文字") == "普通文字"


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (Filters(), [0, 1, 2, 3]),
        (Filters(reason="DATE_ORDER"), [0, 1, 2, 3]),
        (Filters(reason="DATE"), []),
        (Filters(reason="VIN_%"), []),
        (Filters(source="2026.nd"), [0, 1, 2]),
        (Filters(source="%"), []),
        (Filters(company="440106000000002"), [3]),
        (Filters(exchange="collect", stage="decode"), [2]),
        (Filters(state="open", limit=2), [0, 1]),
        (Filters(state="resolved"), []),
        (Filters(destination="44"), [1]),
        (Filters(batch="b2"), [3]),
        (Filters(vin="lsval41z882104202 "), [0, 1, 2]),
        (Filters(vin="LSVAL41Z882104203"), []),
        (Filters(older_than=NOW), [0, 1, 2]),
        (Filters(newer_than=NOW), [3]),
        (Filters(parked=True), []),
        (Filters(parked=False, vin=VIN, company="440106000000002"), []),
    ],
)
def test_filters(store, filters, found):
    later = ORIGIN._replace(batch="b2", source="x/1.json", company="440106000000002", received_at=utc(NOW))
    made = [letter(0), letter(1, destination="44"), letter(2, stage="decode"), letter(3, origin=later, vin="")]
    store.put_many(reversed(made))
    assert [one.id for one in store.search(filters)] == [made[n].id for n in found]


def test_letters_are_found_by_the_company_that_the_record_names(store):
    nobody = ORIGIN._replace(company="")
    keys = ("44|440106000000002|L1", "44|440106000000002|", "44|440106|000000002", "", "44|a%7Cb%25|L2")
    made = [letter(n, origin=nobody, record_key=key) for n, key in enumerate(keys)]
    store.put_many(made)
    assert [one.id for one in store.search(Filters(company="440106000000002"))] == [made[0].id, made[1].id]
    assert [one.id for one in store.search(Filters(company="a|b%"))] == [made[4].id]
    assert [one.named_company for one in made] == ["440106000000002", "440106000000002", "440106", "", "a|b%"]
    assert all(store.get(one.id).company == "" for one in made)


def test_unknown_and_ambiguous_ids(store, monkeypatch):
    with pytest.raises(NoSuchLetter, match="no such letter"):
        store.get("0" * 32)
    with pytest.raises(NoSuchLetter):
        store.get("")
    monkeypatch.setattr(letter_module, "letter_id", lambda *parts: "abcdef" + format(hash(parts) & 0xFFFF, "026x"))
    store.put_many([letter(1), letter(2)])
    with pytest.raises(NoSuchLetter, match="more than one"):
        store.get("abcdef")


def test_claim_is_compare_and_set(store):
    made = letter()
    store.put_many([made])
    assert store.claim(made.id, "r1", NOW)
    assert store.claim(made.id, "r1", NOW)
    assert not store.claim(made.id, "r2", NOW)
    with pytest.raises(WrongState):
        store.discard(made.id, "why", NOW)
    before = store.get(made.id)
    store.settle(before, after(before, "r1", (), NOW), "r1")
    assert store.get(made.id).resolved_by == "r1"
    assert not store.claim(made.id, "r1", NOW)
    with pytest.raises(WrongState):
        store.reopen(made.id, NOW)


def test_discard_needs_a_note_and_can_be_taken_back(store):
    made = letter()
    store.put_many([made])
    with pytest.raises(NoteMissing):
        store.discard(made.id, "  ", NOW)
    store.discard(made.id, "门店已重新上报", NOW)
    assert store.get(made.id)[letter_module.Letter._fields.index("state")] == "discarded"
    with pytest.raises(WrongState):
        store.discard(made.id, "again", NOW)
    store.reopen(made.id, NOW + timedelta(hours=1))
    assert store.get(made.id).state == "open"
    with pytest.raises(NoSuchLetter):
        store.discard("f" * 32, "why", NOW)


def test_counts(store):
    made = [letter(0), letter(1), letter(2, findings=FINDINGS[1:])]
    store.put_many(made)
    store.discard(made[0].id, "x", NOW)
    assert store.counts() == [
        Count("collect", "discarded", "VIN_CHECK_DIGIT", 1),
        Count("collect", "open", "DATE_ORDER", 1),
        Count("collect", "open", "VIN_CHECK_DIGIT", 1),
    ]


def test_tally_is_that_of_the_letters_whatever_their_state(store):
    made = [letter(n) for n in range(3)]
    kept = store.put_many(made)
    other = store.put_many([letter(9, origin=ORIGIN._replace(batch="b2"))])
    store.claim(made[0].id, "r1", NOW)
    store.discard(made[1].id, "x", NOW)
    assert store.tally("b1") == kept == tally_of(made)
    assert store.tally("b2") == other
    assert store.tally("none") == Tally(0, 0)


@pytest.mark.parametrize(
    "deed",
    [
        "delete from letters where offset = 100",
        "delete from letter_bodies where id = (select id from letters where offset = 100)",
        "update letter_bodies set sealed = (select sealed from letter_bodies where id = (select min(id) from letters))",
        "update letter_bodies set sealed = x'00'",
        "update letter_bodies set sealed = substr(sealed, 1, length(sealed) - 1) || x'77'",
        "update letters set reasons = '[]' where offset = 100",
        "update letters set reasons = 'broken' where offset = 100",
        "update letters set reasons = replace(reasons, 'DATE_ORDER', 'DATE_FORMAT') where offset = 100",
        "update letters set body_sha256 = 'x' || body_sha256, batch = 'b9' where offset = 100",
        "update letters set body_sha256 = 'x' where offset = 100",
        "update letters set company = '1' where offset = 100",
        "update letters set intake = 5 where offset = 100",
        "update letters set source_key = 'x' where offset = 100",
        "update letters set ref_path = '/nowhere', ref_offset = 0, ref_length = 1 where offset = 100",
        "insert into letters (id, exchange, batch, stage, reasons, source_key, received_at, created_at, body_sha256,"
        " body_size, parked, updated_at, reason, codes) values"
        " ('ff', 'collect', 'b1', 'judge', '[]', 'k', '', '', '', 0, 0, '', '', '')",
    ],
)
def test_tally_finds_what_was_done_by_hand(store, conn, deed):
    kept = store.put_many([letter(0), letter(1)])
    conn.execute(text(deed))
    assert store.tally("b1") != kept


def test_hash_column_changed_by_hand_is_found_when_the_body_is_wanted(store, conn):
    store.put_many([letter()])
    conn.execute(text("update letters set body_sha256 = 'x'"))
    with pytest.raises(BodyChanged):
        store.body(store.get(letter().id))


def test_every_fixed_member_counts_in_the_fingerprint():
    made = letter(ref=BodyRef("p", 0, 1))
    changing = Letter._fields.index("sealed")
    seen = {fingerprint(made)}
    for name in Letter._fields[:changing]:
        old = getattr(made, name)
        new = {str: "other", int: 99}.get(type(old))
        seen.add(fingerprint(made._replace(**{name: made.reasons[:1] if name == "reasons" else new})))
    assert len(seen) == changing + 1
    assert fingerprint(made._replace(state="resolved", sealed=b"")) == fingerprint(made)
    assert fingerprint(made._replace(source="a", exchange="b")) != fingerprint(made._replace(source="b", exchange="a"))


def test_bodies_that_cannot_be_given(store, conn):
    made = letter()
    store.put_many([made])
    with pytest.raises(WrongKey):
        LetterStore(conn, Sealer(b"z" * 32)).body(store.get(made.id))
    assert LetterStore(conn, Sealer(b"z" * 32)).tally("b1") != tally_of([made])
    conn.execute(text("update letter_bodies set sealed = sealed || x'00'"))
    with pytest.raises(Tampered):
        store.body(store.get(made.id))
    conn.execute(text("delete from letter_bodies"))
    with pytest.raises(BodyGone):
        store.body(store.get(made.id))


def test_large_body_stays_where_it_is(conn, tmp_path, monkeypatch):
    monkeypatch.setattr(letter_module, "INLINE_BYTES", 10)
    with pytest.raises(ValueError, match="by reference only"):
        letter()
    (tmp_path / "archive").mkdir()
    file = tmp_path / "archive" / "in.ndjson"
    file.write_bytes(b"before" + BODY + b"after")
    made = letter(ref=BodyRef("in.ndjson", 6, len(BODY)))
    store = LetterStore(conn, SEALER, locate=lambda path: tmp_path / "archive" / path)
    assert made.sealed is None
    kept = store.put_many([made])
    assert conn.execute(text("select count(*) from letter_bodies")).scalar() == 0
    assert store.body(store.get(made.id)) == BODY
    assert store.tally("b1") == kept
    file.write_bytes(b"before" + BODY.replace(b"vin", b"VIN") + b"after")
    assert store.tally("b1") != kept
    with pytest.raises(BodyChanged):
        store.body(made)
    file.write_bytes(b"bef")
    assert store.tally("b1") != kept
    with pytest.raises(BodyGone):
        store.body(made)
    file.unlink()
    with pytest.raises(BodyGone):
        store.body(made)


def test_settled_replay_is_kept_once_and_counts_in_its_batch(store, conn):
    made = letter()
    born = store.put_many([made])
    store.claim(made.id, "r1", NOW)
    before = store.get(made.id)
    failed = after(before, "r1", (reason("NO_ROUTE"),), NOW)
    for _ in range(2):
        store.settle(before, failed, "r1")
    got = store.get(made.id)
    assert (got.state, got.generation, got.attempts, got.reason) == ("open", 1, 1, "NO_ROUTE")
    assert got.reasons == made.reasons
    assert [one.id for one in store.search(Filters(reason="NO_ROUTE"))] == [made.id]
    assert store.tally("r1") == Tally(1, failed_replay(failed, "r1"))
    assert store.tally("b1") == born
    assert [(one.batch, one.generation, one.outcome) for one in store.history(made.id)] == [("r1", 0, "open")]
    conn.execute(text("delete from letter_replays"))
    assert store.tally("r1") == Tally(0, 0)


def test_settled_success_counts_nothing_as_dead(store):
    made = letter()
    store.put_many([made])
    store.claim(made.id, "r1", NOW)
    before = store.get(made.id)
    store.settle(before, after(before, "r1", (), NOW), "r1")
    assert (store.get(made.id).state, store.get(made.id).resolved_by) == ("resolved", "r1")
    assert store.tally("r1") == Tally(0, 0)


def test_settling_what_another_has_is_refused(store):
    made = letter()
    store.put_many([made])
    with pytest.raises(WrongState):
        store.settle(made, after(made, "r1", (), NOW), "r1")
    store.claim(made.id, "r2", NOW)
    with pytest.raises(WrongState):
        store.settle(made, after(made, "r1", (), NOW), "r1")
    older = made._replace(generation=1)
    with pytest.raises(WrongState):
        store.settle(older, after(older, "r2", (), NOW), "r2")


def test_many_letters_in_one_call(store, conn):
    made = [letter(n) for n in range(2_500)]
    assert store.put_many(iter(made)) == tally_of(made)
    assert conn.execute(select(func.count()).select_from(text("letters"))).scalar() == 2_500
    assert store.tally("b1").count == 2_500


# -- changed by hand ---------------------------------------------------------------------------------------------------

BY_HAND = {
    **dict.fromkeys(("attempts", "generation", "intake", "offset", "body_size"), '"{column}" + 1'),
    **dict.fromkeys(("ref_offset", "ref_length"), '"{column}" + 1'),
    "parked": "1 - parked",
    "reasons": "replace(reasons, 'VIN', 'VIM')",
    "last_reasons": "reasons",
}
"""Column of a letter -> what a hand writes into it; into the others another text."""
COLUMNS = [column.name for column in define(MetaData()).letters.c if column.name != "id"]


def fresh(_store, _name):
    """Nothing became of it."""


def given_up(store, name):
    store.discard(name, "note", NOW)


def replayed(store, name):
    """Twice, the second time with success."""
    for number, again in enumerate(((reason("DATE_ORDER"),), ())):
        store.claim(name, f"b{number + 2}", NOW)
        before = store.get(name)
        store.settle(before, after(before, f"b{number + 2}", again, NOW), f"b{number + 2}")


@pytest.mark.parametrize("became", [fresh, given_up, replayed])
@pytest.mark.parametrize("column", COLUMNS)
def test_any_column_changed_by_hand_is_seen(store, conn, became, column):
    kept, other = letter(1, ref=BodyRef("p", 1, 2, '{"packed":"gz"}')), letter(2)
    store.put_many([kept, other])
    became(store, kept.id)
    assert store.untouched(kept.id)
    value = BY_HAND.get(column, "'x'").format(column=column)
    conn.execute(text(f"UPDATE letters SET \"{column}\" = {value} WHERE id = '{kept.id}'"))
    assert not store.untouched(kept.id)
    assert store.untouched(other.id)


@pytest.mark.parametrize(
    "deed",
    [
        *("SET generation = 7", "SET outcome = 'waiting'", "SET reasons = '[]'", "SET at = 'x'", "SET batch = 'x'"),
        "DELETE",
    ],
)
def test_a_replay_changed_by_hand_is_seen_with_its_letter(store, conn, deed):
    kept = letter(1)
    store.put_many([kept])
    replayed(store, kept.id)
    change = "UPDATE letter_replays " + deed if deed != "DELETE" else "DELETE FROM letter_replays"
    conn.execute(text(f"{change} WHERE batch = 'b2'"))
    assert not store.untouched(kept.id)


@pytest.mark.parametrize("became", [given_up, replayed])
def test_what_was_changed_by_hand_stays_so_whatever_becomes_of_it(store, conn, became):
    kept = letter(1)
    store.put_many([kept])
    conn.execute(text("UPDATE letters SET attempts = 2"))
    became(store, kept.id)
    conn.execute(text("UPDATE letters SET attempts = attempts - 2"))
    assert not store.untouched(kept.id)


def test_a_letter_that_is_not_there_is_not_untouched(store):
    assert not store.untouched(letter(1).id)
