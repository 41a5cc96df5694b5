"""Which runner settings name, and whether it can run here: asked before a run begins, and without Beam."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from pipelines.errors import SettingsError
from pipelines.settings import Exchange

EMBEDDED, PRISM, PORTABLE, SPARK = "embedded", "prism", "portable", "spark"
RUNNERS = (EMBEDDED, PRISM, PORTABLE, SPARK)
LOOPBACK, EXTERNAL, PROCESS, DOCKER = "LOOPBACK", "EXTERNAL", "PROCESS", "DOCKER"
ENVIRONMENTS = (LOOPBACK, EXTERNAL, PROCESS, DOCKER)
POOL = "localhost:50000"
"""Where a worker of Spark looks for the pool beside it."""

_PLACE = re.compile(r"[^\s:/]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")
_GET_PRISM = (
    "用 Go 编译（版本与 apache-beam 相同），再以 --prism 路径 或设置 prism 指定，或放入 PATH；vingate 从不自行下载"
    " / build it with Go, of the same version as apache-beam, and name it by --prism PATH or the setting prism,"
    " or put it on PATH; vingate never downloads it:\n"
    "  GOBIN=$HOME/bin go install github.com/apache/beam/sdks/v2/go/cmd/prism@v{version}"
)


def runnable(exchange: Exchange) -> None:
    """See that the runner exists and has all that it needs.

    Raises:
        SettingsError: no such runner or environment, or one that lacks an address or a program.
    """
    if exchange.runner not in RUNNERS:
        named = f"{exchange.runner}: {', '.join(RUNNERS)}"
        message = f"没有这个 runner {named} / no runner is named {named}"
        raise SettingsError(message)
    if exchange.runner == EMBEDDED:
        return
    _endpoint(exchange)
    _environment(exchange)
    if exchange.runner == PRISM and not exchange.job_endpoint:
        prism(exchange.prism)


def environment(exchange: Exchange) -> tuple[str, str]:
    """Which workers a job service has, and how they are reached: Spark's have a pool beside each, others are here."""
    if exchange.runner == SPARK and not exchange.environment_type:
        return EXTERNAL, exchange.environment_config or POOL
    return exchange.environment_type or LOOPBACK, exchange.environment_config


def prism(named: str) -> str:
    """The path of prism's binary: the one named, else the one on PATH.

    Raises:
        SettingsError: there is none, or it is no program; says how to get one.
    """
    found = shutil.which("prism") if not named else str(Path(named).absolute())
    if found is None:
        message = f"没有找到 prism / prism is not to be found: {_how()}"
        raise SettingsError(message)
    if not os.access(found, os.X_OK) or not Path(found).is_file():
        message = f"prism={named}: 不是可执行的程序 / is no program that can be run. {_how()}"
        raise SettingsError(message)
    return found


def _how() -> str:
    from importlib.metadata import version

    return _GET_PRISM.replace("{version}", version("apache-beam"))


def _endpoint(exchange: Exchange) -> None:
    if exchange.runner in (PORTABLE, SPARK) and not exchange.job_endpoint:
        message = (
            f"runner={exchange.runner} 需要 job_endpoint：作业服务的 host:port，可用 --job-endpoint 给出"
            f" / runner={exchange.runner} needs job_endpoint: host:port of the job service, also as --job-endpoint"
        )
        raise SettingsError(message)
    if exchange.job_endpoint and not _PLACE.fullmatch(exchange.job_endpoint):
        message = f"job_endpoint={exchange.job_endpoint}: 应为 / must read host:port"
        raise SettingsError(message)


def _environment(exchange: Exchange) -> None:
    kind, config = environment(exchange)
    if kind not in ENVIRONMENTS:
        message = f"environment_type={kind}: 应为其中之一 / must be one of {', '.join(ENVIRONMENTS)}"
        raise SettingsError(message)
    if kind == EXTERNAL and not _PLACE.fullmatch(config):
        message = (
            "environment_type=EXTERNAL 需要 environment_config：worker pool 的 host:port"
            " / environment_type=EXTERNAL needs environment_config: host:port of the worker pool"
        )
        raise SettingsError(message)
    if kind == PROCESS and not _has_command(config):
        message = (
            'environment_type=PROCESS 需要 environment_config，如 {"command": "/opt/boot"}'
            ' / environment_type=PROCESS needs environment_config, as {"command": "/opt/boot"}'
        )
        raise SettingsError(message)


def _has_command(config: str) -> bool:
    try:
        return bool(json.loads(config).get("command"))
    except (ValueError, AttributeError):
        return False
