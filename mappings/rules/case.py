"""One payload under judgement: its members, what is known beside it, and the findings so far."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from mappings.findings import FLAG, REJECT, Finding, Profile
from mappings.judging import Context, Draft
from mappings.placeholders import clean

VALUE_LENGTH = 100
"""Most characters of a value that a finding shows."""

EXPECTED_LENGTH = 400
"""Most characters of an expectation: the names of all dialects and the codes of all small tables have room."""

SECRETS = frozenset({"companypassword", "access_token", "sign", "secret", "password", "token", "jksqm"})
"""Members whose value never stands in a finding, a record or a display."""

SCALARS = (str, int, float, Decimal, date)
"""What may stand where a scalar belongs; `bool` is an `int` in Python and is told apart where it matters."""

_INDEX = re.compile(r"\[\d+\]")
_KINDS = {dict: "object", list: "array", tuple: "array", bool: "boolean"}


class Case:
    """One payload under judgement.

    Findings are kept in the order in which rules give them, each (code, field) once; severities come from the profile.
    """

    __slots__ = ("_seen", "broken", "context", "findings", "header_date", "members", "profile", "wire")

    def __init__(self, draft: Draft, context: Context) -> None:
        self.members: Mapping[str, Any] = draft.members
        self.context = context
        self.profile: Profile = context.profile
        self.header_date = draft.header_date
        self.wire = draft.wire
        self.findings: list[Finding] = []
        self._seen: set[tuple[str, str]] = set()
        self.broken = frozenset(note.field for note in draft.notes if note.code == "STRUCTURE_WRONG")
        """Fields that unwrapping already found to be of the wrong kind: their absence is no second finding."""
        for note in draft.notes:
            severity = self.profile.severities.get(note.code, REJECT)
            softer = note.severity == FLAG and severity == REJECT  # unwrapping knows that this one never rejects
            self._keep(note._replace(severity=FLAG if softer else severity))

    def add(self, code: str, field: str, value: object = None, expected: str = "") -> None:
        """Remark `code` on a field, with the value as sent and what would have been right."""
        severity = self.profile.severities[code]
        self._keep(Finding(code, severity, field, shown(value), expected, self._wire_of(field)))

    def wrong_kind(self, field: str, value: object, expected: str) -> None:
        """Remark that a list, an object or a boolean stands where it does not belong."""
        self.add("STRUCTURE_WRONG", field, _KINDS.get(type(value), type(value).__name__), expected)

    def _wire_of(self, field: str) -> str:
        """The partner's path of a field, where it differs; the map names rows as `parts[].name`.

        A row that is not the partner's of the same number stands in the map itself, as `parts[2]`.
        """
        wire = self.wire.get(field, "")
        if not wire and (index := _INDEX.search(field)):
            wire = self.wire.get(_INDEX.sub("[]", field), "")
            row = self.wire.get(field[: index.end()], "")
            if row and wire:
                wire = row + wire.rpartition("[]")[2]
            elif wire.count("[]") == 1:
                wire = wire.replace("[]", index[0])
        return wire if wire != field else ""

    def _keep(self, finding: Finding) -> None:
        key = (finding.code, finding.field)
        if key in self._seen:
            return
        self._seen.add(key)
        secret = finding.field.rpartition(".")[2].lower() in SECRETS
        self.findings.append(
            finding._replace(
                value="" if secret else finding.value[:VALUE_LENGTH], expected=finding.expected[:EXPECTED_LENGTH]
            )
        )


def shown(value: object) -> str:
    """A value as a finding shows it: at most 100 characters, safe to encode; containers by their kind only."""
    if value is None:
        return ""
    if isinstance(value, date):
        return value.isoformat()
    text = value if isinstance(value, str) else clean(value) or _KINDS.get(type(value), "")
    return text[:VALUE_LENGTH].encode("utf-8", "backslashreplace").decode("utf-8")[:VALUE_LENGTH]


def without_secrets(members: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The named members that are there and may be shown."""
    return {name: members[name] for name in names if members.get(name) is not None and name not in SECRETS}
