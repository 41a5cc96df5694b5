"""`vingate plan`: how many machines a load needs, what gives way first, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.out import AsJson, console, emit, wrong_use

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.sizing import Part, Phase, Plan, Resource

_NARROWEST = 100
"""Columns that the tables need; a narrower screen wraps lines rather than hide numbers."""
_PHASES = {"backlog": "存量 / backlog", "day": "日常高峰 / a day at its peak"}
_KINDS = {
    "bulk": "批量 bulk",
    "gateway": "网关 gateway",
    "door": "接口 door",
    "database": "数据库 database",
    "broker": "消息队列 broker",
}
_PARTS = {
    "bulk": "批量写文件 bulk",
    "load": "入库 load",
    "door": "接口 door",
    "province": "采集省 province",
    "ministry": "部级 ministry",
    "home": "车籍地省 home",
}
_BASES = {"measured": "实测 measured", "derived": "推算 derived", "modelled": "模型 modelled"}
_ADVICE = {
    ("bulk", "time"): (
        "再加批量机器，每台一个状态目录，按企业（如按省）分配；或用更多核并提高 batch.workers",
        "add bulk machines, each with a state of its own and a share of the companies (a province); "
        "or more cores, with more batch.workers",
    ),
    ("bulk", "disk"): (
        "批量机器换更快的盘，或再加机器分担企业",
        "give bulk machines quicker disks, or spread the companies over more of them",
    ),
    ("gateway", "time"): (
        "再加网关：各省分开；同一角色内由多个网关按车辆分区分担一个状态（PostgreSQL）",
        "add gateways: provinces apart; within a role several share one state on PostgreSQL, by partitions of vehicles",
    ),
    ("door", "time"): (
        "再加接口进程（door.processes）与机器，置于负载均衡之后",
        "add processes of the door (door.processes) and machines, behind a load balancer",
    ),
    ("database", "time"): (
        "各角色的状态与库分到各自的 PostgreSQL；仍不够则给它更多的核",
        "give each role's state and store a PostgreSQL of its own; where one alone is too busy, more cores",
    ),
    ("database", "disk"): (
        "数据库换更快的盘，日志（WAL）与表分盘；或按角色拆分",
        "give the database quicker disks, its log (WAL) one of its own; or part it by roles",
    ),
    ("broker", "time"): (
        "各省用各自的队列主机，或提高每条消息的记录数",
        "give provinces brokers of their own, or put more records into a message",
    ),
    ("broker", "disk"): (
        "消息队列换更快的盘，或各省分开",
        "give the broker quicker disks, or provinces brokers of their own",
    ),
}


def plan(
    records_per_day: Annotated[
        int, typer.Option("--records-per-day", min=0, help="每日新增记录数 / records that a day brings")
    ] = 0,
    peak: Annotated[
        float, typer.Option("--peak", min=1, help="高峰为日均速率的几倍 / how many times the mean rate the peak has")
    ] = 1.0,
    backlog: Annotated[int, typer.Option("--backlog", min=0, help="存量记录数 / records that are there already")] = 0,
    hours: Annotated[
        float, typer.Option("--hours", min=0.01, help="存量须在几小时内完成 / hours in which the backlog must be done")
    ] = 24.0,
    stores: Annotated[
        int,
        typer.Option(
            "--stores",
            min=0,
            help="每条存量写入几个库：0 只写文件，1 本省，2 本省与部级"
            " / stores that the backlog goes into: 0 files only, 1 its province's, 2 the ministry's too",
        ),
    ] = 1,
    cores: Annotated[
        int | None, typer.Option("--cores", min=1, help="每台机器的核数，默认如实测机 / of a machine; as was measured")
    ] = None,
    speed: Annotated[
        float,
        typer.Option("--speed", min=0.01, help="每核速度，实测机为 1 / of a core; 1 is the machine that was measured"),
    ] = 1.0,
    disk: Annotated[
        float | None,
        typer.Option("--disk", min=1, metavar="MB/S", help="每台机器的顺序写速度 / MB/s that a machine's disk writes"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """估算机器数量与首个瓶颈 / how many machines a load needs, and what gives way first.

    依据本项目实测数据（bench/RESULTS.md）；推算与假设逐项注明，详见 docs/sizing.md。
    From what was measured (bench/RESULTS.md); what is derived or assumed is marked. See docs/sizing.md.

    存量先做：读文件、写文件，再入库。日常：接口 → 采集省 → 部级 → 车籍地省，按每辆车均属外省计（最坏情形）。
    First the backlog: files in, files out, then into stores. Days: door, province, ministry, home province, as if
    every vehicle were at home elsewhere (the worst case).

    [bold]示例 / examples:[/bold]  vingate plan --records-per-day 3000000 --peak 10
    vingate plan --backlog 5_900_000_000 --hours 24 --cores 16 --json
    """
    from pipelines.sizing import FIGURES, Load, Machine
    from pipelines.sizing import plan as planned

    if not records_per_day and not backlog:
        wrong_use(
            "请给出 --records-per-day 或 --backlog / give --records-per-day or --backlog: "
            "vingate plan --records-per-day 3000000 --peak 10"
        )
    machine = Machine(cores or FIGURES.cores, speed, disk or FIGURES["disk_mb_s"])
    found = planned(Load(records_per_day, peak, backlog, hours, stores), machine)
    if as_json:
        emit(_plain(found))
    else:
        _show(found)


def _show(found: Plan) -> None:
    out = console()
    out.width = max(out.width, _NARROWEST)
    machine = found.machine
    out.print(
        f"每台机器 / each machine: {machine.cores} 核 cores × {machine.speed:g}, "
        f"{machine.disk_mb_s:,.0f} MB/s；用至 / used to at most {found.target_use:.0%}"
    )
    for phase in found.phases:
        if not phase.records:
            continue
        out.print()
        out.print(f"[bold]{_PHASES[phase.flow]}[/bold]: {phase.records:,} 条 records, {phase.rate:,.1f} 条/秒 a second")
        out.print(_machines(phase))
        for sentence in _sentences(phase, found.target_use):
            out.print(sentence)
    out.print()
    out.print("每条记录的开销 / what a record costs:")
    out.print(_costs(found))


def _machines(phase: Phase) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    for head in (
        "种类\nkind",
        "台数\nmachines",
        "资源\nresource",
        "需要\nneeded",
        "每台\neach has",
        "用量\nused",
        "依据\nbasis",
    ):
        table.add_column(head, no_wrap=True, justify="left" if head[:2] in ("种类", "资源", "依据") else "right")
    for kind in phase.kinds:
        name, count = _KINDS[kind.name], f"{kind.machines:,}"
        for one in kind.resources:
            unit = "核 cores" if one.name == "time" else "MB/s"
            what = "时间 time" if one.name == "time" else "写盘 disk"
            needed, each = f"{one.demand:,.2f} {unit}", f"{one.capacity:,.0f}"
            table.add_row(name, count, what, needed, each, f"{one.use:.0%}", _BASES[one.basis])
            name = count = ""
    return table


def _sentences(phase: Phase, target: float) -> Iterator[str]:
    if phase.one_machine <= target:
        yield (
            f"一台机器即可承担全部（用量 {phase.one_machine:.0%}）"
            f" / one machine carries all of it together (used to {phase.one_machine:.0%})"
        )
    yield (
        f"处理器时间 / processor time: {phase.cpu_s / 3_600:,.1f} h；"
        f"占盘 / kept on disk: 批量 bulk {_size(phase.kept_bytes)}, 数据库 databases {_size(phase.database_bytes)}"
    )
    worst = phase.bottleneck
    if worst:
        zh, en = _ADVICE[worst.kind, worst.name]
        yield (
            f"首个瓶颈 / first bottleneck: [bold]{_KINDS[worst.kind]}, {worst.name}[/bold]"
            f"（余量 / headroom {worst.headroom:.0%}）"
        )
        yield f"  {zh} / {en}"


def _costs(found: Plan) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    heads = (
        "部分\npart",
        "本身\nown us",
        "数据库\ndatabase us",
        "队列\nbroker us",
        "盘\ndisk B",
        "库\ndatabase B",
        "时间依据\nbasis",
    )
    for head in heads:
        table.add_column(head, no_wrap=True, justify="left" if head[:2] in ("部分", "时间") else "right")
    for part in _parts_of(found):
        numbers = (part.cpu_us, part.database_us, part.broker_us, part.kept_bytes, part.database_bytes)
        table.add_row(_PARTS[part.name], *(f"{one:,.1f}" if one else "·" for one in numbers), _BASES[part.basis])
    return table


def _parts_of(found: Plan) -> list[Part]:
    from pipelines.sizing import FIGURES, parts

    flows = {phase.flow for phase in found.phases if phase.records}
    return [part for part in parts(FIGURES, found.load.stores) if part.flow in flows]


def _size(count: float) -> str:
    """Bytes as people say them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1_000:
            return f"{count:,.3g} {unit}"
        count /= 1_000
    return f"{count:,.1f} TB"


def _plain(found: Plan) -> dict[str, Any]:
    from pipelines.sizing import FIGURES

    load, machine = found.load, found.machine
    return {
        "load": {
            "records_per_day": load.records_per_day,
            "peak": load.peak,
            "backlog": load.backlog,
            "hours": load.hours,
            "stores": load.stores,
        },
        "machine": {"cores": machine.cores, "speed": machine.speed, "disk_mb_s": machine.disk_mb_s},
        "target_use": found.target_use,
        "phases": [_phase(phase) for phase in found.phases if phase.records],
        "parts": [
            {
                "part": part.name,
                "flow": part.flow,
                "kind": part.kind,
                "cpu_us": part.cpu_us,
                "database_us": part.database_us,
                "broker_us": part.broker_us,
                "kept_bytes": part.kept_bytes,
                "database_bytes": part.database_bytes,
                "basis": part.basis,
            }
            for part in _parts_of(found)
        ],
        "figures": [
            {
                "name": one.name,
                "value": one.value,
                "basis": one.basis,
                "section": one.section,
                "commit": one.commit,
                "command": one.command,
                "how": one.how,
            }
            for one in FIGURES
        ],
    }


def _phase(phase: Phase) -> dict[str, Any]:
    worst = phase.bottleneck
    zh, en = _ADVICE[worst.kind, worst.name] if worst else ("", "")
    return {
        "flow": phase.flow,
        "records": phase.records,
        "rate": phase.rate,
        "machines": phase.machines,
        "one_machine": phase.one_machine,
        "cpu_s": phase.cpu_s,
        "kept_bytes": phase.kept_bytes,
        "database_bytes": phase.database_bytes,
        "kinds": [
            {"kind": kind.name, "machines": kind.machines, "resources": [_resource(one) for one in kind.resources]}
            for kind in phase.kinds
        ],
        "bottleneck": worst and _resource(worst),
        "advice": {"zh": zh, "en": en},
    }


def _resource(one: Resource) -> dict[str, Any]:
    return {
        "of": one.kind,
        "resource": one.name,
        "demand": one.demand,
        "capacity": one.capacity,
        "use": one.use,
        "headroom": one.headroom,
        "basis": one.basis,
    }
