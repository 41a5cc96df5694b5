"""`python -m pipelines.serving.trial`: whether a role can be used, asked in a process of its own before it is.

stdin holds the role and the folder of the state as JSON; exit code 0, or what is wrong on stdout and the exit code of
wrong use. Nothing is touched: all that the settings name is loaded, no system is called.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from connectors import registry
from pipelines.cli.failures import explained
from pipelines.serving.approvals import approved
from pipelines.serving.roles import Role
from pipelines.settings import replaced
from pipelines.usable import usable


def main() -> int:
    """Try the role on stdin; the exit code."""
    task = json.loads(sys.stdin.buffer.read())
    try:
        usable_role(Role.model_validate(task["role"]), Path(task["state"]))
    except Exception as error:  # noqa: BLE001 - whatever it is, the role cannot be used
        sys.stdout.write(explained(error)[0])
        return 2
    return 0


def usable_role(role: Role, folder: Path) -> None:
    """Load all that the exchanges of a role name, and build their connectors.

    Raises:
        PipelineError, ConnectorError, MappingError, ProfileError, RoutingError: what cannot be used, and why.
    """
    for work in role.exchanges.values():
        usable(work.settings.placed(folder))
        for part in work.feeds.values():
            registry.feed(part.connector, replaced(part.options, "{state}", folder.as_posix())).close()
    approved(role, folder)


if __name__ == "__main__":
    sys.exit(main())
