"""What must be so when everything is healed and has drained: nothing lost, nothing doubled, every ledger balanced."""

from __future__ import annotations

import time
from collections import Counter, defaultdict

from load import Key
from world import PATIENCE, ROLES, World

from dlq.letters import LetterStore
from pipelines.ledger import Proof, prove
from pipelines.local.network import COLLECTING, HOME, MINISTRY
from pipelines.state import State

Arrivals = dict[str, list[tuple[Key, int, bool]]]
"""Vehicle -> key, version and whether it came after a newer one, in the order in which the rows came."""
Rows = dict[Key, list[tuple[int, str, bool]]]
"""Version, content, current; of each key."""


class Expected:
    """What the clients were told, all together."""

    def __init__(self, world: World) -> None:
        books = [client.book for client in world.clients]
        self.accepted: dict[Key, list[str]] = {key: texts for book in books for key, texts in book.accepted.items()}
        self.orders = [book.order for book in books]
        self.away: set[Key] = {key for book in books for key in book.away if key in self.accepted}
        self.refused: Counter[Key] = sum((book.refused for book in books), Counter())
        self.told: Counter[str] = sum((book.told for book in books), Counter())
        self.wrong = [text for book in books for text in book.wrong]

    def at(self, role: str) -> dict[Key, list[str]]:
        """What a role's store must hold."""
        return {key: texts for key, texts in self.accepted.items() if role != HOME or key in self.away}


def rows_of(world: World, role: str) -> Rows:
    """What a store holds."""
    found: Rows = defaultdict(list)
    asked = "SELECT companycode, costlistcode, version, faultdescription, current FROM repairs ORDER BY version, seq"
    for company, code, version, text, current in world.network.cluster.execute(
        asked, database=world.network.store(role)
    ):
        found[company, code].append((version, text, bool(current)))
    return found


def arrivals_of(world: World, role: str) -> Arrivals:
    """How the records of each vehicle came into a store."""
    found: Arrivals = defaultdict(list)
    asked = "SELECT vin, companycode, costlistcode, version, late FROM repairs ORDER BY seq"
    for vin, company, code, version, late in world.network.cluster.execute(asked, database=world.network.store(role)):
        found[vin].append(((company, code), version, bool(late)))
    return found


def order_problems(role: str, there: Arrivals, before: list[list[tuple[Key, int]]]) -> list[str]:
    """Vehicles whose records did not come in order.

    Args:
        role: whose store it is.
        there: how they came.
        before: orders in which they were sent: what stands in one of them must have come in it.
    """
    place = {one: (number, at) for number, order in enumerate(before) for at, one in enumerate(order)}
    found = []
    for vin, rows in there.items():
        newest: dict[Key, int] = {}
        for key, version, late in rows:
            if late or version < newest.get(key, 0):
                found.append(f"{role}: LATE {key} version {version} of {vin}")
            newest[key] = max(version, newest.get(key, 0))
        came: dict[int, int] = {}
        for key, version, _ in rows:
            number, at = place.get((key, version), (-1, 0))
            if number >= 0 and at < came.get(number, -1):
                found.append(f"{role}: OUT OF ORDER {key} version {version} of {vin}: {rows}")
            if number >= 0:
                came[number] = max(at, came.get(number, -1))
    return found


def newest_there(world: World, expected: Expected) -> bool:
    """Whether every store holds the newest version of what it must."""
    for role in ROLES:
        rows = rows_of(world, role)
        for key, texts in expected.at(role).items():
            if not rows.get(key) or max(rows[key])[:2] != (len(texts), texts[-1]):
                return False
    return True


def idle(world: World) -> dict[str, int]:
    """What is still under way, by role and table; empty: nothing."""
    found: dict[str, int] = {}
    asked = {
        "inbox": "SELECT count(*) FROM inbox",
        "waiting": "SELECT count(*) FROM waiting",
        "batches": "SELECT count(*) FROM batches WHERE state <> 'closed'",
    }
    for role in ROLES:
        for table, statement in asked.items():
            ((count,),) = world.network.cluster.execute(statement, database=world.network.state(role))
            if count:
                found[f"{role} {table}"] = count
    return found


def drained(world: World, expected: Expected) -> list[str]:
    """Wait until everything arrived and nothing is under way; what is still missing when patience is at its end."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if newest_there(world, expected) and not idle(world):
            return []
        time.sleep(0.2)
    return [f"not drained: {idle(world)}"]


def problems(world: World) -> list[str]:
    """Everything that is not as it must be."""
    expected = Expected(world)
    found = [*expected.wrong, *world.unclean]
    superseded, filtered = Counter(), {}
    for role in ROLES:
        found += store_problems(role, rows_of(world, role), expected.at(role), superseded)
        with State(world.network.states[role], own=False) as state:
            proof = prove(state)
            found += _ledger(role, proof)
            found += _letters(role, state, expected)
        filtered |= {(role, name): one.totals["filtered"] for name, one in proof.exchanges.items()}
    came = {role: arrivals_of(world, role) for role in ROLES}
    found += order_problems(COLLECTING, came[COLLECTING], expected.orders)
    for role, sender in ((MINISTRY, COLLECTING), (HOME, MINISTRY)):
        sent = [[(key, version) for key, version, _ in rows] for rows in came[sender].values()]
        found += order_problems(role, came[role], sent)
    allowed = 0
    for role, ways in _WAYS:
        allowed += sum(filtered.get(way, 0) for way in ways)
        if superseded[role] > allowed:
            found.append(f"{role}: LOST {superseded[role]} older versions, {allowed} were superseded on their way")
    return found


_WAYS = (
    (COLLECTING, [(COLLECTING, "collect")]),
    (MINISTRY, [(COLLECTING, "report"), (MINISTRY, "report")]),
    (HOME, [(MINISTRY, "push"), (HOME, "pushed")]),
)
"""Role and the exchanges that a version passes on its way into the store, from the one before."""


def store_problems(role: str, rows: Rows, wanted: dict[Key, list[str]], superseded: Counter) -> list[str]:
    """What is not as it must be in a store; `superseded` counts older versions that are not there."""
    found = []
    for key, texts in wanted.items():
        there = rows.get(key, [])
        numbers = [version for version, _, _ in there]
        if not there or max(numbers) != len(texts):
            found.append(f"{role}: LOST {key}: {there} instead of {texts}")
            continue
        if len(set(numbers)) != len(numbers):
            found.append(f"{role}: DOUBLED {key}: {there}")
        if any(text != texts[version - 1] for version, text, _ in there if version <= len(texts)):
            found.append(f"{role}: OTHER CONTENT {key}: {there} instead of {texts}")
        if [version for version, _, current in there if current] != [len(texts)]:
            found.append(f"{role}: WRONG CURRENT {key}: {there}")
        superseded[role] += len(texts) - len(set(numbers))
    found += [f"{role}: NOBODY SENT {key}: {there}" for key, there in rows.items() if key not in wanted]
    return found


def _ledger(role: str, proof: Proof) -> list[str]:
    found = [f"{role}: LEDGER {problem}" for problem in proof.problems]
    found += [f"{role}: UNFINISHED {batch}" for batch in proof.unfinished]
    if proof.totals["waiting"]:
        found.append(f"{role}: WAITING {proof.totals}")
    return found


def _letters(role: str, state: State, expected: Expected) -> list[str]:
    with state.reading() as connection:
        letters = list(LetterStore(connection, state.sealer()).search())
    if role != COLLECTING:
        return [f"{role}: LETTER {one.exchange} {one.stage} {one.reason} {one.record_key}" for one in letters]
    there = Counter(tuple(one.record_key.split("|")[1:]) for one in letters)
    found = [f"{role}: NO LETTER of {key}" for key in expected.refused if key not in there]
    found += [f"{role}: LETTER of what was accepted: {key}" for key in there if key not in expected.refused]
    found += [
        f"{role}: {count} LETTERS of {key}, sent {expected.refused[key]} times"
        for key, count in there.items()
        if key in expected.refused and count > expected.refused[key]
    ]
    return found
