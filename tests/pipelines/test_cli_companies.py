"""`vingate companies`: what the operator sees and does, and that passwords stand nowhere but where they are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from door_samples import CHEAP, NOW, operator

from pipelines.cli import main
from pipelines.door import accounts, applications
from pipelines.door.passwords import Given
from pipelines.state import State


@pytest.fixture
def folder(tmp_path: Path):
    path = tmp_path / "state"
    with State(path, own=True) as state, state.unit_of_work() as connection:
        for n, approve in enumerate((True, False, True)):
            who = operator(companyunifiedsocialcreditidentifier=f"U{n}", companyname=f"第[b]{n}[/b]家")
            accounts.register(connection, who, Given("secret", CHEAP), NOW, approve=approve)
    return path


@pytest.fixture
def run(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments, code=0):
        assert main(["companies", *arguments, "--state", str(folder)]) == code
        captured = capsys.readouterr()
        return captured.err if code else captured.out

    return call


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


A, B = "330106000000001", "330106000000002"


def test_lists_for_people_and_for_machines(run):
    shown = run("list")
    assert A in shown
    assert "第[b]1[/b]家" in shown
    assert "active 2 · pending 1 · closed 0" in shown
    assert "only 1 are shown" in run("list", "--limit", "1")
    assert [one["company"] for one in lines(run("list", "--json", "--in", "pending"))] == [B]
    assert [one["uscc"] for one in lines(run("list", "U2", "--json"))] == ["U2"]
    assert len(lines(run("list", "--json", "--limit", "2"))) == 2
    assert "scrypt" not in shown + run("list", "--json")
    assert "must be one of" in run("list", "--in", "gone", code=2)


def test_approve_close_and_unlock(run):
    assert lines(run("approve", B, "--json"))[0]["state"] == "active"
    assert [one["state"] for one in lines(run("close", A, B, A, "--json"))] == ["closed", "closed"]
    assert A in run("unlock", A)


@pytest.mark.parametrize("action", ["approve", "close", "unlock", "reset"])
def test_where_one_code_is_unknown_nothing_is_done(run, action):
    assert "330106000000099" in run(action, B, "330106000000099", code=2)
    assert lines(run("list", "--json", "--in", "pending"))[0]["changed_at"].startswith("2026-09-30T12:00:00")


def test_a_new_password_is_told_once_and_works(run, folder):
    (made,) = lines(run("reset", A, "--json"))
    with State(folder, own=False) as state, state.unit_of_work() as connection:
        assert accounts.login(connection, A, made["password"], NOW).token
        assert accounts.login(connection, A, "secret", NOW).cause == "wrong"
    assert made["password"] not in run("list", "--json")
    assert A in run("reset", A)


def test_applications(run, folder, monkeypatch):
    (made,) = lines(run("application", A, "app-1", "--json"))
    with State(folder, own=False) as state, state.reading() as connection:
        assert applications.application_of(connection, state.sealer(), "app-1").secret == made["secret"]
    monkeypatch.setenv("OLD_SECRET", "as-it-was")
    assert lines(run("application", A, "app-9", "--secret", "env:OLD_SECRET", "--json"))[0]["secret"] == ""
    with State(folder, own=False) as state, state.reading() as connection:
        assert applications.application_of(connection, state.sealer(), "app-9").secret == "as-it-was"  # noqa: S105
    assert "env:NAME" in run("application", A, "app-9", "--secret", "plain", code=2)
    assert "another company" in run("application", B, "app-1", code=2)
    assert "has no application app-2" in run("application", A, "app-2", "--end", code=2)
    assert "ended" in run("application", A, "app-1", "--end")
    assert "no account" in run("application", "nobody", "x", code=2)
