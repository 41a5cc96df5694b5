"""Documents that each system outside takes, and the shipped settings of the sink that brings them there."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
from document_canaries import Maker, chance

from mappings.documents import Document
from mappings.documents.interchange import encode_document
from mappings.documents.kinds import kind
from mappings.documents.outbound import OUTBOUND
from pipelines.nation import DEPLOY
from routing.agreements import load_agreement

TAKES = {
    "environment": "closure",
    "solid-waste": "waste-case",
    "credit": "credit-entry",
    "insurers": "claim-comparison",
    "market-regulation": "defect-lead",
    "maker": "defect-lead",
    "used-cars": "history-report",
    "road-administration": "operator-notice",
}
"""System -> a kind that its stand-in takes."""


def document(name: str, number: int) -> Document:
    """A document that the stand-in of a system takes; another number, another document."""
    of = TAKES[name]
    members = Maker(of, load_agreement("own-store").terms(of), chance(name, number)).made().members
    if of == "credit-entry":
        members["score"] = str(sum(Decimal(line["points"]) for line in members["lines"]))
    return kind(of).of_members(members)


def record(name: str, number: int, version: int = 1) -> dict[str, Any]:
    """The canonical JSON of such a document's version."""
    moment = datetime(2026, 9, 21, tzinfo=UTC) + timedelta(minutes=version)
    told = {"system": "44", "version": version, "dialect": "document", "received_at": moment.isoformat()}
    members: dict[str, Any] = orjson.loads(encode_document(document(name, number), {**told, "findings": []}))
    return members


def settings(name: str) -> dict[str, Any]:
    """The shipped exchange of a system."""
    text = (DEPLOY / "exchanges" / f"{name}.toml").read_text("utf-8")
    return tomllib.loads(text.replace("{here}", str(DEPLOY / "exchanges")))


def sink(name: str, url: str, receipts: Path) -> dict[str, Any]:
    """The settings of its sink as shipped, for an address and a folder of receipts."""
    made = settings(name)["sinks"][name] | {"url": url, "receipts": str(receipts), "retry": {"tries": 1}}
    return {of: value for of, value in made.items() if of not in ("connector", "for", "form")}


def body(name: str, number: int, version: int = 1, **more: Any) -> bytes:
    """What leaves for a system: in its form, with members that nobody asked for."""
    form, told = settings(name)["sinks"][name].get("form"), record(name, number, version)
    written = orjson.loads(OUTBOUND[form].write(told)) if form else told
    return orjson.dumps(written | more)
