"""The encode step: rows to the bytes that are staged."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from mappings.documents import DIALECT, Document
from mappings.documents.interchange import encode_document, encode_withdrawn
from mappings.encoding import company_bytes, contents_of, provenance_bytes, withdrawn_bytes
from mappings.encoding_interchange import encode_interchange, encode_withdrawal
from mappings.judging import Judgement
from mappings.reading import AUTO
from mappings.records import Operator, VehicleRegistration, Withdrawal
from pipelines.steps.common import dialect_of, documents, withdrawals
from pipelines.work import Load, Task
from pipelines.workbench import QUICK_DIALECT, Workbench

if TYPE_CHECKING:
    from mappings.sheet import Sheet  # it takes pyarrow along, which only bulk work needs


class _Companies(dict[str, bytes]):
    def __missing__(self, code: str) -> bytes:
        encoded = self[code] = company_bytes(code)
        return encoded


class Encoder:
    """Encodes the records of one item: whole Avro records for parts, canonical JSON for rows."""

    def __init__(self, bench: Workbench, task: Task) -> None:
        self._received = bench.received_at
        self._system = task.item.system or bench.exchange.versions.system
        self._comefrom = bench.exchange.versions.repaircomefrom
        named = dialect_of(bench, task.item)
        self._dialect = QUICK_DIALECT if named == AUTO else named  # what has no judgement came by the quick path
        self._companies = _Companies()

    def by_columns(self, load: Load) -> tuple[list[bytes], list[bytes]]:
        """Contents and Avro-encoded records of a load whose records are a sheet."""
        from mappings.sheetencoding import records_of  # imported late: it takes pyarrow along

        tail = provenance_bytes(self._system, 1, self._comefrom, self._dialect, self._received, ())
        contents, staged = records_of(cast("Sheet", load.values), tail)
        place = {ordinal: i for i, ordinal in enumerate(load.ordinals)} if load.judgements or load.versions else {}
        for ordinal in place.keys() & {*load.judgements, *load.versions}:
            i = place[ordinal]
            own = self._tail(self.provenance(load, ordinal, load.judgements.get(ordinal)))
            staged[i] = staged[i][: len(staged[i]) - len(tail)] + own if staged[i] else b""
        return contents, staged

    def avro(self, load: Load, contents: list[bytes]) -> list[bytes]:
        """Avro-encoded records of a load."""
        companies = self._companies
        tail = provenance_bytes(self._system, 1, self._comefrom, self._dialect, self._received, ())
        staged = [companies[row[0]] + content + tail for row, content in zip(load.values, contents, strict=True)]
        if load.judgements or load.versions:
            for i, ordinal in enumerate(load.ordinals):
                judgement = load.judgements.get(ordinal)
                if judgement is not None or ordinal in load.versions:
                    own = self._tail(self.provenance(load, ordinal, judgement))
                    staged[i] = companies[load.values[i][0]] + contents[i] + own
        return staged

    def mixed(self, load: Load, contents: list[bytes]) -> list[bytes]:
        """As `avro`; nothing for what is no repair record."""
        records = [i for i, row in enumerate(load.values) if row is not None]
        ordinals, rows = [load.ordinals[i] for i in records], [load.values[i] for i in records]
        encoded = self.avro(load._replace(ordinals=ordinals, values=rows), [contents[i] for i in records])
        staged = [b""] * len(load.values)
        for i, record in zip(records, encoded, strict=True):
            staged[i] = record
        return staged

    def withdrawn(self, load: Load, ordinal: int, withdrawal: Withdrawal) -> bytes:
        """The Avro-encoded record of a withdrawn version."""
        own = self.provenance(load, ordinal, load.judgements[ordinal])
        return withdrawn_bytes(withdrawal) + self._tail(own, withdrawal.reason)

    def _tail(self, own: Mapping[str, Any], withdrawn: str | None = None) -> bytes:
        received = own["received_at"]
        return provenance_bytes(
            own["system"],
            int(own["version"]),
            int(own["repaircomefrom"]),
            own["dialect"],
            received if isinstance(received, datetime) else datetime.fromisoformat(received),
            own["findings"],
            withdrawn,
        )

    def canonical(self, load: Load) -> list[bytes]:
        """Canonical JSON of the records of a load, as rows are staged, kept and encoded again from."""
        staged: list[bytes] = []
        for ordinal, row in zip(load.ordinals, load.values, strict=True):
            judgement = load.judgements.get(ordinal)
            if row is not None:
                staged.append(encode_interchange(row, self.provenance(load, ordinal, judgement), "report"))
            elif judgement is not None and isinstance(judgement.record, Withdrawal):
                told = self.provenance(load, ordinal, judgement)
                if judgement.dialect == DIALECT:
                    staged.append(encode_withdrawn(judgement.record, told))
                else:
                    staged.append(encode_withdrawal(judgement.record, told, "report"))
            elif judgement is not None and isinstance(judgement.record, Document):
                staged.append(encode_document(judgement.record, self.provenance(load, ordinal, judgement)))
            elif judgement is not None and isinstance(judgement.record, VehicleRegistration | Operator):
                staged.append(judgement.record.model_dump_json().encode())
            else:
                staged.append(b"")
        return staged

    def provenance(self, load: Load, ordinal: int, judgement: Judgement | None) -> dict[str, Any]:
        """What a record carries beside its content."""
        flags = load.flags.get(ordinal, ())
        own: dict[str, Any] = {
            "system": self._system,
            "version": load.versions.get(ordinal, 1),
            "repaircomefrom": self._comefrom,
            "dialect": judgement.dialect if judgement else self._dialect,
            "received_at": self._received,
            "findings": flags,
        }
        if judgement is not None and judgement.provenance:
            brought = judgement.provenance
            own = {**own, **brought, "findings": tuple(dict.fromkeys((*brought.get("findings", ()), *flags)))}
            if ordinal in load.versions:
                own["version"] = load.versions[ordinal]
        return own


def _contents(load: Load) -> list[bytes]:
    """The content of each record; of a document its members, of what is no record nothing."""
    contents = contents_of(cast("list[Any]", load.values))
    for i, document in documents(load).items():
        contents[i] = document.content()
    return contents


def encode(bench: Workbench, encoder: Encoder, load: Load) -> Load:
    """Rows -> bytes to stage: content, then a whole record for Avro files, canonical JSON for everything else."""
    if not isinstance(load.values, list):
        contents, staged = encoder.by_columns(load)
    elif not bench.in_avro:
        contents, staged = _contents(load), encoder.canonical(load)
    else:
        contents = contents_of(load.values)
        staged = encoder.mixed(load, contents) if None in load.values else encoder.avro(load, contents)
    for i, withdrawal in withdrawals(load).items() if bench.in_avro else ():
        staged[i] = encoder.withdrawn(load, load.ordinals[i], withdrawal)
    return load._replace(contents=contents, staged=staged)
