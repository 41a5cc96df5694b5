"""What the supervisor knows of its children's health, and what follows for /healthz and /readyz."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from prometheus_client.core import Metric

from pipelines.serving.children import Child
from pipelines.serving.metrics import gauge


class Verdict(NamedTuple):
    """An answer for people and machines."""

    good: bool
    problems: list[str]
    """What is wrong, one sentence each; empty when all is well."""
    share: Mapping[str, Any] | None = None
    """What this gateway has of a state that several share; None: nobody else has any of it."""


@dataclass
class Pulse:
    """Reads what the children said last.

    `writable` says what hinders writing the state; empty: nothing. `reach` says which databases do not answer.
    """

    children: Iterable[Child]
    silent_seconds: float
    """A child that says nothing for so long is not well; a loop that does not move for so long neither."""
    writable: Callable[[], str]
    reach: Callable[[], list[str]] = list
    stopping: bool = False
    since: float = field(default_factory=time.monotonic)

    def health(self) -> Verdict:
        """Whether the processes are alive and their loops move. A child between crash and start is not."""
        now, problems = time.monotonic(), []
        for child in tuple(self.children):
            if not child.running:
                waits = child.after or child.due > now
                if not (waits and not child.was_ready):
                    problems.append(f"{child.name}: 未运行 / is not running")
            elif now - child.said_at > self.silent_seconds:
                silent = now - child.said_at
                problems.append(f"{child.name}: {silent:.0f} 秒没有消息 / has been silent for {silent:.0f} s")
            problems += self._stuck(child)
        return Verdict(not problems, problems)

    def _stuck(self, child: Child) -> list[str]:
        loops: Mapping[str, Any] = child.said.get("loops", {})
        return [
            f"{child.name}: {name} 已 {loop['idle']:.0f} 秒没有动静 / has not moved for {loop['idle']:.0f} s"
            for name, loop in loops.items()
            if loop["idle"] > self.silent_seconds
        ]

    def readiness(self) -> Verdict:
        """Whether work can be taken: children ready, feeds connected, no loop failing, state and stores reachable."""
        problems = ["正在停止 / is stopping"] if self.stopping else []
        for child in tuple(self.children):
            if child.ready is None:
                problems.append(f"{child.name}: 尚未就绪 / is not ready")
            if child.said.get("full"):
                problems.append(f"{child.name}: 积压或磁盘已满，暂不接收 / takes nothing in: inbox or disk is full")
            for name, loop in child.said.get("loops", {}).items():
                if loop["failing"]:
                    problems.append(f"{child.name}: {name}: {loop['failing']}")
                problems += [
                    f"{child.name}: {name}: {feed}: 未连接 / is not connected"
                    for feed, connected in loop["feeds"].items()
                    if not connected
                ]
        if hindrance := self.writable():
            problems.append(hindrance)
        problems += self.reach()
        share = next((child.said["share"] for child in tuple(self.children) if child.said.get("share")), None)
        return Verdict(not problems, problems, share)

    def families(self) -> list[Metric]:
        """The same as metrics."""
        children = tuple(self.children)
        up: dict[tuple[str, ...], float] = {(child.name,): float(child.running) for child in children}
        starts: dict[tuple[str, ...], float] = {(child.name,): float(child.starts) for child in children}
        age = time.monotonic() - self.since
        return [
            gauge("vingate_healthy", "/healthz", [], {(): self.health().good}),
            gauge("vingate_ready", "/readyz", [], {(): self.readiness().good}),
            gauge("vingate_uptime_seconds", "运行秒数 / seconds since start", [], {(): age}),
            gauge("vingate_child_up", "子进程运行 / child runs", ["process"], up),
            gauge("vingate_child_starts", "子进程启动次数 / how often a child was started", ["process"], starts),
        ]
