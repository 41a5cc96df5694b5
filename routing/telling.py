"""A record as it may be told: what an agreement's terms leave of its canonical JSON.

What becomes of a member depends on its path alone, so each path is looked up once, and a record is walked along a tree
of such places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from mappings.shapes import HIDDEN
from routing.treatments import MASK, PASS, free_text, mask_free, treat

ALWAYS = frozenset({"schema", "kind", "version"})
"""Members that say what a message is."""
WITHDRAWN, WITHDRAWN_TEXT = "withdrawn", "撤回 / withdrawn"

_SHORT = 4
"""Shorter values are not looked for in free text: they would be found everywhere."""
_MOST = 1_000
"""Members of one object that are remembered; their names are ours, a bound all the same."""
_LEAVES = frozenset((str, int))
"""What most values are: told first."""


class Place:
    """What becomes of the values at one path."""

    __slots__ = (
        "_path",
        "_shapes",
        "_treatment_of",
        "always",
        "free",
        "hidden",
        "known",
        "passes",
        "replaced",
        "treat",
    )

    def __init__(self, treatment_of: Callable[[str], str], path: str = "") -> None:
        """`treatment_of`: path -> treatment."""
        treatment, name = treatment_of(path), path.rpartition(".")[2]
        self._treatment_of, self._path = treatment_of, path
        self.known: dict[str, Place] = {}
        """Places of members that were asked for, by name."""
        self._shapes: dict[tuple[str, ...], bool] = {}
        self.treat = treat(treatment, name)
        self.always = path in ALWAYS
        self.passes = treatment == PASS
        self.free = treatment == MASK and free_text(name)
        """Whether its texts are free ones, in which what is hidden elsewhere in the record may stand."""
        self.hidden = not (self.passes or self.free or self.always)
        """Whether its texts are to be hidden wherever they stand."""
        self.replaced = path == WITHDRAWN and not self.passes

    def below(self, name: str) -> Place:
        """The place of a member of objects at this path. Lists have none of their own."""
        found = self.known.get(name)
        if found is None:
            found = Place(self._treatment_of, f"{self._path}.{name}" if self._path else name)
            if len(self.known) < _MOST:
                self.known[name] = found
        return found

    def whole(self, names: tuple[str, ...]) -> bool:
        """Whether an object with members of these names leaves as it is, where all of them are leaves."""
        found = self._shapes.get(names)
        if found is None:
            found = all(inner.always or inner.passes for inner in map(self.below, names))
            if len(self._shapes) < _MOST:
                self._shapes[names] = found
        return found


class Telling:
    """One record on its way out."""

    def __init__(self, root: Place, members: Mapping[str, Any], *, amounts: bool) -> None:
        """`amounts`: whether amounts of money may stand in its free texts."""
        self._root, self._members, self._amounts = root, members, amounts

    def told(self) -> dict[str, Any]:
        """What may be told of it. Never raises for what stands in it."""
        return self._object(self._members, self._root)

    def _object(self, members: Mapping[str, Any], place: Place) -> dict[str, Any]:
        if place.whole(tuple(members)) and _LEAVES.issuperset(map(type, members.values())):
            return dict(members)
        left: dict[str, Any] = {}
        known = place.known
        for name, value in members.items():
            inner = known.get(name) or place.below(name)
            if inner.always or (inner.passes and type(value) in _LEAVES):  # nearly all
                left[name] = value
            elif inner.replaced:
                left[name] = WITHDRAWN_TEXT
            elif (treated := self._value(value, inner)) is not None:
                left[name] = treated
        return left

    def _value(self, value: Any, place: Place) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(value, Mapping):
            return self._object(value, place) or None
        if isinstance(value, list | tuple):
            treated = [one for one in (self._value(inner, place) for inner in value) if one is not None]
            return treated or ([] if not value and place.passes else None)
        if value is None:
            return None
        if place.free and isinstance(value, str):
            for one in self._hidden:  # a shop's name, a list code: withheld elsewhere in the same record
                value = value.replace(one, HIDDEN)
            return mask_free(value, amounts=self._amounts)
        return place.treat(value)

    @cached_property
    def _hidden(self) -> list[str]:
        """The texts of the record that do not leave as they are, longest first; free text is none of them."""
        found: set[str] = set()
        _gather(self._members, self._root, found)
        return sorted(found, key=len, reverse=True)


def _gather(value: Any, place: Place, found: set[str]) -> None:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        if place.hidden and len(value) >= _SHORT:
            found.add(value)
    elif isinstance(value, Mapping):
        known = place.known
        for name, inner in value.items():
            below = known.get(name) or place.below(name)
            if below.hidden or type(inner) not in _LEAVES:
                _gather(inner, below, found)
    elif isinstance(value, list | tuple):
        for inner in value:
            _gather(inner, place, found)
