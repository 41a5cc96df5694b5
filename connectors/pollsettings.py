"""Settings of the HTTP feed, and the file in which it keeps its place; see `connectors.restfeed`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, NamedTuple

import orjson
from pydantic import Field, field_validator, model_validator

from connectors.contracts import Misconfigured
from connectors.jsonpaths import steps
from connectors.parts import disk_error, sync_folder
from connectors.restanswers import AnswerTable
from connectors.restsettings import MOMENTS, CallTemplate, RestSettings
from connectors.resttemplates import checked


class PollSettings(RestSettings):
    """Settings of an HTTP feed."""

    request: CallTemplate = CallTemplate(method="GET")
    """The call; knows `{cursor}`. The path `{cursor}` alone is the address of the page, as the last answer gave it."""
    answers: AnswerTable = AnswerTable()
    records: str = ""
    """JSON path to the list of records; empty: the answer is the list."""
    key: str = ""
    """Path inside a record to what names it at the peer; one without a name is told by its place and its bytes."""
    body: str = ""
    """Path inside a record to the payload; empty: the record itself, its bytes as they arrived."""
    form: Literal["json", "text", "base64"] = "json"
    """How the payload stands at `body`: as JSON, or inside a string."""
    company: str = ""
    """Path inside a record to the company that the peer authenticated for it."""
    system: str = ""
    """Collecting system of all that comes from here; empty: the exchange's own."""
    source: str = ""
    """What the arrivals' source is called; default: the address."""
    next: str = ""
    record_cursor: str = ""
    pages: int = Field(default=0, ge=0)
    confirm: CallTemplate | None = None
    """Knows `{keys}`, the list of the keys that are acked."""
    first: str = ""
    """Cursor to begin with; for `pages` 1."""
    position: Path | None = None
    """File of the position."""
    every_seconds: float = Field(default=5.0, gt=0)
    """Pause before the peer is asked again when it had nothing new."""
    max_answer_bytes: int = Field(default=64 << 20, ge=1)

    @field_validator("records", "key", "body", "company", "next", "record_cursor")
    @classmethod
    def _paths_readable(cls, path: str) -> str:
        steps(path)
        return path

    @model_validator(mode="after")
    def _one_way(self) -> PollSettings:
        ways = [bool(self.next), bool(self.record_cursor), bool(self.pages), self.confirm is not None]
        if sum(ways) != 1:
            message = "须且只须设一项 / set exactly one of: next, record_cursor, pages, confirm"
            raise ValueError(message)
        if self.confirm is None and self.position is None:
            message = "须设 position（位置文件）/ set position, the file that keeps the place"
            raise ValueError(message)
        if self.confirm is not None and not self.key:
            message = "confirm 要求设 key / confirm needs key"
            raise ValueError(message)
        for call, more in ((self.request, {"cursor"}), (self.confirm or CallTemplate(), {"keys"})):
            checked([call.path, call.query, call.headers, call.body], MOMENTS | {"token"} | more)
        return self


class Position(NamedTuple):
    """Where polling stands: a page's cursor, and how many of its records are done."""

    cursor: str
    done: int = 0


def kept(settings: PollSettings) -> Position:
    """Where polling goes on: as the file says, or at the beginning.

    Raises:
        Misconfigured: the file cannot be read.
    """
    file = settings.position
    first = Position(settings.first or ("1" if settings.pages else ""))
    if file is None:
        return first
    try:
        found = orjson.loads(file.read_bytes())
        return Position(str(found["cursor"]), int(found["done"]))
    except FileNotFoundError:
        return first
    except (OSError, ValueError, KeyError, TypeError):
        message = f"位置文件无法读取 / the file of the position cannot be read: {file}"
        remedy = "请恢复该文件，或删除它从头轮询 / restore it, or remove it to begin again"
        raise Misconfigured(message, remedy) from None


def keep(settings: PollSettings, position: Position) -> None:
    """Keep a position, durable when this returns.

    Raises:
        Unavailable: no room.
        Misconfigured: the file cannot be written.
    """
    file = settings.position
    if file is None:
        return
    staged = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with staged.open("wb") as out:
            out.write(orjson.dumps(position._asdict()))
            out.flush()
            os.fsync(out.fileno())
        staged.replace(file)
        sync_folder(str(file.parent))
    except OSError as error:
        raise disk_error(error, str(file)) from error
