"""`python -m pipelines.serving.child`: where a child process of the supervisor begins. Not for people."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from importlib import import_module

from pipelines.blame import waits
from pipelines.cli.failures import WRONG_USE, explained
from pipelines.errors import StateBusy
from pipelines.serving import link, logs
from pipelines.serving.loops import KNOWN
from pipelines.serving.roles import Role

_WORK = {"gateway": "pipelines.serving.gateway", "door": "pipelines.serving.doorway"}
"""Kind of a child -> the module whose `serve` is its work."""


def main() -> int:
    """Do what the task on stdin says; the exit code."""
    line = link.connected()
    role = Role.model_validate(line.task["role"])
    logs.set_up(role.name, str(line.task["kind"]), role.logging)
    try:
        serve: Callable[[link.Link], None] = import_module(_WORK[str(line.task["kind"])]).serve
        serve(line)
    except Exception as error:  # noqa: BLE001 - whatever ends this process, its supervisor hears of it
        if not isinstance(error, KNOWN):
            logs.log.error("bug", exc_info=True)
        said, code = explained(error)
        final = code == WRONG_USE or isinstance(error, StateBusy)
        line.report(link.FAILED, text=said, code=code, final=final, waits=waits(error))
        return code
    finally:
        logging.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
