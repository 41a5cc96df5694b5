"""The state of a role: SQLite in its folder, or PostgreSQL at the address that the settings name."""

from __future__ import annotations

from pathlib import Path

from pipelines.serving.roles import Role
from pipelines.state import State


def open_state(role: Role, folder: Path, *, own: bool) -> State:
    """The state of a role.

    Raises:
        StateBusy: another gateway owns it.
        StateMissing: `own` is false, and there is none yet.
        Misconfigured: the address stands in a variable or file that cannot be read.
        KeyElsewhere, NotShareable: it is to be shared, and cannot be.
    """
    if own and role.state.key.get_secret_value():
        from pipelines.serving.shared import place_key

        place_key(folder, role.state.key)
    return State(folder, own=own, url=role.state.url.get_secret_value(), shared=own and role.state.share)
