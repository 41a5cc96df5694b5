"""`vingate explain`: where a vehicle's records go, table by table, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, NamedTuple

from mappings import plates
from mappings import vin as vins
from routing.dealers import SYSTEM_PREFIX, Dealers
from routing.facts import Facts, facts_of
from routing.homes import Homes, Registrations, homes_for
from routing.steps import Routing
from routing.table import RoutingTable
from routing.texts import Text, province
from routing.wording import Explained, home_in_words

_NO_DEALER = Text(
    "该企业当日不在任何主机厂的授权名录中，本表不适用", "the shop is no listed OEM's dealer that day: does not apply"
)
_NO_REGISTER = Text(
    "未给出经销商名录，不知该企业是否为主机厂授权企业（--dealers）",
    "no dealer register given: whether the shop is an OEM's dealer is unknown (--dealers)",
)
_NO_COMPANY = Text(
    "未给出企业代码，不知其是否为主机厂授权企业（--company）",
    "no company code given: whether the shop is an OEM's dealer is unknown (--company)",
)
_NO_SYSTEM = Text(
    "未给出企业代码或代码不含省份，采集省未知（--company）",
    "no company code, or one that names no province: the collecting province is unknown (--company)",
)
_MARKS = {"matched": "✓", "not-matched": "✗", "not-reached": "·"}


class Section(NamedTuple):
    """What one table says about the vehicle's records."""

    table: str
    title: Text
    system: str
    """The collecting system that was assumed: the shop's province, or the headquarters of the shop's OEM."""
    note: Text | None
    """Why the table does not decide, if so."""
    lines: tuple[Explained, ...]
    """How the home was found, every rule, and the conclusion where the table decides."""

    @property
    def of_oem(self) -> bool:
        """Whether the record is taken as sent by an OEM's headquarters."""
        return self.system.startswith(SYSTEM_PREFIX)


class Explanation(NamedTuple):
    """Where a vehicle's records go, and why."""

    facts: Facts
    homes: Homes
    remarks: tuple[Text, ...]
    """What is known of vehicle, plate and shop."""
    sections: tuple[Section, ...]

    def as_json(self) -> dict[str, Any]:
        """The explanation as JSON values: `vin`, `plate`, ..., `home` and `tables`."""
        facts = self.facts
        return {
            "vin": facts.vin,
            "plate": facts.plate,
            "company": facts.company,
            "settledate": facts.settledate.isoformat(),
            "shop_province": facts.shop_province,
            "dealer_of": facts.dealer_of,
            "home": {
                "state": self.homes.state,
                "provinces": list(self.homes.keys),
                "reason": self.homes.reason,
                "found": [{"province": h.key, "by": h.by, "reason": h.reason} for h in self.homes.found],
            },
            "remarks": [text._asdict() for text in self.remarks],
            "tables": [_section_json(section) for section in self.sections],
        }

    def text(self) -> str:
        """The explanation for people, Chinese and English, one rule a line."""
        home = home_in_words(self.facts, self.homes)
        lines = [*(str(remark) for remark in self.remarks), _line(home)]
        for section in self.sections:
            lines += ["", f"[{section.table}] {section.title}" + (f" ({section.system})" if section.of_oem else "")]
            if section.note:
                lines.append(f"  {section.note}")
            lines += [f"  {_line(line)}" for line in section.lines if line != home]
        return "\n".join(lines)


def explain_vehicle(
    vin: str,
    plate: str,
    company: str,
    day: date,
    tables: Iterable[RoutingTable],
    registrations: Registrations | None = None,
    dealers: Dealers | None = None,
    *,
    system: str = "",
) -> Explanation:
    """Say where a record of the vehicle would go by each table, and why.

    Where the shop is an OEM's dealer, a table that takes headquarters' records too is asked a second time, for the
    record that comes from there.

    Args:
        vin: The vehicle's VIN.
        plate: Its plate as written, or '' when only the registration shall tell the home.
        company: The shop's company code, or ''.
        day: The settle date.
        tables: The tables to ask, in the order of the answer.
        registrations: What is known of registrations.
        dealers: Dealer register and OEM list.
        system: The province key whose system collected the record; the shop's province when absent.
    """
    base = facts_of(vins.normalise(vin), plate, company, day, "", dealers=dealers)
    facts = base._replace(system=system or base.shop_province)
    homes = homes_for(facts, registrations)
    note = _NO_REGISTER if dealers is None else _NO_DEALER if company else _NO_COMPANY
    sections: list[Section] = []
    for table in tables:
        sections.append(_section(table, facts, registrations, note))
        if table.origin != "oem" and facts.dealer_of and not system and "system" in table.reads:
            theirs = _of_headquarters(table, facts, registrations)
            decided = _conclusion(theirs)
            sections += [theirs] if decided and decided.hole is None else []
    return Explanation(facts, homes, tuple(_remarks(facts, dealers)), tuple(sections))


def _section(table: RoutingTable, facts: Facts, registrations: Registrations | None, no_dealer: Text) -> Section:
    if table.origin == "oem":
        if facts.dealer_of:
            return _of_headquarters(table, facts, registrations)
        lines = table.explain(facts._replace(system=""), registrations)
        return Section(table.name, table.title, "", no_dealer, tuple(line for line in lines if line.decided is None))
    note = _NO_SYSTEM if not facts.system and "system" in table.reads else None
    return Section(table.name, table.title, facts.system, note, tuple(table.explain(facts, registrations)))


def _of_headquarters(table: RoutingTable, facts: Facts, registrations: Registrations | None) -> Section:
    facts = facts._replace(system=SYSTEM_PREFIX + facts.dealer_of)
    return Section(table.name, table.title, facts.system, None, tuple(table.explain(facts, registrations)))


def _remarks(facts: Facts, dealers: Dealers | None) -> Iterable[Text]:
    maker = vins.maker(facts.vin)
    yield Text(f"车辆 {facts.vin}，制造商 {maker or '未知'}", f"vehicle {facts.vin}, maker {maker or 'unknown'}")
    if facts.plate:
        found = plates.parse(facts.plate)
        kind = found.kind if found else ""
        yield Text(
            f"号牌 {facts.plate}，类别 {kind or '无法识别'}", f"plate {facts.plate}, kind {kind or 'unreadable'}"
        )
    if facts.company:
        where = province(facts.shop_province) if facts.shop_province else Text("未知", "unknown")
        yield Text(f"企业 {facts.company}，所在省 {where.zh}", f"shop {facts.company}, province {where.en}")
    if facts.dealer_of and dealers is not None:
        yield from _dealer_remarks(facts, dealers)


def _dealer_remarks(facts: Facts, dealers: Dealers) -> Iterable[Text]:
    names = dealers.names(facts.dealer_of)
    called = names[0] if names else facts.dealer_of
    yield Text(f"{facts.settledate} 为 {called} 授权企业", f"dealer of {facts.dealer_of} on {facts.settledate}")
    if dealers.plausible(facts.vin, facts.dealer_of) is False:
        yield Text(
            "该车不是此主机厂的产品；授权企业也维修其他品牌，不影响路由",
            "the vehicle is of another make; dealers repair other makes too, and the route does not depend on it",
        )


def _conclusion(section: Section) -> Routing | None:
    """What the table decides, if it does."""
    return next((line.decided for line in section.lines if line.decided is not None), None)


def _section_json(section: Section) -> dict[str, Any]:
    conclusion = _conclusion(section)
    return {
        "table": section.table,
        "system": section.system,
        "note": section.note._asdict() if section.note else None,
        "outcome": conclusion.outcome if conclusion else "not-applicable",
        "routes": [route._asdict() for route in conclusion.routes] if conclusion else [],
        "reason": (conclusion.filtered or conclusion.waiting) if conclusion else "",
        "lines": [_line_json(line) for line in section.lines],
    }


def _line_json(line: Explained) -> Mapping[str, Any]:
    found = line._asdict()
    del found["decided"]
    return found | {"destinations": list(line.destinations)}


def _line(line: Explained) -> str:
    if line.part == "rule":
        return f"{_MARKS[line.verdict]} {line.name}: {line.zh} / {line.en}"
    return f"{'⌂' if line.part == 'home' else '⇒'} {line.zh} / {line.en}"
