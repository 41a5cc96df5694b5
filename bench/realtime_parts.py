"""The parts of `vingate bench realtime`, each with a network of its own: what is measured, and its section of text."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pika
from realtime_network import Network, Role

if TYPE_CHECKING:
    from realtime import Client

COMPANIES = 80
"""Each may send 100 records a second."""
CONNECTIONS = 64
RATES = (50, 500, 2_000)
MESSAGES = ((100, 60_000), (1, 12_000))
"""Records of a message, and records."""


class Bench(NamedTuple):
    """What a part works with."""

    network: Network
    client: Client
    folder: Path
    seconds: float
    profile: bool

    @contextmanager
    def profiled(self, *roles: Role) -> Iterator[None]:
        """Where the processes of roles spend their time meanwhile, as a file each in the folder; only where asked."""
        program = shutil.which("py-spy") or str(Path(os.sys.executable).with_name("py-spy"))  # type: ignore[attr-defined]
        running = []
        for role in roles if self.profile else ():
            for kind, pid in role.processes().items():
                if kind != "supervisor":
                    out = self.folder / f"{role.name}-{kind}.raw"
                    command = [program, "record", "-p", str(pid), "-d", "600", "-r", "97", "-f", "raw", "-o", str(out)]
                    running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        try:
            yield
        finally:
            for one in running:
                one.send_signal(signal.SIGINT)
            for one in running:
                one.wait()


Part = Callable[[Bench], tuple[str, dict[str, Any]]]


ONE_DOOR = "door.processes=1"
"""Where one machine bears all roles: each process of a door commits for itself, and one bears 3,000 calls a second."""


def door(bench: Bench) -> tuple[str, dict[str, Any]]:
    """The door alone: its gateway is halted meanwhile; then with the gateway working beside it."""
    network, client = bench.network, bench.client
    role = network.add("province-44")
    role.declare()
    role.start()
    client.run("setup", door=role.door, companies=COMPANIES)
    client.load(door=role.door, connections=CONNECTIONS, seconds=1, seed=1)  # warm
    time.sleep(2)
    gateway = role.processes()["gateway"]
    os.kill(gateway, signal.SIGSTOP)
    before = network.beat()
    with bench.profiled(role):
        alone = client.load(door=role.door, connections=CONNECTIONS, seconds=bench.seconds, seed=2)
    spent = used(before.used, network.beat().used, alone["accepted"])
    os.kill(gateway, signal.SIGCONT)
    beside = client.load(door=role.door, connections=CONNECTIONS, seconds=bench.seconds, seed=3)
    text = (
        "## Door alone, in real time\n\n"
        "Role `province`, all rules, token checked, answered when committed to PostgreSQL (fsync on); "
        f"{CONNECTIONS} kept connections,\n{COMPANIES} companies, the client on the same {os.cpu_count()} cores.\n\n"
        "| | accepted/s | p50 ms | p99 ms | other answers |\n|---|---|---|---|---|\n"
        f"| door alone, its gateway halted (target 5,000/s) | {_answers(alone)} |\n"
        f"| the gateway working beside it | {_answers(beside)} |\n\n"
        f"Processor time a record, alone: {spent}.\n"
    )
    return text, {"alone": alone, "beside": beside}


def way(bench: Bench) -> tuple[str, dict[str, Any]]:
    """Door -> the province's store -> ministry -> the store of the home province."""
    network, client = bench.network, bench.client
    roles = [
        network.add("province-44", ONE_DOOR),
        network.add("ministry"),
        network.add("province-51", ONE_DOOR),
    ]
    for role in roles:
        role.declare()
    for role in roles:
        role.start()
    first, _, home = roles
    client.run("setup", door=first.door, companies=COMPANIES)
    total = client.load(door=first.door, connections=CONNECTIONS, rate=50, seconds=2, seed=1)["accepted"]  # warm
    network.wait_for(home, total)
    rows, found = [], {}
    before = network.beat()
    time.sleep(3)
    spent = [f"- none: {used(before.used, network.beat().used, 3)} in a second."]
    for seed, rate in enumerate(RATES, 2):
        log, before, stages = bench.folder / f"sent-{rate}.csv", network.beat(), _stages(roles)
        with bench.profiled(*roles):
            said = client.load(
                door=first.door, connections=CONNECTIONS, rate=rate, seconds=bench.seconds, seed=seed, log=log
            )
            total += said["accepted"]
            whole = network.wait_for(home, total)
        after = network.beat()
        legs = _legs(log, network.store_moments(first), network.store_moments(home))
        found[str(rate)] = {"client": said, **legs, "whole": whole, "stages": _told(stages, _stages(roles))}
        province, last = legs["province"], legs["home"]
        rows.append(
            f"| {rate:,} | {said['accepted_per_second']:,.0f} | {said['p50']:.0f} / {said['p99']:.0f} "
            f"| **{province['p50']:,.0f} / {province['p99']:,.0f}** | **{last['p50']:,.0f} / {last['p99']:,.0f}** "
            f"| {last['per_second']:,.0f} |"
        )
        spent.append(f"- {rate:,}: {used(before.used, after.used, said['accepted'])}.")
        if not whole:
            rows.append(f"| | | | | {network.count(home):,} of {total:,} records reached the home province | |")
            break
    syncs = network.database.execute("SELECT wal_sync, wal_sync_time FROM pg_stat_wal")[0]
    text = (
        "## Province, ministry, home province, in real time\n\n"
        "Roles `province` (44), `ministry`, `province` (51) of `deploy/roles`, each with databases of its own\n"
        "for state and store on one PostgreSQL (fsync on), one RabbitMQ (quorum queues). All vehicles are at home in\n"
        "51: every record goes the whole way. Doors of one process. Everything, the client too, on "
        f"{os.cpu_count()} cores. Milliseconds\n"
        "from the moment when a record was due at the door until its row was committed; targets at 500/s: p99 150\n"
        "and 400.\n\n"
        "| offered/s | accepted/s | answer p50 / p99 | in the province p50 / p99 | in the home province p50 / p99 "
        "| reached home/s |\n|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n\n"
        "Commit moments are the database's own (`pg_xact_commit_timestamp`), each taken before its log is synced:\n"
        f"legs are too short by a sync, {float(syncs[1]) / max(int(syncs[0]), 1):.1f} ms on average here.\n\n"
        "Processor time a record, by offered rate:\n\n"
        + "\n".join(spent)
        + "\n\n"
        + _stage_table(found)
        + _statement_table(network)
    )
    return text, found


def queue(bench: Bench) -> tuple[str, dict[str, Any]]:
    """A full queue of uploads into the province's store."""
    network, client = bench.network, bench.client
    rows, found = [], {}
    for per_message, number in MESSAGES:
        role = network.add(
            "province-44",
            "exchanges.report.every=",
            "exchanges.report.cron=0 0 1 1 *",  # not after each commit to the store
            f"exchanges.collect.feeds.uploads.split={'array' if per_message > 1 else 'none'}",
            f"exchanges.collect.feeds.uploads.prefetch={max(10_000 // per_message, 1)}",
        )
        role.declare()
        shops = [{"company": f"4401060000000{n:02d}", "name": f"维修企业{n}", "token": ""} for n in range(COMPANIES)]
        (bench.folder.parent / "queue-shops.json").write_text(json.dumps(shops), "utf-8")
        lines = client.run("records", shops="queue-shops.json", count=number, seed=per_message % 90).splitlines()
        _publish(network.broker.url("vingate"), lines, per_message, len(shops))
        role.start()
        before, begun = network.beat(), network.count(role)  # starting its processes is no cost of a record
        with bench.profiled(role):
            whole = network.wait_for(role, number)
        after = network.beat()
        moments = sorted(network.store_moments(role).values())
        role.stop()
        begin = len([one for one in moments if one == moments[0]])  # the first batch begins the clock
        rate = (len(moments) - begin) / (moments[-1] - moments[0]) if moments[-1] > moments[0] else 0.0
        found[str(per_message)] = {"records": len(moments), "whole": whole, "per_second": rate}
        target = {100: 15_000, 1: 3_000}[per_message]
        spent = used(before.used, after.used, number - begun)
        rows.append(f"| {per_message} | {len(moments):,} of {number:,} | **{rate:,.0f}** | {target:,} | {spent} |")
    text = (
        "## From the queue into PostgreSQL, in real time\n\n"
        "Role `province` on a full quorum queue of uploads in the national shape: inbox, judged, versions and history\n"
        "rules, ledger, store; each message acknowledged after its commit; nothing is reported meanwhile. From the\n"
        "first commit in the store to the last.\n\n"
        "| records a message | in the store | records/s | target | processor time a record |\n"
        "|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )
    return text, found


def _publish(url: str, lines: Sequence[str], per_message: int, companies: int) -> None:
    """Fill the queue of uploads: what a message holds is of one company."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    by_company = [lines[n::companies] for n in range(companies)]
    sent = 0
    for company, own in enumerate(by_company):
        for at in range(0, len(own), per_message):
            part = own[at : at + per_message]
            body = part[0] if per_message == 1 else f"[{','.join(part)}]"
            about = pika.BasicProperties(
                message_id=f"m{sent}", delivery_mode=2,
                headers={"company": f"4401060000000{company:02d}", "system": "44"},
            )  # fmt: skip
            channel.basic_publish("", "vingate.uploads", body.encode(), about)
            sent += 1
    while channel.queue_declare("vingate.uploads", passive=True).method.message_count < sent:
        time.sleep(0.1)
    connection.close()


PARTS: dict[str, Part] = {"door": door, "way": way, "queue": queue}


# -- figures -----------------------------------------------------------------------------------------------------------


def used(before: Mapping[str, float], after: Mapping[str, float], records: int) -> str:
    """Microseconds of processor time a record, by process, in words."""
    spent = {name: (after[name] - before.get(name, 0.0)) / max(records, 1) * 1e6 for name in after}
    listed = sorted(spent.items(), key=lambda one: -one[1])
    return ", ".join(f"{name} {one:,.0f} us" for name, one in listed if one >= 5)


def _answers(said: Mapping[str, Any]) -> str:
    return f"**{said['accepted_per_second']:,.0f}** | {said['p50']:.1f} | {said['p99']:.1f} | {others(said)}"


def others(said: Mapping[str, Any]) -> str:
    """Answers other than accepted, counted."""
    return ", ".join(f"{code}: {count}" for code, count in said["answers"].items() if code != "1") or "none"


def _legs(log: Path, province: Mapping[str, float], home: Mapping[str, float]) -> dict[str, dict[str, float]]:
    due, legs = {}, {"province": [], "home": []}  # type: dict[str, float], dict[str, list[float]]
    for line in log.read_text("utf-8").splitlines():
        code, at, _, said = line.split(",")
        if said == "1":
            due[code] = int(at) / 1e9
    ends = {}
    for name, moments in (("province", province), ("home", home)):
        arrived = {code: moments[code] for code in due if code in moments}
        legs[name] = sorted((at - due[code]) * 1e3 for code, at in arrived.items())
        ends[name] = max(arrived.values(), default=0.0)
    begin = min(due.values())
    return {
        name: {
            "records": len(took),
            "p50": took[len(took) // 2] if took else float("nan"),
            "p99": took[min(int(len(took) * 0.99), len(took) - 1)] if took else float("nan"),
            "per_second": len(took) / (ends[name] - begin) if took else 0.0,
        }
        for name, took in legs.items()
    }


Stages = dict[tuple[str, str, str], tuple[float, float]]


def _stages(roles: Sequence[Role]) -> Stages:
    time.sleep(1.1)  # the processes tell their supervisor once a second
    return {(role.name, *key): value for role in roles for key, value in role.stages().items()}


def _told(before: Stages, after: Stages) -> dict[str, dict[str, float]]:
    """Role, exchange and stage -> batches and mean milliseconds."""
    found = {}
    for key, (count, total) in after.items():
        count_before, total_before = before.get(key, (0.0, 0.0))
        if count > count_before:
            mean = (total - total_before) / (count - count_before) * 1e3
            found[" ".join(key)] = {"batches": count - count_before, "ms": mean}
    return found


def _statement_table(network: Network) -> str:
    rows = [f"| {ms:,.0f} | {calls:,} | {name} | `{text}` |" for name, calls, ms, text in network.statements()]
    return (
        "\nWhat the database server worked on longest, over all rates:\n\n"
        "| ms | calls | database | statement |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _stage_table(found: Mapping[str, Any]) -> str:
    rates = list(found)
    names = sorted({name for one in found.values() for name in one["stages"]})
    rows = []
    for name in names:
        cells = [found[rate]["stages"].get(name) for rate in rates]
        rows.append(
            "| " + name + " | " + " | ".join(f"{c['batches']:.0f} x {c['ms']:.1f}" if c else "" for c in cells) + " |"
        )
    return (
        "Where the time of a batch goes, batches x mean milliseconds, by offered rate:\n\n"
        f"| role, exchange, stage | {' | '.join(rates)} |\n|---|{'---|' * len(rates)}\n" + "\n".join(rows) + "\n"
    )
