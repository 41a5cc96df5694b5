"""Registers that a derivation's settings name by their paths, kept as they stood when it last looked.

What followed by an old register can only be told with that register at hand, and a file that somebody replaced is gone.
So its text is kept among the marks of the exchange, under its digest, in the very commit that moves the mark which
names that digest; what no mark names any more is emptied in the commit that lets go of it.
"""

from __future__ import annotations

import zlib
from base64 import b85decode, b85encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from routing.cases.shipped import Register, register_text

_PLACE = "register:"
_MANY = 20
"""Lines of a register from which on it is looked at whether most of them are gone."""


class Registers:
    """The files that settings name now."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """`options`: settings of a derivation; those that are the path of a file name a register."""
        named = {name: Path(value) for name, value in options.items() if isinstance(value, str)}
        self._texts = {name: register_text(str(path)) for name, path in named.items() if path.is_file()}
        self.digests = {name: sha256(text.encode()).hexdigest() for name, text in self._texts.items()}
        """Option -> digest of the file that it names."""

    def given(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Settings as a derivation is made of them: with the registers as they were read here."""
        return {
            name: Register(value, self._texts[name]) if name in self._texts else value
            for name, value in options.items()
        }

    def keeping(self, done: Mapping[str, str]) -> dict[str, str]:
        """Marks to be written with one that names these digests.

        Args:
            done: the marks of the exchange, by their places.
        """
        wanted = {f"{_PLACE}{digest}": self._texts[name] for name, digest in self.digests.items()}
        new = {place: _packed(text) for place, text in wanted.items() if not done.get(place)}
        return new | {place: "" for place in done if place.startswith(_PLACE) and done[place] and place not in wanted}

    def lost(self, digests: Mapping[str, str], done: Mapping[str, str]) -> list[str]:
        """Why what rests on registers of an earlier moment would be withdrawn by mistake; empty where it would not.

        Args:
            digests: those of the registers then, by option.
            done: the marks of the exchange, by their places.
        """
        found = []
        for name, digest in digests.items():
            kept = done.get(f"{_PLACE}{digest}")
            lines = _text(kept).count("\n") if kept else 0
            if name not in self.digests:
                found.append(f"设置中不再有名册 {name} / the settings name no register {name} any more")
            elif lines >= _MANY and 2 * (left := self._texts[name].count("\n")) < lines:
                found.append(f"名册 {name} 由 {lines} 行减为 {left} 行 / register {name} had {lines} lines, now {left}")
        return found

    def before(
        self, options: Mapping[str, Any], told: Mapping[str, Any], digests: Mapping[str, str], done: Mapping[str, str]
    ) -> dict[str, Any] | None:
        """The settings of an earlier moment, so that `restored` gives their registers as they were.

        Args:
            options: the settings now.
            told: the settings then.
            digests: those of the registers then, by option.
            done: the marks of the exchange, by their places.

        Returns:
            None where a register that was replaced is not kept.
        """
        found = dict(told)
        for name, digest in digests.items():
            if self.digests.get(name) == digest:
                found[name] = options[name]
            elif kept := done.get(f"{_PLACE}{digest}"):
                found[name] = {"path": told[name], "kept": kept}
            else:
                return None
        return found


def restored(options: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a derivation is made of them: with the registers that `Registers.before` found kept."""
    return {
        name: Register(value["path"], _text(value["kept"])) if isinstance(value, Mapping) and "kept" in value else value
        for name, value in options.items()
    }


def _packed(text: str) -> str:
    return b85encode(zlib.compress(text.encode())).decode()


def _text(packed: str) -> str:
    return zlib.decompress(b85decode(packed)).decode("utf-8")
