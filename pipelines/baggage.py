"""What settings name beside the data, for workers that do not see this machine's files: it travels in the job.

Tables, mappings, profiles, dealers and OEM lists are read once, where the run begins, and written again in a folder of
the worker's own; so every worker judges and routes by the same text, whatever becomes of the files.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from pipelines.errors import SettingsError
from pipelines.work import Job

_NAMED = (
    ("mapping", "dialect"),
    ("mapping", "profile"),
    ("routing", "table"),
    ("routing", "dealers"),
    ("routing", "oems"),
)
"""Settings that name something shipped, or a file that steps read. What data lies in travels by its own ways."""


def packed(job: Job) -> Job:
    """The job with the content of the files that its settings name.

    Raises:
        SettingsError: one of them cannot be read.
    """
    found: dict[str, bytes] = {}
    for section, option in _NAMED:
        named = str(job.exchange[section][option])
        if named and Path(named).is_absolute():  # settings are placed: what is not absolute is shipped
            found[named] = _content(Path(named))
    return replace(job, files=found)


def unpacked(job: Job) -> Job:
    """The job with those files in a folder of this process, and its settings naming them there."""
    if not job.files:
        return job
    exchange: dict[str, Any] = dict(job.exchange)
    for section, option in _NAMED:
        named = exchange[section][option]
        if named in job.files:
            exchange[section] = {**exchange[section], option: _written(os.getpid(), Path(named).name, job.files[named])}
    return replace(job, exchange=exchange, files={})


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"无法读取 {path}：{error.strerror} / cannot read {path}: {error.strerror}"
        raise SettingsError(message) from None


@lru_cache(maxsize=256)
def _written(process: int, name: str, content: bytes) -> str:
    """Path of a file of that content; the same for the same, so that what is made of it is made once."""
    path = Path(_folder(process)) / blake2b(content, digest_size=8).hexdigest() / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return str(path)


@lru_cache(maxsize=1)
def _folder(_: int) -> str:
    made = tempfile.mkdtemp(prefix="vingate-settings-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made
