"""A role that several gateways share: which exchanges go by partitions, and which settings cannot be shared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from connectors.confidential import revealed
from connectors.contracts import Misconfigured
from dlq.sealing import Sealer
from pipelines.workbench import is_part_sink

if TYPE_CHECKING:
    from pipelines.serving.roles import Role, Work


def by_partitions(work: Work) -> bool:
    """Whether an exchange is worked on by all gateways: one that only its inbox feeds. The others are one gateway's."""
    return not (work.every or work.cron)


def refused(exchanges: Mapping[str, Work]) -> list[str]:
    """Why exchanges cannot be shared, with the setting to blame; empty where they can."""
    return [f"exchanges.{name}.{why}" for name, work in exchanges.items() for why in _refused(work)]


def _refused(work: Work) -> Iterable[str]:
    settings = work.settings
    for name, sink in settings.sinks.items():
        if is_part_sink(settings, name):
            yield f"sinks.{name}: 共享状态的网关不写文件 / gateways that share a state write no files: use a row sink"
        elif _here(sink.options):
            yield f"sinks.{name}: 各网关须写入同一处，不可用 {{state}} 或 SQLite / {_ONE_PLACE}"
    if _here(settings.source.options) and not by_partitions(work):
        yield f"source: 各网关须读取同一处，不可用 {{state}} 或 SQLite / {_ONE_PLACE}"
    if by_partitions(work) and settings.rules.merge:
        yield "rules.merge: 共享时不能合并 / visits are not merged where gateways share the state: leave it out"
    if by_partitions(work) and settings.routing.registrations:
        yield (
            "routing.registrations: 按车籍路由的交换须定时扫描，由一个网关执行"
            " / an exchange that asks for registrations must be a scanned one (every, cron), which one gateway runs"
        )


_ONE_PLACE = "it must be one place for all gateways: no {state}, no SQLite"


def _here(options: Mapping[str, object]) -> bool:
    """Whether options name a place that is one gateway's own."""
    told = repr(dict(options))
    return "{state}" in told or "'sqlite" in told


def explained(role: Role) -> list[str]:
    """What sharing comes to, for `vingate check`."""
    shared = [name for name, work in role.exchanges.items() if by_partitions(work)]
    alone = [name for name in role.exchanges if name not in shared]
    return [
        f"按分区共同处理 / worked on by all gateways, by partitions: {', '.join(shared) or '-'}",
        f"由其中一个网关处理 / by one of them: {', '.join([*alone, 'feeds'])}",
        "各网关须有各自的目录与同一把密钥 / each needs a folder of its own and the same sealing key (state.key)",
    ]


def place_key(folder: Path, key: SecretStr) -> None:
    """Put the key that the settings name into the folder of the state, where there is none yet.

    Raises:
        Misconfigured: there is another one, or what is named cannot be read.
        KeyUnsafe: what is named is no key.
    """
    if not key.get_secret_value():
        return
    given = revealed(key, "state.key")
    place = folder / "keys" / "sealing.key"
    if Sealer.put(place, given).fingerprint != Sealer.parsed(given).fingerprint:
        message = f"state.key: {place} 中已是另一把密钥 / another key lies at {place}"
        raise Misconfigured(message, "请核对指向的密钥 / see which of the two sealed the state")
