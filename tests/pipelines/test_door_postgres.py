"""The same on PostgreSQL: gateways side by side agree on codes, wrong passwords and nonces."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest
from door_samples import CHEAP, NOW, operator
from servers import postgres
from sqlalchemy import create_engine, func, select

from dlq.sealing import Sealer
from pipelines import tables
from pipelines.door import accounts, applications, tokens
from pipelines.door.callers import CallerRules, Callers
from pipelines.door.nonces import remember_nonce

SEALER = Sealer(bytes(32))


class Gateway:
    """A gateway's connections, and what it knows of callers."""

    def __init__(self, url):
        self.engine = create_engine(url, pool_size=8)
        self.callers = Callers(self, SEALER, CallerRules(cost=CHEAP))

    @contextmanager
    def reading(self):
        with self.engine.connect() as connection:
            yield connection

    glancing = reading

    @contextmanager
    def unit_of_work(self):
        with self.engine.begin() as connection:
            yield connection


@pytest.fixture(scope="module")
def gateways(tmp_path_factory):
    server = postgres.start(tmp_path_factory.getbasetemp())
    with server.shared(), server.database() as url:
        both = [Gateway(url), Gateway(url)]
        wanted = (tables.meta, tables.accounts, tables.operators, tables.tokens, tables.applications, tables.nonces)
        tables.metadata.create_all(both[0].engine, wanted)
        yield both
        for one in both:
            one.engine.dispose()


@pytest.fixture(autouse=True)
def empty(gateways):
    with gateways[0].unit_of_work() as connection:
        for table in (tables.accounts, tables.tokens, tables.applications, tables.nonces, tables.meta):
            connection.execute(table.delete())


def at_once(work, number):
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(work, range(number)))


def test_codes_are_unique_and_one_uscc_gets_one_code(gateways):
    def enrol(n):
        who = operator(companyunifiedsocialcreditidentifier=f"U{n % 10}")
        return n % 10, gateways[n % 2].callers.register(who, f"password-{n % 10}", NOW)

    made = at_once(enrol, 40)
    codes = {}
    for shop, found in made:
        assert codes.setdefault(shop, found.company) == found.company
    assert sorted(codes.values()) == [f"330106{n:09d}" for n in range(1, 11)]
    assert sum(found.new for _, found in made) == 10


def test_wrong_passwords_are_counted_together(gateways):
    company = gateways[0].callers.register(operator(), "secret", NOW).company
    causes = at_once(lambda n: gateways[n % 2].callers.login(company, f"guess-{n}", NOW).cause, 24)
    assert (causes.count("wrong"), causes.count("locked")) == (5, 19)
    token = gateways[1].callers.login(company, "secret", NOW + timedelta(minutes=1)).token
    assert gateways[0].callers.company_of(token, NOW).company == company
    assert gateways[0].callers.login("nobody", "secret", NOW).cause == "unknown"


def test_of_one_nonce_at_many_places_one_counts(gateways):
    def remember(n):
        with gateways[n % 2].unit_of_work() as connection:
            return remember_nonce(connection, "app", str(n % 4), NOW)

    assert sum(at_once(remember, 40)) == 4
    assert gateways[0].callers.sweep(NOW + timedelta(minutes=21)) == 4


def test_tokens_at_once_stay_within_their_number(gateways):
    company = gateways[0].callers.register(operator(), "secret", NOW).company
    rules = tokens.TokenRules(several=5)

    def issue(n):
        with gateways[n % 2].unit_of_work() as connection:
            return tokens.issue(connection, company, NOW + timedelta(seconds=n), rules)

    at_once(issue, 20)
    issue(21)
    with gateways[0].reading() as connection:
        assert connection.execute(select(func.count()).select_from(tables.tokens)).scalar() == 5


def test_what_the_operator_does(gateways):
    company = gateways[0].callers.register(operator(), "secret", NOW).company
    with gateways[0].unit_of_work() as connection:
        assert [one.company for one in accounts.listed(connection, text="33", state="active")] == [company]
        assert accounts.counts(connection) == {"active": 1}
        secret = applications.enrol(connection, SEALER, "app", company)
        assert applications.application_of(connection, SEALER, "app").secret == secret
        accounts.reset_password(connection, company, NOW, "another")
        accounts.close(connection, company, NOW)
        assert applications.application_of(connection, SEALER, "app") is None
