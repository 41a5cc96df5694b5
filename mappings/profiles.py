"""Profiles: how severely each finding weighs, how long texts may be, where rules draw their lines; all of it data."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mappings.findings import FLAG, INFO, REJECT, Profile, catalogue

SHIPPED = ("strict", "lenient")
"""Names of the profiles that come with the package."""

ALWAYS_REJECT = frozenset(
    {
        "NOT_JSON",
        "DIALECT_UNKNOWN",
        "STRUCTURE_WRONG",
        "MANDATORY_MISSING",
        "VIN_MISSING",
        "DATE_FORMAT",
        "MILEAGE_NOT_NUMERIC",
        "SCORE_OUT_OF_RANGE",
        "CORRECTION_UNUSABLE",
        "XML_UNREADABLE",
        "AMOUNT_NOT_NUMERIC",
    }
)
"""Codes that no profile can soften: without the member that they speak of there is no record."""

_SECTIONS = ("severities", "lengths", "limits")
_MAX_EXTENDS = 8


class ProfileError(Exception):
    """Base of what loading a profile raises; `remedy` says what to do about it."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message} - {remedy}")
        self.message, self.remedy = message, remedy

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.remedy)


class UnknownProfile(ProfileError):
    """There is no profile of this name, and no such file."""


class InvalidProfile(ProfileError):
    """The profile's file can be found but does not hold a whole, valid profile."""


def load(name: str) -> Profile:
    """The profile called `name`: a shipped one, or a TOML file.

    A file holds what the shipped `strict.toml` holds: `maps_codes`, and the tables `severities`, `lengths` and
    `limits`. With `extends = "strict"` (a shipped name, or a path relative to the file) it holds only what differs.

    Args:
        name: `strict`, `lenient`, or the path of a TOML file.

    Raises:
        UnknownProfile: no shipped profile and no readable file of this name.
        InvalidProfile: not TOML, an unknown table, code, length, limit or severity, or something left out.
    """
    merged = _merged(name, None, 0)
    base = _merged("strict", None, 0)
    _validate(name, merged, base)
    return Profile(
        name=name if name in SHIPPED else Path(name).stem,
        severities=MappingProxyType(merged["severities"]),
        lengths=MappingProxyType(merged["lengths"]),
        limits=MappingProxyType(merged["limits"]),
        maps_codes=merged["maps_codes"],
    )


def files_of(name: str) -> list[Path]:
    """The files that a profile is read from: its own and those that it extends; none for a shipped one.

    Raises:
        UnknownProfile, InvalidProfile: as `load`, which reads them.
    """
    found: list[Path] = []
    beside: Path | None = None
    while name and name not in SHIPPED:
        if len(found) > _MAX_EXTENDS:
            raise _circle(name)
        text, folder = _text(name, beside)
        found.append((beside / name) if beside else Path(name))
        name, beside = str(_parsed(name, text).get("extends", "")), folder
    return found


def _text(name: str, beside: Path | None) -> tuple[str, Path | None]:
    """The TOML text of a profile, and the folder that its own `extends` is relative to."""
    if name in SHIPPED:
        return files("mappings").joinpath(f"data/profiles/{name}.toml").read_text("utf-8"), None
    path = (beside / name) if beside else Path(name)
    try:
        return path.read_text("utf-8"), path.parent
    except UnicodeDecodeError:
        raise _invalid(name, "不是 UTF-8 文本 / not UTF-8 text") from None
    except (OSError, ValueError) as error:
        message = f"没有名为 {name!r} 的校验规则 / there is no profile {name!r} ({type(error).__name__})"
        names = ", ".join(SHIPPED)
        remedy = f"请使用 {names} 或 TOML 文件的路径 / use one of {names}, or the path of a TOML file"
        raise UnknownProfile(message, remedy) from None


def _merged(name: str, beside: Path | None, depth: int) -> dict[str, Any]:
    """The tables of a profile, laid over those of the profile that it extends."""
    if depth > _MAX_EXTENDS:
        raise _circle(name)
    text, folder = _text(name, beside)
    own = _parsed(name, text)
    parent = own.pop("extends", None)
    if parent is not None and not isinstance(parent, str):
        raise _invalid(name, "extends 必须是名称或路径 / extends must be a name or a path")
    below: dict[str, Any] = _merged(parent, folder, depth + 1) if parent is not None else {}
    for key, value in own.items():
        if key in _SECTIONS:
            if not isinstance(value, dict):
                raise _invalid(name, f"{key} 必须是表 / {key} must be a table")
            below[key] = {**below.get(key, {}), **value}
        else:
            below[key] = value
    return below


def _parsed(name: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _invalid(name, f"不是有效的 TOML / not TOML: {error}") from None


def _circle(name: str) -> InvalidProfile:
    return _invalid(name, "extends 层次过多或循环 / extends runs in a circle or too deep")


def _validate(name: str, given: Mapping[str, Any], base: Mapping[str, Any]) -> None:
    """Hold a merged profile against the catalogue and the tables of the shipped strict profile."""
    if stray := sorted(given.keys() - {*_SECTIONS, "maps_codes"}):
        raise _invalid(name, f"未知的设置 / unknown settings: {', '.join(stray)}")
    if not isinstance(given.get("maps_codes"), bool):
        raise _invalid(name, "maps_codes 必须是 true 或 false / maps_codes must be true or false")
    for section, wanted in (("severities", catalogue()), ("lengths", base["lengths"]), ("limits", base["limits"])):
        table = given.get(section, {})
        if stray := sorted(table.keys() - wanted.keys()):
            raise _invalid(name, f"{section} 中有未知的项 / unknown in {section}: {', '.join(stray)}")
        if lacking := sorted(wanted.keys() - table.keys()):
            raise _invalid(name, f"{section} 中缺少 / missing in {section}: {', '.join(lacking)}")
    for code, severity in given["severities"].items():
        if severity not in (REJECT, FLAG, INFO):
            raise _invalid(name, f"{code}: {REJECT}, {FLAG} 或 / or {INFO}")
        if code in ALWAYS_REJECT and severity != REJECT:
            raise _invalid(name, f"{code} 只能是 / can only be {REJECT}")
    for section in ("lengths", "limits"):
        for key, number in given[section].items():
            if type(number) is not int or number < 0:
                raise _invalid(name, f"{section}.{key} 必须是非负整数 / must be a whole number, not negative")


def _invalid(name: str, what: str) -> InvalidProfile:
    remedy = '请以 extends = "strict" 开头，只写不同之处 / begin with extends = "strict" and write only what differs'
    return InvalidProfile(f"校验规则 {name!r} 无效 / profile {name!r} is not valid: {what}", remedy)
