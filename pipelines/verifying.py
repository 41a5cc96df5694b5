"""Asks destinations and the letter store what stands there for a closed batch, and compares it with the ledger.

Row stores and registers answer with `verify(batch)`; parts are hashed one by one, and their sink is asked as well, so
that a file which nobody accounted is found. Where something differs, `pipelines.culprits` looks for the very record.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr
from sqlalchemy import select

from connectors.contracts import ConnectorError, Tally, Unverifiable
from connectors.parts import PartFolder
from dlq.sealing import Sealer
from pipelines import culprits, tables
from pipelines.accounts import MASK
from pipelines.keptsettings import kept_exchange, newest_run
from pipelines.letterproof import check_letters
from pipelines.problems import Problem
from pipelines.registers import RegisterSink
from pipelines.settings import Exchange
from pipelines.sinks import OWN, Sinks
from pipelines.state import State

_TRIES, _PAUSE = 4, 0.25
_CHUNK = 1 << 20


class Kept(NamedTuple):
    """What the ledger says of a closed batch, read in one transaction."""

    row: Any
    destinations: tuple[Any, ...]
    parts: tuple[Any, ...]

    def same(self, other: Kept | None) -> bool:
        """Whether nothing changed between two readings."""
        return other is not None and tuple(map(tuple, (self.row, *self.destinations, *self.parts))) == tuple(
            map(tuple, (other.row, *other.destinations, *other.parts))
        )


class Verifier:
    """Verifies batch after batch; sinks are made once for each run's settings."""

    def __init__(self, state: State, sealer: Sealer) -> None:
        self._state, self.sealer = state, sealer
        self._sinks: dict[int, tuple[Exchange, Sinks] | None] = {}
        self.records: dict[str, Counter[str]] = {}
        """Exchange -> destination -> records that verify counted there."""

    def batch(self, batch: str) -> list[Problem]:
        """What is not as the ledger says; a batch that a running gateway changes meanwhile is asked again."""
        kept = self._read(batch)
        for attempt in range(_TRIES):
            if kept is None:  # it is being settled: its equations are proved, its effects are not done
                return []
            found, counted = self._ask(kept)
            if not found:
                break
            again = self._read(batch)
            if kept.same(again) and attempt:
                break
            kept = again
            time.sleep(_PAUSE)
        if kept is not None:
            self.records.setdefault(kept.row.exchange, Counter()).update(counted)
        return found

    def close(self) -> None:
        """Close the sinks."""
        for made in self._sinks.values():
            if made is not None:
                made[1].close()

    def _read(self, batch: str) -> Kept | None:
        b, d, p = tables.batches, tables.batch_destinations, tables.parts
        with self._state.reading() as connection:
            row = connection.execute(
                select(b.c.id, b.c.exchange, b.c.run, b.c.kind, b.c.letters, b.c.letters_digest).where(
                    b.c.id == batch, b.c.state == "closed"
                )
            ).first()
            if row is None:
                return None
            destinations = connection.execute(select(d).where(d.c.batch == batch).order_by(d.c.destination)).all()
            parts = connection.execute(select(p).where(p.c.batch == batch).order_by(p.c.final)).all()
        return Kept(row, tuple(destinations), tuple(parts))

    def _ask(self, kept: Kept) -> tuple[list[Problem], Counter[str]]:
        counted: Counter[str] = Counter()
        runs = self._runs(kept)
        exchange = runs[0][0] if runs else None
        found = list(check_letters(self._state, self.sealer, kept.row, exchange))
        in_parts = {part.destination for part in kept.parts}
        rows = [d for d in kept.destinations if d.destination not in in_parts]
        if runs:
            found += self._rows(kept, rows, runs, counted)
        else:
            wanting = [d for d in rows if d.stands]
            found += [
                Problem("unasked", kept.row.id, d.destination, d.stands, "?", detail="runs.settings") for d in wanting
            ]
        found += self._parts(kept, counted)
        found += self._part_sinks(kept, runs[0] if runs else None, bool(found))
        return found, counted

    def _runs(self, kept: Kept) -> list[tuple[Exchange, Sinks]]:
        """The sinks of the batch's own run, and of the exchange's newest run where that is another one."""
        with self._state.reading() as connection:
            newest = newest_run(connection, kept.row.exchange)
            for run in (kept.row.run, newest):
                if run is not None and run not in self._sinks:
                    exchange = kept_exchange(connection, self.sealer, run)
                    made = None if exchange is None else (exchange, Sinks(exchange, self._state, make=False))
                    self._sinks[run] = made
        chosen = [self._sinks[run] for run in dict.fromkeys((kept.row.run, newest)) if run is not None]
        return [made for made in chosen if made is not None]

    # -- rows ----------------------------------------------------------------------------------------------------------

    def _rows(
        self, kept: Kept, rows: Sequence[Any], runs: Sequence[tuple[Exchange, Sinks]], counted: Counter[str]
    ) -> Iterator[Problem]:
        """Row stores; destinations that share one are compared together.

        A delivery that waited may lie where a later run's settings pointed, so those stores are asked too where the
        batch's own do not hold all.
        """
        groups: dict[str, list[Any]] = {}
        for row in rows:
            name, sink = runs[0][1].row_sink(row.destination)
            groups.setdefault(row.destination if name in ("", OWN) else _place(sink), []).append(row)
        for group in groups.values():
            yield from self._group(kept, group, runs, counted)

    def _group(
        self, kept: Kept, group: Sequence[Any], runs: Sequence[tuple[Exchange, Sinks]], counted: Counter[str]
    ) -> Iterator[Problem]:
        batch = kept.row.id
        names = ",".join(row.destination for row in group)
        expected = Tally(sum(r.stands for r in group), sum(int(r.stands_digest) for r in group) & MASK)
        found, trouble = Tally(0, 0), ""
        asked: list[Any] = []
        for _, sinks in runs:
            _, sink = sinks.row_sink(group[0].destination)
            if any(_place(sink) == _place(other) for other in asked):
                continue
            asked.append(sink)
            try:
                tally = sink.verify(batch)
            except Unverifiable:  # its receipts are the proof, and they are what the ledger counts
                found = expected
                break
            except ConnectorError as error:
                trouble = str(error)
                continue
            found = Tally(found.count + tally.count, (found.digest + tally.digest) & MASK)
            if found == expected:
                break
        if found == expected:
            for row in group:
                counted[row.destination] += row.stands
            return
        if len(group) == 1:
            counted[group[0].destination] += found.count
        if trouble and not found.count:
            yield Problem("unasked", batch, names, expected.count, "?", detail=trouble)
            return
        with self._state.reading() as connection:
            named = culprits.in_store(connection, runs[0][0], batch, [r.destination for r in group], asked[0])
        yield from named
        if not named:
            yield Problem("changed-store", batch, names, expected.count, found.count)

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _parts(self, kept: Kept, counted: Counter[str]) -> Iterator[Problem]:
        """Every promoted part must be there with its hash."""
        sums: dict[str, list[int]] = {}
        for part in kept.parts:
            if not part.promoted:
                continue
            total = sums.setdefault(part.destination, [0, 0])
            total[0] += part.count
            total[1] += int(part.sha256[:16], 16)
            digest = hash_of(Path(part.final))
            if digest == part.sha256:
                counted[part.destination] += part.count
            elif digest or Path(part.final).is_absolute():
                kind = "altered-part" if digest else "missing-part"
                yield Problem(kind, kept.row.id, part.destination, part.sha256, digest or "-", part.final)
        for row in kept.destinations:
            if row.destination in sums:
                count, digest_sum = sums[row.destination]
                if (row.stands, int(row.stands_digest)) != (count, digest_sum & MASK):
                    yield Problem("journal", kept.row.id, row.destination, count, row.stands, detail="stands")

    def _part_sinks(self, kept: Kept, run: tuple[Exchange, Sinks] | None, known_bad: bool) -> Iterator[Problem]:
        """What the part sinks themselves count: a file that nobody accounted shows here."""
        if run is None:
            return
        places: dict[str, tuple[Any, list[str]]] = {}
        for name, sink in run[1].parts().items():
            places.setdefault(_place(sink), (sink, []))[1].append(name)
        for sink, names in places.values():
            mine = [p for p in kept.parts if p.sink in names]
            expected = Tally(
                sum(p.count for p in mine if p.promoted),
                sum(int(p.sha256[:16], 16) for p in mine if p.promoted) & MASK,
            )
            try:
                found = sink.verify(kept.row.id)
            except ConnectorError as error:
                yield Problem("unasked", kept.row.id, ",".join(names), expected.count, "?", detail=str(error))
                continue
            if found == expected:
                continue
            strays = culprits.stray_parts(sink, kept.row.id, mine) if isinstance(sink, PartFolder) else []
            yield from strays
            if not strays and not known_bad and not _half_done(mine, expected, found):
                where = ",".join(sorted({p.destination for p in mine})) or ",".join(names)
                yield Problem("changed-store", kept.row.id, where, expected.count, found.count)


def _half_done(parts: Sequence[Any], expected: Tally, found: Tally) -> bool:
    """Whether the difference is parts that have their name and are not yet accounted: a promotion under way."""
    done = [p for p in parts if not p.promoted and hash_of(Path(p.final)) == p.sha256]
    return bool(done) and found == Tally(
        expected.count + sum(p.count for p in done),
        (expected.digest + sum(int(p.sha256[:16], 16) for p in done)) & MASK,
    )


def _place(sink: Any) -> str:
    """What tells two sinks apart that hold the same things."""
    if isinstance(sink, RegisterSink):
        return "register"
    settings = getattr(sink, "settings", None)
    if settings is None:
        return str(id(sink))
    members: Mapping[str, Any] = settings.model_dump()
    url = members.get("url")
    where = url.get_secret_value() if isinstance(url, SecretStr) else str(members.get("path") or members)
    return f"{type(sink).__name__}|{where}"


def hash_of(path: Path) -> str:
    """The SHA-256 of a file, read piece by piece; empty when it cannot be read."""
    whole = sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                whole.update(chunk)
    except OSError:
        return ""
    return whole.hexdigest()
