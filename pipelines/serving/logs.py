"""Logs of the service on stderr: one line an event, JSON for machines or text for people.

An event is logged under a fixed word, with what it concerns beside it:

    log.info("closed", extra={"exchange": "collect", "batch": "collect-000007", "counts": {"received": 12}})

No line holds data of a payload or a secret: free text (`text`) is masked, and of an error that is a bug only its kind
and place are said.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from dlq.masking import masked_text
from mappings.dates import SHANGHAI

log = logging.getLogger("vingate")
"""What the service logs to."""

ACCESS = "vingate.door.access"
"""What the door logs each request to."""
_MEMBERS = ("child", "exchange", "batch", "counts", "letters", "seconds", "answer", "ms", "peer")
_LONGEST = 2_000
_QUIET = ("apache_beam", "uvicorn", "pika", "paramiko", "httpx", "httpcore", "urllib3", "asyncio")
"""Libraries whose lines may hold what goes through them: only their errors are shown."""


class LogSettings(BaseModel):
    """Logs on stderr."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["json", "text"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"
    access: bool = False
    """One line for each request at the door: path, status, answer, never its query or body."""


def set_up(role: str, process: str, settings: LogSettings) -> None:
    """Send all logs of this process to stderr in the form that the settings say."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines(role, process) if settings.format == "json" else Sentences(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    logging.getLogger(ACCESS).setLevel(logging.DEBUG if settings.access else logging.WARNING)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL if name == "apache_beam" else logging.ERROR)
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a full disk under the log must not end the service


def facts(record: logging.LogRecord) -> dict[str, Any]:
    """What a log record says, beside its time and level: our own events by their members, others by their logger."""
    ours = record.name == log.name
    told: dict[str, Any] = {"event": record.msg if ours else record.name}
    for name in _MEMBERS:
        value = getattr(record, name, None)
        if value not in (None, "", {}):
            told[name] = value
    text = getattr(record, "text", "") if ours else _message(record)
    if text:
        told["text"] = masked_text(str(text)[:_LONGEST])
    if record.exc_info and record.exc_info[0] is not None:
        told["error"] = record.exc_info[0].__name__
        told["at"] = places(record.exc_info[2])
    return told


def _message(record: logging.LogRecord) -> str:
    """The line of a library; one that cannot be put together shows its pattern."""
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return str(record.msg)


def places(trace: TracebackType | None) -> list[str]:
    """Where an error came through, innermost last: `file.py:line function`, never a value."""
    frames = traceback.extract_tb(trace)[-12:]
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]


class Lines(logging.Formatter):
    """One JSON object a line: ts, level, role, process, event, and what it concerns."""

    def __init__(self, role: str, process: str) -> None:
        super().__init__()
        self._head: Mapping[str, str] = {"role": role, "process": process}

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"ts": moment, "level": record.levelname.lower(), **self._head, **facts(record)}
        return json.dumps(line, ensure_ascii=False, default=str)


class Sentences(logging.Formatter):
    """One line for people, in China's time."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        moment = datetime.fromtimestamp(record.created, SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")
        told = facts(record)
        counts = " ".join(f"{name} {count}" for name, count in told.get("counts", {}).items() if count)
        about = [self._process, told.get("child", ""), told.get("exchange", ""), told.get("batch", ""), told["event"]]
        said = [*about, counts, f"{told['seconds']:.3f} s" if "seconds" in told else "", told.get("text", "")]
        said += [f"{told['error']} ({' < '.join(reversed(told['at'][-3:]))})"] if "error" in told else []
        line = " ".join(part.replace("\n", " ⏎ ") for part in said if part)
        return f"{moment} {record.levelname.lower():7} {line}"
