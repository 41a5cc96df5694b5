"""One message of a partner whose members have names of their own: taken out of its envelope, renamed to ours."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from mappings.paths import written
from mappings.placeholders import is_placeholder
from mappings.rules.case import Case
from mappings.trees import DEFAULT_LIMITS, Tree, TreeError, parse_text

UNKNOWN_NAMED = 50
"""Most members of one message that UNKNOWN_MEMBER names; a further note says how many more there were."""

Names = Mapping[str, tuple[str, ...]]
"""Our name of a member -> the partner's, folded, the usual one first."""


class Body(NamedTuple):
    """The object that holds the members, and the path to it as the partner wrote it (`data[0].body[0].`)."""

    members: Mapping[str, Any]
    path: str = ""


class Message:
    """A case whose members are renamed in place, so that the rules on fields can look at them under our names.

    A string that begins with a bracket is parsed once more where an object or a list belongs (rule 3, domain table 9).
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._spelled = dict(case.wire)

    def jkid_body(self) -> Body | None:
        """The body of `{jkid, jksqm, data: [{body: [{...}]}]}`; STRUCTURE_WRONG where there is not exactly one.

        The credential (jksqm) is left where it is: nobody looks at it.
        """
        data = self._sole(Body(self._case.members), "data")
        return None if data is None else self._sole(data, "body")

    def rename(self, body: Body, names: Names, ignored: Collection[str] = ()) -> None:
        """Put the members of a body into the case under our names; what is not known is left out (UNKNOWN_MEMBER).

        Args:
            body: Where the members stand.
            names: The members that are looked at.
            ignored: Members that may be there and are left out without a word.
        """
        members: dict[str, Any] = {}
        wire: dict[str, str] = {}
        for ours, theirs in names.items():
            there = [name for name in theirs if name in body.members]
            chosen = next((name for name in there if not is_placeholder(body.members[name])), (there or theirs)[0])
            wire[ours] = body.path + self._written(chosen)
            if there:
                members[ours] = body.members[chosen]
        self._case.members, self._case.wire = members, wire
        known = {name for theirs in names.values() for name in theirs} | set(ignored)
        self._strip(body.path + self._written(name) for name in body.members if name not in known)

    def rename_rows(self, field: str, names: Names) -> None:
        """Rename the members of each row of the list `field`; what is no row stays for the rules to find."""
        case = self._case
        if field not in case.members:
            return
        given = self._unfolded(case.members[field])
        known = {name: ours for ours, theirs in names.items() for name in theirs}
        place = case.wire[field]
        if isinstance(given, list):
            self._strip(
                f"{place}[{number}].{self._written(name)}"
                for number, row in enumerate(given)
                if isinstance(row, dict)
                for name in row
                if name not in known
            )
            given = [
                {known[name]: value for name, value in row.items() if name in known} if isinstance(row, dict) else row
                for row in given
            ]
        case.members = {**case.members, field: given}
        rows = {f"{field}[].{ours}": f"{place}[].{self._written(theirs[0])}" for ours, theirs in names.items()}
        case.wire = {**case.wire, **rows}

    def _written(self, name: str) -> str:
        return self._spelled.get(name, name)

    def _sole(self, holder: Body, name: str) -> Body | None:
        """The one object in the list `name`, or that stands in the list's place."""
        path = holder.path + self._written(name)
        given = self._unfolded(holder.members.get(name))
        if isinstance(given, list) and len(given) == 1:
            given = self._unfolded(given[0])
        if isinstance(given, dict):
            return Body(given, f"{path}[0].")
        expected = "恰好一个对象的数组 / a list of exactly one object"
        if isinstance(given, list):
            self._case.add("STRUCTURE_WRONG", path, f"[{len(given)}]", expected)
        else:
            self._case.wrong_kind(path, given, expected)
        return None

    def _unfolded(self, given: object) -> object:
        if not isinstance(given, str) or given.lstrip()[:1] not in ("{", "["):
            return given
        tree = Tree(None, self._spelled, [])
        try:
            parsed = parse_text(given, DEFAULT_LIMITS, tree)
        except TreeError:
            return given
        for problem in tree.problems:
            self._case.add("STRUCTURE_WRONG", written(problem.path, tree.spelled), problem.value, problem.expected)
        return parsed

    def _strip(self, paths: Iterable[str]) -> None:
        expected = "不用的成员，已剔除 / not used here, left out"
        found = list(dict.fromkeys(paths))
        for path in found[:UNKNOWN_NAMED]:
            self._case.add("UNKNOWN_MEMBER", path, path.rpartition(".")[2], expected)
        if (more := len(found) - UNKNOWN_NAMED) > 0:
            self._case.add("UNKNOWN_MEMBER", "", f"+{more}", expected)
