"""Tokens, nonces and applications: kept as hashes or sealed, bounded, over when they say, and cached for seconds."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from door_samples import CHEAP, NOW, operator
from sqlalchemy import func, select

from dlq.errors import Tampered
from pipelines import tables
from pipelines.door import accounts, applications, nonces, tokens
from pipelines.door.accounts import NoSuchCompany
from pipelines.door.callers import CallerRules, Callers
from pipelines.door.nonces import remember_nonce
from pipelines.door.passwords import Given
from pipelines.door.tokens import Holder, TokenCache, TokenRules
from pipelines.state import State

SECOND = timedelta(seconds=1)
SHORT = TokenRules(timedelta(hours=1), several=3)


@pytest.fixture
def state(tmp_path: Path):
    with State(tmp_path / "state", own=True) as state:
        yield state


@pytest.fixture
def company(state):
    with state.unit_of_work() as connection:
        return accounts.register(connection, operator(), Given("secret", CHEAP), NOW, approve=True).company


def issue(state, company, at=NOW, rules=SHORT):
    with state.unit_of_work() as connection:
        return tokens.issue(connection, company, at, rules)


def holder(state, token, at=NOW):
    with state.reading() as connection:
        return tokens.company_of(connection, token, at)


def test_tokens_are_random_upper_case_hex_and_kept_as_hashes_only(state, company):
    token = issue(state, company)
    assert re.fullmatch(r"[0-9A-F]{64}", token)
    assert token != issue(state, company)
    with state.reading() as connection:
        rows = connection.execute(select(tables.tokens)).all()
    assert sha256(token.encode()).digest() in {row.digest for row in rows}
    assert token not in repr(rows)


def test_a_token_is_its_companys_until_it_is_over(state, company):
    token = issue(state, company)
    found = holder(state, token)
    assert (found.company, found.companyname, found.expires_at) == (
        company,
        "某某汽车维修有限公司",
        NOW + timedelta(hours=1),
    )
    assert holder(state, token.lower()) == found
    assert holder(state, token, NOW + timedelta(hours=1) - SECOND) == found
    assert holder(state, token, NOW + timedelta(hours=1)) is None


def test_a_token_counts_only_while_its_account_is_active(state, company):
    token = issue(state, company)
    with state.unit_of_work() as connection:
        connection.execute(tables.accounts.update().values(state="pending"))
    assert holder(state, token) is None


@pytest.mark.parametrize("token", ["", "0" * 64, "0" * 63, "g" * 64, "0" * 64 + "\n", "' or 1=1 --", "０" * 64])
def test_what_is_no_token_is_nobodys(state, company, token):
    assert holder(state, token) is None


def test_several_are_valid_at_a_time_and_the_oldest_go(state, company):
    made = [issue(state, company, NOW + n * SECOND) for n in range(5)]
    late = NOW + 5 * SECOND
    assert [holder(state, token, late) is not None for token in made] == [False, False, True, True, True]


def test_those_that_are_over_are_removed(state, company):
    issue(state, company)
    issue(state, company, NOW + timedelta(hours=2))
    with state.unit_of_work() as connection:
        assert connection.execute(select(func.count()).select_from(tables.tokens)).scalar() == 1
        assert tokens.sweep(connection, NOW + timedelta(hours=3)) == 1
        assert tokens.sweep(connection, NOW + timedelta(hours=3)) == 0


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


def cache_of(answers, **settings):
    asked, clock = [], Clock()

    def load(token, now):
        asked.append(token)
        return answers.get(token)

    return TokenCache(load, clock=clock, **settings), asked, clock


A, B = "A" * 64, "B" * 64
HELD = Holder("1", "x", NOW + timedelta(hours=1))


def test_the_cache_asks_once_in_its_seconds_and_again_after_them():
    answers = {A: HELD}
    cache, asked, clock = cache_of(answers, seconds=5)
    assert cache.peek(A, NOW) == (False, None)
    assert cache.get(A, NOW) == HELD
    assert cache.peek(A.lower(), NOW) == (True, HELD)
    clock.seconds = 4.9
    assert cache.get(A, NOW) == HELD
    assert len(asked) == 1
    del answers[A]
    clock.seconds = 5.0
    assert cache.get(A, NOW) is None
    assert len(asked) == 2
    assert cache.get(A, NOW) is None
    assert len(asked) == 2


def test_the_cache_never_outlives_the_token():
    cache, asked, _ = cache_of({A: HELD})
    cache.get(A, NOW)
    assert cache.get(A, HELD.expires_at - SECOND) == HELD
    assert cache.get(A, HELD.expires_at) is None
    assert len(asked) == 1


def test_the_cache_is_bounded_and_made_up_tokens_push_no_good_ones_out():
    cache, asked, _ = cache_of({A: HELD}, most=10)
    cache.get(A, NOW)
    for n in range(100):
        assert cache.get(f"{n:064X}", NOW) is None
    assert len(cache) == 11
    assert cache.get(A, NOW) == HELD
    assert len(asked) == 101
    assert cache.get("not a token", NOW) is None
    assert len(asked) == 101


def test_callers_know_a_token_and_sweep(state, company):
    callers = Callers(state, state.sealer(), CallerRules(tokens=SHORT, cost=CHEAP))
    token = callers.login(company, "secret", NOW).token
    assert callers.peek(token, NOW) == (False, None)
    assert callers.company_of(token, NOW).company == company
    assert callers.peek(token, NOW)[1].company == company
    with state.unit_of_work() as connection:
        remember_nonce(connection, "app", "n", NOW)
    assert callers.sweep(NOW) == 0
    assert callers.sweep(NOW + timedelta(hours=2)) == 2


# -- nonces ------------------------------------------------------------------------------------------------------------


def remember(state, app, nonce, at=NOW):
    with state.unit_of_work() as connection:
        return remember_nonce(connection, app, nonce, at)


def test_a_nonce_counts_once_for_its_application_while_its_timestamp_could_be_taken(state):
    assert remember(state, "a", "1")
    assert not remember(state, "a", "1")
    assert not remember(state, "a", "1", NOW + timedelta(minutes=20) - SECOND)
    assert remember(state, "b", "1")
    assert remember(state, "a", "2")
    assert remember(state, "a", "1", NOW + timedelta(minutes=20))
    assert not remember(state, "a", "1", NOW + timedelta(minutes=21))


def test_odd_nonces_are_none(state):
    assert not remember(state, "a", "")
    assert not remember(state, "a", "x" * 65)
    assert not remember(state, "a", "\0")
    assert not remember(state, "a", "\ud800")
    assert not remember(state, "", "1")
    assert remember(state, "a", "x" * 64)


def test_a_nonce_that_was_not_committed_may_come_again(state):
    with state.engine.connect() as connection:
        assert remember_nonce(connection, "a", "1", NOW)
        connection.rollback()
    assert remember(state, "a", "1")


def test_of_many_at_once_one_counts(state):
    others = [State(state.path, own=False) for _ in range(2)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: remember(others[n % 2], "a", str(n % 4)), range(40)))
    assert sum(found) == 4
    for other in others:
        other.close()


def test_nonces_that_are_over_are_swept(state):
    remember(state, "a", "1")
    remember(state, "a", "2", NOW + timedelta(minutes=15))
    with state.unit_of_work() as connection:
        assert nonces.sweep(connection, NOW + timedelta(minutes=21)) == 1
    assert not remember(state, "a", "2", NOW + timedelta(minutes=21))


# -- applications ------------------------------------------------------------------------------------------------------


def test_an_applications_secret_is_sealed_and_told_once(state, company):
    sealer = state.sealer()
    with state.unit_of_work() as connection:
        secret = applications.enrol(connection, sealer, "app-1", company)
        assert applications.enrol(connection, sealer, "app-2", company, "given") == ""
        found = applications.application_of(connection, sealer, "app-1")
        assert (found.company, found.secret) == (company, secret)
        assert secret not in repr(found)
        rows = connection.execute(select(tables.applications)).all()
        assert all(b"given" not in row.secret and secret.encode() not in row.secret for row in rows)
        assert [one.app for one in applications.listed(connection, company)] == ["app-1", "app-2"]
        assert all(
            applications.application_of(connection, sealer, one) is None for one in ("app-3", "", "\0", "\ud800")
        )


def test_an_application_ends_with_itself_or_with_its_company(state, company):
    sealer = state.sealer()
    with state.unit_of_work() as connection:
        for app in ("a", "b"):
            applications.enrol(connection, sealer, app, company, "s")
        assert applications.close(connection, "a")
        assert not applications.close(connection, "c")
        assert applications.application_of(connection, sealer, "a") is None
        assert applications.application_of(connection, sealer, "b").secret == "s"  # noqa: S105
        accounts.close(connection, company, NOW)
        assert applications.application_of(connection, sealer, "b") is None


def test_an_application_stays_with_its_company(state, company):
    sealer = state.sealer()
    with state.unit_of_work() as connection:
        who = operator(companyunifiedsocialcreditidentifier="B")
        other = accounts.register(connection, who, Given("secret", CHEAP), NOW, approve=True).company
        applications.enrol(connection, sealer, "a", company, "one")
        applications.enrol(connection, sealer, "a", company, "two")
        assert applications.application_of(connection, sealer, "a").secret == "two"  # noqa: S105
        with pytest.raises(ValueError, match="another company"):
            applications.enrol(connection, sealer, "a", other, "x")
        with pytest.raises(NoSuchCompany):
            applications.enrol(connection, sealer, "b", "nobody")
        for name in ("", "x" * 65):
            with pytest.raises(ValueError, match="64"):
                applications.enrol(connection, sealer, name, company)


def test_a_secret_moved_to_another_application_does_not_open(state, company):
    sealer = state.sealer()
    t = tables.applications
    with state.unit_of_work() as connection:
        for app in ("a", "b"):
            applications.enrol(connection, sealer, app, company, app)
        stolen = connection.execute(select(t.c.secret).where(t.c.app == "a")).scalar_one()
        connection.execute(t.update().where(t.c.app == "b").values(secret=stolen))
        with pytest.raises(Tampered):
            applications.application_of(connection, sealer, "b")
