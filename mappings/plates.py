"""Plates: the forms of GA 36 as domain table 7.2 lists them, their normalisation, and the province that they name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from mappings.divisions import BY_CHARACTER
from mappings.folding import compact
from mappings.tables import table

NORMAL, NEV_SMALL, NEV_LARGE = "normal", "nev-small", "nev-large"
POLICE, TRAINER, TRIAL, TRAILER = "police", "trainer", "trial", "trailer"
EMBASSY, CONSULATE, HK_MACAU, RESCUE = "embassy", "consulate", "hk-macau", "rescue"
MILITARY, ARMED_POLICE, TEMPORARY = "military", "armed-police", "temporary"

WITHOUT_PROVINCE = frozenset({EMBASSY, MILITARY, ARMED_POLICE, TEMPORARY})
"""Kinds that name no home province, whatever characters they hold."""

_DROPPED = str.maketrans("", "", ".·-‐‑‒–—―−•・")
_PROVINCE = f"(?P<province>[{''.join(BY_CHARACTER)}])"
_LETTER = "(?P<letter>[A-Z])"
_HEAD = _PROVINCE + _LETTER
_SERIAL = "[0-9A-HJ-NP-Z]"
_ENERGY = "[A-HJK]"
_FORMS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(form, re.ASCII))
    for kind, form in (
        (NORMAL, rf"{_HEAD}(?!(?:[0-9]*[A-Z]){{3}}){_SERIAL}{{5}}"),
        (NEV_SMALL, rf"{_HEAD}{_ENERGY}{_SERIAL}\d{{4}}"),
        (NEV_LARGE, rf"{_HEAD}\d{{5}}{_ENERGY}"),
        (POLICE, rf"{_HEAD}[0-9A-D]\d{{3}}警"),
        (TRAINER, rf"{_HEAD}{_SERIAL}{{4}}学"),
        (TRIAL, rf"{_HEAD}{_SERIAL}{{4}}试"),
        (TRAILER, rf"{_HEAD}{_SERIAL}{{4}}挂"),
        (CONSULATE, rf"{_HEAD}{_SERIAL}{{4}}领"),
        (CONSULATE, rf"{_PROVINCE}\d{{5}}领"),
        (HK_MACAU, rf"(?P<province>粤)(?P<letter>Z){_SERIAL}{{4}}[港澳]"),
        (RESCUE, rf"{_HEAD}{_SERIAL}{{4}}应急"),
        (EMBASSY, r"\d{6}使|使\d{6}"),
        (ARMED_POLICE, rf"WJ[{''.join(BY_CHARACTER)}]?\d{{4}}{_SERIAL}"),
        (MILITARY, r"[VKHBSLJNGCE][A-Z]\d{5}"),
        (
            TEMPORARY,
            rf"临{_PROVINCE}?{_LETTER}?{_SERIAL}{{4,6}}|{_PROVINCE.replace('province', 'p2')}"
            rf"[A-Z](?:临{_SERIAL}{{4,6}}|{_SERIAL}{{4,6}}临)",
        ),
    )
)
_SPECIAL_MARKS = ("使", "临", "应急")


class Plate(NamedTuple):
    """A plate that fits a form.

    `province` is the province key (`44`; `""` for kinds that name none), `letter` the issuing authority's letter
    (`""` where the form has none), `letter_known` whether that province's list holds it (true without a letter).
    """

    text: str
    kind: str
    province: str
    letter: str
    letter_known: bool


def normalise(text: str) -> str:
    """Half-width, upper case, without blanks, points, middle dots and dashes: `沪A-１２３４５` -> `沪A12345`."""
    return compact(compact(text).translate(_DROPPED))


def parse(plate: str) -> Plate | None:
    """The form that a normalised plate fits, or None where it fits none (PLATE_SYNTAX).

    An issuing letter that the list does not know still parses, with `letter_known` False: lists grow.
    """
    for kind, form in _FORMS:
        found = form.fullmatch(plate)
        if found:
            return _plate(plate, kind, found)
    return None


def province_key(plate: str) -> str:
    """The province key of the first character, even where the rest fits no form; `""` where it names no province."""
    return BY_CHARACTER.get(plate[:1], "")


def special(plate: str) -> bool:
    """Whether the plate is of a special kind that names no home province (使, military, WJ, 临, 应急).

    A broken plate that bears such a mark counts too; a rescue plate with a province character does not.
    """
    found = parse(plate)
    if found:
        return not found.province
    return plate.startswith("WJ") or (not province_key(plate) and any(mark in plate for mark in _SPECIAL_MARKS))


@cache
def known_prefixes() -> frozenset[str]:
    """Every province character with each of its known issuing letters: `粤B`, `沪A`, ..."""
    return frozenset(character + letter for character, letters in _letters().items() for letter in letters)


def _plate(text: str, kind: str, found: re.Match[str]) -> Plate:
    if kind in WITHOUT_PROVINCE:
        return Plate(text, kind, "", "", letter_known=True)
    groups = found.groupdict()
    character, letter = groups["province"], groups.get("letter", "")
    known = not letter or kind == RESCUE or letter in _letters()[character]
    return Plate(text, kind, BY_CHARACTER[character], letter, known)


@cache
def _letters() -> Mapping[str, frozenset[str]]:
    return {character: frozenset(letters) for character, letters in table("plate-letters").entries.items()}
