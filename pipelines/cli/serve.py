"""`vingate serve`: a role, all day."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli import uncollected


def serve(
    role: Annotated[Path, typer.Argument(help="角色的设置文件 / the role's settings file (.toml)")],
    state: Annotated[Path, typer.Option("--state", help="状态目录，没有则新建 / the state's folder, made if missing")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="覆盖设置 a.b=值，可多次 / override a setting; repeatable")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="标准输出与日志本来就是 JSON / stdout and logs are JSON in any case")
    ] = False,
) -> None:
    """运行一个角色的常驻服务：接口、队列、目录、定时、重试 / serve a role all day: door, feeds, folders, retries.

    全部可用时，标准输出打印一行 JSON：{"ready": true, "door": URL, "health": URL}；日志在标准错误。
    When everything can be used, one JSON line is printed on stdout; logs go to stderr.

    停止 Ctrl-C 或 SIGTERM：做完手上的批次、提交、确认后退出，至多 30 秒。
    To stop: Ctrl-C or SIGTERM; what is begun is finished, committed and acknowledged, within 30 s.

    重载：改动设置、路由表、映射文件即自动生效，或发 SIGHUP；先校验，有误则不采用并写入日志。
    To reload: edit settings, tables or mappings, or send SIGHUP; what is wrong is not taken, and the log says why.

    观察：URL/healthz、/readyz、/metrics；另开终端可用 vingate trace、ledger、letters。
    To watch: /healthz, /readyz and /metrics below the health URL; trace, ledger and letters work beside it.

    随时可以 kill -9 或断电；再次启动即从断点继续，不丢不重。
    It may be killed at any moment: the next start goes on from there, nothing is lost or doubled.

    [bold]示例 / examples:[/bold]

    vingate serve deploy/roles/province-embedded.toml --set door.port=8080 --state var/province

    VINGATE__STATE__URL=env:DATABASE_URL vingate serve deploy/roles/province.toml --state var/province
    """
    with uncollected():
        from pipelines.serving.service import Service
    raise typer.Exit(Service(role, overrides or (), state).run())
