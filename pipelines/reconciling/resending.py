"""Backfill: deliveries that the other side does not hold are no longer delivered, they wait again.

What waits is sent by the one path there is: in order, with budget, breaker and back-off, under the same delivery id. In
one commit the row of `waiting`, the journal's outcome and the counts change, so the ledger balances at every moment.
Receipts are taken back before that commit: killed between, the ledger says that a receipt is missing, and the next
backfill does the rest; taken back after it they could be those of the delivery that went out meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Connection, insert, select

from connectors.contracts import Delivery, fingerprint
from dlq.sealing import Sealer
from mappings.encoding import record_key
from pipelines import accounts, disclosures, tables
from pipelines.accounts import Account
from pipelines.closing import Closer, amend
from pipelines.journal import ADDRESSED, Journal
from pipelines.leaving import kind_of
from pipelines.merging import pair_of
from pipelines.reconciling.books import STANDS
from pipelines.reconciling.report import Place
from pipelines.reconciling.rereading import Reread
from pipelines.sealedrows import seal_waiting
from pipelines.settings import Exchange
from pipelines.sinks import OWN, Sinks
from pipelines.state import State
from pipelines.versions import signed
from routing.agreements import Terms

QUEUED, GONE, CHANGED = "queued", "not-kept", "changed"
"""It waits again; it cannot be read again here, or its pair was parted; the ledger does not say any more that it stands
there."""
REASON = "BACKFILL: 对账发现对方缺少，重新发送 / the other side does not hold it: sent again"


class Resending:
    """Has deliveries of one exchange sent again, at the gateway that owns the state."""

    def __init__(self, state: State, exchange: Exchange, sinks: Sinks, sealer: Sealer, closer: Closer) -> None:
        self._state, self._exchange, self._sinks, self._sealer, self._closer = state, exchange, sinks, sealer, closer
        self._reread = Reread(state, exchange, sealer)
        self._told = disclosures.Told(())

    def queue(self, places: Iterable[Place]) -> dict[Place, str]:
        """Queue deliveries anew; what became of each. Doing it twice queues nothing twice.

        Raises:
            ConnectorError: receipts cannot be written; nothing was queued then.
        """
        told: dict[Place, str] = {}
        by_batch: dict[str, list[Place]] = {}
        for place in dict.fromkeys(places):
            by_batch.setdefault(place.batch, []).append(place)
        for batch, mine in by_batch.items():
            told |= self._batch(batch, mine)
        if told:
            self._closer.queues.changed()
        return told

    def _batch(self, batch: str, places: Sequence[Place]) -> dict[Place, str]:
        books = self._books(batch)
        open_ = [one for one in places if _stands(books, one) and self._sinks.name(one.destination) != OWN]
        told = dict.fromkeys(places, CHANGED)
        if not open_:
            return told
        wanted: dict[int, set[int]] = {}
        for one in open_:
            wanted.setdefault(one.item, set()).add(one.ordinal)
        records = self._reread.records(batch, wanted)
        with self._state.reading() as connection:
            self._told = disclosures.read(connection, batch)
        told |= {one: GONE for one in open_}
        kept = {one: self._sent(books, one, records[_at(one)]) for one in open_ if _at(one) in records}
        going = {one: delivery for one, delivery in kept.items() if delivery is not None}
        if not going:
            return told
        self._withdraw(going)
        with self._state.unit_of_work() as connection:
            for place in self._moved(connection, batch, going, records):
                told[place] = QUEUED
        return told

    def _books(self, batch: str) -> dict[int, Journal]:
        j = tables.journals
        with self._state.reading() as connection:
            return {
                item: Journal.unpack(lines)
                for item, lines in connection.execute(select(j.c.item, j.c.lines).where(j.c.batch == batch))
            }

    def _sent(self, books: Mapping[int, Journal], place: Place, body: bytes) -> Delivery | None:
        """The delivery as it went out; None of a merged one whose pair was parted since: it cannot go out so again."""
        book, record = books[place.item], orjson.loads(body)
        line, into = book.lines[place.ordinal], ""
        if _stands(books, place) == "merged":
            key = record_key(record["system"], record["companycode"], record["costlistcode"])
            with self._state.reading() as connection:
                into = pair_of(connection, place.destination, key)
            if not into:
                return None
        sent = self._closer.send(
            record,
            body,
            place.destination,
            number=place.item,
            ordinal=place.ordinal,
            version=int(line["version"]),
            content=int(line["content"]),
            findings=book.findings[int(line["findings"])],
            batch=place.batch,
            merged_into=into,
        )
        before = self._told.of(place.destination, sent.kind, disclosures.place_of(place.item, place.ordinal))
        return (
            self._closer.leaving.encoded(sent.delivery, Terms.restored(before[-1].packed)) if before else sent.delivery
        )

    def _withdraw(self, going: Mapping[Place, Delivery]) -> None:
        by_destination: dict[str, list[Delivery]] = {}
        for place, delivery in going.items():
            by_destination.setdefault(place.destination, []).append(delivery)
        for destination, deliveries in by_destination.items():
            sink = self._sinks.row_sink(destination)[1]
            if hasattr(sink, "withdraw"):
                sink.withdraw(deliveries)

    def _moved(
        self,
        connection: Connection,
        batch: str,
        going: Mapping[Place, Delivery],
        records: Mapping[tuple[int, int], bytes],
    ) -> Iterable[Place]:
        """Those that still stood as before, which wait from now on."""
        b, w = tables.batches, tables.waiting
        accounts.hold(connection, [batch])
        if connection.execute(select(b.c.state).where(b.c.id == batch)).scalar() not in ("closed", "settling"):
            return ()
        moved: dict[Place, str] = {}
        changes: dict[str, Account] = {}
        for item in sorted({place.item for place in going}):

            def change(book: Journal, item: int = item) -> None:
                for place in sorted(going):
                    stood = _stands({item: book}, place) if place.item == item else ""
                    if stood and (stood == "merged") == bool(going[place].merged_into):
                        book.outcomes.setdefault(str(place.ordinal), {})[place.destination] = "waiting"
                        moved[place] = stood
                        vin = signed(int(book.lines[place.ordinal]["vin"]))
                        row = self._waiting(place, going[place], records[_at(place)], vin)
                        connection.execute(insert(w), row)
                        kind, name = (
                            kind_of(orjson.loads(records[_at(place)])),
                            disclosures.place_of(*_at(place)),
                        )
                        disclosures.single_out(connection, self._told, place.destination, kind, name)

            amend(connection, batch, item, change)
        for place, stood in moved.items():
            account = changes.setdefault(place.destination, Account())
            account.counts.update({stood: -1, "waiting": 1})
            account.stands -= 1
            account.digest -= fingerprint(going[place])
        for destination, account in changes.items():
            accounts.change(connection, batch, destination, account)
        return moved

    def _waiting(self, place: Place, delivery: Delivery, body: bytes, vin: int) -> dict[str, Any]:
        row = {
            "id": place.name,
            "exchange": self._exchange.name,
            "batch": place.batch,
            "item": place.item,
            "ordinal": place.ordinal,
            "destination": place.destination,
            "reason": REASON,
            "vin": vin,
            "version": delivery.version,
            "merged_into": delivery.merged_into,
            "attempts": 1,  # it went out before: a peer that calls it a duplicate holds it after all
            "next_attempt": datetime.now(UTC).isoformat(),
        }
        return seal_waiting(self._sealer, row, body)


def _at(place: Place) -> tuple[int, int]:
    return place.item, place.ordinal


def _stands(books: Mapping[int, Journal], place: Place) -> str:
    """What the journal says of a delivery that stands: `delivered` or `merged`; empty of any other."""
    book = books.get(place.item)
    if book is None or place.ordinal >= len(book.lines):
        return ""
    line = book.lines[place.ordinal]
    if int(line["fate"]) != ADDRESSED or place.destination not in book.routes[int(line["routes"])]:
        return ""
    outcome = book.outcomes.get(str(place.ordinal), {}).get(place.destination, "delivered")
    return outcome if outcome in STANDS else ""
