"""Errors as one paragraph for people, with what to do about it; and the exit code that they mean.

Errors are known by the names of their classes, so that nothing is imported for it.
"""

from __future__ import annotations

import errno
import sys
import traceback
from pathlib import Path

WRONG_USE, NOT_DONE = 2, 3

_CODES = {
    "pipelines.errors.PipelineError": NOT_DONE,
    "connectors.contracts.Misconfigured": WRONG_USE,
    "connectors.contracts.ConnectorError": NOT_DONE,
    "mappings.layout.MappingError": WRONG_USE,
    "mappings.profiles.ProfileError": WRONG_USE,
    "mappings.tables.TableDamagedError": NOT_DONE,
    "routing.errors.RoutingError": WRONG_USE,
    "dlq.errors.NoSuchLetter": WRONG_USE,
    "dlq.errors.NoteMissing": WRONG_USE,
    "dlq.errors.DlqError": NOT_DONE,
}
"""Base class -> exit code; an error of one of these says itself what is wrong and what to do."""

_REMEDIES = {
    errno.ENOSPC: "磁盘已满：请腾出空间后再运行，状态完好 / the disk is full: make room and run again",
    errno.EDQUOT: "超出磁盘配额：请腾出空间后再运行 / over the disk quota: make room and run again",
    errno.EACCES: "没有权限：请检查文件与目录的权限 / no permission: check the rights of file and folder",
    errno.EPERM: "没有权限：请检查文件与目录的权限 / no permission: check the rights of file and folder",
    errno.EROFS: "文件系统只读：请换一个目录 / the file system is read-only: name another folder",
    errno.ENOENT: "请检查路径 / check the path",
    errno.EMFILE: "打开的文件过多：请提高 ulimit -n / too many open files: raise ulimit -n",
    errno.EIO: "磁盘读写出错：请检查磁盘 / the disk failed to read or write: check it",
}
_DATABASE = {
    "SQLITE_BUSY": "数据库正忙：请稍后再试 / the database is busy: try again later",
    "SQLITE_FULL": "磁盘已满：请腾出空间后再运行 / the disk is full: make room and run again",
    "SQLITE_IOERR": "磁盘读写出错或已满：请检查磁盘与空间后再运行 / the disk failed or is full: make room, run again",
    "SQLITE_READONLY": "数据库只读：请检查权限 / the database cannot be written: check its rights",
    "SQLITE_CANTOPEN": "数据库无法打开：请检查路径与权限 / the database cannot be opened: check path and rights",
    "SQLITE_NOTADB": "不是 vingate 数据库：请检查 --state 或恢复备份 / no vingate database: check --state",
    "SQLITE_CORRUPT": "数据库已损坏：请从备份恢复 / the database is damaged: restore a backup",
    "53": "数据库服务器资源不足或磁盘已满 / the database server lacks disk, memory or connections: make room",
    "55P03": "数据库正忙：请稍后再试 / the database is busy: try again later",
    "57": "数据库服务器中断：请稍后再运行 / the database server stopped this: run again later",
    "40": "数据库正忙：请稍后再试 / the database is busy: try again later",
    "28": "数据库登录被拒：请检查用户与密码 / the database refused the login: check user and password",
    "42501": "没有权限：请检查数据库用户的权限 / no permission: check the rights of the database's user",
}
"""Begin of the code that the driver gives -> what to do."""
_SERVER = "请检查数据库服务器与网络，恢复后再运行 / check the database server and the network, then run again"


def explained(error: BaseException) -> tuple[str, int]:
    """One paragraph about an error, and its exit code.

    Runners wrap what happened on a worker in errors of their own: what lies within tells more.
    """
    inner: BaseException | None = error
    while inner is not None:
        found = _known(inner)
        if found is not None:
            return found
        inner = inner.__cause__ or inner.__context__
    return _unforeseen(error), NOT_DONE


def _known(error: BaseException) -> tuple[str, int] | None:
    for kind in type(error).__mro__:
        code = _CODES.get(f"{kind.__module__}.{kind.__qualname__}")
        if code is not None:
            return str(error), int(getattr(error, "exit_code", code))
    database = sys.modules.get("sqlalchemy.exc")
    if database is not None and isinstance(error, database.DBAPIError):
        return _of_database(error.orig), NOT_DONE
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        remedy = _REMEDIES.get(error.errno or 0, "请检查路径、权限与磁盘 / check path, rights and disk")
        return f"{place}{error.strerror or error} - {remedy}", NOT_DONE
    return None


def _of_database(error: object) -> str:
    name = str(getattr(error, "sqlite_errorname", "") or getattr(error, "sqlstate", None) or "")
    remedy = next((text for code, text in _DATABASE.items() if name.startswith(code)), "")
    if not name and type(error).__module__.startswith("psycopg"):
        remedy = _SERVER  # it did not even answer
    # Only the driver's first sentence: the statement's parameters, and what a server adds, hold data.
    said = str(error).partition("\n")[0]
    return f"数据库 / database: {said} - {remedy or '加 --debug 查看详情 / --debug shows more'}"


def _unforeseen(error: BaseException) -> str:
    """A bug: its kind and place; not its text, which may hold what stood in a payload."""
    kind, place = _on_worker(error) or (type(error).__name__, _place(error))
    return (
        f"程序缺陷 {kind}（{place}）；状态完好，请加 --debug 再次运行并报告输出"
        f" / a bug: {kind} at {place}; the state is safe, run again with --debug and report the output"
    )


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"


def _on_worker(error: BaseException) -> tuple[str, str] | None:
    """Kind and place of a bug on a worker that is not of this process: all that came of it is the text."""
    if not isinstance(error, RuntimeError) or "Traceback (" not in str(error):
        return None
    from pipelines.stopping import told  # imported late: it takes connectors along

    happened = told(str(error))
    return (happened.kind.rpartition(".")[2], happened.place) if happened else None
