"""The source `derived`: documents that follow from what stores hold (`routing.cases`), as envelopes of an exchange.

    [source]
    connector = "derived"
    derivation = "emissions"
    [source.with]                        # the derivation's own settings
    [source.of.repairs]
    url = "sqlite:///stores/province-44.db"
    [source.of.documents]
    holds = "documents"
    url = "sqlite:///stores/im-44.db"

A store numbers its rows, so what it held at a number is known for ever. A work item is a *window*: from one number of
each store to another. Its subjects are those of which a row came in it. Of each, what followed at the window's
beginning is compared with what follows at its end; what is new or differs is an envelope, and what no longer follows a
withdrawal. So an item gives the same envelopes whenever it is read, whatever came since. The numbers up to which
windows were taken are kept in the commit that decides their batch.

Where the day, the settings, or a register that these name by its path changed, every subject is looked at again: what
followed by the old ones is compared with what follows by the new. So that it can be, the registers are kept beside the
mark (`pipelines.keptregisters`). What followed by code or shipped rules that were changed since cannot be known any
more: then all is derived anew (`DerivedSource.anew`) and compared with what was told (`pipelines.toldnames`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import func, select

from connectors.contracts import Block, Misconfigured, Unavailable, WorkItem
from connectors.engines import translated
from connectors.sqlbase import ASKED, Store, StoreSettings
from mappings import dates
from mappings.documents import Document
from mappings.documents.interchange import encode_withdrawn
from mappings.documents.kinds import kind
from mappings.documents.quickinterchange import write_document
from mappings.records import Withdrawal
from pipelines.derivedrows import Holding, Loose, Reader, Row
from pipelines.keptregisters import Registers, restored
from pipelines.marking import MarksInCommit
from pipelines.toldnames import Named, names_told
from routing.cases import Derivation, Fact
from routing.cases.shipped import DERIVATIONS, derivation

_GONE = "依据已变，不再成立 / no longer follows from what is known"


class DerivedSettings(BaseModel):
    """Settings of a derived source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    derivation: str
    """Name of a derivation (`routing.cases.shipped`)."""
    with_: dict[str, Any] = Field(default={}, alias="with")
    """The derivation's own settings."""
    of: dict[str, Holding] = Field(min_length=1)
    """Stores by name."""
    window_rows: int = Field(default=200_000, ge=1)
    """Rows of a store in one window: a longer backlog is taken in several."""
    today: date | None = None
    """The day that it is, where what follows depends on it; by itself that of Shanghai. For tests and backfills."""


Numbers = Mapping[str, int]
"""Name of a store -> number of a row (`seq`)."""


class Telling(NamedTuple):
    """Where it stands what an exchange has told."""

    state: str
    """Folder of the state."""
    exchange: str


class DerivedSource(MarksInCommit):
    """What follows from some stores, as envelopes of documents in our own form."""

    Settings = DerivedSettings

    def __init__(self, settings: DerivedSettings, stores: Mapping[str, tuple[StoreSettings, Holding]]) -> None:
        """`stores`: name -> settings of a store, and what is said of it."""
        self.settings = settings
        self._given = dict(sorted(stores.items()))
        self._derivation = _made(settings.derivation, settings.with_)
        self._open: dict[str, Store] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings, self._given)

    def plan(self, done: Mapping[str, str]) -> Iterator[WorkItem]:
        """Windows of what came since the mark, oldest first; `extra["mark"]` is the mark once the window is done.

        Where the day, the derivation's settings or its registers changed since, a window of all subjects comes first.

        Raises:
            Misconfigured: a store is not there, or a register is named no more, or has lost most of its lines.
            Unavailable: a store is not to be had now.
        """
        yield from self._planned(done, None)

    def anew(self, done: Mapping[str, str], told: Telling) -> Iterator[WorkItem]:
        """The same, but a window of all subjects comes first in any case, as if nothing were known of what followed.

        What was told already is a duplicate by its content; what was told and does not follow now is withdrawn.
        """
        yield from self._planned(done, told)

    def _planned(self, done: Mapping[str, str], told_before: Telling | None) -> Iterator[WorkItem]:
        mark = orjson.loads(done.get(self.settings.derivation) or "{}")
        begin: dict[str, int] = mark.get("to", {})
        turn = int(mark.get("turn", 0))
        told, today, registers = self.settings.with_, self._today().isoformat(), Registers(self.settings.with_)
        beside = registers.keeping(done)
        if mark and told_before is None and (lost := registers.lost(mark["registers"], done)):
            raise Misconfigured(
                "; ".join(lost),
                "依据它送出的内容都会被撤回：请恢复；若属有意，以 --again 运行一次 / all that was told by it would be"
                " withdrawn: put it back; or, where that is meant, run once with --again",
            )
        if mark and (
            told_before is not None
            or (self._derivation.daily and mark["day"] != today)
            or (mark["with"], mark["registers"]) != (told, registers.digests)
        ):
            known = registers.before(told, mark["with"], mark["registers"], done) if told_before is None else None
            before = {"day": mark["day"], "with": known} if known is not None else None
            turn += 1
            item = self._item(begin, begin, before, today, registers.digests, beside, turn, everyone=True)
            yield item if told_before is None else replace(item, extra={**item.extra, "told": list(told_before)})
            beside = {}
        last = {name: self._last(name) for name in self._given}
        begin = {name: begin.get(name, 0) for name in last}
        while begin != last:
            end = {name: min(last[name], begin[name] + self.settings.window_rows) for name in last}
            yield self._item(begin, end, {"day": today, "with": told}, today, registers.digests, beside, turn)
            begin, beside = end, {}

    def _item(
        self,
        begin: Numbers,
        end: Numbers,
        before: Mapping[str, Any] | None,
        today: str,
        registers: Mapping[str, str],
        beside: Mapping[str, str],
        turn: int,
        *,
        everyone: bool = False,
    ) -> WorkItem:
        """`turn`: how often all subjects were looked at; it tells a register that comes back from its first time."""
        told = {"from": begin, "to": end, "before": before, "day": today, "with": self.settings.with_}
        last = {"to": end, "day": today, "with": self.settings.with_, "registers": registers, "turn": turn}
        mark = orjson.dumps(last).decode()
        name = self.settings.derivation
        digest = sha256(orjson.dumps([name, everyone, told, last], option=orjson.OPT_SORT_KEYS)).hexdigest()
        extra = {**told, "everyone": everyone, "mark": mark, "beside": beside}
        return WorkItem(name, digest, extra=extra)

    def _today(self) -> date:
        return self.settings.today or dates.day_in_shanghai(datetime.now(UTC))

    def read(self, item: WorkItem, block: int = 512) -> Iterator[Block]:
        """What follows otherwise at the end of the window than at its beginning; offsets count it.

        Raises:
            Misconfigured: a store is not there.
            Unavailable: a store is not to be had now, or a register was replaced since the item was planned.
        """
        told = item.extra
        registers = Registers(told["with"])
        if registers.digests != orjson.loads(told["mark"])["registers"]:
            message = (
                "名册在计划之后被替换，请再次运行"
                " / a register was replaced after this was planned: run it again, and it is looked at as it is now"
            )
            raise Unavailable(message)
        before = told["before"]
        window = _Window(
            (_made(self.settings.derivation, restored(before["with"])), date.fromisoformat(before["day"]))
            if before
            else None,
            (_made(self.settings.derivation, registers.given(told["with"])), date.fromisoformat(told["day"])),
            told["from"],
            told["to"],
        )
        bodies: list[bytes] = []
        begin = 0
        with translated(), ExitStack() as held:
            readers = {
                name: Reader(store, holding, self._derivation, held.enter_context(store.engine.connect()))
                for name, (store, holding) in self._stores().items()
            }
            low = {} if told["everyone"] else told["from"]
            loose = Loose(self._derivation, readers, told["to"])
            subjects = loose.came(low)
            for name, reader in readers.items():
                subjects.update(reader.subjects(low.get(name, 0), told["to"].get(name, 0)))
            ordered = self._of_interest(window.by, sorted(loose.beside(subjects)), readers, loose, low, told["to"])
            for at in range(0, len(ordered), ASKED):
                chosen = ordered[at : at + ASKED]
                bodies += window.envelopes(chosen, _all_rows(readers, loose, chosen, told["to"]), loose)
                while len(bodies) >= block:
                    yield Block(item, bodies[:block], list(range(begin, begin + block)), [])
                    bodies, begin = bodies[block:], begin + block
        if "told" in told:
            bodies += window.gone(names_told(Path(told["told"][0]), told["told"][1]))
        for at in range(0, len(bodies), block):
            some = bodies[at : at + block]
            yield Block(item, some, list(range(begin + at, begin + at + len(some))), [])

    @staticmethod
    def _of_interest(
        by: Sequence[Derivation],
        subjects: Sequence[str],
        readers: Mapping[str, Reader],
        loose: Loose,
        low: Numbers,
        high: Numbers,
    ) -> Sequence[str]:
        """Those of which something may follow, or may have followed, by one of these derivations."""
        if not all(one.needs for one in by):
            return subjects
        told = {
            subject
            for one in by
            for name, reader in readers.items()
            for subject in reader.told_of(subjects, one, low.get(name, 0), high.get(name, 0))
        }
        return [one for one in subjects if one in told or one in loose]

    def following(self, subject: str) -> list[Document]:
        """What follows now for one subject, by key.

        Raises:
            Misconfigured: a store is not there.
            Unavailable: a store is not to be had now.
        """
        numbers = {name: self._last(name) for name in self._stores()}
        with translated(), ExitStack() as held:
            readers = {
                name: Reader(store, holding, self._derivation, held.enter_context(store.engine.connect()))
                for name, (store, holding) in self._stores().items()
            }
            loose = Loose(self._derivation, readers, numbers)
            facts = loose.of(subject, _facts(_all_rows(readers, loose, [subject], numbers), numbers))
        return list(_follows(self._derivation, self._today(), subject, facts).values())

    def everything(self) -> Iterator[Document]:
        """What follows now, of every subject.

        Raises:
            Misconfigured: a store is not there.
            Unavailable: a store is not to be had now.
        """
        last = {name: self._last(name) for name in self._stores()}
        registers = Registers(self.settings.with_).digests
        for block in self.read(self._item({}, last, None, self._today().isoformat(), registers, {}, 0, everyone=True)):
            for body in block.bodies:
                told = orjson.loads(body)
                yield kind(told["kind"]).of_members(told["members"])

    def _stores(self) -> dict[str, tuple[Store, Holding]]:
        for name, (settings, _) in self._given.items():
            if name not in self._open:
                self._open[name] = Store(settings)
        return {name: (self._open[name], holding) for name, (_, holding) in self._given.items()}

    def _last(self, name: str) -> int:
        store, _ = self._stores()[name]
        with translated(), store.engine.connect() as connection:
            store.writing.settle(connection)
            return connection.scalar(select(func.max(store.table.c.seq))) or 0

    def check(self) -> list[str]:
        """How much each store holds.

        Raises:
            Misconfigured: a store is not there.
            Unavailable: a store is not to be had now.
        """
        return [f"{name}: {line}" for name, (store, _) in self._stores().items() for line in store.check()]

    def close(self) -> None:
        """Close the connections. Idempotent."""
        for store in self._open.values():
            store.engine.dispose()


class _Window:
    """What follows before and after, of one subject after the other."""

    def __init__(
        self, before: tuple[Derivation, date] | None, after: tuple[Derivation, date], begin: Numbers, end: Numbers
    ) -> None:
        """`before` is None where what followed is not known any more: then everything is told again."""
        self._before, self._after, self._begin, self._end = before, after, begin, end
        self.by = list({(one[0].needs, one[0].words): one[0] for one in (before, after) if one is not None}.values())
        self._followed: set[Named] = set()

    def envelopes(self, subjects: Sequence[str], rows: Mapping[str, Sequence[Row]], loose: Loose) -> Iterator[bytes]:
        """The documents that are new or differ, and withdrawals of those that no longer follow."""
        was = _facts(rows, self._begin) if self._before is not None else {}
        now = _facts(rows, self._end)
        for subject in subjects:
            known = _follows(*self._before, subject, loose.of(subject, was)) if self._before is not None else {}
            follows = _follows(*self._after, subject, loose.of(subject, now))
            if self._before is None:
                self._followed.update(follows)
            for name, document in follows.items():
                if name not in known or known[name].content() != document.content():
                    yield write_document(document)
            for issuer, listed in known.keys() - follows.keys():
                yield encode_withdrawn(Withdrawal(issuer, listed, _GONE), {})

    def gone(self, told: Set[Named]) -> Iterator[bytes]:
        """Withdrawals of what was told and does not follow, where what followed before is not known."""
        for issuer, listed in sorted(told - self._followed):
            yield encode_withdrawn(Withdrawal(issuer, listed, _GONE), {})


def _all_rows(
    readers: Mapping[str, Reader], loose: Loose, subjects: Sequence[str], high: Numbers
) -> dict[str, list[Row]]:
    """Rows of these subjects and of those that they share records without a subject with, and such records."""
    wanted = sorted(loose.beside(subjects))
    return {
        name: [*reader.rows(wanted, high.get(name, 0)), *loose.rows.get(name, ())] for name, reader in readers.items()
    }


def _facts(rows: Mapping[str, Sequence[Row]], numbers: Numbers) -> dict[str, list[Fact]]:
    """The facts of each subject as stores held them at some numbers: of each record the newest version."""
    found: dict[str, list[Fact]] = {}
    for name, all_rows in sorted(rows.items()):
        newest: dict[str, Row] = {}
        for row in all_rows:
            if row.number <= numbers.get(name, 0) and (row.key not in newest or newest[row.key].version < row.version):
                newest[row.key] = row
        for row in newest.values():
            if row.fact is not None:
                found.setdefault(row.subject, []).append(row.fact)
    return found


def _follows(by: Derivation, today: date, subject: str, facts: Sequence[Fact]) -> dict[tuple[str, str], Document]:
    made = by.derive(subject, facts, today) if facts else ()
    return dict(sorted(((one.identity.issuer, one.listed), one) for one in made))


def _made(name: str, options: Mapping[str, Any]) -> Derivation:
    try:
        return derivation(name, options)
    except KeyError:
        message = f"没有名为 {name!r} 的推导 / no derivation is named {name!r}"
        raise Misconfigured(message, f"可用 / there are: {', '.join(DERIVATIONS)}") from None
    except ValidationError as error:
        places = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        message = f"[source.with] 有误 / is wrong: {places}"
        raise Misconfigured(message, "请更正 / correct it") from None
