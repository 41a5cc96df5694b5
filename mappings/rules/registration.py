"""Rules on registrations of repair shops, on token requests and on registrations of vehicles (domain 1.3, 5.2, 7.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mappings import divisions, uscc
from mappings.records import Operator, VehicleRegistration
from mappings.rules import fields
from mappings.rules.case import Case, without_secrets
from mappings.rules.repair import Display

_CODED: Mapping[str, str] = {
    "companyeconomiccategory": "economic-categories",
    "companycategory": "company-categories",
    "companyoperationstate": "operating-states",
}
_DAYS = frozenset({"roadtransportationlicensestartdate", "roadtransportationlicenseenddate"})
_OPTIONAL = frozenset({"companycode", "companyroadtransportationlicense"})


def registration(case: Case) -> tuple[Operator | None, Display]:
    """Judge the registration of a repair shop (lcipproaccountcompany).

    Returns:
        The operator, without its password, or None where a mandatory member could not be read; members for display.
    """
    values: dict[str, Any] = {}
    for name in Operator.model_fields:
        values[name] = _member(case, name)
        if name == "companyname":
            _credential(case, "companypassword")
    needed = (name for name, info in Operator.model_fields.items() if info.is_required())
    operator = None if any(values[name] is None for name in needed) else Operator(**values)
    return operator, Display(values)


def token(case: Case) -> dict[str, Any]:
    """Judge a request for a token: company code and password must be there. Only the company code is displayed."""
    code = fields.required_text(case, "companycode")
    _credential(case, "companypassword")
    return without_secrets({"companycode": code}, ("companycode",))


def vehicle(case: Case) -> tuple[VehicleRegistration | None, Display]:
    """Judge the registration of a vehicle (车籍): VIN, home and first day are mandatory, the plate is not."""
    values: dict[str, Any] = {
        "vin": fields.vehicle_number(case),
        "plate": None if fields.optional_text(case, "plate") is None else fields.plate(case),
        "home": _home(case),
        "valid_from": fields.required_day(case, "valid_from"),
        "valid_to": fields.optional_day(case, "valid_to"),
    }
    first, last = values["valid_from"], values["valid_to"]
    if first is not None and last is not None and first > last:
        case.add("DATE_ORDER", "valid_from", first, f"<= {last.isoformat()}")
    whole = all(values[name] is not None for name in ("vin", "home", "valid_from"))
    return VehicleRegistration(**values) if whole else None, Display(values)


def _credential(case: Case, field: str) -> None:
    """A password must be there. Unwrapping may keep only the fact that it was sent (True, False)."""
    value = case.members.get(field)
    if value is False:
        case.add("MANDATORY_MISSING", field, None, "必填 / mandatory")
    elif value is not True:
        fields.required_text(case, field)


def _member(case: Case, name: str) -> object:
    """One member of a registration by its own rule."""
    if name in _DAYS:
        return fields.optional_day(case, name)
    if name in _OPTIONAL:
        return fields.optional_text(case, name)
    if name in _CODED:
        value = fields.required(case, name)
        return None if value is None else fields.coded(case, name, _CODED[name], value)
    text = fields.required_text(case, name)
    if text is None:
        return None
    if name == "companyunifiedsocialcreditidentifier":
        return social_credit(case, name, text)
    if name == "companypostalcode" and not (len(text) == 6 and text.isascii() and text.isdigit()):
        # No code of table 9.1 names a malformed postcode; a number that is none of the post's is outside its table.
        case.add("CODE_NOT_IN_TABLE", name, text, "6 位数字 / 6 digits")
    if name == "companyadministrativedivisioncode":
        division(case, name, text)
    return text


def social_credit(case: Case, name: str, text: str) -> str:
    """A credit code, normalised: GB 32100 with rule 26."""
    code = uscc.normalise(text)
    for problem, expected in uscc.problems(code):
        case.add(problem, name, code, expected)
    return code


def division(case: Case, name: str, text: str) -> None:
    """GB/T 2260: six digits under a known province. Deeper levels are not looked up: our table is not complete."""
    if len(text) != 6 or divisions.of_division(text) is None:
        case.add("CODE_NOT_IN_TABLE", name, text, "GB/T 2260, 6 位数字 / 6 digits")


def _home(case: Case) -> str | None:
    """A province key, or where a vehicle may be at home and no system takes part (台湾, 香港, 澳门)."""
    text = fields.required_text(case, "home")
    if text is not None and text not in divisions.PROVINCES and text not in divisions.OUTSIDE:
        case.add("CODE_NOT_IN_TABLE", "home", text, f"GB/T 2260 (2), {divisions.BINGTUAN}")
    return text
