"""The register of M stations (汽车排放性能维护（维修）站): which shop is one, and when; reference data with dates."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime

from mappings.documents.kinds import form
from mappings.documents.mstations import MStation
from mappings.findings import REJECT, catalogue, profile
from mappings.judge import judge
from mappings.judging import DOCUMENT, Context, Draft
from mappings.trees import fold
from routing.errors import TableError
from routing.registers import rows

_FORM = "m-station"
_EVER = datetime.min.replace(tzinfo=UTC)
"""No rule on a station asks when its row came."""


class MStations:
    """The register, by the code that repair records bear."""

    def __init__(self, stations: Iterable[MStation] = ()) -> None:
        self._stations: dict[str, list[MStation]] = {}
        for station in stations:
            for code in dict.fromkeys((station.companycode, station.companyuniquecode)):
                self._stations.setdefault(code, []).append(station)
        for entries in self._stations.values():
            entries.sort(key=lambda one: (one.valid_from, one.companyuniquecode), reverse=True)

    def of(self, company: str, day: date) -> MStation | None:
        """The M station that a company is on that day, or None; of several entries the latest counts."""
        return next((one for one in self._stations.get(company, ()) if one.valid(day)), None)

    def __len__(self) -> int:
        return len({one.identity for entries in self._stations.values() for one in entries})


def load_m_stations(text: str, form_of: str = "csv", source: str = "m-stations") -> list[MStation]:
    """Read a register of M stations from CSV, NDJSON or TOML (`[[station]]`); members as in the form `m-station`.

    Args:
        text: The register.
        form_of: `csv`, `ndjson` or `toml`.
        source: What messages call the register.

    Raises:
        TableError: with the line of the first row that is wrong, and what is wrong there.
    """
    context = Context(profile("strict"), _EVER)
    found: list[MStation] = []
    for entry in rows(text, form_of, "station", source):
        members = {fold(name): value for name, value in entry.values.items()}
        judged = judge(Draft(DOCUMENT, form(_FORM).name, members), context)
        wrong = next((one for one in judged.findings if one.severity == REJECT), None)
        if wrong is not None or not isinstance(judged.record, MStation):
            said = catalogue()[wrong.code] if wrong else catalogue()["STRUCTURE_WRONG"]
            where = (wrong.wire or wrong.field) if wrong else ""
            problem = f"{where}: {said.zh} / {said.en}"
            remedy = wrong.expected if wrong and wrong.expected else "请按说明更正 / correct it as said"
            raise TableError(source, entry.line, problem, remedy)
        found.append(judged.record)
    return found
