"""A long run of the whole way: does what must stay flat stay flat, and does every record arrive once?

    vingate bench realtime --soak 30 --rate 500

Door -> province -> ministry -> home province under a steady load, sampled every ten seconds without asking the roles
anything: memory, handles and threads from /proc, tables and sessions from the database's own catalogue, folders from
the disk. `soak_signs` has the rule, `soak_plot` the picture.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import soak_plot
import soak_signs
from realtime_network import ROOT, Network, Role
from realtime_parts import COMPANIES, others

if TYPE_CHECKING:
    from realtime import Client

EVERY = 10.0
"""Seconds between two samples, at most."""
_SAMPLES = 9
"""A short run has so many."""
CONNECTIONS = 16
PATIENCE = 120.0
"""Seconds without a further record after which what is missing counts as lost."""
_PASSING = (
    "SELECT sum(pg_total_relation_size(t))::bigint FROM unnest(ARRAY['inbox', 'waiting', 'staged_rows']::regclass[]) t"
)
_UNDER_WAY = "SELECT (SELECT count(*) FROM inbox) + (SELECT count(*) FROM waiting)"
_MEGABYTE = 1 << 20


class Soak(NamedTuple):
    """What a long run works with."""

    network: Network
    client: Client
    minutes: float
    rate: float
    plot: Path
    """Where the picture goes."""

    @property
    def every(self) -> float:
        """Seconds between two samples."""
        return min(EVERY, self.minutes * 60 / _SAMPLES)


def run(soak: Soak) -> tuple[str, dict[str, Any]]:
    """Load, sample, drain, judge: a section of text, and the figures."""
    network, client = soak.network, soak.client
    roles = [network.add(name) for name in ("province-44", "ministry", "province-51")]
    for role in roles:
        role.declare()
    for role in roles:
        role.start()
    client.run("setup", door=roles[0].door, companies=COMPANIES)
    flags = {"door": roles[0].door, "connections": CONNECTIONS, "rate": soak.rate, "seconds": soak.minutes * 60}
    first = {name: role.processes() for name, role in network.roles.items()}
    load, samples, moments, began = client.start("load", **flags), [], [], time.monotonic()
    while load.poll() is None:
        samples.append(sample(network))
        moments.append(time.monotonic() - began)
        _progress(soak, moments[-1], samples[-1])
        _wait(load, began + len(samples) * soak.every - time.monotonic())
    assert load.stdout is not None
    said = json.loads(load.stdout.read())
    soak_plot.write(soak.plot, moments, samples, f"vingate soak: {soak.minutes:g} min at {soak.rate:g}/s offered")
    print(f"图 / plot: {soak.plot}", flush=True)
    _drain(network, roles[-1], said["accepted"])
    stores = {role.name: _store(network, role, said["accepted"]) for role in roles}
    again = [
        f"{name} {kind}"
        for name, one in first.items()
        for kind, pid in one.items()
        if network.roles[name].processes().get(kind) != pid
    ]
    judged = soak_signs.judge(samples)
    told = soak_signs.verdict(judged) if not again else f"**Not flat**: started again: {', '.join(again)}."
    figures = {"client": said, "stores": stores, "flat": not again and not soak_signs.leaks(judged),
               "signs": {" ".join(one.sign): one[1:] for one in judged}}  # fmt: skip
    return _section(soak, said, stores, told, len(samples), judged), figures


def sample(network: Network) -> dict[soak_signs.Sign, float]:
    """All signs of this moment."""
    found: dict[soak_signs.Sign, float] = {}
    for name, role in network.roles.items():
        for kind, pid in role.processes().items():
            found |= {(f"{name} {kind}", sign): value for sign, value in soak_signs.of_process(pid).items()}
    for name, role in network.roles.items():
        ((passing,),) = network.database.execute(_PASSING, database=role.state)
        ((waits,),) = network.database.execute(_UNDER_WAY, database=role.state)
        found[name, "passing rows"] = float(passing) / _MEGABYTE
        found[name, "folder"] = soak_signs.of_folder(role.folder)
        found[f"{name}, not done", "backlog"] = float(waits)
    counts = {name: network.count(role) for name, role in network.roles.items()}
    stored, *_, home = counts.values()
    found["between the stores", "backlog"] = float(stored - home)
    for database, size, sessions in network.database.execute(
        "SELECT datname, pg_database_size(oid)::bigint, (SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.oid)"
        " FROM pg_database d WHERE datname ~ '_(state|store)$' ORDER BY 1"
    ):
        found[database, "sessions"], found[database, "kept"] = float(sessions), float(size) / _MEGABYTE
    return found


def _store(network: Network, role: Role, accepted: int) -> dict[str, int]:
    """What is missing from a store, and what stands there more than once."""
    ((rows, codes),) = network.database.execute(
        "SELECT count(*), count(DISTINCT (companycode, costlistcode)) FROM repairs", database=role.store
    )
    return {"lost": accepted - int(codes), "doubled": int(rows) - int(codes)}


def _wait(load: subprocess.Popen[str], seconds: float) -> None:
    try:
        load.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return


def _drain(network: Network, home: Role, rows: int) -> None:
    """Wait until everything is home, or until nothing more came for so long that it must be lost."""
    seen, since = -1, time.monotonic()
    while (now := network.count(home)) < rows and time.monotonic() - since < PATIENCE:
        if now != seen:
            seen, since = now, time.monotonic()
            print(f"到达 / home: {now:,} of {rows:,}", flush=True)
        time.sleep(2)


def _progress(soak: Soak, at: float, found: soak_signs.Sample) -> None:
    memory = sum(value for (_, kind), value in found.items() if kind == "memory")
    handles = sum(value for (_, kind), value in found.items() if kind == "handles")
    backlog = sum(value for (_, kind), value in found.items() if kind == "backlog")
    print(
        f"{at / 60:5.1f} / {soak.minutes:g} min: 内存 memory {memory:,.0f} MB, 句柄 handles {handles:.0f}, "
        f"积压 backlog {backlog:,.0f}",
        flush=True,
    )


def _section(
    soak: Soak,
    said: dict[str, Any],
    stores: dict[str, dict[str, int]],
    told: str,
    count: int,
    judged: list[soak_signs.Judged],
) -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    ends = "; ".join(f"{name}: lost {one['lost']}, doubled {one['doubled']}" for name, one in stores.items())
    return (
        "## Soak, in real time\n\n"
        f"Made by `vingate bench realtime --soak {soak.minutes:g} --rate {soak.rate:g}` on "
        f"{datetime.now(UTC):%Y-%m-%d} at commit {commit.stdout.strip() or '-'};\n"
        f"{platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}; {count} samples, one every {soak.every:g} s.\n\n"
        "Door, province (44), ministry, home province (51), all vehicles at home in 51, everything on the same cores.\n"
        f"Offered {soak.rate:g}/s for {soak.minutes:g} minutes, accepted {said['accepted']:,} "
        f"({said['accepted_per_second']:,.0f}/s), other answers: {others(said)};\nanswered in p50 "
        f"{said['p50']:.0f} ms, p99 {said['p99']:.0f} ms. In the stores after it drained: {ends}.\n\n"
        f"{told} {soak_signs.RULE}\n`{soak.plot.name}` has all samples.\n\n{soak_signs.tables(judged)}"
    )
