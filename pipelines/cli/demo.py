"""`vingate demo`: the whole network on one machine, on servers of its own, until Ctrl-C."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pipelines.cli.out import AsJson, console, emit
from pipelines.local.demo import Counts, Demo, Ended
from pipelines.local.demo import demo as running
from pipelines.local.network import COLLECTING, HOME, MINISTRY

_ROLES = {
    COLLECTING: "广东 采集省 collecting province",
    MINISTRY: "部级系统 ministry",
    HOME: "四川 车籍省 home province",
}
_HEADS = {
    "sent": "已发 sent",
    "accepted": "接受 accepted",
    "refused": "拒绝 refused",
    "province": "采集省 province",
    "ministry": "部级 ministry",
    "home": "车籍省 home",
    "letters": "死信 letters",
    "waiting": "等待 waiting",
}


def demo(
    folder: Annotated[Path, typer.Option(help="目录，没有则新建 / its folder, made if missing")] = Path("var/demo"),
    rate: Annotated[float, typer.Option(min=0.1, max=1_000, help="企业每秒上传条数 / records/s of the shops")] = 20,
    seconds: Annotated[float, typer.Option(min=0, help="运行秒数，0 至 Ctrl-C / how long; 0: until Ctrl-C")] = 0,
    every: Annotated[float, typer.Option(min=0.5, help="每隔几秒报数 / seconds between two lines of counts")] = 5,
    as_json: AsJson = False,
) -> None:
    """在本机运行整个网络：RabbitMQ、PostgreSQL、采集省、部级、车籍省、企业 / run the whole network on this machine.

    各服务只监听 127.0.0.1 的空闲端口；Ctrl-C 结束，不留下任何进程。
    Everything listens on free ports of 127.0.0.1 only. Ctrl-C ends it, and no process is left.

    所需系统软件由 make demo-servers 安装 / make demo-servers installs what it needs of the system.

    示例 / example: vingate demo --folder var/demo
    """
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    out = console(stderr=as_json)
    out.width = max(out.width, 110)
    try:
        with running(folder, lambda text: out.print(text, markup=False)) as made:

            def tell(counts: Counts) -> None:
                if as_json:
                    _emit(counts._asdict() | {"refusal": made.shops.refusal})
                else:
                    _tell(out, counts, made.shops.refusal)

            if as_json:
                _emit(_places(made))
            else:
                _show(out, made)
            made.run(rate, seconds, every, tell)
            tell(made.counts())
    except Ended:
        pass
    out.print("已结束，没有留下进程 / ended, no process is left")


def _emit(value: object) -> None:
    """A line at once: who reads it waits for it."""
    emit(value)
    sys.stdout.flush()


def _places(made: Demo) -> dict[str, Any]:
    """Where everything listens and lies; addresses with passwords are in files of its folder."""
    network = made.network
    roles = {
        name: {"door": service.told()["door"], "health": service.told()["health"], "state": str(service.state)}
        for name, service in network.services.items()
    }
    ports = {"postgresql": network.cluster.port, "rabbitmq": network.node.port}
    return {"ready": True, "folder": str(network.folder), "roles": roles, **ports}


def _show(out: Console, made: Demo) -> None:
    network = made.network
    table = Table("系统\nsystem", "企业接口\ndoor", "健康与指标\n/readyz /metrics")
    folders = [(_ROLES[name], service.state) for name, service in network.services.items()]
    for name, service in network.services.items():
        told = service.told()
        table.add_row(_ROLES[name], told["door"] or "-", told["health"])
    table.add_section()
    table.add_row("PostgreSQL", f"127.0.0.1:{network.cluster.port}", "-")
    table.add_row("RabbitMQ", f"127.0.0.1:{network.node.port}", "-")
    out.print(table)
    out.print("目录 / folders:")
    for what, where in (*folders, ("PostgreSQL", network.cluster.folder), ("RabbitMQ", network.node.folder)):
        out.print(f"  {what}: {where}", markup=False, highlight=False, soft_wrap=True)
    secret = f"{network.folder}/*/*.url（仅本用户可读 / readable by you alone）"
    out.print(f"  带口令的地址 / addresses with passwords: {secret}", markup=False, highlight=False, soft_wrap=True)
    first = network.services[COLLECTING]
    out.print("试试 / try, in another terminal:")
    for command in (
        f"curl {first.told()['health']}/metrics",
        f"vingate ledger --state {first.state}",
        f"vingate letters list --state {first.state}",
    ):
        out.print(f"  {command}", markup=False, soft_wrap=True)
    out.print("Ctrl-C 结束 / ends it. 各系统存量（版本数）/ versions in each store:")


def _tell(out: Console, counts: Counts, refusal: str) -> None:
    found = counts._asdict()
    line = "  ".join(f"{head} {found[name]}" for name, head in _HEADS.items())
    out.print(f"{time.strftime('%H:%M:%S')}  {line}", markup=False, highlight=False, soft_wrap=True)
    if refusal:
        out.print(
            f"          最近一次拒绝 / last refusal: {refusal[:160]}", markup=False, highlight=False, soft_wrap=True
        )
