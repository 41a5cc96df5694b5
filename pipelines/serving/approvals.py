"""Whether all that a role hands out rests on real approvals: what its exchanges send, what is asked for at its door."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from mappings.documents.closures import Closure
from pipelines.agreecheck import examples, rests_on_example
from pipelines.errors import SettingsError
from pipelines.serving.roles import Role
from routing.agreements import Agreements

LOG = logging.getLogger("vingate.agreements")


def approved(role: Role, folder: Path) -> None:
    """See that nothing would leave under an example approval where real ones are demanded; elsewhere say so in the log.

    Raises:
        RoutingError: no such agreement, or one that cannot be read.
        SettingsError: real approvals are demanded, and an agreement has none.
    """
    for name, work in role.exchanges.items():
        for wrong in examples(work.settings.placed(folder)):
            _said(wrong, role, f"exchanges.{name}")
    for wrong in asked_examples(role):
        _said(wrong, role, "door.closures")


def asked_examples(role: Role) -> Iterator[str]:
    """Closures that would be told at the door under the example approval of a shipped pattern; what to do, in words.

    Raises:
        RoutingError: no such agreement, or one that cannot be read.
    """
    if role.door is not None and role.door.closures is not None:
        asked = role.door.closures
        readers = ((reader.destination, Closure.KIND) for reader in asked.callers.values())
        yield from rests_on_example(Agreements.load(asked.agreements), readers)


def _said(wrong: str, role: Role, where: str) -> None:
    message = f"{where}.{wrong}"
    if role.audit.demanded:
        raise SettingsError(message)
    LOG.warning("%s", message)
