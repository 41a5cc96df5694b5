"""Errors of this package, each with what to do about it in Chinese and English."""

from __future__ import annotations

from pathlib import Path


class PipelineError(Exception):
    """Base: an error that a person can act on; its text says how."""

    exit_code = 3


class SettingsError(PipelineError):
    """A settings file or `--set` that cannot be used."""

    exit_code = 2


class WrongBuild(PipelineError):
    """A worker has another build of vingate than the coordinator."""


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


class StateLost(PipelineError):
    """Another gateway took the state over while this one was stopped; nothing more is committed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"状态 {path} 已被另一个 vingate 接管，本进程不再写入；请结束本进程"
            f" / another vingate has taken over the state {path}: this process writes nothing more, end it"
        )

    def __reduce__(self) -> tuple[type[StateLost], tuple[Path]]:
        return StateLost, (self.path,)


class KeyElsewhere(PipelineError):
    """A state that gateways share is sealed with a key that does not lie in this one's folder."""

    exit_code = 2

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path, self.fingerprint = path, fingerprint
        super().__init__(
            f"共享状态由另一把密钥加密（指纹 {fingerprint}）：请把先启动的网关的密钥文件原样放到 {path}（权限 600），"
            "或用 state.key 指明其位置"
            f" / the shared state is sealed with another key (fingerprint {fingerprint}): put the first gateway's key"
            f" file at {path} as it is (mode 600), or name its place by state.key"
        )

    def __reduce__(self) -> tuple[type[KeyElsewhere], tuple[Path, str]]:
        return KeyElsewhere, (self.path, self.fingerprint)


class NotShareable(PipelineError):
    """A state that gateways cannot share: it is on SQLite, or what it has left only one folder can finish."""

    exit_code = 2


class StateElsewhere(PipelineError):
    """A database was named for a state that is kept on SQLite in its folder."""

    exit_code = 2

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"{path} 的状态保存在该目录的 SQLite 中；先用 `vingate state copy --to` 迁移，或去掉数据库地址"
            f" / the state {path} is kept on SQLite in its folder; move it by `vingate state copy --to` first,"
            " or name no database"
        )

    def __reduce__(self) -> tuple[type[StateElsewhere], tuple[Path]]:
        return StateElsewhere, (self.path,)


class StateNotEmpty(PipelineError):
    """The database that a state should be copied to holds one already."""

    exit_code = 2

    def __init__(self) -> None:
        super().__init__(
            "目标数据库中已有 vingate 的表；请换一个空数据库 / the target database has tables of vingate already:"
            " name an empty one"
        )


class NumbersUsedUp(PipelineError):
    """Intake numbers have no room for a batch or for an envelope's place in it."""

    exit_code = 3

    def __init__(self, batch: int, place: int) -> None:
        super().__init__(
            f"接收序号用尽：批次 {batch}，第 {place} 条；请用新的状态目录继续"
            f" / no intake number for batch {batch}, place {place}: go on with a new state"
        )
        self.batch, self.place = batch, place

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.batch, self.place)


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


class StateDamaged(PipelineError):
    """Something that the state's database names is gone from its folder."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(
            f"状态目录不完整，缺少 {what}；请从备份恢复整个状态目录"
            f" / the state folder is incomplete, {what} is gone; restore the whole folder from its backup"
        )

    def __reduce__(self) -> tuple[type[StateDamaged], tuple[str]]:
        return StateDamaged, (self.what,)


class WorkFailed(PipelineError):
    """The work stage ended with an error; nothing of its batch was decided."""


class RunnerFailed(PipelineError):
    """The runner itself failed: it is not there, or went away. Nothing of the batch was decided."""

    def __init__(self, said: str) -> None:
        self.said = said
        super().__init__(
            "runner 未能完成作业；状态完好，再次运行即从断点继续"
            f" / the runner did not finish the job; the state is safe, run it again: {said}"
        )

    def __reduce__(self) -> tuple[type[RunnerFailed], tuple[str]]:
        return RunnerFailed, (self.said,)


class Incomplete(PipelineError):
    """Receipts do not add up to the items that were given out: a bug or a broken runner, never to be accounted."""


class StateTooNew(PipelineError):
    """A newer vingate made the database."""

    def __init__(self, found: str, known: str) -> None:
        self.found, self.known = found, known
        super().__init__(
            f"数据库由更新版本的 vingate 建立（结构 {found}，本版本为 {known}）；请升级 vingate"
            f" / a newer vingate made the database (schema {found}, this one knows {known}); install the newer vingate"
        )

    def __reduce__(self) -> tuple[type[StateTooNew], tuple[str, str]]:
        return StateTooNew, (self.found, self.known)


class StateTooOld(PipelineError):
    """An older vingate made the state, and nobody who owns it has upgraded it yet."""

    def __init__(self, path: Path, found: str, known: str) -> None:
        self.path, self.found, self.known = path, found, known
        super().__init__(
            f"状态 {path} 由旧版本建立（结构 {found}，现为 {known}）；先运行一次 `vingate run` 即自动升级"
            f" / an older vingate made the state {path} (schema {found}, now {known}); `vingate run` upgrades it"
        )

    def __reduce__(self) -> tuple[type[StateTooOld], tuple[Path, str, str]]:
        return StateTooOld, (self.path, self.found, self.known)
