"""总部对总部: which shop is a dealer of which OEM, and which OEMs the ministry lists; both are data with dates.

Routing goes by shop and not by make, since authorised shops repair other makes too (domain table 7.3); the WMIs of a
maker serve as a plausibility check only.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Annotated

from pydantic import BeforeValidator, StringConstraints

from routing.dated import Dated
from routing.errors import TableError
from routing.registers import read

SYSTEM_PREFIX = "oem-"
"""An OEM headquarters as a collecting system is this and its OEM id: `oem-SVW`."""


def _listed(value: object) -> object:
    return [item for item in (part.strip() for part in value.split("|")) if item] if isinstance(value, str) else value


_Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,32}$")]


class Oem(Dated):
    """One OEM of the ministry's list: id, names, WMIs (in CSV separated by `|`), and since when."""

    oem: _Id
    names: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    wmis: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{3}$")], ...], BeforeValidator(_listed)
    ] = ()


class Dealer(Dated):
    """One entry of the dealer register: a company is a dealer of an OEM from a day (to a day)."""

    companycode: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    oem: _Id


class Dealers:
    """The dealer register together with the ministry's OEM list."""

    def __init__(self, dealers: Iterable[Dealer] = (), oems: Iterable[Oem] = ()) -> None:
        self._dealers: dict[str, list[Dealer]] = {}
        for dealer in dealers:
            self._dealers.setdefault(dealer.companycode, []).append(dealer)
        for entries in self._dealers.values():
            entries.sort(key=lambda entry: (entry.valid_from, entry.oem), reverse=True)
        self._oems: dict[str, list[Oem]] = {}
        for oem in oems:
            self._oems.setdefault(oem.oem, []).append(oem)

    def oem_of(self, company: str, day: date) -> str:
        """OEM id that the company is a dealer of on that day, or ''.

        Both the register's entry and the OEM's place on the ministry's list must be in force; of several entries the
        one with the latest `from` counts.
        """
        for entry in self._dealers.get(company, ()):
            if entry.valid(day) and self.listed(entry.oem, day):
                return entry.oem
        return ""

    def listed(self, oem: str, day: date) -> bool:
        """Whether the ministry lists the OEM on that day."""
        return any(entry.valid(day) for entry in self._oems.get(oem, ()))

    def names(self, oem: str) -> tuple[str, ...]:
        """Names of an OEM, without repeats; empty when it is not listed."""
        return tuple(dict.fromkeys(name for entry in self._oems.get(oem, ()) for name in entry.names))

    def plausible(self, vin: str, oem: str) -> bool | None:
        """Whether the VIN is of the OEM's own make; None when the list names no WMI for it. Never decides a route."""
        wmis = {wmi for entry in self._oems.get(oem, ()) for wmi in entry.wmis}
        return vin[:3] in wmis if wmis else None


def load_dealers(text: str, form: str = "csv", source: str = "dealers") -> list[Dealer]:
    """Read a dealer register (companycode, oem, from, to) from CSV, NDJSON or TOML (`[[dealer]]`).

    Raises:
        TableError: with the line and the remedy.
    """
    return read(Dealer, text, form, "dealer", source)


def load_oems(text: str, form: str = "toml", source: str = "oems") -> list[Oem]:
    """Read the ministry's OEM list (oem, names, wmis, from, to) from TOML (`[[oem]]`), CSV or NDJSON.

    Raises:
        TableError: with the line and the remedy, also when an OEM stands twice for the same days.
    """
    found = read(Oem, text, form, "oem", source)
    last: dict[str, Oem] = {}
    for entry in sorted(found, key=lambda entry: entry.valid_from):
        before = last.get(entry.oem)
        if before is not None and before.valid(entry.valid_from):
            problem = f"{entry.oem} 的有效期重叠 / {entry.oem} stands twice for the same days"
            raise TableError(source, 0, problem, "请给前一条填写 to / give the earlier entry a 'to'")
        last[entry.oem] = entry
    return found
