"""Errors of this package, each with what to do about it in Chinese and English."""

from __future__ import annotations

from pathlib import Path


class PipelineError(Exception):
    """Base: an error that a person can act on; its text says how."""

    exit_code = 3


class SettingsError(PipelineError):
    """A settings file or `--set` that cannot be used."""

    exit_code = 2


class StateBusy(PipelineError):
    """Another gateway owns the state folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"另一个 vingate 正在使用状态目录 {path}；请等它结束或换一个 --state 目录"
            f" / another vingate is using the state folder {path}; wait for it to end or name another --state"
        )

    def __reduce__(self) -> tuple[type[StateBusy], tuple[Path]]:
        return StateBusy, (self.path,)


class StateMissing(PipelineError):
    """There is no state in the folder."""

    exit_code = 2

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"{path} 中没有 vingate 状态；请先运行 `vingate run` 或检查 --state"
            f" / no vingate state in {path}; run `vingate run` first, or check --state"
        )

    def __reduce__(self) -> tuple[type[StateMissing], tuple[Path]]:
        return StateMissing, (self.path,)


class WorkFailed(PipelineError):
    """The work stage ended with an error; nothing of its batch was decided."""


class Incomplete(PipelineError):
    """Receipts do not add up to the items that were given out: a bug or a broken runner, never to be accounted."""
