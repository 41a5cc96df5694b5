"""The quick path of the messages between systems (`mappings.encoding_interchange`), as `mappings.quick` is of shops'.

`compile_carried_reader` takes a message apart into the raw members that `mappings.quickjudge` checks, and what it
carries beside them. None for everything that is not plainly as `encode_interchange` writes it: the careful path then
says what is wrong. The same law holds and is tested: what goes this way is judged as by the careful path, to the last
member.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from operator import attrgetter
from typing import Any, Literal, NamedTuple

import msgspec

from mappings import dates
from mappings.encoding_interchange import SCHEMA
from mappings.findings import Finding
from mappings.judging import REPAIR, Judgement
from mappings.placeholders import is_placeholder
from mappings.quick import Raw, row_type
from mappings.records import RepairRow
from mappings.rules.repair import Display
from mappings.trees import DEFAULT_LIMITS, Limits


@dataclass(frozen=True, slots=True)
class Message:
    """One kind of message, and what a store adds to its rows that carries nothing."""

    dialect: Literal["report", "push"]
    ignored: tuple[str, ...] = ()


MESSAGES: Mapping[str, Message] = {
    "report": Message("report", ("record_key", "content", "merged_into")),
    "push": Message("push"),
}
"""The dialects that have this quick path."""


class Carried(NamedTuple):
    """A message taken apart."""

    raw: Raw
    """The members of its record, for the quick judge."""
    provenance: dict[str, Any]
    """What it carries beside them, as a draft has it."""


_CARRIED = ("kind", "system", "version", "repaircomefrom", "dialect", "received_at", "findings")
_COUNTS_MOST = (1 << 31) - 1
_MARK, _ESCAPE, _NUL = b'":', b"\\", b"\\u0000"
_GAP = re.compile(rb'"[ \t\r\n]+:').search
_WORD = re.compile("[0-9A-Za-z_-]{1,64}").fullmatch
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}[+-][0-9]{2}:[0-9]{2}").fullmatch
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_KNOWN = 4_096


def iso_day(raw: str) -> date | None:
    """A check of dates: yyyy-MM-dd."""
    return dates.day(raw) if _DAY(raw) else None


def compile_carried_reader(
    message: Message, limits: Limits = DEFAULT_LIMITS
) -> Callable[[Sequence[bytes]], list[Carried | None]]:
    """A function that takes messages of this kind apart; None for each that it leaves to the careful path.

    A member that is not known, is missing, or is of another type is refused as it is parsed; one that stands twice is
    seen by counting: every member has a quote and a colon, and none may have a blank between them.
    """
    part = row_type("Part", {"name": "name", "quantity": "quantity", "code": "code"})
    project = row_type("Project", {"name": "name", "hours": "hours"})
    texts = [name for name in RepairRow._fields if name not in ("parts", "projects")]
    fields: list[Any] = [("schema", Literal[SCHEMA]), ("kind", Literal[message.dialect])]
    fields += [(name, str) for name in ("system", *texts, "dialect", "received_at")]
    fields += [("parts", list[part]), ("projects", list[project]), ("findings", list[str])]  # type: ignore[valid-type]
    fields += [("version", int), ("repaircomefrom", int)]
    fixed = len(fields)
    fields += [(name, str | None, None) for name in message.ignored]
    decode = msgspec.json.Decoder(msgspec.defstruct("Message", fields, forbid_unknown_fields=True, gc=False)).decode
    members_of, carried_of, ignored_of = attrgetter(*RepairRow._fields), attrgetter(*_CARRIED), message.ignored
    words: set[tuple[Any, ...]] = set()

    def read(bodies: Sequence[bytes]) -> list[Carried | None]:
        return [one(body) for body in bodies]

    def one(body: bytes) -> Carried | None:
        try:
            sent = decode(body)
        except (msgspec.MsgspecError, ValueError):
            return None
        raw = members_of(sent)
        parts, projects = raw[9], raw[10]
        members = fixed + 3 * len(parts) + 2 * len(projects)
        members += sum([getattr(sent, name) is not None for name in ignored_of])
        if (
            body.count(_MARK) != members
            or _GAP(body)
            or (_ESCAPE in body and _NUL in body)
            or len(body) > limits.payload_bytes
            or len(parts) > limits.rows
            or len(projects) > limits.rows
            or members > limits.members
        ):
            return None
        carried = carried_of(sent)
        told = (*carried[:6], *carried[6])
        if told not in words:
            if not _plain(*carried):
                return None
            if len(words) >= _KNOWN:
                words.clear()
            words.add(told)
        return Carried(raw, dict(zip(_CARRIED, carried, strict=True)))

    return read


def _plain(
    _kind: str, system: str, version: int, comefrom: int, dialect: str, moment: str, findings: Sequence[str]
) -> bool:
    """Whether what is carried is what our own systems write."""
    words = (system, dialect, *findings)
    return (
        all([_WORD(word) is not None and not is_placeholder(word) for word in words])
        and 1 <= version <= _COUNTS_MOST
        and 1 <= comefrom <= _COUNTS_MOST
        and _MOMENT(moment) is not None
    )


def judgement(dialect: str, row: RepairRow, provenance: Mapping[str, Any]) -> Judgement:
    """What the careful path finds of a message that went the quick way: its row, and nothing to remark."""
    found: tuple[Finding, ...] = ()
    return Judgement(REPAIR, dialect, found, row, Display(row._asdict()), provenance=provenance)
