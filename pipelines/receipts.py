"""Receipts for shops: what became of each payload, with every finding, as NDJSON files in the receipts folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from connectors.contracts import StagedPart
from mappings.findings import REJECT, Finding, catalogue
from pipelines.journal import DEAD, DUPLICATE, FRAGMENT, Journal
from pipelines.settings import Exchange
from pipelines.sinks import Sinks
from pipelines.staging import item_name
from pipelines.withdrawing import is_withdrawn
from pipelines.work import Task


class ReceiptWriter:
    """Stages one receipts file an item; they are promoted with the batch."""

    def __init__(self, exchange: Exchange, sinks: Sinks, batch: str) -> None:
        self._exchange, self._sinks, self._batch = exchange, sinks, batch
        self.sink = sinks.name(exchange.rules.receipts) if exchange.rules.receipts else ""
        self.parts: list[StagedPart] = []
        self.count = 0

    def item(
        self, task: Task, book: Journal, remarks: Mapping[int, Any], history: Mapping[int, Sequence[Finding]]
    ) -> None:
        """Write the receipts of one item, in the order of its envelopes."""
        if not len(book.lines):
            return
        lines = []
        for line in book.lines:
            ordinal = int(line["ordinal"])
            company, code, findings = remarks.get(ordinal, [task.item.company, "", []])
            found = [Finding(*f) for f in findings] + list(history.get(ordinal, ()))
            lines.append(orjson.dumps(_receipt(task, line, company, code, found)))
        destination = self._exchange.rules.receipts
        writer = self._sinks.part_sink(self.sink).open(
            f"{destination}-{task.item.system}-{task.item.company}", self._batch, item_name(task)
        )
        writer.add(lines)
        self.parts.append(writer.close()._replace(destination=destination))
        self.count += len(lines)


def _receipt(task: Task, line: Any, company: str, code: str, found: Sequence[Finding]) -> dict[str, Any]:
    fate = int(line["fate"])
    rejected = fate == DEAD
    return {
        "companycode": company,
        "costlistcode": code,
        "verdict": "reject" if rejected else "accept",
        "duplicate": fate == DUPLICATE,
        "piece": fate == FRAGMENT,
        "version": int(line["version"]) if fate not in (DEAD, FRAGMENT) else None,
        "status": _status(found) if rejected else "撤回成功" if is_withdrawn(line) else "新增成功",
        "findings": [
            {"code": f.code, "severity": f.severity, "field": f.field, "value": f.value, "expected": f.expected}
            for f in found
        ],
        "source": f"{task.item.source}@{int(line['offset'])}",
    }


def _status(found: Sequence[Finding]) -> str:
    """One status text with all faults (rule 21)."""
    texts = catalogue()
    return "；".join(
        f"{f.field}：{texts[f.code].zh}" if f.code in texts else f.code for f in found if f.severity == REJECT
    )
