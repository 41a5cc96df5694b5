"""Options that say where the steps run; what they say goes over the settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

_PANEL = "在哪里运行，默认按设置 / where the steps run; default: as the settings say"

Runner = Annotated[
    str,
    typer.Option(
        help="embedded：本进程；prism：Beam 的本机 runner；portable：作业服务；spark：Spark 集群的作业服务"
        " / embedded: this process; prism: Beam's local runner; portable: a job service; spark: of a Spark cluster",
        metavar="embedded|prism|portable|spark",
        rich_help_panel=_PANEL,
    ),
]
"""`--runner`."""
Prism = Annotated[
    Path | None,
    typer.Option(
        help="prism 程序的路径，默认在 PATH 中；从不下载 / path of prism; default: on PATH; never downloaded",
        metavar="PATH",
        rich_help_panel=_PANEL,
    ),
]
"""`--prism`."""
JobEndpoint = Annotated[
    str,
    typer.Option(
        help="作业服务地址，portable、spark 必填 / address of the job service; portable and spark need it",
        metavar="HOST:PORT",
        rich_help_panel=_PANEL,
    ),
]
"""`--job-endpoint`."""
EnvironmentType = Annotated[
    str,
    typer.Option(
        help="worker 在哪里：LOOPBACK 为本进程，EXTERNAL、PROCESS、DOCKER 须有同样的路径 / where the workers are:"
        " LOOPBACK in this process; EXTERNAL, PROCESS, DOCKER must see the same paths",
        metavar="NAME",
        rich_help_panel=_PANEL,
    ),
]
"""`--environment-type`."""
EnvironmentConfig = Annotated[
    str,
    typer.Option(
        help='EXTERNAL：worker pool 的 HOST:PORT；PROCESS：{"command": …}；DOCKER：镜像 / of PROCESS JSON, of DOCKER'
        " the image, of EXTERNAL the pool's HOST:PORT",
        metavar="TEXT",
        rich_help_panel=_PANEL,
    ),
]
"""`--environment-config`."""


def as_overrides(**said: str | Path | None) -> list[str]:
    """Options that were given, as what `--set` says."""
    return [f"{name}={json.dumps(str(value), ensure_ascii=False)}" for name, value in said.items() if value]
