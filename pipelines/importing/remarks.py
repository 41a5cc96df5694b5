"""What did not fit: counted by reason, and written row by row to a file that only its owner can read.

Typed reasons: the finding codes of domain table 9.1, and those below for what only an import can meet. Values are never
written, only places, keys and reasons.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

import orjson

from pipelines.errors import PipelineError

ROW_BROKEN = "ROW_BROKEN"
"""The row is no row: wrong number of cells, quotes that do not close, no text."""
CODE_FORM = "CODE_FORM"
"""No company code, or one that no client could send: longer than 50 characters, blanks or control characters in it."""
NAME_MISSING = "NAME_MISSING"
COMPANY_DIFFERS = "COMPANY_DIFFERS"
"""The code is known for another USCC; the account that is there stays."""
STATE_UNKNOWN = "STATE_UNKNOWN"
"""A state that is none of active, pending and closed; the company is taken as pending."""
PASSWORD_FORM = "PASSWORD_FORM"  # noqa: S105 - the name of a reason
"""A password hash in a form that cannot be compared with; the password is reset."""
PASSWORD_RESET = "PASSWORD_RESET"  # noqa: S105 - the name of a reason
"""A new password stands in the reset list."""
PASSWORD_NONE = "PASSWORD_NONE"  # noqa: S105 - the name of a reason
"""There is no password, and no reset list was asked for: the company cannot call until it is reset."""
APPLICATION_TAKEN = "APPLICATION_TAKEN"
"""The application belongs to another company; the account works all the same."""
APPLICATION_HALF = "APPLICATION_HALF"
"""An application without its secret, or a secret without its application."""
REGISTER_INCOMPLETE = "REGISTER_INCOMPLETE"
"""Too little is known of the company for the register of operators; the account works all the same."""
FROM_ABOVE = "FROM_ABOVE"
"""上级下发: the record came down from the ministry; bringing it in here would send it up again."""
DELETED = "DELETED"
"""The old platform marked it as deleted."""
HOME_FROM_PLATE = "HOME_FROM_PLATE"
"""No home was given; the plate's province was taken."""


class UnsafeFile(PipelineError):
    """A file for secrets that others could read, or that is no plain file."""

    exit_code = 2

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"{path} 不是仅本人可读的普通文件；请删除它、换一个路径或 chmod 600"
            f" / {path} is no plain file that only its owner can read: remove it, name another one, or chmod 600"
        )

    def __reduce__(self) -> tuple[type[UnsafeFile], tuple[Path]]:
        return type(self), (self.path,)


class Reason(NamedTuple):
    """Why something did not fit: a code, and the field where there is one."""

    code: str
    field: str = ""


def open_private(path: Path, *, append: bool) -> IO[bytes]:
    """Open a file that only its owner can read, made if need be.

    Raises:
        UnsafeFile: it is there and others have rights on it, or it is no plain file.
        OSError: it cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_APPEND if append else 0)
    try:
        handle = os.open(path, flags, 0o600)
    except OSError as error:
        if path.is_symlink():
            raise UnsafeFile(path) from None
        raise error
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077 or found.st_uid != os.geteuid():
        os.close(handle)
        raise UnsafeFile(path)
    if not append:
        os.ftruncate(handle, 0)
    return os.fdopen(handle, "ab" if append else "wb")


class Remarks:
    """Counts what was read, taken and left out, and why; `path` gets a JSON line for each row with a reason."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.read = self.new = self.known = self.refused = self.left_out = 0
        self.reasons: Counter[str] = Counter()
        self._file = open_private(path, append=False) if path else None

    def note(self, place: str, key: str, outcome: str, reasons: Sequence[Reason]) -> None:
        """Count one row. `outcome` is `new`, `known`, `refused` (its letter says why) or `left_out`."""
        self.read += 1
        setattr(self, outcome, getattr(self, outcome) + 1)
        self.reasons.update({reason.code for reason in reasons})
        if self._file and reasons:
            listed = [reason._asdict() for reason in reasons]
            line = {"place": place, "key": key[:100], "outcome": outcome, "reasons": listed}
            self._file.write(orjson.dumps(line) + b"\n")

    def summary(self) -> dict[str, object]:
        """The counts as one JSON object."""
        return {
            "read": self.read,
            "new": self.new,
            "known": self.known,
            "refused": self.refused,
            "left_out": self.left_out,
            "reasons": dict(sorted(self.reasons.items())),
            "report": str(self.path) if self.path else "",
        }

    def close(self) -> None:
        """Write the file to its end."""
        if self._file:
            self._file.close()
            self._file = None

    def __enter__(self) -> Remarks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
