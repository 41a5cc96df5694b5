"""Whose fault an error is: the outside's, which is waited out, or a defect that one payload shows."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from connectors.contracts import ConnectorError, Unavailable
from dlq.errors import DlqError
from pipelines.errors import PipelineError

EXPECTED = (ConnectorError, DlqError, PipelineError, OSError, PoolTimeout)
"""What is said in words and is nobody's defect: who drives the work waits and tries again."""
_OF_DATA = ("22", "23", "42", "54")
"""Classes of SQLSTATE that one payload may cause: bad data, a broken constraint, a wrong statement, a limit."""


def waits(error: Exception) -> bool:
    """Whether something outside is away or busy: whoever needs it tries again, however often."""
    return isinstance(error, Unavailable | PoolTimeout) or is_outage(error)


def is_outage(error: Exception) -> bool:
    """Whether the database was away or busy; what a payload's data causes is none."""
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return not str(state).startswith(_OF_DATA)
    return isinstance(error, OperationalError | InterfaceError)
