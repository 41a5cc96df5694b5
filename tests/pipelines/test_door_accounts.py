"""Accounts: one code for one shop, lock-out with back-off, refusals that tell nothing, agreement between gateways."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from door_samples import CHEAP, NOW, USCC, operator
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select, update

from pipelines import tables
from pipelines.door import accounts, tokens
from pipelines.door.accounts import (
    COMPANY_CLOSED,
    COMPANY_EXISTS,
    COMPANY_PENDING,
    CREDENTIALS_WRONG,
    PASSWORD_UNFIT,
    LockRules,
    NoSuchCompany,
)
from pipelines.door.callers import CallerRules, Callers
from pipelines.door.companycodes import series_of
from pipelines.door.passwords import Given
from pipelines.state import State

MINUTE = timedelta(minutes=1)
PASSWORD = "secret"  # noqa: S105 - of a shop that is not there


@pytest.fixture
def state(tmp_path: Path):
    with State(tmp_path / "state", own=True) as state:
        yield state


def secret(password=PASSWORD):
    return Given(password, CHEAP)


def register(state, password=PASSWORD, *, approve=True, **changes):
    with state.unit_of_work() as connection:
        return accounts.register(connection, operator(**changes), secret(password), NOW, approve=approve)


def login(state, company, password=PASSWORD, at=NOW):
    with state.unit_of_work() as connection:
        return accounts.login(connection, company, secret(password), at)


def test_codes_are_division_and_serial(state):
    assert register(state).company == "330106000000001"
    assert register(state, companyunifiedsocialcreditidentifier="B").company == "330106000000002"
    other = {"companyunifiedsocialcreditidentifier": "C", "companyadministrativedivisioncode": "440106"}
    assert register(state, **other).company == "440106000000001"
    shanghai = {"companyunifiedsocialcreditidentifier": "D", "companyadministrativedivisioncode": "310115"}
    assert register(state, **shanghai).company == "310000010001"


def account_row(code, uscc="X"):
    texts = {"companyname": "x", "uscc": uscc, "password": "", "state": "active", "registered_at": "", "changed_at": ""}
    return {"company": code, **texts}


def test_codes_go_on_behind_those_that_are_known_anywhere(state):
    with state.unit_of_work() as connection:
        connection.execute(insert(tables.accounts), account_row("330106000000041"))
        known = {"companycode": "330106000000077", "intake": 1, "current": True, "companyname": "x", "record": "{}"}
        connection.execute(insert(tables.operators), {**known, "delivery_id": "x", "batch": "x"})
        connection.execute(insert(tables.accounts), account_row("3301069"))
    assert register(state).company == "330106000000078"


def test_where_the_highest_serial_is_taken_the_lowest_gap_is_given(state):
    with state.unit_of_work() as connection:
        rows = [account_row(f"330106{n:09d}") for n in (1, 2, 4, 999_999_999)]
        connection.execute(insert(tables.accounts), rows)
    assert register(state).company == "330106000000003"
    assert register(state, companyunifiedsocialcreditidentifier="B").company == "330106000000005"


@pytest.mark.parametrize("division", ["", "33010", "3301061", "33010x", "３３０１０６"])
def test_a_division_has_six_digits(division):
    with pytest.raises(ValueError, match="6"):
        series_of(division)


def test_the_same_registration_again_is_the_same_code_and_another_password_is_refused(state):
    first = register(state)
    assert (first.new, first.state, first.refusal) == (True, "active", "")
    again = register(state, companyname="改名后的公司")
    assert (again.company, again.new) == (first.company, False)
    with state.reading() as connection:
        assert accounts.find(connection, first.company).companyname == "改名后的公司"
    assert register(state, "another") == ("", "", COMPANY_EXISTS, False)
    assert register(state, "another", approve=False).refusal == COMPANY_EXISTS


def test_registering_cannot_be_used_to_try_passwords(state):
    company = register(state).company
    for _ in range(5):
        assert register(state, "wrong-one").refusal == COMPANY_EXISTS
    assert register(state).refusal == COMPANY_EXISTS
    assert login(state, company).cause == "locked"


def test_unfit_passwords_make_no_account(state):
    assert register(state, "short").refusal == PASSWORD_UNFIT
    assert register(state, "x" * 300).refusal == PASSWORD_UNFIT
    with state.reading() as connection:
        assert accounts.counts(connection) == {}


def test_pending_accounts_get_no_token_until_approved_and_closed_ones_none(state):
    made = register(state, approve=False)
    assert made.state == "pending"
    assert login(state, made.company)[:2] == (None, COMPANY_PENDING)
    assert login(state, made.company, "wrong")[:2] == (None, CREDENTIALS_WRONG)
    with state.unit_of_work() as connection:
        accounts.approve(connection, made.company, NOW)
    token = login(state, made.company).token
    with state.unit_of_work() as connection:
        assert tokens.company_of(connection, token, NOW).company == made.company
        accounts.close(connection, made.company, NOW)
        assert tokens.company_of(connection, token, NOW) is None
    assert login(state, made.company)[:2] == (None, COMPANY_CLOSED)
    assert register(state).refusal == COMPANY_CLOSED


def test_unknown_wrong_and_locked_are_one_refusal_and_cost_the_same_hashing(state):
    company = register(state).company
    unknown = login(state, "330106999999999")
    wrong = login(state, company, "wrong")
    assert unknown[:2] == wrong[:2] == (None, CREDENTIALS_WRONG)
    assert (unknown.cause, wrong.cause) == ("unknown", "wrong")
    for _ in range(4):
        login(state, company, "wrong")
    locked = login(state, company)
    assert (locked[:2], locked.cause) == ((None, CREDENTIALS_WRONG), "locked")
    with state.reading() as connection:
        assert connection.execute(select(tables.nonces)).all() == []


ODD = ["", "\0", "33\0", "\ud800", "1\n", "x" * 65]


@pytest.mark.parametrize("company", ODD)
def test_what_can_be_no_code_is_an_unknown_one_and_never_many(state, company):
    with state.unit_of_work() as connection:
        connection.execute(insert(tables.accounts), [account_row(str(n), uscc="") for n in range(3)])
        assert accounts.hashes_of(connection, company=company) == []
        assert accounts.hashes_of(connection, uscc=company) == []
    assert login(state, company).cause == "unknown"
    if company != "1\n":
        with pytest.raises(ValueError, match="USCC"):
            register(state, companyunifiedsocialcreditidentifier=company)


def test_four_wrong_passwords_lock_nothing_and_a_right_one_clears_the_count(state):
    company = register(state).company
    for _ in range(3):
        for _ in range(4):
            assert login(state, company, "wrong").cause == "wrong"
        assert login(state, company).token


def test_locks_double_up_to_an_hour_and_wrong_passwords_while_locked_do_not_count(state):
    company = register(state).company
    moment = NOW
    for _ in range(4):
        login(state, company, "wrong", moment)
    for minutes in (1, 2, 4, 8, 16, 32, 60, 60):
        assert login(state, company, "wrong", moment).cause == "wrong"
        end = moment + minutes * MINUTE
        for at in (moment, end - timedelta(seconds=1)):
            assert login(state, company, "wrong", at).cause == "locked"
            assert login(state, company, at=at).cause == "locked"
        moment = end
    assert login(state, company, at=moment).token
    assert login(state, company, "wrong", moment).cause == "wrong"
    assert login(state, company, at=moment).token


@given(st.integers(0, 200))
def test_lock_times(failures):
    rules = LockRules()
    lock = rules.lock_for(failures)
    assert (lock == timedelta(0)) == (failures < 5)
    assert lock <= timedelta(hours=1)
    assert rules.lock_for(failures + 1) >= lock


def test_a_right_password_counts_against_no_account_of_the_same_uscc(state):
    first = register(state).company
    with state.unit_of_work() as connection:
        ours = dict(connection.execute(select(tables.accounts)).one()._mapping)
        others = [{**ours, "company": code, "password": secret(code).hashed()} for code in ("sister-1", "sister-2")]
        connection.execute(insert(tables.accounts), others)
    for _ in range(6):
        assert register(state).company == first
    with state.reading() as connection:
        assert [one.failures for one in accounts.listed(connection)] == [0, 0, 0]
    assert login(state, "sister-1", "sister-1").token
    assert register(state, "of-none-of-them").refusal == "COMPANY_EXISTS"
    with state.reading() as connection:
        assert [one.failures for one in accounts.listed(connection)] == [1, 1, 1], "a wrong one counts for all"


def test_unlock_and_reset_by_the_operator(state):
    company = register(state).company
    token = login(state, company).token
    for _ in range(5):
        login(state, company, "wrong")
    with state.unit_of_work() as connection:
        accounts.unlock(connection, company, NOW)
    assert login(state, company).token
    with state.unit_of_work() as connection:
        made = accounts.reset_password(connection, company, NOW)
        assert tokens.company_of(connection, token, NOW) is None
    assert login(state, company).cause == "wrong"
    assert login(state, company, made).token
    with state.unit_of_work() as connection:
        assert accounts.reset_password(connection, company, NOW, "chosen-by-hand") == ""
        with pytest.raises(ValueError, match="6"):
            accounts.reset_password(connection, company, NOW, "short")
    assert login(state, company, "chosen-by-hand").token


@pytest.mark.parametrize("action", ["approve", "close", "unlock", "reset_password"])
def test_what_the_operator_does_to_nobody_is_told(state, action):
    with state.unit_of_work() as connection, pytest.raises(NoSuchCompany, match="330106000000009"):
        getattr(accounts, action)(connection, "330106000000009", NOW)


def test_accounts_without_a_password_wait_for_a_reset(state):
    with state.unit_of_work() as connection:
        connection.execute(insert(tables.accounts), {**account_row("1"), "registered_at": NOW.isoformat()})
        connection.execute(update(tables.accounts).values(changed_at=NOW.isoformat()))
        assert accounts.find(connection, "1").resettable
    assert login(state, "1", "").cause == "wrong"


def test_lists_are_ordered_filtered_and_go_on(state):
    for n, uscc in enumerate("CAB"):
        register(state, approve=n > 0, companyunifiedsocialcreditidentifier=uscc, companyname=f"100%_{uscc}")
    with state.reading() as connection:
        every = accounts.listed(connection)
        assert [one.uscc for one in every] == ["C", "A", "B"]
        assert [one.uscc for one in accounts.listed(connection, state="pending")] == ["C"]
        assert [one.uscc for one in accounts.listed(connection, text="%_A")] == ["A"]
        assert accounts.listed(connection, text="0%A") == []
        assert [one.uscc for one in accounts.listed(connection, after=every[0].company, most=1)] == ["A"]
        assert accounts.counts(connection) == {"active": 2, "pending": 1}
    assert "secret" not in repr(every)
    assert "scrypt" not in repr(every)


# -- several gateways on one database ----------------------------------------------------------------------------------


def at_once(work, many, threads=8):
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, many))


def gateways(state, number=2, **rules):
    """Gateways with engines of their own on one database."""
    others = [State(state.path, own=False) for _ in range(number)]
    return others, [Callers(one, state.sealer(), CallerRules(cost=CHEAP, **rules)) for one in others]


def test_codes_are_unique_under_concurrency_and_one_uscc_gets_one_code(state):
    others, callers = gateways(state)

    def enrol(n):
        who = operator(companyunifiedsocialcreditidentifier=f"U{n % 20}")
        return n % 20, callers[n % 2].register(who, f"password-{n % 20}", NOW)

    made = at_once(enrol, range(60))
    codes = {}
    for shop, found in made:
        assert not found.refusal
        assert codes.setdefault(shop, found.company) == found.company
    assert sorted(codes.values()) == [f"330106{n:09d}" for n in range(1, 21)]
    assert sum(found.new for _, found in made) == 20
    for other in others:
        other.close()


def test_gateways_count_wrong_passwords_together(state):
    company = register(state).company
    others, callers = gateways(state)
    causes = at_once(lambda n: callers[n % 2].login(company, f"guess-{n}", NOW).cause, range(30))
    assert (causes.count("wrong"), causes.count("locked")) == (5, 25)
    assert callers[0].login(company, "secret", NOW).cause == "locked"
    assert callers[1].login(company, "secret", NOW + MINUTE).token
    for other in others:
        other.close()


def test_right_passwords_at_once_all_get_tokens(state):
    company = register(state).company
    others, callers = gateways(state)
    found = at_once(lambda n: callers[n % 2].login(company, "secret", NOW).token, range(20))
    assert len(set(found)) == 20
    assert all(callers[0].company_of(token, NOW).company == company for token in found)
    for other in others:
        other.close()


def test_hashing_is_done_outside_of_the_transaction(state, monkeypatch):
    company = register(state).company
    callers = Callers(state, state.sealer(), CallerRules(cost=CHEAP))
    inside = []
    real = Given.fits

    def spied(self, stored):
        inside.append((stored in self._known, state.engine.pool.checkedout()))
        return real(self, stored)

    monkeypatch.setattr(Given, "fits", spied)
    assert callers.login(company, "secret", NOW).token
    assert callers.login("unknown", "secret", NOW).cause == "unknown"
    assert callers.register(operator(), "secret", NOW).company == company
    assert [known for known, out in inside if out] == [True] * 4
    assert [known for known, out in inside if not out] == [False] * 3


def test_legacy_hashes_are_made_anew_at_the_first_good_login(state):
    import hashlib

    company = register(state).company
    legacy = "{MD5}" + hashlib.md5(b"old-secret").hexdigest()  # noqa: S324 - what old platforms have
    with state.unit_of_work() as connection:
        connection.execute(update(tables.accounts).values(password=legacy))
    assert login(state, company, "wrong").cause == "wrong"
    assert login(state, company, "old-secret").token
    with state.reading() as connection:
        (stored,) = accounts.hashes_of(connection, uscc=USCC)
    assert stored.startswith("$scrypt$")
    assert login(state, company, "old-secret").token


def test_a_login_does_not_show_its_token(state):
    found = login(state, register(state).company)
    assert found.token not in repr(found)
    assert found.token not in str(found)
