"""A nation in one process: the sample written, then every exchange run on it, and what came of it in numbers.

Registrations and operators, collect, headquarters, report, push; then registrations that come later, and push again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any, NamedTuple

import orjson
from sqlalchemy import func, select

from pipelines import ledger, tables
from pipelines.coordinator import Coordinator
from pipelines.counting import Counted, count
from pipelines.errors import PipelineError
from pipelines.partners.catalogue import PARTNERS as CATALOGUE
from pipelines.partners.hosting import hosted
from pipelines.picture import write_page
from pipelines.progress import Observer, silent
from pipelines.sample import generate
from pipelines.sample.outside import FOLDER, REGISTERS, write_outside
from pipelines.settings import Exchange, load
from pipelines.state import State

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
"""Where the settings files of the shipped exchanges lie."""
SEED, SCALE = 7, 1.0
PARTNERS, STORES, RECEIPTS = "partners", "stores", "receipts"
"""Folders below the state: what partners sent, the provinces' and the ministry's stores, the shops' receipts."""


class NoCheckout(PipelineError):
    """The settings of the shipped exchanges and roles are not there: vingate was installed without its checkout."""

    exit_code = 2

    def __init__(self) -> None:
        super().__init__(
            f"需要源码目录：没有 {DEPLOY}；请在仓库中运行 make run 或 make demo-servers"
            f" / it needs a checkout, there is no {DEPLOY}: run `make run` or `make demo-servers` in one"
        )

    def __reduce__(self) -> tuple[type[NoCheckout], tuple[()]]:
        return NoCheckout, ()


def need_checkout() -> None:
    """See that the shipped settings are there, before anything is made. Raises NoCheckout."""
    if not DEPLOY.is_dir():
        raise NoCheckout


class Step(NamedTuple):
    """One run of an exchange; `source` is its input below the partners' folder where that is not the settings' own."""

    exchange: str
    source: str = ""


STEPS = (
    Step("registrations"),
    Step("operators"),
    Step("collect"),
    Step("headquarters"),
    Step("report"),
    Step("push"),
    Step("registrations", "later/registrations-2.ndjson"),
    Step("push"),
)
"""The runs of a nation, in order. The last two: registrations that arrive later, and what they set in motion."""

OUTSIDE = (
    Step("road-register"),
    Step("parts-traceability"),
    Step("outside-in"),
    Step("environment"),
    Step("insurers"),
    Step("solid-waste"),
    Step("transmissions"),
    Step("credit"),
    Step("market-regulation"),
    Step("used-cars"),
    Step("road-administration"),
)
"""Then what follows from the repairs of one province for the systems outside; stand-ins take it."""
REGISTERED = frozenset({"road-register", "parts-traceability"})
"""Those of them that fill the state's registers."""
INTAKE = REGISTERED | {"outside-in"}
"""Those of them that take in what the systems send; the others derive what follows."""
_PROVINCE = "province-44.db"
WITH = {
    "environment": {"stations": "m-stations.csv"},
    "credit": {"operators": "operators.csv"},
    "insurers": {"shops": "direct-shops.csv"},
}
"""Exchange -> registers that its derivation is told."""


class OtherSample(PipelineError):
    """The state holds a sample of another seed or size."""

    exit_code = 2


@dataclass(frozen=True)
class Outcome:
    """What a nation's run came to."""

    state: Path
    seconds: float
    counted: list[Counted]
    problems: list[str]
    """What the ledger could not prove, with every store asked; empty when it balances."""
    versions_before: int
    versions: int
    """Record versions in all stores, before and after."""
    letters: int
    page: Path
    """The HTML page of it all."""
    example: str
    """VIN of a vehicle that was repaired away from home; empty when there is none."""

    @property
    def balanced(self) -> bool:
        """Whether the ledger balances."""
        return not self.problems

    @property
    def again(self) -> bool:
        """Whether everything had been there already, so that nothing was delivered."""
        return self.versions_before > 0 and self.versions == self.versions_before


def run(
    folder: Path,
    seed: int | None = None,
    scale: float | None = None,
    observer: Observer = silent,
    sampling: Callable[[str, int, int], None] | None = None,
) -> Outcome:
    """Run the nation whose state is in `folder`; the sample is written first where there is none.

    Args:
        folder: the state's folder; everything lies below it.
        seed: of the sample; None: 7, or that of the sample that is there.
        scale: of the sample; None: 1.0 (54,440 payloads), or that of the sample that is there.
        observer: told what the exchanges do.
        sampling: told how far the generator is.

    Raises:
        NoCheckout: the shipped settings are not there.
        OtherSample: there is a sample with another seed or scale.
        StateBusy: another gateway uses the folder.
    """
    need_checkout()
    began = time.monotonic()
    with State(folder, own=True) as state:
        received_at = _sample(folder, seed, scale, sampling)
        before = versions(folder)
        runs = [Coordinator(state, settings(step, folder, received_at), observer).run() for step in STEPS]
        runs += _outside(state, folder, received_at, observer)
        with state.reading() as connection:
            counted = list(count(connection, runs))
            letters = connection.execute(select(func.count()).select_from(tables.letters.letters)).scalar_one()
        proof = ledger.prove(state)
        problems = [str(one) for one in proof.problems]
        shown = write_page(state, problems)
    return Outcome(
        folder,
        time.monotonic() - began,
        counted,
        problems,
        before,
        versions(folder),
        letters,
        shown,
        _repaired_away(folder),
    )


def settings(step: Step, folder: Path, received_at: str) -> Exchange:
    """The settings of a step: the shipped file, with the sample's moment of receipt and the step's own input."""
    overrides = [f"received_at={received_at}"]
    if step.source:
        overrides.append(f"source.path={folder / PARTNERS / step.source}")
    return load(DEPLOY / "exchanges" / f"{step.exchange}.toml", overrides)


def _outside(state: State, folder: Path, received_at: str, observer: Observer) -> list[int]:
    """Run the exchanges with the systems outside, against stand-ins that run meanwhile."""
    place = folder / PARTNERS / FOLDER
    if not place.is_dir():
        until = date.fromisoformat(received_at[:10])
        write_outside(folder / STORES / _PROVINCE, folder / PARTNERS, until)
    with hosted(list(CATALOGUE), folder / "stand-ins") as running:
        runs = []
        for step in OUTSIDE:
            overrides = [f"received_at={received_at}"]
            if step.exchange not in INTAKE:
                overrides.append(f"source.today={month_after(received_at)}")
            for name, file in WITH.get(step.exchange, {}).items():
                overrides.append(f"source.with.{name}={folder / PARTNERS / REGISTERS / file}")
            sink = "solid-waste" if step.exchange == "outside-in" else step.exchange
            if sink in running.urls and step.exchange not in REGISTERED:
                overrides.append(f"sinks.{sink}.url={running.urls[sink]}")
            exchange = load(DEPLOY / "exchanges" / f"{step.exchange}.toml", overrides)
            runs.append(Coordinator(state, exchange, observer).run())
    return runs


def month_after(received_at: str) -> str:
    """The first day of the month after the sample was received: by then its month is over."""
    day = date.fromisoformat(received_at[:10]).replace(day=28) + timedelta(days=4)
    return day.replace(day=1).isoformat()


def _sample(
    folder: Path, seed: int | None, scale: float | None, progress: Callable[[str, int, int], None] | None
) -> str:
    """Write the sample where there is none; the moment at which it counts as received.

    It is written beside its place and renamed, so that a sample that is there is whole.
    """
    place = folder / PARTNERS
    expected = place / "expected.json"
    if not expected.is_file():
        unfinished = folder / f"{PARTNERS}.writing"
        rmtree(unfinished, ignore_errors=True)
        generate(
            unfinished,
            SEED if seed is None else seed,
            SCALE if scale is None else scale,
            progress=progress,
            judged_by=str(DEPLOY / "profiles" / "nation.toml"),
        )
        unfinished.rename(place)
    known: dict[str, Any] = orjson.loads(expected.read_bytes())
    for name, wanted in (("seed", seed), ("scale", scale)):
        if wanted is not None and wanted != known[name]:
            message = (
                f"{place} 中已有 {name}={known[name]} 的样本；请去掉 --{name}，或换一个 --state"
                f" / {place} holds a sample with {name}={known[name]}: leave out --{name}, or name another --state"
            )
            raise OtherSample(message)
    return str(known["received_at"])


# -- stores ------------------------------------------------------------------------------------------------------------


def versions(folder: Path) -> int:
    """Record versions in all stores of the nation."""
    return sum(_ask(store, f"SELECT count(*) FROM {table}")[0][0] for store, table in _tables(folder))  # noqa: S608


def _repaired_away(folder: Path) -> str:
    """VIN of a record that came down to its home province."""
    wanted = "SELECT vin FROM repairs WHERE repaircomefrom = 2 AND system NOT LIKE 'oem-%' LIMIT 1"
    stores = [store for store, table in _tables(folder) if table == "repairs"]
    return next((str(found[0][0]) for store in stores if (found := _ask(store, wanted))), "")


def _tables(folder: Path) -> list[tuple[Path, str]]:
    """The stores, with the table of each: repairs or documents."""
    asked = "SELECT name FROM sqlite_master WHERE name IN ('repairs', 'documents')"
    stores = sorted((folder / STORES).glob("*.db"))
    return [(store, str(name)) for store in stores for (name,) in _ask(store, asked)]


def _ask(store: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        return connection.execute(statement).fetchall()
