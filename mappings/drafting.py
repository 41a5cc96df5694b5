"""One parsed payload and one mapping -> a draft: recognise, open, gather rows, extract, note."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence

from mappings.findings import FLAG, INFO, REJECT, Finding
from mappings.judging import Draft
from mappings.layout import Layout
from mappings.numbers import number as read_number
from mappings.opening import Opener, Place, kind_of
from mappings.paths import Path, field_of, parse_path, present, reach, written
from mappings.placeholders import clean, is_placeholder
from mappings.plans import ROWS, Condition, Plan, SectionPlan, plans_of, split_provenance
from mappings.trees import STRUCTURE_WRONG, Json, Limits, Tree

_NOTE_TEXTS = {
    "SIGN_NOT_CHECKED": ("sign", "签名由接口核对 / the signature is checked at the door"),
    "ORDER_NOT_CHECKED": ("costlistcode", "工单由接口核对 / the order is checked where its earlier steps are known"),
}


def draft_of(layout: Layout, tree: Tree, limits: Limits, step: str = "") -> Draft | None:
    """The draft of a payload in this layout's dialect; None if none of its shapes recognises the payload.

    `step` forces the shape of a step (the caller knows it from the address that was called).
    """
    if not isinstance(tree.root, dict):
        return None
    envelope = _Wrapping(layout, tree, limits)
    if envelope.payload is None:
        return None
    for plan in plans_of(layout):
        if plan.shape.step == step if step else matches(plan.condition, envelope.payload):
            return _draft(plan, tree, limits, envelope)
    return None


def matches(condition: Condition, payload: dict[str, Json]) -> bool:
    """Whether a payload has what a shape is recognised by."""
    return (
        all(clean(reach(payload, path)) == value for path, value in condition.equals)
        and all(present(payload, path) for path in condition.all)
        and not any(present(payload, path) for path in condition.none)
        and (not condition.any or sum(present(payload, path) for path in condition.any) >= condition.at_least)
    )


class _Wrapping:
    """The envelope of a payload, taken off: `payload` is None where the envelope is not there."""

    def __init__(self, layout: Layout, tree: Tree, limits: Limits) -> None:
        self.path: Path = ()
        self.header_date: str | None = None
        self.notes: list[Finding] = []
        self.payload: dict[str, Json] | None = tree.root
        if layout.envelope is None:
            return
        self.path = parse_path(layout.envelope.path)
        if self.path[0] not in tree.root:
            self.payload = None
            return
        ignored = [parse_path(path) for path in layout.envelope.ignored]
        opener = Opener(tree, limits, _names([self.path, *ignored], self.path), {})
        node: Json = tree.root
        for depth, name in enumerate(self.path):
            opener.look(node, self.path[:depth], self.path[:depth])
            node = opener.child(node, name, self.path[:depth], dict)
            if node is None:
                break
        self.payload = node
        self.notes = opener.notes()
        date = reach(tree.root, parse_path(layout.envelope.header_date)) if layout.envelope.header_date else None
        self.header_date = None if is_placeholder(date) else clean(date)


def _names(paths: list[Path], way: Path) -> dict[Path, frozenset[str]]:
    return {
        way[:depth]: frozenset(path[depth] for path in paths if len(path) > depth and path[:depth] == way[:depth])
        for depth in range(len(way))
    }


def _draft(plan: Plan, tree: Tree, limits: Limits, envelope: _Wrapping) -> Draft:
    payload = envelope.payload
    assert payload is not None  # noqa: S101 - draft_of looked
    sent = frozenset(payload) if plan.demanded else frozenset[str]()
    opener = Opener(tree, limits, plan.known, plan.canonical, envelope.path)
    opener.look(payload, (), ())
    for path in plan.containers:
        parent = reach(payload, path[:-1])
        node = opener.child(parent, path[-1], path[:-1], dict) if isinstance(parent, dict) else None
        if node is not None:
            opener.look(node, path, path)
    spots = {section.name: _gather(section, payload, opener, csv=plan.csv) for section in plan.sections}
    found, wrong = plan.run(payload)
    members, provenance = split_provenance(found)
    rows = dict(spots)
    for section in plan.sections:
        if section.merge_by and section.name in members:
            apart = {place[1] for place, _ in wrong if place[0] == ROWS[section.name]}
            members[section.name], kept = merged(members[section.name], section.merge_by, apart)
            rows[section.name] = [spots[section.name][number] for number in kept]
    names = _Names(plan, rows)
    for place, value in wrong:
        section_of = next((section for section in plan.sections if place[0] == ROWS[section.name]), None)
        if section_of is not None and isinstance(place[1], int):
            place = (*spots[section_of.name][place[1]], *place[2:])
        opener.note(place, kind_of(value), "文本或数字 / a text or a number", names.of(place, section_of))
    order = reach(payload, plan.order) if plan.order else None
    return Draft(
        kind=plan.shape.kind,
        dialect=plan.dialect,
        members=members,
        wire={**_wire(plan, payload), **_rows_on_the_wire(plan, rows, tree, envelope.path)},
        notes=(
            *_problems(names, tree, envelope.path),
            *envelope.notes,
            *opener.notes(),
            *_absent(plan, sent, payload),
            *_standing(plan),
        ),
        header_date=envelope.header_date,
        step=plan.shape.step,
        order="" if is_placeholder(order) else clean(order),
        provenance=provenance,
    )


def _gather(section: SectionPlan, payload: dict[str, Json], opener: Opener, *, csv: bool) -> list[Place]:
    """Put the section's rows where the validator looks for them; nothing if its list is not there.

    Returns:
        For each row the place in the payload that it comes from.
    """
    rows: list[dict[str, Json]] = []
    spots: list[Place] = []
    for place, row in opener.rows(payload, section.path):
        if section.where and not _belongs(section, row, place, opener):
            continue
        for path in section.members:
            _open_row(row, path, place, opener)
        if csv and all(is_placeholder(row.get(path[0])) for path in section.members):
            continue
        rows += _split(section, row, place, opener, len(rows)) if section.split else [row]
        spots += [place] * (len(rows) - len(spots))
    if section.distinct:
        texts = [tuple(clean(reach(row, path)) for path in section.members) for row in rows]
        kept = dict(zip(reversed(texts), reversed(range(len(rows))), strict=True))
        rows, spots = [rows[i] for i in sorted(kept.values())], [spots[i] for i in sorted(kept.values())]
    first = section.path[: section.path.index("[]")] if "[]" in section.path else section.path
    if isinstance(reach(payload, first), list):
        payload[ROWS[section.name]] = rows
    return spots


def _belongs(section: SectionPlan, row: dict[str, Json], place: Place, opener: Opener) -> bool:
    sort = clean(row.get(section.where)).lower()
    if sort in section.equals:
        return True
    if sort not in section.others:
        opener.note((*place, section.where), sort[:40], ", ".join(sorted(section.others)))
    return False


def _open_row(row: dict[str, Json], path: Path, place: Place, opener: Opener) -> None:
    node: Json = row
    for name in path[:-1]:
        node = opener.child(node, name, place, dict)
        if node is None:
            return


def _split(
    section: SectionPlan, row: dict[str, Json], place: Place, opener: Opener, first: int
) -> Iterator[dict[str, Json]]:
    """A row whose cells are lists -> one row for each entry, the first of them our row `first`.

    A cell that says nothing says so of each entry.
    """
    assert section.split is not None  # noqa: S101 - the caller looked
    cells: dict[str, list[str]] = {}
    for path in section.members:
        value = row.get(path[0])
        if value is not None:
            cells[path[0]] = [entry.strip() for entry in section.split.split(clean(value))]
    most = max(map(len, cells.values()), default=0)
    for name, entries in cells.items():
        if len(entries) == 1 and is_placeholder(entries[0]):
            cells[name] = entries * most
        elif len(entries) != most:
            expected = f"{most} 个，与同行其他单元格一致 / {most} entries, as in the other cells of the row"
            field = f"{section.name}[{first}].{section.members[name,]}"
            opener.note((*place, name), f"{len(entries)} entries", expected, field)
    for number in range(most):
        yield {name: entries[number] for name, entries in cells.items() if number < len(entries)}


def merged(
    rows: list[dict[str, Json]], by: str, apart: Container[str | int]
) -> tuple[list[dict[str, Json]], list[int]]:
    """Rows that are equal in `by` become one, their quantities added; only where all of these are numbers over 0.

    Shanghai hangs parts under projects, the national record has one flat list (payload 17). A row that has no
    name, and those whose numbers are in `apart`, stay rows of their own, so that judging finds them.

    Returns:
        The rows, and for each the number of the first row that it was made of.
    """
    result: list[dict[str, Json]] = []
    numbers: list[int] = []
    seen: dict[str, int] = {}
    for number, row in enumerate(rows):
        key = "" if is_placeholder(row.get(by)) else clean(row.get(by))
        if key in seen and number not in apart and not is_placeholder(row.get("name")):
            first = result[seen[key]]
            mine, theirs = read_number(row.get("quantity")), read_number(first.get("quantity"))
            if mine is not None and theirs is not None and mine > 0 and theirs > 0:
                result[seen[key]] = {**first, "quantity": mine + theirs}
                continue
        elif key:
            seen.setdefault(key, len(result))
        result.append(row)
        numbers.append(number)
    return result, numbers


class _Names:
    """Our names for places of a payload; rows by the numbers that they have here."""

    def __init__(self, plan: Plan, rows: Mapping[str, Sequence[Place]]) -> None:
        self._plan, self._rows = plan, rows
        self._numbers: dict[str, dict[Place, int]] = {}

    def of(self, place: Place, section: SectionPlan | None = None) -> str:
        """The name, or `""`; where several sections read one list, in the given one or in the one with that row."""
        for one in self._plan.sections if section is None else (section,):
            end = len(one.path) + 1
            number = self._of(one).get(place[:end])
            member = one.members.get(tuple(map(str, place[end:])))
            if number is not None and member is not None:
                return f"{one.name}[{number}].{member}"
        return field_of(self._plan.canonical, place)

    def _of(self, section: SectionPlan) -> Mapping[Place, int]:
        """Place of a row -> its number, the first of those that a row of cells was split into."""
        if section.name not in self._numbers:
            rows = self._rows[section.name]
            self._numbers[section.name] = dict(zip(reversed(rows), range(len(rows) - 1, -1, -1), strict=True))
        return self._numbers[section.name]


def _rows_on_the_wire(plan: Plan, rows: Mapping[str, Sequence[Place]], tree: Tree, base: Path) -> dict[str, str]:
    """Our row -> the partner's, where their numbers are not the same: rows were left out, split, merged or nested."""
    return {
        f"{section.name}[{number}]": written((*base, *spot), tree.spelled)
        for section in plan.sections
        for number, spot in enumerate(rows[section.name])
        if spot != (*section.path, number)
    }


def _problems(names: _Names, tree: Tree, base: Path) -> Iterator[Finding]:
    """What parsing found wrong, by canonical field where there is one."""
    for problem in tree.problems:
        inner = problem.path[len(base) :] if problem.path[: len(base)] == base else problem.path
        wire = written(problem.path, tree.spelled)
        field = names.of(inner) or wire
        yield Finding(STRUCTURE_WRONG, REJECT, field, problem.value, problem.expected, wire if wire != field else "")


def _absent(plan: Plan, sent: frozenset[str], payload: dict[str, Json]) -> Iterator[Finding]:
    """What the partner's documentation wants to be there, empty or not, and is not; flagged, whatever the profile.

    `sent` are the payload's own members before anything was opened (opening takes out what is of the wrong kind).
    """
    expected = "须出现，可为空 / must be there, empty or not"
    for path, text in plan.demanded:
        holder = sent if len(path) == 1 else reach(payload, path[:-1])
        if isinstance(holder, dict | frozenset) and path[-1] not in holder:
            wire = plan.prefix + text
            field = plan.canonical.get(path, wire)
            yield Finding("MANDATORY_MISSING", FLAG, field, "", expected, wire if wire != field else "")


def _standing(plan: Plan) -> Iterator[Finding]:
    for code in plan.shape.notes:
        field, expected = _NOTE_TEXTS[code]
        yield Finding(code, INFO, field, "", expected)


def _wire(plan: Plan, payload: dict[str, Json]) -> Mapping[str, str]:
    changed = {}
    for name, paths in plan.choices:
        index = next((number for number, path in enumerate(paths) if present(payload, path)), 0)
        if index:
            changed[name] = plan.prefix + plan.shape.members[name].from_[index]
    return {**plan.wire, **changed} if changed else plan.wire
