"""What travels through the steps: the job that workers are given, loads of envelopes, the dead, and receipts.

Everything here can be pickled and means the same in any process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from connectors.contracts import StagedPart, WorkItem
from connectors.lines import Measure
from dlq.segments import Segment
from mappings.judging import Judgement


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker must know of a batch to do its steps: values and paths, no handle."""

    exchange: Mapping[str, Any]
    """The exchange's settings as plain data."""
    batch: str
    number: int
    received_at: str
    """ISO 8601 with zone."""
    staging: str
    """Folder for what this attempt stages."""
    key: str
    """Path of the sealing key."""
    registrations: str = ""
    """Path of a snapshot of vehicle registrations; empty: none are asked."""
    directives: str = ""
    """Path of the directives of a second run over items; empty in the first."""
    build: str = ""
    """The build that workers elsewhere must have (`pipelines.builds`); empty: they are of this process or its forks."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """What the settings name beside the data, by path: tables, mappings, registers; for workers elsewhere."""
    profile: str = ""
    """How letters name the profile where its file travelled; empty: as the settings do."""


class Task(NamedTuple):
    """A work item with its number in the batch."""

    number: int
    item: WorkItem


class Load(NamedTuple):
    """Envelopes of one block by columns, and what the steps made of them so far.

    Most records of a block are alike, so what differs is kept by ordinal beside the columns: `judgements` of those
    that the careful path judged, `flags`, `fates` other than addressed, `versions` other than 1, `notes`.
    """

    task: Task
    ordinals: list[int]
    offsets: list[int]
    bodies: list[bytes]
    values: Sequence[Any] = []
    """After decode: raw members or a draft; from judge on: the row, None where the record is no repair record. A list,
    or the same by columns (`mappings.sheet.Sheet`)."""
    judgements: Mapping[int, Judgement] = {}
    flags: Mapping[int, tuple[str, ...]] = {}
    destinations: list[tuple[str, ...]] = []  # noqa: RUF012
    fates: Mapping[int, int] = {}
    notes: Mapping[int, str] = {}
    versions: Mapping[int, int] = {}
    contents: list[bytes] = []  # noqa: RUF012
    """After encode: content bytes of each row."""
    staged: list[bytes] = []  # noqa: RUF012
    """After encode: what is staged of each record."""
    total: int = -1
    """In the last load of an item: how many envelopes the item has; else -1."""
    companies: list[str] = []  # noqa: RUF012
    """The company that each envelope was authenticated for, where an item holds those of many; else empty."""


Why = tuple[str, str, str, str]
"""One reason, before it has its texts: code, field, value, expected."""


class About(NamedTuple):
    """What is known of a dead payload beside its bytes."""

    dialect: str = ""
    companycode: str = ""
    costlistcode: str = ""
    vin: str = ""
    findings: tuple[tuple[str, ...], ...] = ()
    """All findings, where receipts want them."""
    measured: Measure | None = None
    """Of a payload that its source did not hold, since it is too long."""


class Dead(NamedTuple):
    """Envelopes that a step could not pass on, by columns. Kept small: they travel encoded to the letters step."""

    task: Task
    stage: str
    ordinals: list[int]
    offsets: list[int]
    bodies: list[bytes]
    whys: list[tuple[Why, ...]]
    about: list[About]
    companies: list[str] = []  # noqa: RUF012 - never changed in place
    """As those of a load."""


class Receipt(NamedTuple):
    """What one piece of work staged for one item: files that count once a decision names them."""

    number: int
    total: int
    """Envelopes of the item, where this piece saw its end; else -1."""
    journal: str
    parts: tuple[StagedPart, ...] = ()
    rows: str = ""
    """Path of the sealed segment of canonical rows."""
    letters: tuple[Segment, ...] = ()


class Directive(NamedTuple):
    """What a second run does otherwise with one record of an item."""

    fate: int
    version: int
    destinations: tuple[str, ...]
    """All that it goes to, in place of the record's own routes."""
