"""Opening a tree along a mapping's containers: double-encoded members, wrong kinds, unknown members, rows.

Rule 3 of domain table 9: a member that should be an object or a list and is a string that begins with a bracket is
parsed once more. What is wrong becomes notes; the tree is made to fit, so that extraction can run over it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mappings.findings import INFO, REJECT, Finding
from mappings.paths import Path, field_of, written
from mappings.placeholders import is_placeholder
from mappings.trees import STRUCTURE_WRONG, Json, Limits, Tree, TreeError, parse_text

UNKNOWN_NOTES = 50
"""Most members of one payload that UNKNOWN_MEMBER names; a further note says how many more there were."""

Place = tuple[str | int, ...]
Kind = type[dict[str, Json]] | type[list[Json]]
Row = tuple[Place, dict[str, Json]]


class Opener:
    """Walks one tree; `notes()` gives what it found.

    `known` maps the path of a container to the names that may stand in it; `canonical` the path of a member to our
    name for it, so that a note names the field that judging knows.
    """

    def __init__(
        self,
        tree: Tree,
        limits: Limits,
        known: Mapping[Path, frozenset[str]],
        canonical: Mapping[Path, str],
        base: Place = (),
    ) -> None:
        self._tree, self._limits, self._known, self._canonical, self._base = tree, limits, known, canonical, base
        self._notes: list[Finding] = []
        self._unknown: dict[str, str] = {}

    def note(self, place: Place, value: str, expected: str, field: str = "") -> None:
        """Remember a STRUCTURE_WRONG at a place of the payload, by our name for it where there is one.

        `field` is that name where the caller knows it better: our rows have numbers of their own.
        """
        wire = written((*self._base, *place), self._tree.spelled)
        field = field or field_of(self._canonical, place) or wire
        self._notes.append(Finding(STRUCTURE_WRONG, REJECT, field, value, expected, wire if wire != field else ""))

    def notes(self) -> list[Finding]:
        """Every note: structure first, then unknown members by name, never with their values."""
        expected = "标准以外的成员，已剔除 / not in the standard, left out"
        names = list(self._unknown.items())
        found = [Finding("UNKNOWN_MEMBER", INFO, wire, name, expected) for wire, name in names[:UNKNOWN_NOTES]]
        if (more := len(names) - UNKNOWN_NOTES) > 0:
            found.append(Finding("UNKNOWN_MEMBER", INFO, written(self._base, self._tree.spelled), f"+{more}", expected))
        return [*dict.fromkeys(self._notes), *found]

    def child(self, parent: dict[str, Json], name: str, place: Place, kind: Kind) -> Json:
        """The container `name` of `parent`, parsed once more if it is a text; None if there is none that fits."""
        if name not in parent:
            return None
        value = self._parsed(parent[name], (*place, name))
        if isinstance(value, kind):
            parent[name] = value
            return value
        del parent[name]
        if not is_placeholder(value):
            self._wrong(value, (*place, name), kind)
        return None

    def rows(self, parent: dict[str, Json], path: Path, place: Place = (), pattern: Path = ()) -> Iterator[Row]:
        """The objects of the list at `path`, each with its place; lists on the way are walked through."""
        for index, name in enumerate(path):
            here = (*pattern, name)
            if index == len(path) - 1 or path[index + 1] == "[]":
                found = self.child(parent, name, place, list)
                for number, row in self._objects(found or [], (*place, name)):
                    spot = (*place, name, number)
                    self.look(row, (*here, "[]"), spot)
                    if index == len(path) - 1:
                        yield spot, row
                    else:
                        yield from self.rows(row, path[index + 2 :], spot, (*here, "[]"))
                return
            inner = self.child(parent, name, place, dict)
            if inner is None:
                return
            self.look(inner, here, (*place, name))
            parent, place, pattern = inner, (*place, name), here

    def look(self, node: dict[str, Json], pattern: Path, place: Place) -> None:
        """Note the members of one object that the mapping does not know, once for all rows of a list."""
        known = self._known.get(pattern)
        if known is None or node.keys() <= known:
            return
        general = tuple("[]" if isinstance(step, int) else step for step in (*self._base, *place))
        for name in node:
            if name not in known and not name.startswith("\0"):
                shown = self._tree.spelled.get(name, name)[:64]
                self._unknown.setdefault(written((*general, name), self._tree.spelled), shown)

    def _objects(self, rows: list[Json], place: Place) -> Iterator[tuple[int, dict[str, Json]]]:
        if len(rows) > self._limits.rows:
            expected = f"不超过 {self._limits.rows} 行 / at most {self._limits.rows} rows"
            self.note(place, f"{len(rows)} rows", expected)
            return
        for number, row in enumerate(rows):
            value = self._parsed(row, (*place, number))
            if isinstance(value, dict):
                rows[number] = value
                yield number, value
            else:
                self._wrong(value, (*place, number), dict)

    def _parsed(self, value: Json, place: Place) -> Json:
        if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
            return value
        try:
            return parse_text(value, self._limits, self._tree, (*self._base, *place))
        except TreeError as error:
            self.note(place, error.value, error.expected)
            return None

    def _wrong(self, value: Json, place: Place, kind: type[object]) -> None:
        expected = "对象 / an object" if kind is dict else "数组 / a list"
        self.note(place, kind_of(value), expected)


def kind_of(value: Json) -> str:
    """What sort of JSON value this is, for messages that must not show it."""
    names = {dict: "object", list: "list", str: "text", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
