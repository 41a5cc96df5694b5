"""States of a test on PostgreSQL: each new folder gets a database of its own there, everything else stays as it is."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager

import pipelines.state
from pipelines.stateplace import place_of


@contextmanager
def states_on(server, monkeypatch):
    """While it lasts, an owner that comes first to a folder finds a new database named for it."""
    with ExitStack() as databases:
        made = pipelines.state.State.__init__

        def init(self, path, *, own, url=""):
            if own and not url and not place_of(path):
                url = databases.enter_context(server.database())
            made(self, path, own=own, url=url)

        monkeypatch.setattr(pipelines.state.State, "__init__", init)
        yield
