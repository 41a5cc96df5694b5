"""Reference data of the waste lane: who holds which licence, and which producers are active; data with dates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from mappings.documents.waste import LicenceScope, WasteLicence
from mappings.numbers import number
from mappings.waste.codes import read_category, read_code
from routing.errors import TableError
from routing.registers import read

Standing = Literal["ACTIVE", "SUSPENDED", "REVOKED", "EXPIRED"]
_AUTHORITY = "reference"


def _listed(value: object) -> object:
    return tuple(part.strip() for part in value.split("|") if part.strip()) if isinstance(value, str) else value


def _day(value: object) -> object:
    return date.fromisoformat(value) if isinstance(value, str) else value


def _category(value: object) -> object:
    found = read_category(value) if isinstance(value, str) else None
    if found is None:
        message = f"{value!r} 不是废物类别 / is no waste category"
        raise ValueError(message)
    return found


def _exact(value: object) -> object:
    return number(value) if isinstance(value, str | int | float) else value


_Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class LicenceRow(_Row):
    """One scope of a licence: several rows of one number are one licence."""

    number: _Text
    holder: _Text
    holdername: _Text | None = None
    standing: Standing = "ACTIVE"
    valid_from: Annotated[date, BeforeValidator(_day)] = Field(alias="from")
    valid_to: Annotated[date, BeforeValidator(_day)] = Field(alias="to")
    category: Annotated[str, BeforeValidator(_category)]
    codes: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """Separated by `|` in CSV; none means every code of the category."""
    kg_a_year: Annotated[Decimal, BeforeValidator(_exact), Field(ge=0)] | None = None


class ProducerRow(_Row):
    """The standing of a producer."""

    companycode: _Text
    standing: Standing


@dataclass(frozen=True)
class WasteReference:
    """What is known of licences and producers beside the documents; nothing, where none was loaded."""

    licences: tuple[WasteLicence, ...] = ()
    producers: Mapping[str, str] = field(default_factory=dict)


def load_licences(text: str, form: str = "csv", source: str = "licences") -> tuple[WasteLicence, ...]:
    """Read licences (number, holder, holdername, standing, from, to, category, codes, kg_a_year): CSV, TOML or NDJSON.

    Raises:
        TableError: with the line and the remedy; rows of one number that tell of different licences, unknown codes.
    """
    found: dict[str, list[LicenceRow]] = {}
    for row in read(LicenceRow, text, form, "licence", source):
        found.setdefault(row.number, []).append(row)
    return tuple(_licence(rows, source) for rows in found.values())


def load_producers(text: str, form: str = "csv", source: str = "producers") -> dict[str, str]:
    """Read producers (companycode, standing) from CSV, TOML (`[[producer]]`) or NDJSON.

    Raises:
        TableError: with the line and the remedy.
    """
    return {row.companycode: row.standing for row in read(ProducerRow, text, form, "producer", source)}


def _licence(rows: list[LicenceRow], source: str) -> WasteLicence:
    first = rows[0]
    if len({row.model_copy(update={"category": "", "codes": (), "kg_a_year": None}) for row in rows}) > 1:
        problem = f"许可证 {first.number} 的各行不一致 / the rows of licence {first.number} differ"
        raise TableError(source, 0, problem, "请使各行一致 / let them agree but for category, codes and kg_a_year")
    return WasteLicence(
        issuer=_AUTHORITY,
        number=first.number,
        day=first.valid_from,
        holder=first.holder,
        holdername=first.holdername,
        standing=first.standing,
        validfrom=first.valid_from,
        validto=first.valid_to,
        scopes=tuple(
            LicenceScope(category=row.category, codes=_codes(row.codes, row.number, source), quantity=row.kg_a_year)
            for row in rows
        ),
    )


def _codes(written: Iterable[str], licence: str, source: str) -> tuple[str, ...]:
    found = []
    for text in written:
        code = read_code(text)
        if code is None:
            problem = f"许可证 {licence}: {text!r} 不是废物代码 / licence {licence}: {text!r} is no waste code"
            raise TableError(source, 0, problem, "请更正 / correct it")
        found.append(code.text)
    return tuple(found)
