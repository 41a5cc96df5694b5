"""Single deliveries as lines of files for a partner who fetches them: a folder, or an SFTP server.

    sink = DropSink(DropSink.Settings(into={"connector": "files", "path": "/srv/outgoing"}, receipts="/var/lib/given"))

Each call leaves one NDJSON file, whole or not at all, under `into`, any sink of whole files. Its name ends in the batch
and how many lines of the batch came before it, so files by name are in the order in which they must be read; a later
line of the same record replaces an earlier one. Files are written as deliveries leave, so what leaves is decided there
and then, which the sinks of whole files themselves cannot have: their files are staged before.

With `format = "csv"` a delivery is a flat JSON object, head of a column -> cell; each set of columns has a file of its
own in each call, its head in the first line.

The partner takes files away, so receipts (`receipts`, ours) are the proof. A line stands once, but for a crash between
a file and its receipts after which the call is another one: its readers keep one of each record.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, cast

import orjson
from pydantic import Field

from connectors import registry
from connectors.contracts import (
    ACCEPTED,
    REFUSED,
    UNAVAILABLE,
    Delivery,
    Misconfigured,
    Outcome,
    PartSink,
    StagedPart,
    Tally,
    Unavailable,
)
from connectors.parts import disk_error
from connectors.receiptfiles import ReceiptFiles
from connectors.settings import ConnectorSettings

_LINE_END = b"\n"


class DropSettings(ConnectorSettings):
    """Where the files go, and what is kept of them."""

    into: Mapping[str, Any] = Field(min_length=1)
    """A sink of whole files of lines, as a section of settings has it: `{ connector = "sftp", url = ... }`."""
    format: Literal["lines", "csv"] = "lines"
    """`lines`: each delivery as it is; `csv`: tables, of deliveries that are flat JSON objects."""
    receipts: Path
    """Folder of the receipts, on this machine; it is created."""


class DropSink:
    """Deliveries as lines of files; see the module."""

    Settings = DropSettings

    def __init__(self, settings: DropSettings) -> None:
        self.settings = settings
        self._receipts = ReceiptFiles(settings.receipts)
        self._into = self._made()
        self._swept = False

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    def _made(self) -> PartSink:
        options = dict(self.settings.into)
        name = str(options.pop("connector", ""))
        if "owner" in registry.connector("sink", name).Settings.model_fields:
            options.setdefault("owner", "drop-" + sha256(str(self.settings.receipts).encode()).hexdigest()[:12])
        made = registry.sink(name, options)
        if not isinstance(made, PartSink):
            message = f"into: {name} 不写整个文件 / this sink writes no whole files"
            raise Misconfigured(message, "例如 / for example files, sftp")
        return made

    def write(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """One outcome for each delivery, in order; one file for each batch and destination among them.

        Raises:
            Misconfigured: files or receipts may not be written, or another file has the name.
        """
        outcomes: dict[str, Outcome] = {}
        groups: dict[tuple[str, str], dict[str, Delivery]] = {}
        for one in deliveries:
            if why := self._unfit(one.body):
                outcomes[one.id] = Outcome(REFUSED, why)
            else:
                groups.setdefault((one.destination, one.batch), {})[one.id] = one
        for (destination, batch), group in groups.items():
            try:
                with self._turn():
                    self._drop(destination, batch, list(group.values()))
                outcomes.update(dict.fromkeys(group, Outcome(ACCEPTED)))
            except Unavailable as error:
                outcomes.update(dict.fromkeys(group, Outcome(UNAVAILABLE, str(error))))
        return [outcomes[one.id] for one in deliveries]

    def _unfit(self, body: bytes) -> str:
        """Why a body can be no line here; empty where it can."""
        if self.settings.format == "csv":
            return "" if _row(body) else "BODY: 不是一行单元格 / no row of cells: a flat JSON object of texts"
        return "BODY: 不是一行 / no single line" if _LINE_END in body or not body else ""

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One writer at a time, and what a crash left half done is gone when the first of a process begins."""
        try:
            self.settings.receipts.mkdir(parents=True, exist_ok=True, mode=0o750)
            lock = (self.settings.receipts / ".lock").open("wb")
        except OSError as error:
            raise disk_error(error, str(self.settings.receipts)) from error
        with lock:
            flock(lock, LOCK_EX)
            if not self._swept:
                self._into.sweep([])
                self._swept = True
            yield

    def _drop(self, destination: str, batch: str, group: Sequence[Delivery]) -> None:
        known = self._receipts.ids(batch)
        fresh = [one for one in group if one.id not in known]
        if not fresh:
            return
        mark = sha256("\n".join(one.id for one in fresh).encode()).hexdigest()[:16]
        name = f"{len(known):08d}-{mark}"
        bodies = [one.body for one in fresh]
        files = [(name, bodies)] if self.settings.format == "lines" else _tables(name, bodies)
        self._into.promote([self._written(destination, batch, name, lines) for name, lines in files])
        self._receipts.add(fresh)

    def _written(self, destination: str, batch: str, name: str, lines: Sequence[bytes]) -> StagedPart:
        writer = self._into.open(destination, batch, name)
        try:
            writer.add(lines)
            return writer.close()
        except BaseException:
            writer.abort()
            raise

    def note(self, deliveries: Sequence[Delivery]) -> None:
        """These were given away too: an attempt whose answer was lost wrote them. Idempotent.

        Raises:
            ConnectorError: the receipts cannot be written.
        """
        self._receipts.add(deliveries)

    def verify(self, batch: str) -> Tally:
        """What receipts say of a batch: the files themselves are the partner's to take."""
        return self._receipts.tally(batch)

    def check(self) -> list[str]:
        """What the sink of files says.

        Raises:
            ConnectorError: files cannot be written there.
        """
        return self._into.check()

    def close(self) -> None:
        """Give back what the sink of files holds. Idempotent."""
        if hasattr(self._into, "close"):
            cast("Any", self._into).close()


def _row(body: bytes) -> dict[str, str] | None:
    """The cells of a body by their heads; None where it is no such row."""
    try:
        row = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    fits = isinstance(row, dict) and bool(row) and all(isinstance(cell, str) for cell in row.values())
    return row if fits else None


def _tables(name: str, bodies: Sequence[bytes]) -> list[tuple[str, list[bytes]]]:
    """Name and lines of a CSV file for each set of columns, in the order of their first rows."""
    tables: dict[tuple[str, ...], list[bytes]] = {}
    for body in bodies:
        row = _row(body) or {}
        tables.setdefault(tuple(row), [_csv(row)]).append(_csv(row.values()))
    return [(f"{name}-{at}", lines) for at, lines in enumerate(tables.values(), 1)]


def _csv(cells: Iterable[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([" ".join(cell.splitlines()) for cell in cells])
    return out.getvalue().encode()
