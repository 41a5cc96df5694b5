"""The one place where agreements are applied: deliveries on their way out, just before their destination is called.

Whatever goes to a row sink comes through here: a batch, what waited, a replayed letter, a backfill. A delivery keeps
its id and its content digest, which are those of the canonical record, so a changed agreement makes no new version;
its body, and its key where that would tell what is withheld, are what is sent, and what verify counts there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from connectors.contracts import REFUSED, Delivery, Outcome
from mappings.documents.interchange import SCHEMA as DOCUMENT
from mappings.documents.outbound import OUTBOUND, UnfitError
from pipelines.agreeing import Agreed
from pipelines.outbox import Sent
from pipelines.settings import Exchange
from routing.agreements import Terms
from routing.cases import REPAIR

Pseudonym = Callable[[str], str]
"""A keyed hash of a text, in hex."""
STAND_IN = "~"
"""How a key begins that stands in for one that may not be told."""


class Leave(NamedTuple):
    """What becomes of deliveries to one destination."""

    going: list[Sent]
    """As they go out."""
    stopped: list[tuple[Sent, Outcome]]
    """What may not leave, or about which nobody can tell."""
    terms: Mapping[str, Terms]
    """Kind -> under which terms it goes."""


class Leaving:
    """Applies the agreements of an exchange."""

    def __init__(self, agreed: Agreed, pseudonym: Pseudonym, form_of: Callable[[str], str]) -> None:
        """`form_of`: destination -> name of its outbound form, empty where it takes our own."""
        self.agreed, self._pseudonym, self._form_of = agreed, pseudonym, form_of

    def look(self, destination: str, queue: list[Sent]) -> Leave:
        """Deliveries of one destination as they may leave at this moment; those that leave whole are not looked at."""
        told = {kind: self.agreed.terms(destination, kind) for kind in {sent.kind for sent in queue}}
        terms = {kind: found for kind, found in told.items() if isinstance(found, Terms)}
        formed = bool(self._form_of(destination))
        if not formed and len(terms) == len(told) and all(found.whole for found in terms.values()):
            return Leave(queue, [], terms)
        going: list[Sent] = []
        stopped: list[tuple[Sent, Outcome]] = []
        for sent in queue:
            found = told[sent.kind]
            if isinstance(found, Outcome):
                stopped.append((sent, found))
                continue
            try:
                going.append(sent._replace(delivery=self.encoded(sent.delivery, found)))
            except UnfitError as error:
                stopped.append((sent, Outcome(REFUSED, f"FORM_NOT_FILLED: {error}")))
        return Leave(going, stopped, terms)

    def encoded(self, delivery: Delivery, terms: Terms) -> Delivery:
        """A delivery with the body, and the names, that may be told, in the form that its destination takes.

        Raises:
            UnfitError: the form needs what the terms withhold.
        """
        form = self._form_of(delivery.destination)
        if terms.whole and not form:
            return delivery
        members = orjson.loads(delivery.body)
        told = members if terms.whole else terms.apply(members)
        body = OUTBOUND[form].write(told) if form else orjson.dumps(told)
        id_, to, key, version = delivery.id, delivery.destination, delivery.key, delivery.version
        merged_into = delivery.merged_into
        if not terms.names:
            key, merged_into = self._stand_in(to, key), self._stand_in(to, merged_into)
        return Delivery(id_, to, key, version, delivery.content, body, delivery.batch, merged_into)

    def _stand_in(self, destination: str, key: str) -> str:
        """The same for all versions of a record at one destination, and another one at the next."""
        return STAND_IN + self._pseudonym(f"{destination}\0{key}") if key else ""


def as_told(record: bytes, destination: str, exchange: Exchange | None) -> bytes:
    """What a canonical record has that its destination may know, in force or not: what a view of its letter shows.

    Args:
        record: JSON.
        destination: where it was for.
        exchange: the settings, whose agreements say so; None, or none that covers it: no more than what it is.
    """
    members = orjson.loads(record)
    kind = kind_of(members)
    found = Agreed(exchange.agreements).standing().matching(destination, kind) if exchange is not None else []
    terms = found[0].terms(kind) if found else Terms("", 0, kind, {})
    return record if terms.whole else orjson.dumps(terms.apply(members))


def kind_of(record: Mapping[str, Any]) -> str:
    """The kind of a canonical record (its JSON members): agreements are asked for it."""
    return str(record["kind"]) if record.get("schema") == DOCUMENT else REPAIR
