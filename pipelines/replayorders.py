"""Replays that are ordered from whoever runs the exchange: durable, done once, and answered.

A command that may not own the state writes one row a letter; the gateway (or the next run of the exchange) takes them
up beside its other work, by the same door as any replay, and writes what came of it. An order remembers how often its
letter had been tried: once that number moved, the order is done, whoever moved it. So a gateway that is killed between
the replay and its answer answers when it is back, and tries nothing twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, select, update

from dlq import replay
from dlq.errors import NoSuchLetter
from dlq.letter import CLAIMED, RESOLVED, Letter
from dlq.letters import LetterStore
from pipelines import tables
from pipelines.blame import EXPECTED, is_outage
from pipelines.settings import Exchange
from pipelines.state import State

LOG = logging.getLogger("vingate.replays")

SKIPPED, ORDERED, FAILED = "skipped", "ordered", "failed"
MOST, ALONE = 500, 20
"""Letters of one batch, and letters taken alone in one go, after a batch broke."""
TRIES = 3
"""A letter during whose replay the gateway ended so many times is left alone."""
_LOOK_SECONDS = 0.2


class Outcome(NamedTuple):
    """What came of one letter."""

    id: str
    outcome: str
    """`resolved`, `open` (it died again), `parked` (for the third time), `waiting` (its destination was away),
    `skipped` (it may not be replayed now), `failed` (the steps broke on it), or `ordered` (not answered yet)."""
    why: str


_TOO_LONG = (
    "原文超过 limits.payload_bytes（{0}），请先调大 / longer than limits.payload_bytes ({0}): raise that setting first"
)


def too_long(letter: Letter, exchange: Exchange) -> Outcome | None:
    """The outcome of a letter whose payload the exchange would not read: it is not held to die again."""
    longest = exchange.limits.payload_bytes
    return Outcome(letter.id, SKIPPED, _TOO_LONG.format(longest)) if letter.body_size > longest else None


def portions(letters: Iterable[Letter], size: int) -> Iterator[list[Letter]]:
    """Letters in portions that a batch can hold: at most `MOST`, and after the first no more than `size` bytes."""
    portion: list[Letter] = []
    held = 0
    for letter in letters:
        if portion and (len(portion) == MOST or held + letter.body_size > size):
            yield portion
            portion, held = [], 0
        portion.append(letter)
        held += letter.body_size
    if portion:
        yield portion


def outcome_of(letter: Letter) -> Outcome:
    """What a letter tells of its last replay."""
    if letter.state == RESOLVED:
        return Outcome(letter.id, RESOLVED, letter.note)
    if letter.state == CLAIMED:
        return Outcome(
            letter.id, "waiting", "目的地暂不可用，自动重试 / its destination is away: tried again by itself"
        )
    codes = " ".join(dict.fromkeys(reason.code for reason in letter.current))
    return Outcome(letter.id, "parked" if letter.parked else letter.state, codes)


def refused(letter: Letter) -> Outcome | None:
    """The outcome of a letter that may not be replayed now; one that is resolved already counts as such."""
    why = replay.refusal(letter)
    if why is None:
        return None
    if letter.state == RESOLVED:
        return Outcome(letter.id, RESOLVED, "此前已解决 / was resolved before")
    return Outcome(letter.id, SKIPPED, f"{why.zh} / {why.en}")


# -- who orders --------------------------------------------------------------------------------------------------------


def order(state: State, letters: Iterable[Letter]) -> list[str]:
    """Order the replay of letters that may be replayed; their ids. An order that stands already is the same one."""
    moment, t = datetime.now(UTC).isoformat(), tables.replay_orders
    fresh = {"asked_at": moment, "answered_at": "", "tries": 0, "outcome": "", "why": "", "batch": ""}
    names = []
    with state.unit_of_work() as connection:
        insert = _insert(connection)
        for letter in letters:
            names.append(letter.id)
            values = {**fresh, "exchange": letter.exchange, "attempts": letter.attempts}
            again = insert(t).values(letter=letter.id, **values)
            connection.execute(
                again.on_conflict_do_update(index_elements=[t.c.letter], set_=values, where=t.c.answered_at != "")
            )
    return names


def _insert(connection: Connection) -> Any:
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as to_postgres  # late: states on SQLite need none of it

        return to_postgres
    from sqlalchemy.dialects.sqlite import insert as to_sqlite

    return to_sqlite


def awaited(state: State, names: Sequence[str], seconds: float) -> tuple[dict[str, Outcome], list[str]]:
    """What came of orders, and the batches that replayed; those without an answer in so many seconds are *ordered*."""
    t = tables.replay_orders
    until = time.monotonic() + seconds
    while True:
        found: dict[str, Any] = {}
        for at in range(0, len(names), MOST):
            asked = select(t).where(t.c.letter.in_(names[at : at + MOST]), t.c.answered_at != "")
            with state.reading() as connection:
                found |= {row.letter: row for row in connection.execute(asked)}
        if len(found) == len(names) or time.monotonic() >= until:
            break
        time.sleep(_LOOK_SECONDS)
    answers = {name: Outcome(name, row.outcome, row.why) for name, row in found.items()}
    left = {name: Outcome(name, ORDERED, _NOT_YET) for name in names if name not in answers}
    return answers | left, sorted({row.batch for row in found.values() if row.batch})


_NOT_YET = (
    "已下达，网关尚未处理；交换未在运行或目的地故障时会等待"
    " / ordered, not done yet: it waits while the exchange is failing, or is not among those that run"
)


# -- who serves --------------------------------------------------------------------------------------------------------


class Orders:
    """The orders of one exchange, at the gateway that owns the state.

    Args:
        state: the state, owned.
        exchange: the exchange.
        again: replays letters as one batch; its id.
        recover: takes up what a batch left that broke.
    """

    def __init__(
        self, state: State, exchange: Exchange, again: Callable[[Sequence[str]], str], recover: Callable[[], None]
    ) -> None:
        self._state, self._exchange, self._again, self._recover = state, exchange, again, recover

    def serve(self) -> None:
        """Do what is ordered: many letters as one batch; those of a batch that broke, one by one.

        Raises what an outage raises; what was ordered stays so.
        """
        for _ in range(ALONE):
            rows = self._next()
            if not rows:
                return
            self._do(rows)
            if not rows[0].tries:
                return

    def _next(self) -> list[Any]:
        """The oldest orders; one that was tried before is taken alone, and first."""
        t = tables.replay_orders
        waiting = select(t).where(t.c.exchange == self._exchange.name, t.c.answered_at == "")
        with self._state.reading() as connection:
            alone = connection.execute(waiting.where(t.c.tries > 0).order_by(t.c.asked_at, t.c.letter).limit(1)).all()
            return list(alone or connection.execute(waiting.order_by(t.c.asked_at, t.c.letter).limit(MOST)).all())

    def _do(self, rows: Sequence[Any]) -> None:
        letters = self._letters(rows)
        answers: dict[str, Outcome] = {}
        going: dict[str, Any] = {}
        for row in rows:
            letter = letters.get(row.letter)
            if letter is None:
                answers[row.letter] = Outcome(row.letter, SKIPPED, "死信已不存在 / there is no such letter any more")
            elif letter.attempts != row.attempts or letter.state == CLAIMED:
                answers[row.letter] = outcome_of(letter)  # it was replayed since
            elif (known := refused(letter) or too_long(letter, self._exchange)) is not None:
                answers[row.letter] = known
            elif row.tries >= TRIES:
                answers[row.letter] = Outcome(row.letter, FAILED, _ENDED)
            else:
                going[row.letter] = row
        self._answer(answers, "")
        if going:
            by_intake = sorted((letters[name] for name in going), key=lambda letter: letter.intake)
            first = next(portions(by_intake, self._exchange.batch.bytes))
            self._replay([going[letter.id] for letter in first])

    def _replay(self, rows: Sequence[Any]) -> None:
        names = [row.letter for row in rows]
        self._tried(names, 1)
        try:
            batch = self._again(names)
        except EXPECTED:
            self._tried(names, -1)
            raise
        except Exception as error:  # a defect that one letter shows must not end the gateway again and again
            if is_outage(error):
                self._tried(names, -1)
                raise
            LOG.error("steps failed on a replay of %d letters: %s", len(names), type(error).__name__, exc_info=error)
            self._recover()
            if len(rows) == 1:
                broke = (
                    f"处理步骤出错，死信未变 / the steps broke on it, the letter is unchanged: {type(error).__name__}"
                )
                self._answer({names[0]: Outcome(names[0], FAILED, broke)}, "")
            return
        self._answer({name: outcome_of(letter) for name, letter in self._letters(rows).items()}, batch)

    def _letters(self, rows: Sequence[Any]) -> dict[str, Letter]:
        found = {}
        with self._state.reading() as connection:
            store = LetterStore(connection, self._state.sealer())
            for row in rows:
                try:
                    found[row.letter] = store.get(row.letter)
                except NoSuchLetter:
                    continue
        return found

    def _tried(self, names: Sequence[str], change: int) -> None:
        """Count a try before it begins, in a commit of its own; take it back where nothing was to blame."""
        t = tables.replay_orders
        with self._state.unit_of_work() as connection:
            connection.execute(update(t).where(t.c.letter.in_(names)).values(tries=t.c.tries + change))

    def _answer(self, answers: Mapping[str, Outcome], batch: str) -> None:
        if not answers:
            return
        t, moment = tables.replay_orders, datetime.now(UTC).isoformat()
        with self._state.unit_of_work() as connection:
            for one in answers.values():
                told = {"answered_at": moment, "outcome": one.outcome, "why": one.why, "batch": batch}
                connection.execute(update(t).where(t.c.letter == one.id).values(**told))


_ENDED = (
    "重放时网关多次异常退出，已不再自动重试；请停止服务后单独重放"
    " / the gateway ended during it again and again: stop the service, and replay it alone"
)
