"""Several gateways on one state: who has what, who is fenced off, and what is taken over."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from sharing_kit import KEY, NAME, SHOP, Member, balanced, in_order, partitions, put, record, vin
from sqlalchemy import select, text, update
from sqlalchemy.exc import OperationalError
from test_versions import entries

from dlq.letters import Filters, LetterStore
from dlq.sealing import Sealer
from pipelines import sharing, tables
from pipelines.batchwork import BatchWork
from pipelines.coordinator import Coordinator
from pipelines.errors import KeyElsewhere, NotShareable, StateBusy, StateLost
from pipelines.partitions import PARTITIONS, partition_of
from pipelines.replayorders import order
from pipelines.sealedrows import open_waiting
from pipelines.state import State
from pipelines.versiontable import Raced
from pipelines.vinhash import vin_hash


@pytest.fixture
def members(tmp_path, postgres_url, monkeypatch):
    """Makes members: the first one with a new key, the others with a copy of it."""
    monkeypatch.setattr(sharing, "GRACE", 0.3)
    made = []

    def join(**more):
        first = made[0] if made else None
        made.append(Member(tmp_path / f"g{len(made)}", postgres_url, first, **more))
        return made[-1]

    yield join
    for one in made:
        with suppress(Exception):  # those that died or were fenced off are gone already
            one.close()


def rows(server, url, columns="costlistcode, version, faultdescription"):
    return server.execute(f"SELECT {columns} FROM repairs ORDER BY seq", database=url.rpartition("/")[2])


# -- who has what ------------------------------------------------------------------------------------------------------


def test_one_alone_has_all_and_shares_with_who_joins_and_gets_back_what_is_left(members):
    one = members()
    assert (len(one.share.held), one.share.once) == (PARTITIONS, True)
    two, three = members(), members()
    for member in (one, two, three, two, three):
        member.share.balance()
    assert sorted(partitions(one.state).values()) == [10, 11, 11]
    assert [member.share.once for member in (one, two, three)] == [True, False, False]
    held = [member.share.held for member in (one, two, three)]
    assert frozenset().union(*held) == frozenset(range(PARTITIONS))
    assert sum(map(len, held)) == PARTITIONS
    one.close()
    for member in (two, three):
        member.share.balance()
    assert (len(two.share.held), len(three.share.held)) == (16, 16)
    assert two.share.once != three.share.once


def test_a_member_without_work_of_its_own_is_no_error(members, monkeypatch):
    monkeypatch.setattr(sharing, "PARTITIONS", 1)
    one, two = members(), members()
    monkeypatch.setattr(sharing, "_fair", lambda names, name: 32 if name == one.share.name else 0)
    put(one.state, record("J1"))
    two.step()
    one.step()
    assert (two.share.held, two.state.leads) == (frozenset(), False)
    assert balanced(one.state)


def test_what_is_unfinished_is_not_given_up(members):
    one, two = members(), members()
    with one.state.unit_of_work() as connection:
        connection.execute(tables.batches.insert(), {
            "id": "x-000001", "exchange": "x", "number": 1, "run": one.live._coordinator.run_id, "kind": "inbox",
            "state": "decided", "received_at": "", "items": b"[]", "member": one.share.name,
        })  # fmt: skip
    one.share.balance()
    two.share.balance()
    assert partitions(one.state) == {one.share.name: PARTITIONS}
    with one.state.unit_of_work() as connection:
        connection.execute(update(tables.batches).values(state="closed"))
    one.share.balance()
    two.share.balance()
    assert partitions(one.state) == {one.share.name: 16, two.share.name: 16}


def test_who_stands_aside_leaves_to_others_what_one_does_alone_and_takes_it_back_when_alone(members, postgres_url):
    one, two = members(), members()
    one.share.balance()
    with one.state.unit_of_work() as connection:
        connection.execute(tables.batches.insert(), {
            "id": "x-000001", "exchange": "x", "number": 1, "run": one.live._coordinator.run_id, "kind": "inbox",
            "state": "decided", "received_at": "", "items": b"[]", "member": one.share.name,
        })  # fmt: skip
    assert not one.share.stand_aside(60)
    assert one.share.once
    with one.state.unit_of_work() as connection:
        connection.execute(update(tables.batches).values(state="closed"))
    seen = one.share.changes
    assert one.share.stand_aside(3600)
    assert (one.state.leads, one.share.changes) == (False, seen + 1)
    one.share.balance()
    assert not one.state.leads
    two.share.balance()
    assert two.state.leads
    two.close()
    one.share.balance()
    assert one.state.leads


def test_a_lease_that_is_not_renewed_is_not_counted_on_before_another_may_take_over(members):
    one = members()
    assert one.share.sure
    assert one.share.lease.left <= sharing.SECONDS
    one.share.lease._ended.set()
    one.share.lease._renewer.join()
    one.share.lease._renewed_at -= sharing.SECONDS - sharing.SURE_SECONDS  # as if so much time had passed
    assert not one.share.sure
    assert one.share.lease.left > 0
    with one.state.unit_of_work():  # it is ours still: nobody has taken over
        pass


# -- the key, and who may come -----------------------------------------------------------------------------------------


def test_a_second_gateway_needs_the_key_of_the_first(members, tmp_path, postgres_url):
    one = members()
    fingerprint = Sealer.open(one.folder / KEY, create=False).fingerprint
    with pytest.raises(KeyElsewhere, match=fingerprint):
        State(tmp_path / "bare", own=True, url=postgres_url, shared=True)
    assert not (tmp_path / "bare" / KEY).exists()
    Sealer.open(tmp_path / "other" / KEY, create=True)
    with pytest.raises(KeyElsewhere, match=fingerprint):
        State(tmp_path / "other", own=True, url=postgres_url, shared=True)
    assert Sealer.put(tmp_path / "given" / KEY, (one.folder / KEY).read_text()).fingerprint == fingerprint
    State(tmp_path / "given", own=True, url=postgres_url, shared=True).close()


def test_an_owner_alone_and_those_who_share_keep_each_other_out(members, tmp_path, postgres_url, monkeypatch):
    from pipelines import lease

    monkeypatch.setattr(lease, "PATIENCE", 0.2)
    monkeypatch.setattr(sharing, "PATIENCE", 0.2)
    one = members()
    shutil.copytree(one.folder / "keys", tmp_path / "lone" / "keys")
    with pytest.raises(StateBusy):
        State(tmp_path / "lone", own=True, url=postgres_url)
    one.close()
    with State(tmp_path / "lone", own=True, url=postgres_url), pytest.raises(StateBusy):
        State(one.folder, own=True, url=postgres_url, shared=True)
    State(one.folder, own=True, url=postgres_url, shared=True).close()


def test_who_owned_alone_and_was_stopped_commits_nothing_once_others_share(tmp_path, postgres, postgres_url):
    lone = State(tmp_path / "lone", own=True, url=postgres_url)
    lone.sealer()
    postgres.execute("UPDATE leases SET expires = 0", database=postgres_url.rpartition("/")[2])
    shutil.copytree(tmp_path / "lone" / "keys", tmp_path / "one" / "keys")
    one = State(tmp_path / "one", own=True, url=postgres_url, shared=True)
    with pytest.raises(StateLost), lone.unit_of_work() as connection:
        connection.execute(text("INSERT INTO meta VALUES ('late', '')"))
    one.close()
    lone.close()


def test_sqlite_is_not_shared(tmp_path):
    with pytest.raises(NotShareable, match="PostgreSQL"):
        State(tmp_path / "state", own=True, shared=True)


# -- fencing and taking over -------------------------------------------------------------------------------------------


def test_who_did_not_renew_commits_nothing_and_its_open_batch_waits_again(members, postgres, postgres_url):
    one, two = members(), members()
    put(one.state, record("J1"))
    with one.state.unit_of_work() as connection:
        number = one.live._coordinator._next(connection)
        taken = one.live._inbox.take(connection, 10, 1000, number, one.share.held)
        one.live._coordinator._open(connection, number, "inbox", [])
    assert len(taken) == 1
    postgres.execute(
        f"UPDATE leases SET expires = 0 WHERE name = '{one.share.name}'", database=postgres_url.rpartition("/")[2]
    )
    two.step()
    assert (len(two.share.held), two.share.once) == (PARTITIONS, True)
    assert rows(postgres, postgres_url) == [("J1", 1, "异响")]
    with pytest.raises(StateLost), one.state.unit_of_work() as connection:
        connection.execute(text("INSERT INTO meta VALUES ('late', '')"))
    with pytest.raises(StateLost):
        one.share.balance()
    assert balanced(two.state)


def test_a_take_over_waits_for_the_commit_under_way(members):
    one, two = members(), members()
    with one.state.engine.begin() as connection:
        one.share.lease.proved(connection)
        with two.state.engine.connect() as other:
            other.execute(text("SET lock_timeout = 50"))
            raised = update(tables.leases).where(tables.leases.c.name == one.share.name).values(epoch=99)
            with pytest.raises(OperationalError, match="lock timeout"):
                other.execute(raised)


@pytest.fixture
def decided(members, monkeypatch):
    """A member that died between decide and its effects, and another one."""
    one, two = members(), members()

    def dies(*_, **__):
        raise SystemExit

    put(one.state, record("J1"), record("J2", serial=2), record("J1", fault="later"), b"no record")
    monkeypatch.setattr(one.live._coordinator.closer, "finish", dies)
    with pytest.raises(SystemExit):
        one.live.step(0)
    put(one.state, record("J1", fault="latest"))
    shutil.rmtree(one.folder / "staging")  # as on another host
    one.dies()
    return one, two


def inherits(member):
    """Look until the other member's session has been gone for long enough."""
    wait_for(lambda: member.share.look() or member.share.balance() or member.share.members == 1)


def test_what_a_dead_member_decided_is_finished_by_another_from_the_database(decided, postgres, postgres_url):
    _, two = decided
    inherits(two)
    two.step()
    assert rows(postgres, postgres_url) == [
        ("J1", 1, "异响"),
        ("J2", 1, "异响"),
        ("J1", 2, "later"),
        ("J1", 3, "latest"),
    ]
    assert balanced(two.state)
    assert in_order(two.state)
    with two.state.reading() as connection:
        assert connection.execute(select(tables.staged_rows.c.batch)).all() == []


def test_what_dead_members_decided_is_finished_by_who_owns_the_state_alone(decided, postgres, postgres_url, tmp_path):
    one, two = decided
    two.close()
    with State(two.folder, own=True, url=postgres_url) as lone:
        Coordinator(lone, one.live._exchange).begin()
        assert [row[:2] for row in rows(postgres, postgres_url)] == [("J1", 1), ("J2", 1), ("J1", 2)]
        assert balanced(lone)


def test_what_an_owner_decided_into_files_can_only_be_shared_from_its_folder(members, tmp_path, postgres_url):
    lone = State(tmp_path / "lone", own=True, url=postgres_url)
    lone.sealer()
    with lone.unit_of_work() as connection:
        connection.execute(tables.runs.insert(), {"exchange": NAME, "started_at": ""})
        connection.execute(tables.batches.insert(), {
            "id": "x-000001", "exchange": "x", "number": 1, "run": 1, "kind": "inbox", "state": "decided",
            "received_at": "", "items": b"[]",
        })  # fmt: skip
    lone.close()
    shutil.copytree(tmp_path / "lone" / "keys", tmp_path / "one" / "keys")
    with pytest.raises(NotShareable, match="x-000001"):
        State(tmp_path / "one", own=True, url=postgres_url, shared=True)
    (tmp_path / "lone/staging/x-000001").mkdir()
    State(tmp_path / "lone", own=True, url=postgres_url, shared=True).close()


OWNER = """
import sys
from pathlib import Path
from pipelines.state import State
state = State(Path(sys.argv[1]), own=True, url=sys.argv[2], shared=True)
print(state.member, flush=True)
sys.stdin.readline()
"""


def test_a_killed_process_is_inherited_without_waiting_for_its_lease(members, tmp_path, postgres_url, root):
    one = members()
    shutil.copytree(one.folder / "keys", tmp_path / "other" / "keys")
    command = [sys.executable, "-c", OWNER, str(tmp_path / "other"), postgres_url]
    with subprocess.Popen(command, cwd=root, stdin=-1, stdout=-1, text=True) as process:
        name = process.stdout.readline().strip()
        one.share.balance()
        with one.state.unit_of_work() as connection:
            connection.execute(update(tables.leases).where(tables.leases.c.owner == "").values(owner=name))
        one.share.look()
        one.share.balance()
        assert partitions(one.state) == {one.share.name: 16, name: 16}  # it lives
        process.kill()
    inherits(one)
    assert len(one.share.held) == PARTITIONS


# -- order, and versions beside each other -----------------------------------------------------------------------------


def serials(share, most=60):
    """Serials of vehicles whose partitions a member has."""
    return [one for one in range(1, most) if partition_of(vin_hash(vin(one)), "") in share.held]


@pytest.fixture
def pair(members):
    """Two members, each with half of the partitions."""
    one, two = members(), members()
    for member in (one, two):
        member.share.balance()
    return one, two


def test_each_takes_the_vehicles_of_its_partitions_in_order(pair, postgres, postgres_url):
    one, two = pair
    put(one.state, *(record(f"J{n}", serial=n % 9, fault=f"{n // 18}") for n in range(72)))
    two.step()
    mine = rows(postgres, postgres_url, "vin")
    assert {row[0] for row in mine} == {vin(n) for n in serials(two.share, 9)} | ({vin(0)} & {row[0] for row in mine})
    one.step()
    assert len(rows(postgres, postgres_url)) == 72
    assert in_order(one.state)
    assert balanced(one.state)


@pytest.mark.parametrize("late", ["first", "second"])
@pytest.mark.parametrize("opened", ["first", "second"])
def test_a_corrected_vin_stands_whichever_gateway_is_quicker(pair, postgres, postgres_url, late, opened):
    """One list code under two VINs, of partitions of two gateways, in work at the same time."""
    one, two = pair
    put(one.state, record("J1", serial=serials(one.share)[0], fault="before"))
    put(one.state, record("J1", serial=serials(two.share)[0], fault="after"))
    members = {"first": one, "second": two}
    outer = members.pop(opened)
    inner = members.popitem()[1]
    work = outer.live._coordinator._steps

    def steps(*given):
        outer.live._coordinator._steps = work
        done = work(*given)
        if late == "first":  # the other decides between our opening and our decision
            inner.step()
        return done

    outer.live._coordinator._steps = steps
    outer.step()
    inner.step()
    held = rows(postgres, postgres_url, "version, faultdescription, current")
    assert [row[1] for row in held if row[2]] == ["after"]
    assert balanced(one.state)


@pytest.mark.parametrize("quicker", ["of the record", "of its withdrawal"])
def test_a_withdrawn_record_stands_nowhere_whichever_gateway_is_quicker(pair, postgres, postgres_url, quicker):
    """A withdrawal names no vehicle and goes by its sender: it may be decided before the record that it withdraws."""
    one, two = pair
    sender = two if partition_of(0, f"11|{SHOP}") in two.share.held else one
    other = one if sender is two else two
    serial = serials(other.share)[0]
    put(one.state, record("J0", serial=serial))
    other.step()
    put(one.state, record("J1", serial=serial))
    put(one.state, {"costlistcode": "J1", "withdrawn": "重复上传"})
    for member in (other, sender) if quicker == "of the record" else (sender, other):
        member.step()
    with one.state.reading() as connection:
        letters = [one.reason for one in LetterStore(connection, one.state.sealer()).search()]
    held = rows(postgres, postgres_url, "version, withdrawn IS NOT NULL, current")[1:]
    if quicker == "of the record":
        assert (held, letters) == ([(1, False, False), (2, True, True)], [])
    else:
        assert (held, letters) == ([], ["WITHDRAWAL_UNKNOWN"])
    assert balanced(one.state)
    put(one.state, record("J1", serial=serial, fault="again"))
    other.step()
    assert rows(postgres, postgres_url, "faultdescription, current")[-1] == ("again", True)
    assert balanced(one.state)


def test_a_decision_that_another_came_before_is_made_again(pair, postgres, postgres_url, monkeypatch):
    """Between look-up and commit of the one, the other decides the same record."""
    one, two = pair
    put(one.state, record("J1", serial=serials(one.share)[0], fault="a"))
    put(one.state, record("J1", serial=serials(two.share)[0], fault="b"))
    find, turns = one.state.versions.find, []

    def found(*given):
        answer = find(*given)
        if not turns:
            turns.append(1)
            two.step()
        return answer

    monkeypatch.setattr(one.state.versions, "find", found)
    one.step()
    assert [row[1:] for row in rows(postgres, postgres_url)] == [(1, "b")]  # what came before it is superseded
    assert balanced(one.state)


def test_a_replay_that_was_raced_dies_for_what_its_last_attempt_found(members, monkeypatch):
    one = members()
    broken = record("J1")
    broken["basicInfo"]["vin"] = "LSVAL41Z1M0000001"
    put(one.state, broken)
    one.step()
    with one.state.reading() as connection:
        (letter,) = LetterStore(connection, one.state.sealer()).search(Filters())
    number, attempts = BatchWork._number, []

    def raced(work, connection, decided):
        attempts.append(work)
        if len(attempts) == 1:
            raise Raced
        number(work, connection, decided)

    monkeypatch.setattr(BatchWork, "_number", raced)
    order(one.state, [letter])
    one.live._coordinator.serve_orders()
    with one.state.reading() as connection:
        after = LetterStore(connection, one.state.sealer()).get(letter.id)
    assert (len(attempts), after.generation) == (2, 1)
    assert [reason.code for reason in after.last_reasons] == [reason.code for reason in letter.reasons]
    assert balanced(one.state)


def test_an_index_that_moved_is_noticed_for_new_keys_and_for_known_ones(pair):
    one, two = pair
    first = entries([(1, 1, 5, 1, 1, 0)])
    nothing = entries([])
    with one.state.unit_of_work() as connection:
        one.state.versions.add_exactly(connection, first, nothing)
    second = entries([(1, 1, 6, 2, 2, 0)])
    with pytest.raises(Raced), two.state.unit_of_work() as connection:
        two.state.versions.add_exactly(connection, second, nothing)
    with two.state.unit_of_work() as connection:
        two.state.versions.add_exactly(connection, second, first)
    with pytest.raises(Raced), one.state.unit_of_work() as connection:
        one.state.versions.add_exactly(connection, entries([(1, 1, 7, 2, 2, 0)]), first)


def test_sets_of_destinations_are_numbered_once_by_all(pair):
    one, two = pair
    with one.state.unit_of_work() as connection:
        first = one.state.destination_set(connection, ["a"])
    with two.state.unit_of_work() as connection:
        assert two.state.destination_set(connection, ["b"]) == first + 1
        assert two.state.destination_set(connection, ["a"]) == first
    with one.state.unit_of_work() as connection:
        third = one.state.destination_set(connection, ["c"])
    with two.state.unit_of_work() as connection:
        assert two.state.destination_sets(connection)[third] == ("c",)


# -- what waits --------------------------------------------------------------------------------------------------------


def two_with_a_record_each(members, store):
    """Two members that share the partitions, and the number of a vehicle of each, of which a record stands: A0, B0."""
    one, two = members(store=store), members(store=store)
    for member in (one, two):
        member.share.balance()
    ours, theirs = serials(one.share)[0], serials(two.share)[0]
    put(one.state, record("A0", serial=ours), record("B0", serial=theirs))
    one.step()
    two.step()
    return one, two, ours, theirs


def test_what_waits_is_tried_by_who_has_its_partition_and_order_is_kept(members, postgres, postgres_url, tmp_path):
    """The store is away; later records of the vehicle queue behind; a heir drains all in order."""
    with postgres.database() as store:
        name = store.rpartition("/")[2]
        one, two, ours, theirs = two_with_a_record_each(members, store)
        postgres.execute("ALTER TABLE repairs RENAME TO away", database=name)
        put(one.state, record("A1", serial=ours), record("B1", serial=theirs))
        one.step()
        two.step()
        put(one.state, record("A2", serial=ours), record("B2", serial=theirs))
        one.step()
        two.step()
        assert waits(one) == {"A1", "A2", "B1", "B2"}
        postgres.execute("ALTER TABLE away RENAME TO repairs", database=name)
        settle(lambda: waits(one) == {"A1", "A2"}, two)
        one.dies()
        inherits(two)
        put(two.state, record("A3", serial=ours))
        settle(lambda: not waits(two), two)
        order = [row[0] for row in postgres.execute("SELECT costlistcode FROM repairs ORDER BY seq", database=name)]
        assert [code for code in order if code[0] == "A"] == ["A0", "A1", "A2", "A3"]
        assert [code for code in order if code[0] == "B"] == ["B0", "B1", "B2"]
        assert balanced(two.state)
        two.close()


def test_what_a_dead_member_decided_stays_behind_what_waits(members, postgres, monkeypatch):
    """Its heir knows what waited in partitions of its own, and must learn what waits in those that it inherits."""

    def dies(*_, **__):
        raise SystemExit

    with postgres.database() as store:
        name = store.rpartition("/")[2]
        one, two, ours, _ = two_with_a_record_each(members, store)
        two.live._coordinator.closer.queues.holding("store")
        postgres.execute("ALTER TABLE repairs RENAME TO away", database=name)
        put(one.state, record("A1", serial=ours))
        one.step()
        assert waits(one) == {"A1"}
        postgres.execute("ALTER TABLE away RENAME TO repairs", database=name)
        put(one.state, record("A2", serial=ours))
        monkeypatch.setattr(one.live._coordinator.closer, "finish", dies)
        with pytest.raises(SystemExit):
            one.live.step(0)
        one.dies()
        inherits(two)
        two.step()
        settle(lambda: not waits(two), two)
        order = [row[0] for row in postgres.execute("SELECT costlistcode FROM repairs ORDER BY seq", database=name)]
        assert [code for code in order if code[0] == "A"] == ["A0", "A1", "A2"]
        assert balanced(two.state)
        two.close()


def waits(member):
    t, sealer = tables.waiting, member.state.sealer()
    with member.state.reading() as connection:
        kept = connection.execute(select(t)).all()
    return {json.loads(open_waiting(sealer, row))["costlistcode"] for row in kept}


def settle(done, member):
    def tried():
        member.live._followed_up = float("-inf")
        member.step()
        return done()

    wait_for(tried)


def wait_for(done):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if done():
            return
        time.sleep(0.01)
    raise AssertionError


# -- partitions of envelopes -------------------------------------------------------------------------------------------


def partition(state, body, **more):
    put(state, body, **more)
    t = tables.inbox
    with state.reading() as connection:
        return connection.execute(select(t.c.partition).order_by(t.c.id.desc()).limit(1)).scalar_one()


def test_a_vehicle_has_one_partition_in_whatever_form_it_comes(members):
    state = members().state
    plain = record("J1", serial=7)
    wanted = vin_hash(vin(7)) % PARTITIONS
    encoded = {name: json.dumps(part) if isinstance(part, dict) else part for name, part in plain.items()}
    lower = json.loads(json.dumps(plain).replace(vin(7), vin(7).lower()))
    for body in (plain, encoded, lower, {"transaction": {"body": plain}}):
        assert partition(state, body) == wanted
        assert partition(state, body, company="440300000000001", source="amqp:q") == wanted


def test_what_bears_no_vehicle_goes_by_its_sender(members):
    state = members().state
    pieces = [{"orderCode": "O1", "vin": vin(serial)} for serial in (7, 8, 9)]
    kept = {partition(state, body) for body in (*pieces, {"orderCode": "O1"}, b"{", {"vin": "short"})}
    kept.add(partition(state, record("J1", serial=9), dialect="shanghai:insert"))
    assert len(kept) == 1
    assert len({partition(state, b"{", company=str(n)) for n in range(40)}) > 10


STOPPED = """
import sys
from pathlib import Path
from pipelines import sharing
from pipelines.state import State
sharing.SECONDS = 0.5
state = State(Path(sys.argv[1]), own=True, url=sys.argv[2], shared=True)
with state.unit_of_work() as connection:
    state.share.lease.proved(connection)
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(22090)")
    print(state.member, flush=True)
    sys.stdin.readline()
"""


def test_who_is_stopped_in_the_middle_of_a_commit_holds_up_nobody_for_ever(
    members, tmp_path, postgres, postgres_url, root
):
    """It has locked its lease, and the numbers of batches, which we wait for meanwhile."""
    one = members()
    shutil.copytree(one.folder / "keys", tmp_path / "other" / "keys")
    command = [sys.executable, "-c", STOPPED, str(tmp_path / "other"), postgres_url]
    with subprocess.Popen(command, cwd=root, stdin=-1, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        put(one.state, record("J1"))
        one.step()
        assert [row[0] for row in rows(postgres, postgres_url)] == ["J1"]
        process.send_signal(signal.SIGCONT)
        _, said = process.communicate("go on\n", timeout=60)
        assert process.returncode == 1
        assert "terminating connection" in said
