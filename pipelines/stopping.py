"""What stopped the work stage, in the words of the error that a step raised: Beam wraps what it hands on."""

from __future__ import annotations

import os
import re

from connectors.contracts import ConnectorError
from connectors.parts import disk_error
from dlq.errors import DlqError
from pipelines.errors import PipelineError, WorkFailed

_OURS = (ConnectorError, PipelineError, DlqError)
_STEP = re.compile(r" \[while running '[^']*'\]")
_TOLD = re.compile(r"(?:connectors|pipelines|dlq|routing|mappings)(?:\.\w+)+: (.+)")
_OF_SYSTEM = re.compile(r"\w+: \[Errno (\d+)\] [^:]*(?:: '(.*)')?$")


def unwrapped(error: Exception) -> Exception:
    """The error without Beam's wrapping; the very error where nothing in it is known: that is a bug, to be shown whole.

    In one process Beam adds the step's label to the text, and makes a RuntimeError of errors that are built otherwise;
    from worker processes it hands on a RuntimeError whose text is their traceback.
    """
    text = _STEP.sub("", str(error))
    if isinstance(error, _OURS):
        return error if text == str(error) else type(error)(text)
    if isinstance(error, RuntimeError):
        for line in reversed(text.splitlines()):
            told = _TOLD.match(line)
            if told:
                return WorkFailed(told[1])
            found = _OF_SYSTEM.match(line)
            if found:
                code = int(found[1])
                return disk_error(OSError(code, os.strerror(code)), found[2] or "staging")
    return error
