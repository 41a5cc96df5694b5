"""The table of commands: names, one line about each, and where they are, so that only the called one is imported."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from pipelines.errors import PipelineError

_PACKAGE = "pipelines.cli"
LOOK, WORK, TEACH = "查看 / look", "运行 / run", "了解 / learn and check"


class CommandMissing(PipelineError):
    """The module of a command is not installed."""


class Command(NamedTuple):
    """One command of `vingate`."""

    name: str
    module: str
    attribute: str
    help: str
    panel: str
    group: bool = False
    """Whether it holds commands of its own."""

    def load(self) -> Any:
        """The command's function, or its typer group.

        Raises:
            CommandMissing: this installation has no such module.
        """
        name = f"{_PACKAGE}.{self.module}"
        try:
            return getattr(import_module(name), self.attribute)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            message = (
                f"此安装不含命令 {self.name}（缺少模块 {name}）；请重新安装 vingate"
                f" / this installation has no command {self.name} (module {name} is missing); install vingate again"
            )
            raise CommandMissing(message) from None


COMMANDS: tuple[Command, ...] = (
    Command("judge", "judge", "judge", "按标准校验文件，列出全部问题 / judge payload files, with every finding", TEACH),
    Command("explain", "explain", "explain", "某车记录送往何处及原因 / where a vehicle's records go, and why", TEACH),
    Command(
        "mappings", "mappings", "app", "方言映射：列表、查看、示例 / mappings: list, show, test", TEACH, group=True
    ),
    Command(
        "check", "check", "check", "检查设置与连接器并试运行，不写入 / check settings, dry run, write nothing", TEACH
    ),
    Command("certificate", "certificate", "app", "出口证书：出具、核验 / certificates for exports", TEACH, group=True),
    Command("version", "version", "version", "版本 / the version", TEACH),
    Command("run", "run", "run", "运行一个交换 / run an exchange", WORK),
    Command("serve", "serve", "serve", "常驻服务：接口、队列、定时 / serve a role all day", WORK),
    Command(
        "workers", "workers", "workers", "集群上的步骤进程池 / a pool of workers for the steps, on a cluster", WORK
    ),
    Command("sample", "sample", "sample", "生成样本数据 / write a sample nation", WORK),
    Command("nation", "nation", "nation", "运行全国样例的四个交换 / run the four exchanges of the sample nation", WORK),
    Command("demo", "demo", "demo", "在本机运行整个实时网络 / run the whole network on this machine", WORK),
    Command("partner", "partner", "partner", "外部系统的替身 / stand-ins for the systems outside", WORK),
    Command("plan", "plan", "plan", "估算机器数量与瓶颈 / how many machines a load needs", TEACH),
    Command("bench", "bench", "bench", "基准测试 / the reference job, measured", WORK),
    Command(
        "import",
        "importing",
        "app",
        "从旧平台迁入企业、记录与车籍 / bring companies, records and registrations over",
        WORK,
        group=True,
    ),
    Command("companies", "companies", "app", "企业账户：批准、停用、重置密码 / accounts of shops", WORK, group=True),
    Command("store", "store", "app", "库的按月归档 / months of a store: archive, reload", WORK, group=True),
    Command("state", "state", "app", "把状态迁移到 PostgreSQL / move a state to PostgreSQL", WORK, group=True),
    Command(
        "cases", "cases", "app", "案件：逾期、待匹配、废物异常 / cases: late, unmatched, out of order", LOOK, group=True
    ),
    Command("derive", "derive", "derive", "按现有记录重新推导 / what follows now, worked out again", LOOK),
    Command("page", "page", "page", "图表页：各省、死信、平衡 / a page of counts, map and balances", LOOK),
    Command("trace", "trace", "trace", "一辆车的记录去了哪里 / where a vehicle's records went", LOOK),
    Command("ledger", "ledger", "ledger", "对账：逐批核对去向 / prove the ledger, batch by batch", LOOK),
    Command(
        "reconcile", "reconcile", "reconcile", "按日与对方核对并补发 / compare with the other side, send again", WORK
    ),
    Command(
        "letters", "letters", "app", "死信：列表、查看、重放、作废 / dead letters: list, show, replay", LOOK, group=True
    ),
)
"""All commands, in the order of the help."""
