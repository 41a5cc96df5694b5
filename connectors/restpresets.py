"""Presets: what is known of a kind of peer, as a TOML file that the settings of one peer go over.

`preset = "lcippro"` takes `connectors/data/http-lcippro.toml`; `preset = "path/to/mine.toml"` takes another file.
Tables are merged member by member, anything else is replaced.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SHIPPED = Path(__file__).parent / "data"


def shipped() -> list[str]:
    """Names of the presets that come with the gateway."""
    return sorted(one.stem.removeprefix("http-") for one in _SHIPPED.glob("http-*.toml"))


def with_preset(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings laid over the preset that they name.

    Raises:
        ValueError: there is no such preset, or it is no TOML.
    """
    name = given.get("preset") or ""
    if not isinstance(name, str) or not name:
        return dict(given)
    file = Path(name) if name.endswith(".toml") else _SHIPPED / f"http-{name}.toml"
    if not name.endswith(".toml") and name not in shipped():
        message = f"没有预设 {name} / presets are {', '.join(shipped())}, not {name}"
        raise ValueError(message)
    try:
        base = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"预设无法读取 / the preset cannot be read: {file}: {type(error).__name__}"
        raise ValueError(message) from None
    return laid_over(base, given)


def laid_over(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` over `base`, tables member by member."""
    made = dict(base)
    for name, value in given.items():
        before = made.get(name)
        made[name] = laid_over(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return made
