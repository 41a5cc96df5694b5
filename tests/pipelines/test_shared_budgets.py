"""Rate budgets on PostgreSQL: 30 calls a minute are 30 of all processes and hosts, whatever their clocks say."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

from connectors.budgets import Budget, BudgetSettings, MemoryBudgets
from connectors.contracts import Misconfigured, Unavailable
from connectors.engines import Limits, open_engine
from pipelines import lease, tables
from pipelines.sharedbudgets import StateBudgets, budgets_elsewhere
from pipelines.state import State

THIRTY = BudgetSettings(calls=30, seconds=3600)
"""So long that no call of a test comes free again."""
CALLER = """
import sys
from connectors.budgets import Budget, BudgetSettings
from connectors.engines import Limits, open_engine
from pipelines.sharedbudgets import StateBudgets
store = StateBudgets(open_engine(sys.argv[1], Limits()))
budget = Budget("ministry", BudgetSettings(calls=30, seconds=3600), store=store)
taken = 0
while budget.take() == 0.0:
    taken += 1
print(taken)
"""


@pytest.fixture
def state(tmp_path, postgres_url):
    with State(tmp_path / "state", own=True, url=postgres_url) as made:
        yield made


def taken(budget):
    """How many calls go out before one must wait."""
    count = 0
    while budget.take() == 0.0:
        count += 1
    return count


def test_processes_side_by_side_take_thirty_in_all(state, postgres_url, root):
    command = [sys.executable, "-c", CALLER, postgres_url]
    running = [subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    told = [int(one.communicate(timeout=120)[0]) for one in running]
    assert sum(told) == 30


def test_who_owns_the_state_shares_without_a_word_and_the_next_owner_goes_on_from_there(
    tmp_path, postgres_url, monkeypatch
):
    monkeypatch.setattr(lease, "PATIENCE", 0.1)
    budget = Budget("ministry", THIRTY)
    with State(tmp_path / "one", own=True, url=postgres_url):
        for _ in range(20):
            assert budget.take() == 0.0
    with State(tmp_path / "another", own=True, url=postgres_url):
        assert taken(budget) == 10
        assert taken(Budget("another", THIRTY)) == 30
        assert taken(Budget("ministry", THIRTY, store=MemoryBudgets())) == 30
    assert budget.take() == 0.0  # on its own again


def test_the_clocks_of_hosts_do_not_count(state):
    for ahead in (0.0, -1e6, 1e9):
        for _ in range(10):
            assert Budget("ministry", THIRTY, clock=lambda ahead=ahead: ahead).take() == 0.0
    assert 0 < Budget("ministry", THIRTY, clock=lambda: 1e12).take() <= 3600 * 1.05


def test_what_was_spent_comes_free_after_its_time(state):
    budget = Budget("ministry", BudgetSettings(calls=2, seconds=0.5))
    assert taken(budget) == 2
    for _ in range(1000):
        if not (seconds := budget.take()):
            return
        state._lease._ended.wait(seconds)
    pytest.fail("it never comes free")


def test_a_budget_that_cannot_be_read_counts_as_nothing_spent(state):
    budget = Budget("ministry", THIRTY)
    budget.take()
    with state.unit_of_work() as connection:
        connection.execute(update(tables.budgets).values(spent="?"))
    assert taken(budget) == 30
    with state.reading() as connection:
        assert connection.execute(select(tables.budgets.c.name)).scalars().all() == ["ministry"]


def test_a_call_within_a_unit_of_work_is_no_part_of_it(state):
    budget = Budget("ministry", THIRTY)

    def rolled_back(_connection):
        assert budget.take() == 0.0
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        state.work(rolled_back)
    assert taken(budget) == 29


def test_a_database_that_is_away_takes_nothing(postgres_url):
    away = open_engine("postgresql+psycopg://u@127.0.0.1:1/d", Limits(connect_seconds=2))
    with pytest.raises(Unavailable):
        Budget("ministry", THIRTY, store=StateBudgets(away)).take()
    bare = open_engine(postgres_url, Limits())
    with pytest.raises(Misconfigured):
        Budget("ministry", THIRTY, store=StateBudgets(bare)).take()
    away.dispose()
    bare.dispose()


def test_gateways_with_states_of_their_own_share_in_a_database_that_they_name(tmp_path, postgres_url, monkeypatch):
    budget = Budget("of them all", THIRTY)
    monkeypatch.setenv("SHARED", postgres_url)
    for folder in ("one", "another"):
        with State(tmp_path / folder, own=True), budgets_elsewhere(SecretStr("env:SHARED")):
            assert sum(budget.take() == 0.0 for _ in range(15)) == 15
    with budgets_elsewhere(SecretStr(postgres_url)):
        assert budget.take() > 0
    with budgets_elsewhere(SecretStr("")):
        assert taken(budget) == 30
    with pytest.raises(Misconfigured, match=r"state\.budgets"), budgets_elsewhere(SecretStr("sqlite:///x.db")):
        pass
