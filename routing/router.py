"""Routing for bulk jobs: the same decisions as `RoutingTable.decide`, remembered by the facts that decide them.

A table reads a handful of facts, and most vehicles are at home where their plate's first character says. So a router
remembers a decision by that character and those facts: one dictionary lookup a record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from functools import lru_cache
from typing import Any

from mappings import divisions, plates
from mappings.documents import Document
from mappings.records import RepairRow
from routing.facts import NOTHING_HELD, DealerRegister, Facts, facts_of
from routing.homes import UNKNOWN_HOME, Homes, Registrations, alone, home_by_plate, homes_for
from routing.steps import Routing
from routing.table import RoutingTable

MOST_REMEMBERED = 65_536
"""Decisions kept; when there are more, remembering begins anew."""

_DIRECT = ("company", "vin", "plate")


class Router:
    """Decides about rows by one table, with the registrations and dealers that it is given.

    Nothing is raised for a record that no rule decides: its `Routing` has `hole` set. Registrations must not change
    during a router's life: make a new one then.
    """

    def __init__(
        self,
        table: RoutingTable,
        registrations: Registrations | None = None,
        dealers: DealerRegister | None = None,
    ) -> None:
        self._table, self._registrations, self._dealers = table, registrations, dealers
        self._by_character: dict[tuple[Any, ...], Routing] = {}
        self._by_homes: dict[tuple[Any, ...], Routing] = {}
        self._by_kind: dict[tuple[Any, ...], Routing] = {}
        self._asks_home = not table.reads.isdisjoint(("home", "home_reason"))
        self._derive = self._deriver()

    def route_row(
        self,
        plate: str,
        vin: str,
        company: str,
        settledate: date,
        system: str,
        repaircomefrom: int = 1,
        held: frozenset[str] = NOTHING_HELD,
    ) -> Routing:
        """Decide about one record. The plate may come as it was written; it is normalised where that matters."""
        registrations = self._registrations
        if self._asks_home and (
            not plate[1:].isascii() or (registrations is not None and registrations.all_homes(vin))
        ):
            return self._by_their_homes(plate, vin, company, settledate, system, repaircomefrom, held)
        first = plate[:1] if self._asks_home else ""
        key: tuple[Any, ...] = (first, system, repaircomefrom, held)
        if self._derive is not None:
            key += self._derive(plate, vin, company, settledate)
        found = self._by_character.get(key)
        if found is None:
            if first and first not in divisions.BY_CHARACTER:
                return self._by_their_homes(plate, vin, company, settledate, system, repaircomefrom, held)
            facts = self._facts(plate, vin, company, settledate, system, repaircomefrom, held)
            home = home_by_plate(facts.plate, system) if first else UNKNOWN_HOME
            found = self._table.decide(facts, alone(home))
            _remember(self._by_character, key, found)
        return found

    def route_document(self, document: Document, system: str) -> Routing:
        """Decide about one document, by its kind, issuer, vehicle and day. A vehicle's home is its registration's."""
        issuer, _, day, vin = document.identity
        key: tuple[Any, ...] = (document.KIND, system)
        if self._derive is not None:
            key += self._derive("", vin, issuer, day)
        found = None if self._asks_home else self._by_kind.get(key)
        if found is None:
            facts = facts_of(vin, "", issuer, day, system, dealers=self._dealers, kind=document.KIND)
            found = self._table.decide(facts, homes_for(facts, self._registrations))
            if not self._asks_home:
                _remember(self._by_kind, key, found)
        return found

    def block(
        self,
        rows: Sequence[RepairRow],
        system: str,
        repaircomefrom: int = 1,
        held: Sequence[frozenset[str]] | None = None,
    ) -> list[Routing]:
        """Decide about each row, in order; `held`, if given, has one set for each row."""
        route = self.route_row
        if held is not None:
            return [
                route(row.plate, row.vin, row.companycode, row.settledate, system, repaircomefrom, there)
                for row, there in zip(rows, held, strict=True)
            ]
        columns = ([row[2] for row in rows], [row[3] for row in rows], [row[0] for row in rows])
        return self.columns(*columns, [row[5] for row in rows], system, repaircomefrom)

    @property
    def by_character(self) -> bool:
        """Whether ordinary plates of one province all have the same routing, as long as nothing else is asked."""
        return self._derive is None and self._registrations is None

    def columns(
        self,
        plates: Sequence[str],
        vins: Sequence[str],
        companies: Sequence[str],
        settledates: Sequence[date],
        system: str,
        repaircomefrom: int = 1,
    ) -> list[Routing]:
        """Decide about each record, in order, given by columns."""
        route, by_character = self.route_row, self.by_character
        known: dict[str, Routing] = {}
        found: list[Routing] = []
        for i, plate in enumerate(plates):
            same = known.get(plate[:1]) if by_character and plate[1:].isascii() else None
            if same is None:
                same = route(plate, vins[i], companies[i], settledates[i], system, repaircomefrom)
                if plate[:1] in divisions.BY_CHARACTER and plate[1:].isascii():
                    known[plate[:1]] = same
            found.append(same)
        return found

    def _by_their_homes(
        self,
        plate: str,
        vin: str,
        company: str,
        settledate: date,
        system: str,
        repaircomefrom: int,
        held: frozenset[str],
    ) -> Routing:
        facts = self._facts(plate, vin, company, settledate, system, repaircomefrom, held)
        homes = homes_for(facts, self._registrations)
        key = self._homes_key(facts, homes)
        found = self._by_homes.get(key)
        if found is None:
            found = self._table.decide(facts, homes)
            _remember(self._by_homes, key, found)
        return found

    def _homes_key(self, facts: Facts, homes: Homes) -> tuple[Any, ...]:
        key = (homes.keys, homes.state, homes.reason, facts.system, facts.repaircomefrom, facts.held)
        return key + self._derive(facts.plate, facts.vin, facts.company, facts.settledate) if self._derive else key

    def _facts(
        self,
        plate: str,
        vin: str,
        company: str,
        settledate: date,
        system: str,
        repaircomefrom: int,
        held: frozenset[str],
    ) -> Facts:
        dealer_of = self._dealers.oem_of(company, settledate) if self._dealers is not None else ""
        plate, shop = plates.normalise(plate), _province_of(company)
        return Facts(vin, plate, company, settledate, system, shop, repaircomefrom, dealer_of, held)

    def _deriver(self) -> Callable[[str, str, str, date], tuple[Any, ...]] | None:
        """Gives the further facts that the table reads; None when it reads none of them."""
        reads = self._table.reads
        parts: list[Callable[[str, str, str, date], Any]] = []
        if "shop_province" in reads:
            parts.append(_shop_province)
        if "dealer_of" in reads and self._dealers is not None:
            oem_of = self._dealers.oem_of
            parts.append(lambda plate, vin, company, day: oem_of(company, day))
        if not reads.isdisjoint(_DIRECT):
            parts.append(lambda plate, vin, company, day: (plates.normalise(plate), vin, company))
        if not parts:
            return None
        if len(parts) == 1:
            only = parts[0]
            return lambda plate, vin, company, day: (only(plate, vin, company, day),)
        return lambda plate, vin, company, day: tuple([part(plate, vin, company, day) for part in parts])


@lru_cache(maxsize=65_536)
def _province_of(company: str) -> str:
    return divisions.of_company(company) or ""


def _shop_province(plate: str, vin: str, company: str, day: date) -> str:
    return _province_of(company)


def _remember(memo: dict[tuple[Any, ...], Routing], key: tuple[Any, ...], found: Routing) -> None:
    if len(memo) >= MOST_REMEMBERED:
        memo.clear()
    memo[key] = found
