"""What stopped the work stage, in the words of the error that a step raised: Beam wraps what it hands on."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from pathlib import PurePath
from typing import NamedTuple

from connectors.contracts import ConnectorError
from connectors.parts import disk_error
from dlq.errors import DlqError
from pipelines.errors import PipelineError, WorkFailed

_OURS = (ConnectorError, PipelineError, DlqError)
_OUR_PACKAGES = ("connectors", "pipelines", "dlq", "routing", "mappings")
_STEP = re.compile(r" \[while running '[^']*'\]")
_OF_SYSTEM = re.compile(r"\w+: \[Errno (\d+)\] [^:]*(?:: '(.*)')?$")
_TRACEBACK = "Traceback (most recent call last):\n"
_FRAME = re.compile(r'  File "(.*)", line (\d+)')
_ERROR = re.compile(r"([\w.]+)(?:: (.*))?", re.DOTALL)


class Told(NamedTuple):
    """What the text of a traceback says."""

    kind: str
    """The error's class, with its module unless it is built in."""
    text: str
    place: str
    """File and line that raised it."""


def told(text: str) -> Told | None:
    """The error that the last traceback in a text ends with; None where there is none."""
    _, mark, last = text.rpartition(_TRACEBACK)
    place, lines = "?", last.splitlines()
    while lines and lines[0].startswith("  "):
        found = _FRAME.match(lines.pop(0))
        place = f"{PurePath(found[1]).name}:{found[2]}" if found else place
    error = _ERROR.fullmatch(_STEP.sub("", "\n".join(lines)).strip())
    return Told(error[1], error[2] or "", place) if mark and error else None


def unwrapped(error: Exception) -> Exception:
    """The error without Beam's wrapping; the very error where nothing in it is known: that is a bug, to be shown whole.

    In one process Beam adds the step's label to the text, and makes a RuntimeError of errors that are built otherwise;
    from other workers it hands on a RuntimeError whose text is their traceback.
    """
    text = _STEP.sub("", str(error))
    if isinstance(error, _OURS):
        return error if text == str(error) else type(error)(text)
    if isinstance(error, RuntimeError):
        happened = told(str(error))
        if happened and happened.kind.split(".")[0] in _OUR_PACKAGES:
            return _again(happened)
        for line in reversed(text.splitlines()):
            found = _OF_SYSTEM.match(line)
            if found:
                code = int(found[1])
                return disk_error(OSError(code, os.strerror(code)), found[2] or "staging")
    return error


def _again(happened: Told) -> Exception:
    """The same error in this process."""
    module, _, name = happened.kind.rpartition(".")
    kind = getattr(sys.modules.get(module), name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        with suppress(TypeError):
            return kind(happened.text)
    return WorkFailed(happened.text)
