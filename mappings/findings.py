"""Findings: remarks about one field each, with stable codes (domain table 9.1), and the profiles that weigh them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NamedTuple

REJECT, FLAG, INFO = "reject", "flag", "info"


class Finding(NamedTuple):
    """One remark about one field.

    `field` is the canonical path (`vin`, `parts[0].quantity`), `wire` the path as the partner wrote it where that
    differs. `value` is what was seen (shortened, never a credential), `expected` what would have been right.
    """

    code: str
    severity: str
    field: str
    value: str
    expected: str
    wire: str = ""


class CodeText(NamedTuple):
    """What a finding code says to people, and the clause that it rests on."""

    zh: str
    en: str
    clause: str


@dataclass(frozen=True)
class Profile:
    """How strictly payloads are judged: severities, lengths and limits, all data."""

    name: str
    severities: Mapping[str, str]
    """Finding code -> `reject`, `flag` or `info`; every code of the catalogue is present."""
    lengths: Mapping[str, int]
    """Canonical field -> most characters allowed (`parts.name`, `faultdescription`, ...)."""
    limits: Mapping[str, int]
    """Numbers that rules use: hours_per_project, hours_per_record, mileage_outlier, days_ahead, late_days, ..."""
    maps_codes: bool
    """Whether texts and short forms of code tables are mapped (CODE_MAPPED) instead of refused."""


@cache
def catalogue() -> Mapping[str, CodeText]:
    """Every finding code with its texts: the content of `data/findings.toml`."""
    raw = tomllib.loads(files("mappings").joinpath("data/findings.toml").read_text("utf-8"))
    return {code: CodeText(**entry) for code, entry in raw.items()}


@cache
def profile(name: str) -> Profile:
    """The shipped profile `strict` or `lenient`, or one read from the TOML file that `name` is the path of.

    Raises:
        UnknownProfile: no such profile; the message names those shipped.
    """
    from mappings.profiles import load  # imported late: the catalogue is needed without the profiles

    return load(name)
