"""The letters of a batch against the ledger, and which of them it is where something differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, select

from connectors.contracts import Tally, WorkItem
from dlq.errors import DlqError
from dlq.letter import Letter, fingerprint, letter_id
from dlq.letters import LetterStore
from dlq.rows import replay_fingerprint
from dlq.sealing import Sealer
from pipelines import tables
from pipelines.accounts import MASK
from pipelines.bodies import locator
from pipelines.journal import DEAD, Journal
from pipelines.problems import LETTERS, Problem
from pipelines.settings import Exchange
from pipelines.staging import envelope_key
from pipelines.state import State
from pipelines.work import Task

_PACKED = {".gz", ".zip", ".bz2", ".xz", ".zst", ".tgz", ".tar"}


def check_letters(state: State, sealer: Sealer, row: Any, exchange: Exchange | None) -> Iterator[Problem]:
    """Compare a batch's letters (`row`: its row of `batches`) with what was put there; name those that differ."""
    expected = Tally(row.letters, int(row.letters_digest))
    with state.reading() as connection:
        locate = locator(exchange)
        store = LetterStore(connection, sealer, locate)
        if store.tally(row.id) == expected:
            return
        found, problems, present = _one_by_one(connection, store, locate, row.id)
        if found == expected:
            return
        system = exchange.versions.system if exchange is not None else ""
        if found.count < expected.count:
            problems += [
                Problem("missing-letter", row.id, LETTERS, name, "-", record)
                for name, record in _wanted(connection, row.id, system)
                if name not in present
            ]
        if found.count > expected.count:
            wanted = {name for name, _ in _wanted(connection, row.id, system)}
            problems += [Problem("extra-letter", row.id, LETTERS, "-", name, name) for name in sorted(present - wanted)]
    yield from problems
    if not problems:
        yield Problem("changed-letters", row.id, LETTERS, expected.count, found.count)


def _one_by_one(
    connection: Connection, store: LetterStore, locate: Callable[[str], Path], batch: str
) -> tuple[Tally, list[Problem], set[str]]:
    """The tally once more, letter by letter.

    A body by reference whose file is gone counts by its known hash: it lies outside the state, where its
    sender may rightly remove it.
    """
    t, replays = tables.letters.letters, tables.letters.replays
    count = digest = 0
    problems: list[Problem] = []
    names = set(connection.execute(select(t.c.id).where(t.c.batch == batch).order_by(t.c.id)).scalars())
    for name in sorted(names):
        count += 1
        try:
            letter = store.get(name)
            trouble = _body_trouble(store, locate, letter) or ("" if store.untouched(name) else "columns")
            digest += 0 if trouble else fingerprint(letter)
        except (ValueError, TypeError, LookupError) as error:
            trouble = type(error).__name__
        if trouble:
            problems.append(Problem("altered-letter", batch, LETTERS, "unchanged", "changed", name, trouble))
    failed = select(replays).where(replays.c.batch == batch, replays.c.outcome == "open")
    for row in connection.execute(failed):
        count, digest = count + 1, digest + replay_fingerprint(row.id, batch, row.reasons)
    return Tally(count, digest & MASK), problems, names


def _body_trouble(store: LetterStore, locate: Callable[[str], Path], letter: Letter) -> str:
    if letter.ref is not None:
        place = locate(letter.ref.path)
        packed = place.suffix.lower() in _PACKED and not letter.ref.inside  # of before such references were
        if not place.is_file() or packed:
            return ""
    try:
        store.body(letter)
    except DlqError as error:
        return type(error).__name__
    return ""


def _wanted(connection: Connection, batch: str, system: str) -> Iterator[tuple[str, str]]:
    """Id and place of every letter that the journals of a batch call for."""
    b, j = tables.batches, tables.journals
    row = connection.execute(select(b.c["items"], b.c.exchange, b.c.kind).where(b.c.id == batch)).one()
    items = [WorkItem(*raw) for raw in orjson.loads(row._mapping["items"])]
    for number, packed in connection.execute(select(j.c.item, j.c.lines).where(j.c.batch == batch)):
        book, item = Journal.unpack(packed), items[number]
        for line in book.lines[book.lines["fate"] == DEAD] if row.kind != "letters" else ():
            stage = book.findings[int(line["findings"])][0]
            offset = int(line["offset"])
            key = envelope_key(Task(number, item), offset, system)
            yield letter_id(row.exchange, key, stage), f"{item.source}@{offset}"
        for ordinal, told in book.outcomes.items():
            for destination, status in told.items():
                if status == "dead":
                    key = f"{batch}|{number}|{ordinal}"
                    name = letter_id(row.exchange, key, "deliver", destination)
                    yield name, f"{item.source}@{int(book.lines[int(ordinal)]['offset'])} -> {destination}"
