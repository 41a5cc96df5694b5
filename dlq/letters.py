"""The letter store: dead letters in the database, on the connection that the State hands over.

The store opens no transaction and commits nothing; every change is a compare-and-set, so that two processes cannot both
have a letter. States: open -> claimed -> resolved, or open again; open -> discarded; discarded -> open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Insert,
    LargeBinary,
    Row,
    Table,
    cast,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from connectors.contracts import Tally
from dlq.errors import BodyChanged, BodyGone, LetterError, NoSuchLetter, NoteMissing, SealError, WrongState
from dlq.letter import CLAIMED, DISCARDED, OPEN, RESOLVED, Letter, context, fingerprint
from dlq.marks import SINCE, WRONG, Tried
from dlq.reasons import Reason, pack, unpack
from dlq.rows import (
    TABLES,
    Filters,
    chunks,
    codes_of,
    filtered,
    from_row,
    mark_of,
    replay_fingerprint,
    since_of,
    to_row,
    utc,
)
from dlq.sealing import Sealer

__all__ = ["Count", "Filters", "Letter", "LetterStore", "Replay"]

_L, _B, _R = TABLES.letters, TABLES.bodies, TABLES.replays
# SQLite lets a hand put text into a binary column, which then could not even be fetched.
_SEALED = cast(_B.c.sealed, LargeBinary).label("sealed")
_PUT = 1_000
_TRIED = tuple(_R.c[name] for name in Tried._fields)
_SINCE = Letter._fields[Letter._fields.index("sealed") + 1 : -1]


class Count(NamedTuple):
    """How many letters share exchange, state and primary reason."""

    exchange: str
    state: str
    reason: str
    letters: int


class Replay(NamedTuple):
    """One replay that a letter went through."""

    batch: str
    generation: int
    outcome: str
    """`resolved`, or `open` when it failed."""
    reasons: tuple[Reason, ...]
    at: str


class LetterStore:
    """Letters on one connection.

    Args:
        conn: the State's connection, inside its transaction.
        sealer: opens the bodies and hashes VINs.
        locate: where the file of a body by reference lies now (sources archive what they have read); by default where
            the letter says.
    """

    def __init__(self, conn: Connection, sealer: Sealer, locate: Callable[[str], Path] = Path) -> None:
        self._conn, self._sealer, self._locate = conn, sealer, locate

    def put_many(self, letters: Iterable[Letter]) -> Tally:
        """Keep letters; those known by their id stay as they are. Gives the tally of all that were handed in."""
        flow = iter(letters)
        count = digest = 0
        while chunk := list(islice(flow, _PUT)):
            rows: list[tuple[object, ...]] = []
            for letter in chunk:
                packed = pack(letter.reasons)
                own = fingerprint(letter, packed)
                digest += own
                rows.append(to_row(letter, packed, own))
            count += len(chunk)
            _insert(self._conn, _L, rows)
            bodies = [(letter.id, letter.sealed) for letter in chunk if letter.sealed is not None]
            if bodies:
                _insert(self._conn, _B, bodies)
        return Tally(count, digest & 0xFFFF_FFFF_FFFF_FFFF)

    def get(self, letter_id: str) -> Letter:
        """The letter of an id, or of the unique beginning of one (at least 6 digits), without its body.

        Raises:
            NoSuchLetter: none, or more than one begins so.
        """
        rows = self._conn.execute(select(_L).where(_L.c.id == letter_id)).all()
        if not rows and 6 <= len(letter_id) < 32 and letter_id.isalnum():
            rows = self._conn.execute(select(_L).where(_L.c.id.startswith(letter_id)).limit(2)).all()
        if len(rows) != 1:
            what = ("不存在", "no such letter") if not rows else ("不唯一", "more than one letter begins so")
            msg = f"死信 {letter_id} {what[0]} / {letter_id}: {what[1]}"
            raise NoSuchLetter(msg)
        return from_row(rows[0])

    def search(self, filters: Filters = Filters()) -> Iterator[Letter]:  # noqa: B008 - an immutable value
        """Letters without bodies, in the order in which they were received, streaming."""
        query = filtered(select(_L), filters, self._sealer)
        query = query.order_by(_L.c.received_at, _L.c.intake, _L.c.source, _L.c.offset, _L.c.id).limit(filters.limit)
        yield from map(from_row, self._conn.execute(query.execution_options(yield_per=500)))

    def counts(self) -> list[Count]:
        """How many letters, by exchange, state and primary reason."""
        keys = (_L.c.exchange, _L.c.state, _L.c.reason)
        return [Count(*row) for row in self._conn.execute(select(*keys, func.count()).group_by(*keys).order_by(*keys))]

    def history(self, letter_id: str) -> list[Replay]:
        """The letter's replays, oldest first."""
        query = select(_R).where(_R.c.id == letter_id).order_by(_R.c.at, _R.c.generation)
        return [
            Replay(row.batch, row.generation, row.outcome, unpack(row.reasons) if row.reasons else (), row.at)
            for row in self._conn.execute(query)
        ]

    def claim(self, letter_id: str, batch: str, now: datetime) -> bool:
        """Take an open letter for a batch; False if another has it. The same batch may claim it again."""
        free = or_(_L.c.state == OPEN, (_L.c.state == CLAIMED) & (_L.c.claimed_by == batch))
        return self._changed(letter_id, free, {"state": CLAIMED, "claimed_by": batch, "updated_at": utc(now)})

    def settle(self, before: Letter, after: Letter, batch: str) -> None:
        """Store what a replay made of a claimed letter (`dlq.replay.after`) and remember the replay. Idempotent.

        Raises:
            WrongState: the letter is not claimed by this batch, and was not settled by it before.
        """
        tried = self._tried(before.id)
        if any(one.batch == batch for one in tried):
            return
        values = {name: getattr(after, name) for name in _SINCE}
        values["last_reasons"] = pack(after.last_reasons) if after.last_reasons else ""
        values["reason"], values["codes"] = codes_of(after)
        failed = "" if after.state == RESOLVED else pack(after.last_reasons)
        now = Tried(batch, before.generation, after.state, failed, after.updated_at)
        mine = (_L.c.state == CLAIMED) & (_L.c.claimed_by == batch) & (_L.c.generation == before.generation)
        if not self._changed(before.id, mine, values, tried, now):
            raise _wrong(before.id, CLAIMED)
        self._conn.execute(insert(_R).values(id=before.id, **now._asdict()))

    def discard(self, letter_id: str, note: str, now: datetime) -> None:
        """Give a letter up, with a note that says why.

        Raises:
            NoteMissing: the note is empty.
            WrongState: the letter is not open.
        """
        if not note.strip():
            msg = "作废死信必须说明原因 / a letter is discarded only with a note that says why"
            raise NoteMissing(msg)
        self._change(letter_id, _L.c.state == OPEN, {"state": DISCARDED, "note": note, "updated_at": utc(now)}, OPEN)

    def reopen(self, letter_id: str, now: datetime, note: str = "") -> None:
        """Open a discarded, parked or abandoned (claimed by a batch that is no more) letter again.

        Raises:
            WrongState: it is resolved.
        """
        values = {"state": OPEN, "parked": False, "claimed_by": "", "note": note, "updated_at": utc(now)}
        self._change(letter_id, _L.c.state != RESOLVED, values, "not resolved")

    def body(self, letter: Letter) -> bytes:
        """The original bytes, unchanged: their hash is compared.

        Raises:
            BodyGone: the file of a body by reference, or the row of a kept one, is not there.
            BodyChanged: the bytes are not those that died.
            WrongKey: sealed with another key.
            Tampered: the sealed bytes were changed.
        """
        if letter.ref:
            data = b"".join(chunks(self._locate(letter.ref.path), letter.ref))
        else:
            data = self._sealer.unseal(self._sealed(letter), context(letter.id))
        if sha256(data).hexdigest() != letter.body_sha256:
            msg = f"死信 {letter.id} 的原文已被改动 / the bytes of letter {letter.id} were changed"
            raise BodyChanged(msg)
        return data

    def tally(self, batch: str) -> Tally:
        """Count and digest of a batch's letters, from the rows and bodies as they stand now.

        Letters that died in the batch count by `fingerprint` where their mark is right and their body still has the
        hash that was noted; failed replays of the batch count by letter and reasons. A row or body that is gone,
        changed or unreadable changes the result; it never raises for one.
        """
        return self.tallies([batch])[batch]

    def tallies(self, batches: Sequence[str]) -> dict[str, Tally]:
        """The same for each of some batches, in two queries."""
        found: dict[str, list[int]] = {batch: [0, 0] for batch in batches}
        tried: dict[str, list[Tried]] = {}
        replays = select(_R.c.id, *_TRIED).join(_L).where(_L.c.batch.in_(batches))
        for name, *told in self._conn.execute(replays):
            tried.setdefault(name, []).append(Tried(*told))
        query = select(_L, _SEALED).outerjoin(_B, _B.c.id == _L.c.id).where(_L.c.batch.in_(batches))
        for row in self._conn.execute(query.execution_options(yield_per=200)):
            tally = found[row.batch]
            tally[0] += 1
            try:
                letter = from_row(row)._replace(sealed=row.sealed)
                own = fingerprint(letter, row.reasons)
                if mark_of(letter, own, since_of(row), tried.get(letter.id, ())) != row.mark:
                    continue
                if self._present_hash(letter) == letter.body_sha256:
                    tally[1] += own
            except (SealError, LetterError, ValueError, TypeError, LookupError):
                continue
        failed = select(_R).where(_R.c.batch.in_(batches), _R.c.outcome == OPEN)
        for row in self._conn.execute(failed):
            found[row.batch][0] += 1
            found[row.batch][1] += replay_fingerprint(row.id, row.batch, row.reasons)
        return {batch: Tally(count, digest & 0xFFFF_FFFF_FFFF_FFFF) for batch, (count, digest) in found.items()}

    def _present_hash(self, letter: Letter) -> str:
        whole = sha256()
        if letter.ref:
            for chunk in chunks(self._locate(letter.ref.path), letter.ref):
                whole.update(chunk)
        else:
            whole.update(self._sealer.unseal(letter.sealed or b"", context(letter.id)))
        return whole.hexdigest()

    def _sealed(self, letter: Letter) -> bytes:
        if letter.sealed is not None:
            return letter.sealed
        row = self._conn.execute(select(_SEALED).where(_B.c.id == letter.id)).first()
        if row is None:
            msg = f"死信 {letter.id} 的原文不在库中 / the body of letter {letter.id} is not in the store"
            raise BodyGone(msg)
        return bytes(row.sealed)

    def _change(self, letter_id: str, where: ColumnElement[bool], values: dict[str, object], wanted: str) -> None:
        if not self._changed(letter_id, where, values):
            self.get(letter_id)
            raise _wrong(letter_id, wanted)

    def _changed(
        self,
        letter_id: str,
        where: ColumnElement[bool],
        values: Mapping[str, object],
        tried: Sequence[Tried] | None = None,
        *now: Tried,
    ) -> bool:
        """Change a letter that is as `where` says, and its mark with it; False when it is not, or not any more.

        `tried` are its replays so far, where the caller has them, and `now` is the one that this change is for.
        """
        row = self._conn.execute(select(_L).where(_L.c.id == letter_id)).first()
        if row is None:
            return False
        before = self._tried(letter_id) if tried is None else tried
        own = WRONG
        if _right(row, before):
            since = tuple(values.get(name, row._mapping[name]) for name in SINCE)
            own = mark_of(letter := from_row(row), fingerprint(letter), since, [*before, *now])
        change = update(_L).where(_L.c.id == letter_id, _L.c.mark == row.mark, where).values(**values, mark=own)
        return self._conn.execute(change).rowcount == 1

    def _tried(self, letter_id: str) -> list[Tried]:
        query = select(*_TRIED).where(_R.c.id == letter_id)
        return [Tried(*row) for row in self._conn.execute(query)]

    def untouched(self, letter_id: str) -> bool:
        """Whether nothing of a letter's row or of its replays was changed except by this store."""
        row = self._conn.execute(select(_L).where(_L.c.id == letter_id)).first()
        return row is not None and _right(row, self._tried(letter_id))


def _insert(conn: Connection, table: Table, rows: Sequence[tuple[object, ...]]) -> None:
    """Insert rows, whose values stand in the order of the columns, and leave rows alone whose id is there."""
    statement, positional = _insertion(conn.dialect, table)
    if positional:
        # a third of the cost of `execute`, which makes a dict of every row; all columns are of types without processing
        conn.exec_driver_sql(positional, list(rows))
    else:
        conn.execute(statement, [dict(zip(table.c.keys(), row, strict=True)) for row in rows])


@lru_cache(maxsize=16)
def _insertion(dialect: Dialect, table: Table) -> tuple[Insert, str]:
    """The statement, and its text where the driver takes values by place; made once: letters often come singly."""
    make: Any = sqlite_insert
    if dialect.name == "postgresql":
        # Imported where it is used: it costs every start else.
        from sqlalchemy.dialects.postgresql import insert as make

    statement: Insert = make(table).on_conflict_do_nothing(index_elements=["id"])
    compiled = statement.compile(dialect=dialect, column_keys=table.c.keys())
    return statement, str(compiled) if compiled.positional else ""


def _right(row: Row[Any], tried: Sequence[Tried]) -> bool:
    """Whether a row has the mark that it must have."""
    try:
        letter = from_row(row)
        return bool(mark_of(letter, fingerprint(letter, row.reasons), since_of(row), tried) == row.mark)
    except (ValueError, TypeError, LookupError):
        return False


def _wrong(letter_id: str, wanted: str) -> WrongState:
    return WrongState(
        f"死信 {letter_id} 的状态不允许此操作（需要 {wanted}），可能已被他人处理 / the state of letter {letter_id} "
        f"does not allow this (wanted: {wanted}); somebody else may have been quicker"
    )
