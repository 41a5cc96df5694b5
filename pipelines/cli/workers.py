"""`vingate workers`: the pool beside each worker of a cluster."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from pipelines.cli.out import AsJson, console, emit


def workers(
    listen: Annotated[str, typer.Option(help="监听地址 / where to listen", metavar="HOST:PORT")] = "127.0.0.1:50000",
    as_json: AsJson = False,
) -> None:
    """集群每台机器上的步骤进程池：executor 在此取得进程 / the pool that a cluster gets workers from.

    谁能连上它，谁就能让它执行代码：只在本机或容器组内监听 / who reaches it can have it run code: keep it on loopback.

    示例 / example: vingate workers --listen 127.0.0.1:50000
    """
    from pipelines.workerpool import for_ever, pool

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    def tell(text: str) -> None:
        console(stderr=as_json).print(text, markup=False, soft_wrap=True)

    with pool(listen, tell) as place:
        if as_json:
            emit({"ready": True, "workers": place})
        else:
            tell(f"就绪 / ready: {place}")
        for_ever()
