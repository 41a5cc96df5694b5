"""Reference data that the run is given: operators, vehicle registrations, dealer register, the ministry's OEM list."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

from mappings.uscc import ALPHABET, check_char, org_check_char
from pipelines.sample.chance import Random, between, stream
from pipelines.sample.fleet import Vehicle
from pipelines.sample.places import PROVINCES
from pipelines.sample.shops import OEMS, Shop
from pipelines.sample.wire import encode_json
from pipelines.sample.words import SURNAMES

REGISTRATION = "vingate.registration/1"
_ECONOMIC = ("150", "170", "171", "173", "175", "110", "210")
_ORG = ALPHABET.replace("U", "")


def uscc(rng: Random, shop: Shop) -> str:
    """An invented USCC whose two check characters hold (GB 32100, GB 11714)."""
    organisation = "MA" + "".join(_ORG[between(rng, 0, len(_ORG) - 1)] for _ in range(6))
    while (last := org_check_char(organisation)) not in ALPHABET:
        organisation = organisation[:7] + _ORG[between(rng, 0, len(_ORG) - 1)]
    code = ("92" if between(rng, 0, 9) == 0 else "91") + shop.place.division + organisation + last
    return code + check_char(code)


def operators(seed: int, shops: list[Shop]) -> bytes:
    """The register of shops: members of `mappings.records.Operator`, one a line; names and phones are invented."""
    rng = stream(seed, "operators")
    return _lines(_operator(rng, shop, number) for number, shop in enumerate(shops))


def _operator(rng: Random, shop: Shop, number: int) -> dict[str, Any]:
    person = SURNAMES[between(rng, 0, len(SURNAMES) - 1)] + "某"
    category = "01" if shop.oem else ("02", "03")[between(rng, 0, 1)]
    started = date(2012 + number % 12, 1 + number % 12, 1)
    licensed = number % 3 != 0
    return {
        "companycode": shop.code,
        "companyname": shop.name,
        "companyroadtransportationlicense": f"{shop.place.division}{number:06d}" if licensed else None,
        "companyunifiedsocialcreditidentifier": uscc(rng, shop),
        "companyaddress": f"{shop.place.city}某某路{1 + number}号",
        "companypostalcode": f"{shop.place.division[:4]}00",
        "companyeconomiccategory": _ECONOMIC[between(rng, 0, len(_ECONOMIC) - 1)],
        "companycategory": category,
        "companylinkmanname": person,
        "companylinkmantel": f"1380000{number:04d}",
        "companysuperintendentname": person,
        "companysuperintendenttel": f"1380000{number:04d}",
        "companybusinessscope": "机动车维修",
        "roadtransportationlicensestartdate": started.isoformat() if licensed else None,
        "roadtransportationlicenseenddate": None,
        "companyoperationstate": "1",
        "companyadministrativedivisioncode": shop.place.division,
        "companyemail": f"shop{number}@example.com",
    }


def registrations(vehicles: Iterable[Vehicle], first_day: date) -> bytes:
    """The registrations that are known before the run, one a line, by VIN."""
    return _lines(
        _registration(vehicle.vin, vehicle.plate, home, first_day, begin, end)
        for vehicle in sorted(vehicles, key=lambda vehicle: vehicle.vin)
        for home, begin, end in vehicle.registrations
    )


def later_registrations(
    seed: int, vehicles: list[Vehicle], unknown: dict[str, str], first_day: date, days: int
) -> tuple[bytes, dict[str, int]]:
    """Registrations that arrive after the run: they place unknown homes and move vehicles that were repaired.

    Args:
        seed: of the sample.
        vehicles: all vehicles.
        unknown: VIN -> province of vehicles whose plate could not be read.
        first_day: of the sample.
        days: of the sample.

    Returns:
        The lines, and how many of them do what.
    """
    rng = stream(seed, "later")
    placed = [
        _registration(vin, None, province, first_day, -between(rng, 100, 2_000), None)
        for vin, province in sorted(unknown.items())
        if rng.random() < 0.8
    ]
    moved = []
    quiet = [vehicle for vehicle in vehicles if not vehicle.registrations and not vehicle.homeless]
    for vehicle in quiet[:: max(1, len(quiet) // 200)]:
        others = [province.key for province in PROVINCES if province.key not in (vehicle.province, "bt")]
        home = others[between(rng, 0, len(others) - 1)]
        moved.append(_registration(vehicle.vin, vehicle.plate, home, first_day, days, None))
    return _lines([*placed, *moved]), {"placed": len(placed), "moved": len(moved)}


def _registration(
    vin: str, plate: str | None, home: str, first_day: date, begin: int, end: int | None
) -> dict[str, Any]:
    return {
        "schema": REGISTRATION,
        "vin": vin,
        "plate": plate,
        "home": home,
        "valid_from": (first_day + timedelta(days=begin)).isoformat(),
        "valid_to": None if end is None else (first_day + timedelta(days=end)).isoformat(),
    }


def oems() -> bytes:
    """The ministry's list of OEMs whose headquarters upload."""
    blocks = [
        f"[[oem]]\noem = {_text(oem)}\nnames = {_list(names)}\nwmis = {_list(wmis)}\nfrom = 2024-01-01\n"
        for oem, (names, wmis) in OEMS.items()
    ]
    return ("# 已接入总部对总部的生产企业 / makers whose headquarters upload\n\n" + "\n".join(blocks)).encode()


def dealers(shops: list[Shop], first_day: date) -> bytes:
    """The dealer register: company -> OEM, from, to."""
    blocks = []
    for shop in shops:
        if shop.oem:
            end = "" if shop.dealer_until is None else f"to = {first_day + timedelta(days=shop.dealer_until)}\n"
            entry = f"[[dealer]]\ncompanycode = {_text(shop.code)}\noem = {_text(shop.oem)}\nfrom = 2024-01-01\n"
            blocks.append(entry + end)
    return ("# 授权经销商 / authorised dealers\n\n" + "\n".join(blocks)).encode()


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _list(values: tuple[str, ...]) -> str:
    return "[" + ", ".join(map(_text, values)) + "]"


def _lines(rows: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(encode_json(row).encode() + b"\n" for row in rows)
