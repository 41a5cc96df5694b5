"""Killed at any moment, with the state on PostgreSQL: the exchanges end with what an undisturbed run leaves there."""

from __future__ import annotations

from contextlib import closing

import pytest
import test_crash as lite
from crashkit import Server, copied, picture, prepare

from pipelines.stateplace import keep_place


@pytest.fixture
def played(postgres, tmp_path):
    """Pictures of the undisturbed run and of one chain of kills, and the points that were hit."""
    template = prepare(tmp_path / "template", lite._bulk())
    with postgres.database() as whole, postgres.database() as killed, closing(Server()) as server:
        found = []
        for name, url, kills in (("undisturbed", whole, []), ("chain", killed, lite._kills(2))):
            state = copied(template, tmp_path / name)
            keep_place(state, url)
            found.append((server.play(state, kills), picture(state)))
        yield found


def test_what_was_killed_ends_as_if_nothing_had_happened(played):
    (_, whole), (hit, found) = played
    assert len(hit) >= 15
    assert (whole["problems"], whole["unfinished"], whole["totals"]["dead"] > 5) == ([], [], True)
    assert len(whole["state: versions"]) > 50
    assert whole["state: version_runs"] == whole["state: version_front"] == []
    different = {name for name in {*whole, *found} if whole.get(name) != found.get(name)}
    assert sorted(different) == [], {name: lite._first(whole.get(name), found.get(name)) for name in different}
