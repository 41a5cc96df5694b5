"""The derivations there are, by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from routing.cases import Derivation

DERIVATIONS: Mapping[str, str] = {}
"""Name -> `module:maker`; a maker takes the settings under `[source.with]` and gives the derivation."""


def derivation(name: str, options: Mapping[str, Any]) -> Derivation:
    """The derivation of a name, with its settings.

    Raises:
        KeyError: there is none of this name.
        pydantic.ValidationError: settings that it refuses.
    """
    module, _, maker = DERIVATIONS[name].partition(":")
    made: Derivation = getattr(import_module(module), maker)(options)
    return made
