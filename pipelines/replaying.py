"""Letters that are replayed: they enter by the same door as new data, as one batch whose source is the letters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson
from sqlalchemy import insert, select, update

from connectors.contracts import WorkItem
from dlq import replay
from dlq.errors import WrongState
from dlq.letter import CLAIMED, Letter, letter_id
from dlq.letters import LetterStore
from dlq.reasons import Reason
from dlq.sealing import Sealer
from pipelines import accounts, tables
from pipelines.accounts import Account
from pipelines.bodies import locator
from pipelines.merging import pair_of
from pipelines.sealedrows import seal_waiting
from pipelines.segments import RECORD, RowWriter, StagedRow
from pipelines.settings import Exchange
from pipelines.state import State
from pipelines.versions import signed
from pipelines.vinhash import vin_hash
from pipelines.work import Job

DOOR = "door:"
"""How the sources of envelopes from the door begin."""
Died = dict[tuple[int, int], list[Reason]]
"""Item and offset of replayed letters that died again -> why."""


def prepare(
    state: State, exchange: Exchange, sealer: Sealer, chosen: Sequence[str]
) -> tuple[list[WorkItem], dict[str, Any]]:
    """Items of the letters of envelopes, one a sender and dialect; letters of deliveries become due deliveries.

    All their bodies are held meanwhile: `pipelines.replayorders.portions` says how many letters may come at a time.

    Raises:
        WrongState: a letter may not be replayed now; the text says why.
    """
    envelopes: dict[tuple[str, str, str], list[tuple[Letter, bytes]]] = defaultdict(list)
    deliveries: list[str] = []
    with state.unit_of_work() as connection:
        store = LetterStore(connection, sealer, locator(exchange))
        letters = [store.get(name) for name in chosen]
        accounts.hold(connection, [letter.batch for letter in letters if letter.destination])
        for letter in letters:
            why = replay.refusal(letter)
            if why:
                message = f"死信 {letter.id}：{why.zh} / letter {letter.id}: {why.en}"
                raise WrongState(message)
            body = store.body(letter)
            if letter.destination:
                _due(connection, exchange, sealer, store, letter, body)
                deliveries.append(letter.id)
            else:
                envelopes[letter.system, letter.company, _dialect(exchange, letter)].append((letter, body))
    items: list[WorkItem] = []
    told: dict[str, Any] = {"letters": {}, "intakes": {}, "deliveries": deliveries}
    folder = state.path / "staging" / "replayed"
    folder.mkdir(parents=True, exist_ok=True)
    for number, ((system, company, dialect), group) in enumerate(sorted(envelopes.items())):
        path = folder / f"{number:05d}.rows"
        path.unlink(missing_ok=True)
        writer = RowWriter(path, sealer)
        for i, (_, body) in enumerate(group):  # a frame each: together they may be more than one can hold
            writer.add([StagedRow(i, RECORD, body)])
        digest = f"letters:{_fingerprint(letter for letter, _ in group)}"
        extra = {"sealed": writer.close()} | ({"dialect": dialect} if dialect else {})
        items.append(WorkItem("letters", digest, 0, -1, company, system, extra))
        told["letters"][number] = [letter.id for letter, _ in group]
        told["intakes"][number] = {i: letter.intake for i, (letter, _) in enumerate(group)}
    return items, told


def _fingerprint(letters: Iterable[Letter]) -> str:
    """Stands for the replay of these letters, in this order and for this generation of each."""
    return sha256(",".join(map(replay.key, letters)).encode()).hexdigest()


def _dialect(exchange: Exchange, letter: Letter) -> str:
    """What a letter from the door was answered as, and is read as again; empty: the exchange's mapping counts."""
    return letter.mapping if letter.source.startswith(DOOR) and letter.mapping != exchange.mapping.dialect else ""


def settle(extra: Mapping[str, Any], number: int, letters: Iterable[Letter], died: Died) -> Iterator[Letter]:
    """Letters that a replayed item left: the replayed letter's own death is put into `died`, another one passed on."""
    names: list[str] = extra["letters"].get(number, [])
    for letter in letters:
        if letter.destination:
            yield letter._replace(parent=names[letter.offset])
        else:
            died.setdefault((number, letter.offset), []).extend(letter.reasons)


def resolve_rest(store: LetterStore, job: Job, extra: Mapping[str, Any], died: Died) -> tuple[int, int]:
    """Settle every replayed letter: resolved, or open with one generation more; tally of those that died again."""
    moment = datetime.now(UTC)
    from dlq.rows import failed_replay

    count = digest = 0
    for number, names in extra["letters"].items():
        for offset, name in enumerate(names):
            store.claim(name, job.batch, moment)
            before = store.get(name)
            after = replay.after(before, job.batch, tuple(died.get((number, offset), ())), moment)
            store.settle(before, after, job.batch)
            if after.generation > before.generation:
                count, digest = count + 1, digest + failed_replay(after, job.batch)
    return count, digest


def _due(connection: Any, exchange: Exchange, sealer: Sealer, store: LetterStore, letter: Letter, body: bytes) -> None:
    """A refused delivery is due again: it waits for its one destination in the batch where it died.

    Its letter is claimed until the delivery ends (`settle_delivery`).
    """
    batch, number, ordinal = letter.source_key.rsplit("|", 2)
    name = f"{batch}/{number}/{ordinal}/{letter.destination}"
    record = orjson.loads(body)
    t = tables.journals
    packed = connection.execute(select(t.c.lines).where(t.c.batch == batch, t.c.item == int(number))).scalar_one()
    from pipelines.journal import Journal

    book = Journal.unpack(packed)
    moment = datetime.now(UTC)
    row = {
        "id": name,
        "exchange": exchange.name,
        "batch": batch,
        "item": int(number),
        "ordinal": int(ordinal),
        "destination": letter.destination,
        "reason": f"letter:{letter.id}",
        "vin": signed(vin_hash(str(record.get("vin", "")))),
        "version": int(book.lines["version"][int(ordinal)]),
        "merged_into": pair_of(connection, letter.destination, letter.record_key),
        "attempts": 0,
        "next_attempt": moment.isoformat(),
    }
    connection.execute(insert(tables.waiting), seal_waiting(sealer, row, body))
    book.outcomes.setdefault(ordinal, {})[letter.destination] = "waiting"
    connection.execute(update(t).where(t.c.batch == batch, t.c.item == int(number)).values(lines=book.pack()))
    account = Account()
    account.counts.update(dead=-1, waiting=1)
    accounts.change(connection, batch, letter.destination, account)
    store.claim(letter.id, _attempt_of(letter), moment)


def _attempt_of(letter: Letter) -> str:
    """Name of one replay of a refused delivery: it goes again in the batch where it died, so the generation tells."""
    return f"{letter.batch}/{letter.generation}"


def claimed_letters(connection: Any, sealer: Sealer, rows: Sequence[Any]) -> dict[str, Letter]:
    """Waiting row's id -> the letter whose replay it is; rows that wait for another reason have none."""
    names = {
        letter_id(row.exchange, f"{row.batch}|{row.item}|{row.ordinal}", "deliver", row.destination): row.id
        for row in rows
    }
    t = tables.letters.letters
    found = connection.execute(select(t.c.id).where(t.c.id.in_(names), t.c.state == CLAIMED)).scalars().all()
    store = LetterStore(connection, sealer)
    return {names[name]: store.get(name) for name in found}


def settle_delivery(connection: Any, sealer: Sealer, letter: Letter, again: tuple[Reason, ...]) -> None:
    """The replayed delivery of a letter ended: resolved, or refused again and open with one generation more."""
    attempt = _attempt_of(letter)
    after = replay.after(letter, attempt, again, datetime.now(UTC))
    LetterStore(connection, sealer).settle(letter, after, attempt)
