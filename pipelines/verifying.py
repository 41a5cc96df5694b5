"""Asks destinations and the letter store what stands there for a closed batch, and compares it with the ledger.

Row stores and registers answer with `verify`; parts are hashed one by one, and their sink is asked as well, so that a
file which nobody accounted is found. The sums of some hundred batches come from one query a store. Where one of them
differs, `pipelines.culprits` looks for the very record.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr
from sqlalchemy import select

from connectors.contracts import ConnectorError, PartSink, Tally, Unverifiable, tallies
from connectors.parts import PartFolder, place_of
from dlq.letters import LetterStore
from dlq.sealing import Sealer
from pipelines import culprits, tables
from pipelines.accounts import MASK
from pipelines.bodies import locator
from pipelines.keptsettings import kept_exchange, newest_run
from pipelines.letterproof import check_letters
from pipelines.problems import LETTERS, Problem
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
    """Verifies batches. Runs with equal settings share sinks, whose connections last for one call of `batches`."""

    def __init__(self, state: State, sealer: Sealer) -> None:
        self._state, self.sealer = state, sealer
        self._sinks: dict[int, tuple[Exchange, Sinks] | None] = {}
        self._equal: dict[str, tuple[Exchange, Sinks]] = {}
        self._newest: dict[str, int | None] = {}
        self._told: dict[tuple[str, str], Tally] = {}
        self.records: dict[str, Counter[str]] = {}
        """Exchange -> destination -> records that verify counted there."""

    def batches(self, batches: Sequence[str]) -> dict[str, list[Problem]]:
        """Batch -> what is not as the ledger says; those that a running gateway changes meanwhile are asked again.

        One that is being settled is left out: its equations are proved, its effects are not done.
        """
        found: dict[str, list[Problem]] = {}
        kept = self._read(batches)
        for attempt in range(_TRIES):
            self._ask_all(kept.values())
            differ: dict[str, Counter[str]] = {}
            for batch, one in kept.items():
                found[batch], counted = self._ask(one)
                if found[batch] and attempt < _TRIES - 1:
                    differ[batch] = counted
                else:
                    self._count(one, counted)
            if not differ:
                break
            again = self._read(list(differ))
            for batch, counted in differ.items():
                if batch not in again:
                    found[batch] = []
                elif attempt and kept[batch].same(again[batch]):
                    self._count(again.pop(batch), counted)
            kept = again
            if kept:
                time.sleep(_PAUSE)
        self.close()
        return found

    def _count(self, kept: Kept, counted: Counter[str]) -> None:
        self.records.setdefault(kept.row.exchange, Counter()).update(counted)

    def close(self) -> None:
        """Close what the sinks have open; they open it again when they are asked."""
        for _, sinks in self._equal.values():
            sinks.close()

    def _read(self, batches: Sequence[str]) -> dict[str, Kept]:
        """Those batches that are closed, in one transaction."""
        b, d, p = tables.batches, tables.batch_destinations, tables.parts
        destinations: dict[str, list[Any]] = {}
        parts: dict[str, list[Any]] = {}
        self._newest.clear()
        with self._state.reading() as connection:
            rows = connection.execute(
                select(b.c.id, b.c.exchange, b.c.run, b.c.kind, b.c.letters, b.c.letters_digest).where(
                    b.c.id.in_(batches), b.c.state == "closed"
                )
            ).all()
            for one in connection.execute(select(d).where(d.c.batch.in_(batches)).order_by(d.c.destination)):
                destinations.setdefault(one.batch, []).append(one)
            for one in connection.execute(select(p).where(p.c.batch.in_(batches)).order_by(p.c.final)):
                parts.setdefault(one.batch, []).append(one)
        return {row.id: Kept(row, tuple(destinations.get(row.id, ())), tuple(parts.get(row.id, ()))) for row in rows}

    def _ask_all(self, kept: Iterable[Kept]) -> None:
        """Ask letters and sinks for many batches at a time; what cannot be told is asked again for each alone."""
        self._told.clear()
        letters: dict[int, tuple[Exchange | None, list[str]]] = {}
        asked: dict[str, tuple[Any, list[str]]] = {}
        for one in kept:
            runs = self._runs(one)
            exchange = runs[0][0] if runs else None
            letters.setdefault(id(exchange), (exchange, []))[1].append(one.row.id)
            for sink in self._sinks_of(one, runs[0][1]) if runs else ():
                asked.setdefault(_place(sink), (sink, []))[1].append(one.row.id)
        for exchange, names in letters.values():
            with self._state.reading() as connection:
                found = LetterStore(connection, self.sealer, locator(exchange)).tallies(names)
            self._told.update({(LETTERS, name): tally for name, tally in found.items()})
        for place, (sink, names) in asked.items():
            with suppress(ConnectorError):
                self._told.update({(place, name): tally for name, tally in tallies(sink, names).items()})

    def _sinks_of(self, kept: Kept, sinks: Sinks) -> list[Any]:
        """The sinks that are asked for a batch, each once."""
        in_parts = {part.destination for part in kept.parts}
        rows = [sinks.row_sink(d.destination)[1] for d in kept.destinations if d.destination not in in_parts]
        return list({_place(sink): sink for sink in [*rows, *sinks.parts().values()]}.values())

    def _tally(self, sink: Any, batch: str) -> Tally:
        """What a sink holds of a batch, as it told for many or tells now."""
        told = self._told.get((_place(sink), batch))
        return sink.verify(batch) if told is None else told

    def _ask(self, kept: Kept) -> tuple[list[Problem], Counter[str]]:
        counted: Counter[str] = Counter()
        runs = self._runs(kept)
        exchange = runs[0][0] if runs else None
        found: list[Problem] = []
        if self._told.get((LETTERS, kept.row.id)) != Tally(kept.row.letters, int(kept.row.letters_digest)):
            found += check_letters(self._state, self.sealer, kept.row, exchange)
        in_parts = {part.destination for part in kept.parts}
        rows = [d for d in kept.destinations if d.destination not in in_parts]
        if runs:
            found += self._rows(kept, rows, runs, counted)
        else:
            wanting = [d for d in rows if d.stands]
            found += [
                Problem("unasked", kept.row.id, d.destination, d.stands, "?", detail="runs.settings") for d in wanting
            ]
        sinks = runs[0][1].parts() if runs else {}
        found += self._parts(kept, sinks, counted)
        found += self._part_sinks(kept, sinks, counted, bool(found))
        return found, counted

    def _runs(self, kept: Kept) -> list[tuple[Exchange, Sinks]]:
        """The sinks of the batch's own run, and of the exchange's newest run where that is another one."""
        name = kept.row.exchange
        if name not in self._newest or kept.row.run not in self._sinks:
            with self._state.reading() as connection:
                self._newest[name] = newest_run(connection, name)
                for run in {kept.row.run, self._newest[name]} - {None, *self._sinks}:
                    exchange = kept_exchange(connection, self.sealer, run)
                    self._sinks[run] = None if exchange is None else self._made(exchange)
        chosen = [self._sinks[run] for run in dict.fromkeys((kept.row.run, self._newest[name])) if run is not None]
        return [made for made in chosen if made is not None]

    def _made(self, exchange: Exchange) -> tuple[Exchange, Sinks]:
        """Settings and their sinks, the same objects for equal settings."""
        same = exchange.model_dump_json(by_alias=True)
        if same not in self._equal:
            self._equal[same] = exchange, Sinks(exchange, self._state, make=False)
        return self._equal[same]

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
                tally = self._tally(sink, batch)
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

    def _parts(self, kept: Kept, sinks: Mapping[str, PartSink], counted: Counter[str]) -> Iterator[Problem]:
        """Every promoted part must be there with its hash; what lies on another machine its sink is asked for."""
        sums: dict[str, list[int]] = {}
        for part in kept.parts:
            if not part.promoted:
                continue
            total = sums.setdefault(part.destination, [0, 0])
            total[0] += part.count
            total[1] += int(part.sha256[:16], 16)
            place = place_of(part.final, sinks.get(part.sink))
            if place is None:
                continue
            digest = hash_of(place)
            if digest == part.sha256:
                counted[part.destination] += part.count
            elif digest or place.is_absolute():
                kind = "altered-part" if digest else "missing-part"
                yield Problem(kind, kept.row.id, part.destination, part.sha256, digest or "-", str(place))
        for row in kept.destinations:
            if row.destination in sums:
                count, digest_sum = sums[row.destination]
                if (row.stands, int(row.stands_digest)) != (count, digest_sum & MASK):
                    yield Problem("journal", kept.row.id, row.destination, count, row.stands, detail="stands")

    def _part_sinks(
        self, kept: Kept, sinks: Mapping[str, PartSink], counted: Counter[str], known_bad: bool
    ) -> Iterator[Problem]:
        """What the part sinks themselves count: a file that nobody accounted shows here."""
        places: dict[str, tuple[Any, list[str]]] = {}
        for name, sink in sinks.items():
            places.setdefault(_place(sink), (sink, []))[1].append(name)
        for sink, names in places.values():
            mine = [p for p in kept.parts if p.sink in names]
            expected = Tally(
                sum(p.count for p in mine if p.promoted),
                sum(int(p.sha256[:16], 16) for p in mine if p.promoted) & MASK,
            )
            try:
                found = self._tally(sink, kept.row.id)
            except ConnectorError as error:
                yield Problem("unasked", kept.row.id, ",".join(names), expected.count, "?", detail=str(error))
                continue
            if found == expected:
                for part in mine if not isinstance(sink, PartFolder) else ():
                    counted[part.destination] += part.count if part.promoted else 0
                continue
            strays = culprits.stray_parts(sink, kept.row.id, mine) if isinstance(sink, PartFolder) else []
            yield from strays
            if not strays and not known_bad and not _half_done(sink, mine, expected, found):
                where = ",".join(sorted({p.destination for p in mine})) or ",".join(names)
                yield Problem("changed-store", kept.row.id, where, expected.count, found.count)


def _half_done(sink: PartSink, parts: Sequence[Any], expected: Tally, found: Tally) -> bool:
    """Whether the difference is parts that have their name and are not yet accounted: a promotion under way."""
    places = {p.final: place_of(p.final, sink) for p in parts if not p.promoted}
    done = [p for p in parts if (place := places.get(p.final)) is not None and hash_of(place) == p.sha256]
    return bool(done) and found == Tally(
        expected.count + sum(p.count for p in done),
        (expected.digest + sum(int(p.sha256[:16], 16) for p in done)) & MASK,
    )


def _place(sink: Any) -> str:
    """What tells two sinks apart that hold the same things."""
    if isinstance(sink, RegisterSink):
        return f"register {sink.destination}"
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
