"""The audit file of a state: who saw what unmasked, and what for. JSON lines, readable by the owner only."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import orjson

from dlq.letter import Letter
from pipelines.looks import account

AUDIT = "audit.ndjson"


def note_disclosure(folder: Path, letter: Letter, who: str, purpose: str) -> None:
    """Write down that somebody sees a letter's original bytes; it is on disk before they are shown.

    Raises:
        OSError: it cannot be written; then nothing may be shown.
    """
    line = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "what": "letter-unmasked",
        "letter": letter.id,
        "body_sha256": letter.body_sha256,
        "by": who,
        "for": purpose,
        "account": account(),
    }
    handle = os.open(folder / AUDIT, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(handle, 0o600)
        os.write(handle, orjson.dumps(line) + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)
