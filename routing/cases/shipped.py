"""The derivations there are, by name, made from settings as a file writes them: registers are named by their paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from routing.cases import Derivation
from routing.errors import TableError

DERIVATIONS: Mapping[str, str] = {
    "emissions": "routing.cases.shipped:emissions",
    "waste": "routing.cases.shipped:waste",
    "credit": "routing.cases.shipped:credit",
    "claims": "routing.cases.shipped:claims",
    "defects": "routing.cases.shipped:defects",
    "used-cars": "routing.cases.shipped:used_cars",
    "road-administration": "routing.cases.shipped:road_administration",
}
"""Name -> `module:maker`; a maker takes the settings under `[source.with]` and gives the derivation."""

Options = Mapping[str, Any]


class Register(NamedTuple):
    """A register at hand, in place of the path of its file."""

    path: str
    """Where it stood: its suffix tells its form."""
    text: str


R = TypeVar("R")


def derivation(name: str, options: Options) -> Derivation:
    """The derivation of a name, with its settings.

    Raises:
        KeyError: there is none of this name.
        pydantic.ValidationError: settings that it refuses.
        TableError: a register that cannot be read.
    """
    module, _, maker = DERIVATIONS[name].partition(":")
    made: Derivation = getattr(import_module(module), maker)(options)
    return made


def emissions(options: Options) -> Derivation:
    """The emission loop; `stations` is the path of the register of M stations."""
    from routing.cases.emissions import Emissions, Settings
    from routing.mstations import MStations, load_m_stations

    told = _with(options, "stations", lambda *file: MStations(load_m_stations(*file)))
    return Emissions(Settings.model_validate(told))


def waste(options: Options) -> Derivation:
    """Waste; `licences` and `producers` are the paths of registers, `rules` that of the rules."""
    from routing.cases.waste import Settings, Waste
    from routing.wastereference import WasteReference, load_licences, load_producers
    from routing.wasterules import load_waste_rules

    told = _with(options, "licences", load_licences)
    told = _with(told, "producers", load_producers)
    told = _with(told, "rules", lambda text, _, source: load_waste_rules(text, source=source))
    reference = WasteReference(told.pop("licences", ()), told.pop("producers", {}))
    rules = told.pop("rules", None)
    return Waste(Settings.model_validate(told), reference, rules)


def credit(options: Options) -> Derivation:
    """Credit entries; `operators` is the path of a register, `scoring` that of the scoring."""
    from routing.cases.credit import Credit, Settings, load_operators
    from routing.cases.scoring import load_scoring

    told = _with(options, "operators", lambda *file: tuple(load_operators(*file)))
    told = _with(told, "scoring", lambda text, _, source: load_scoring(text, source))
    return Credit(Settings.model_validate(told))


def claims(options: Options) -> Derivation:
    """What insurers get; `shops` is the path of the register of direct-settlement shops."""
    from routing.cases.claims import Claims, Settings, load_shops
    from routing.wasterules import shipped_waste_rules

    told = _with(options, "shops", lambda *file: tuple(load_shops(*file)))
    return Claims(Settings.model_validate(told), shipped_waste_rules().of_part)


def defects(options: Options) -> Derivation:
    """Leads on defects."""
    from routing.cases.defects import Defects, Settings

    return Defects(Settings.model_validate(options))


def used_cars(options: Options) -> Derivation:
    """History reports on order."""
    from routing.cases.usedcars import Settings, UsedCars

    return UsedCars(Settings.model_validate(options))


def road_administration(options: Options) -> Derivation:
    """Notices about shops."""
    from routing.cases.roadadmin import RoadAdministration, Settings

    return RoadAdministration(Settings.model_validate(options))


def _with(options: Options, name: str, read: Callable[[str, str, str], R]) -> dict[str, Any]:
    """The options with what is read of the register that one of them is, or names by its path."""
    given = options.get(name)
    if isinstance(given, str):
        given = Register(given, register_text(given))
    if not isinstance(given, Register):
        return dict(options)
    form = {".csv": "csv", ".toml": "toml"}.get(Path(given.path).suffix.lower(), "ndjson")
    return {**options, name: read(given.text, form, given.path)}


def register_text(path: str) -> str:
    """The text of a register.

    Raises:
        TableError: it cannot be read.
    """
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = f"无法读取 / cannot be read: {type(error).__name__}"
        raise TableError(path, 0, problem, "请检查路径、权限与 UTF-8 编码 / check path, rights and UTF-8") from None
