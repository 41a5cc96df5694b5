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

from mappings.profiles import files_of
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
    """The job with the content of the files that its settings name, and of those that these name in turn.

    Raises:
        SettingsError: one of them cannot be read.
        ProfileError: a profile that extends others cannot be followed.
    """
    found: dict[str, bytes] = {}
    for section, option in _NAMED:
        named = str(job.exchange[section][option])
        if named and Path(named).is_absolute():  # settings are placed: what is not absolute is shipped
            found[_plain(named)] = _content(Path(named))
    profile = str(job.exchange["mapping"]["profile"])
    found.update((_plain(path), _content(path)) for path in files_of(profile))
    return replace(job, files=found, profile=profile)


def unpacked(job: Job) -> Job:
    """The job with those files in a folder of this process, and its settings naming them there."""
    if not job.files:
        return job
    folder = _written(os.getpid(), tuple(sorted(job.files.items())))
    exchange: dict[str, Any] = dict(job.exchange)
    for section, option in _NAMED:
        named = _plain(exchange[section][option])
        if named in job.files:
            exchange[section] = {**exchange[section], option: _below(folder, named)}
    return replace(job, exchange=exchange, files={})


def _plain(path: str | Path) -> str:
    return os.path.normpath(path)


def _below(folder: str, path: str) -> str:
    """Where a file lies in the folder: at its own path, so that what it names beside itself is there too."""
    return f"{folder}{path}"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"无法读取 {path}：{error.strerror} / cannot read {path}: {error.strerror}"
        raise SettingsError(message) from None


@lru_cache(maxsize=64)
def _written(process: int, files: tuple[tuple[str, bytes], ...]) -> str:
    """A folder with those files; the same for the same, so that what is made of them is made once."""
    digest = blake2b(digest_size=8)
    for name, content in files:
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    folder = f"{_folder(process)}/{digest.hexdigest()}"
    for name, content in files:
        path = Path(_below(folder, name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@lru_cache(maxsize=1)
def _folder(_: int) -> str:
    made = tempfile.mkdtemp(prefix="vingate-settings-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made
