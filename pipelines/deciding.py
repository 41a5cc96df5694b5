"""Versions, duplicates and destinations of the records of a batch: what only the coordinator can know.

Bulk work is almost all new keys, so everything is done on whole columns, and only keys that are known already, or
that occur twice in the batch, are looked at one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from mappings.encoding import WITHDRAWN
from pipelines import journal, withdrawing
from pipelines.journal import ADDRESSED, DEAD, DUPLICATE, FILTERED, SUPERSEDED, UNPLACED, Journal
from pipelines.state import State
from pipelines.versionruns import ENTRY, Entries
from pipelines.versions import pack_intake
from pipelines.work import Directive


class Item(NamedTuple):
    """One item of a batch with its journal, complete and in order."""

    number: int
    journal: Journal
    intakes: Mapping[int, int] = {}
    """Ordinal -> intake number, for replayed letters, which keep theirs."""


class Rule(NamedTuple):
    """How versions are found."""

    batch: int
    carried: bool
    """Versions came with the records, and are only compared."""
    also_held: Mapping[tuple[int, int], frozenset[str]] = {}
    """Key halves -> destinations that other scopes already gave the record to."""
    arrival: Callable[[int], int] | None = None
    """Where gateways share an inbox: the place there of what has an intake number, 0 where it was in none."""

    def before(self, intake: int, other: int) -> bool:
        """Whether what has the one intake number came in before what has the other.

        Batches of several gateways are numbered as they were opened, and one may be behind: then places in the inbox
        say what came first.
        """
        if self.arrival is not None:
            places = self.arrival(intake), self.arrival(other)
            if all(places):
                return places[0] < places[1]
        return intake < other


class Decided(NamedTuple):
    """What was decided: entries for the index, and what differs from what the workers supposed."""

    entries: Entries
    directives: Mapping[int, Mapping[int, Directive]]
    """Item number -> ordinal -> directive."""
    known: Entries
    """What the index had of these records."""


_LASTING = (ADDRESSED, UNPLACED, FILTERED)
"""Fates of a record that may be a version: what was filtered is one where an earlier version stands."""


class _Known(NamedTuple):
    content: int
    version: int
    """0: nothing but a withdrawal came yet, for which there was no record."""
    intake: int
    held: frozenset[str]

    @property
    def withdrawn(self) -> bool:
        """Whether the record is withdrawn."""
        return self.content == WITHDRAWN


def decide(connection: Connection, state: State, items: Sequence[Item], rule: Rule) -> Decided:
    """Decide all records of a batch and complete the journals' versions and fates in place."""
    columns = [_candidates(item, rule.batch) for item in items]
    if not columns:
        return Decided(np.zeros(0, ENTRY), {}, np.zeros(0, ENTRY))
    places = np.concatenate([c[0] for c in columns])
    owners = np.concatenate([np.full(len(c[0]), i, np.int64) for i, c in enumerate(columns)])
    entries: Entries = np.concatenate([c[1] for c in columns])
    if state.versions is None:
        message = "a state that is not owned cannot decide"
        raise RuntimeError(message)
    known_at, known = state.versions.find(connection, entries["hi"], entries["lo"])
    suspects = _suspects(entries, known_at, rule)
    sets = [np.zeros(0, np.uint32)]
    for item, (where, _) in zip(items, columns, strict=True):
        numbers = np.array([state.destination_set(connection, names) for names in item.journal.routes], np.uint32)
        addressed = item.journal.lines["fate"][where] == ADDRESSED
        sets.append(np.where(addressed, numbers[item.journal.lines["routes"][where]], 0).astype(np.uint32))
    entries["held"] = np.concatenate(sets)
    # A filtered record is held by nobody; it counts where an earlier version of it is known.
    keep = np.concatenate(
        [item.journal.lines["fate"][c[0]] != FILTERED for item, c in zip(items, columns, strict=True)]
    )
    if not len(suspects):
        return Decided(entries[keep], {}, known)
    found = {
        (int(e["hi"]), int(e["lo"])): _Known(
            int(e["content"]),
            int(e["version"]),
            int(e["intake"]),
            frozenset(state.destination_sets(connection)[int(e["held"])]),
        )
        for e in known
    }
    directives: dict[int, dict[int, Directive]] = {}
    for index in suspects[np.argsort(suspects, kind="stable")]:
        item = items[int(owners[index])]
        line = item.journal.lines[int(places[index])]
        entry = entries[index]
        changed: Directive | None
        if int(entry["content"]) == WITHDRAWN:
            changed, keep[index] = _withdrawal(state, connection, items, line, entry, found, rule)
        else:
            changed, keep[index] = _one(state, connection, item, line, entry, found, rule)
        if changed is not None:
            directives.setdefault(item.number, {})[int(line["ordinal"])] = changed
    return Decided(entries[keep], directives, known)


def _candidates(item: Item, batch: int) -> tuple[NDArray[np.intp], Entries]:
    """Positions of the lines that have a key to be numbered, and their index entries as if all were new."""
    lines = item.journal.lines
    where = np.flatnonzero(np.isin(lines["fate"], _LASTING) & ((lines["key_hi"] != 0) | (lines["key_lo"] != 0)))
    chosen = lines[where]
    entries = np.zeros(len(where), ENTRY)
    entries["hi"], entries["lo"] = chosen["key_hi"], chosen["key_lo"]
    entries["content"], entries["version"] = chosen["content"], chosen["version"]
    entries["intake"] = np.uint64(pack_intake(batch, item.number, 0)) + chosen["ordinal"].astype(np.uint64)
    for position, line in enumerate(where):
        if not item.intakes:
            break
        entries["intake"][position] = item.intakes.get(int(lines["ordinal"][line]), int(entries["intake"][position]))
    return where, entries


def _suspects(entries: Entries, known_at: NDArray[np.intp], rule: Rule) -> NDArray[np.intp]:
    """Indexes of withdrawals, and of entries whose key is known, occurs twice here, or is held in another scope."""
    suspect: NDArray[np.bool_] = entries["content"] == np.uint64(WITHDRAWN)
    suspect[known_at] = True
    highest = np.sort(entries["hi"])
    if (highest[1:] == highest[:-1]).any():
        order = np.lexsort((entries["lo"], entries["hi"]))
        same = (entries["hi"][order][1:] == entries["hi"][order][:-1]) & (
            entries["lo"][order][1:] == entries["lo"][order][:-1]
        )
        suspect[order[1:][same]] = True
        suspect[order[:-1][same]] = True
    if rule.also_held:
        for index, (hi, lo) in enumerate(zip(entries["hi"].tolist(), entries["lo"].tolist(), strict=True)):
            if (hi, lo) in rule.also_held:
                suspect[index] = True
    return np.flatnonzero(suspect)


def _one(
    state: State,
    connection: Connection,
    item: Item,
    line: np.void,
    entry: np.void,
    found: dict[tuple[int, int], _Known],
    rule: Rule,
) -> tuple[Directive | None, bool]:
    """Decide one record whose key may be known; the directive where it differs, and whether its entry is kept."""
    key = int(entry["hi"]), int(entry["lo"])
    routes = item.journal.routes[int(line["routes"])] if line["fate"] == ADDRESSED else ()
    elsewhere = rule.also_held.get(key, frozenset())
    known = found.get(key)
    content, intake = int(entry["content"]), int(entry["intake"])
    nowhere = FILTERED if line["fate"] == FILTERED else UNPLACED
    if nowhere == FILTERED and (known is None or not _newer(known, entry, rule)):
        return None, False
    if known is None:
        wanted, version, fate = tuple(r for r in routes if r not in elsewhere), int(entry["version"]), int(line["fate"])
        if fate == ADDRESSED and not wanted:
            fate = DUPLICATE
        held = frozenset(wanted)
    else:
        own = tuple(r for r in routes if r not in elsewhere)
        version, fate, wanted = _again(known, own, content, intake, int(entry["version"]), rule)
        fate = nowhere if fate == UNPLACED else fate
        held = known.held | frozenset(wanted)
    changed = (fate, version, wanted) != (int(line["fate"]), int(line["version"]), routes) or fate == FILTERED
    # The same again is no version, but a letter that came before it and is replayed later must not follow it.
    said_again = known is not None and fate == DUPLICATE and not rule.carried and rule.before(known.intake, intake)
    lasting = fate in _LASTING or said_again
    if lasting:
        newest = known is None or version >= known.version
        if known is not None and content == known.content and rule.before(intake, known.intake):
            intake = known.intake  # what a replay brings again came no earlier by that
        found[key] = _Known(content, version, intake, held) if newest else known._replace(held=held)  # type: ignore[union-attr]
        entry["content"], entry["version"], entry["intake"] = found[key].content, found[key].version, found[key].intake
        entry["held"] = state.destination_set(connection, tuple(held))
    elif known is None:
        found[key] = _Known(content, version, intake, held)
    return Directive(fate, version, wanted) if changed else None, lasting


def _withdrawal(
    state: State,
    connection: Connection,
    items: Sequence[Item],
    line: np.void,
    entry: np.void,
    found: dict[tuple[int, int], _Known],
    rule: Rule,
) -> tuple[Directive, bool]:
    """Decide one withdrawal: the directive, and whether its entry is kept."""
    key = int(entry["hi"]), int(entry["lo"])
    known = found.get(key)
    if known is not None and known.version:
        line["vin"] = withdrawing.vin_of(connection, items, key, known.intake)
    told, after = withdraw(known, int(entry["intake"]), int(entry["version"]), rule)
    if after is not None:
        found[key] = after
        entry["content"], entry["version"], entry["intake"] = after.content, after.version, after.intake
        entry["held"] = state.destination_set(connection, tuple(after.held))
    return told, after is not None


def withdraw(known: _Known | None, intake: int, version: int, rule: Rule) -> tuple[Directive, _Known | None]:
    """What becomes of a withdrawal, and what is known after it where that changes.

    It goes to those that hold an earlier version and to nobody else. One that finds no record is dead; it is remembered
    all the same, so that a record which was taken in before it and is decided later (a replayed letter) stays away.
    Where versions are carried it was decided before: to withdraw what is not known here is nobody's mistake.
    """
    held = tuple(sorted(known.held)) if known is not None else ()
    if rule.carried:
        if known is not None and (version, WITHDRAWN) == (known.version, known.content):
            return Directive(DUPLICATE, version, ()), None
        newer = known is None or version > known.version
        fate = ADDRESSED if held else FILTERED if newer else SUPERSEDED
        return Directive(fate, version, held), _Known(WITHDRAWN, version, intake, frozenset(held)) if newer else None
    if known is None or not known.version:
        newest = known.intake if known is not None and rule.before(intake, known.intake) else intake
        return Directive(DEAD, 0, ()), _Known(WITHDRAWN, 0, newest, frozenset())
    earlier = rule.before(intake, known.intake)
    if known.withdrawn:
        return Directive(DUPLICATE, known.version, ()), known if earlier else known._replace(intake=intake)
    if earlier:
        return Directive(SUPERSEDED, known.version, ()), None
    after = _Known(WITHDRAWN, known.version + 1, intake, known.held)
    return Directive(ADDRESSED if held else FILTERED, after.version, held), after


def _newer(known: _Known, entry: np.void, rule: Rule) -> bool:
    """Whether a record is a newer version than the one that is known."""
    if rule.carried:
        return int(entry["version"]) > known.version
    return int(entry["content"]) != known.content and rule.before(known.intake, int(entry["intake"]))


def _again(
    known: _Known,
    routes: tuple[str, ...],
    content: int,
    intake: int,
    carried_version: int,
    rule: Rule,
) -> tuple[int, int, tuple[str, ...]]:
    """Version, fate, destinations of a record whose key is known. A new version goes to all that hold an older one."""
    held = known.held
    new = tuple(r for r in routes if r not in held)
    if rule.carried:
        if carried_version == known.version and content == known.content:
            return known.version, (ADDRESSED if new else DUPLICATE), new
        if known.withdrawn and carried_version <= known.version:  # history of those that know that it is withdrawn
            wanted = tuple(r for r in routes if r in held)
            return carried_version, (ADDRESSED if wanted else SUPERSEDED), wanted
        wanted = tuple(dict.fromkeys((*routes, *sorted(held)))) if carried_version > known.version else routes
        return carried_version, (ADDRESSED if wanted else UNPLACED), wanted
    if content == known.content:
        return known.version, (ADDRESSED if new else DUPLICATE), new
    if rule.before(intake, known.intake):
        return known.version, SUPERSEDED, ()
    wanted = tuple(dict.fromkeys((*routes, *sorted(held))))
    return known.version + 1, (ADDRESSED if wanted else UNPLACED), wanted


def apply(item: Item, directives: Mapping[int, Directive]) -> None:
    """Write directives into an item's journal."""
    lines = item.journal.lines
    routes = journal.Interned(item.journal.routes)
    for ordinal, directive in directives.items():
        line = lines[ordinal]
        line["fate"], line["version"] = directive.fate, directive.version
        line["routes"] = routes[directive.destinations] if directive.fate == ADDRESSED else 0
    item.journal.routes = routes.table
