"""One build of vingate on every worker: the steps travel with the build that made them, and another one refuses them.

A step is taken apart by the build that it came from only, so this is asked before anything of it is unpickled: a class
that moved would else be an error that nobody understands.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

from apache_beam.internal import pickler

from pipelines.errors import WrongBuild
from pipelines.version import BUILD

_PACKAGES = ("connectors", "dlq", "mappings", "pipelines", "routing")
_COMPILED = "__pycache__"


@cache
def build() -> str:
    """This build: vingate's version and a digest of its files, and Beam's version."""
    digest = blake2b(digest_size=8)
    for name, content in _files(Path(__file__).parents[1]):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return f"{BUILD}+{digest.hexdigest()} apache-beam {version('apache-beam')}"


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for package in _PACKAGES:
        for path in sorted((folder / package).rglob("*")):
            if path.is_file() and _COMPILED not in path.parts:
                yield path.relative_to(folder).as_posix(), path.read_bytes()


def sent(kind: type, state: dict[str, Any], made_by: str) -> tuple[Any, tuple[str, bytes]]:
    """What `__reduce__` gives for a step that only the build that made it may take apart."""
    return taken, (made_by, pickler.dumps((kind, state)))


def taken(made_by: str, packed: bytes) -> Any:
    """The step, on a worker.

    Raises:
        WrongBuild: this worker has another build than who sent the step.
    """
    own = build()
    if own != made_by:
        message = (
            f"worker 的 vingate 版本不同：作业来自 {made_by}，worker 为 {own}；请在全部 worker 上安装同一版本后重新运行"
            f" / this worker has another build of vingate: the job is of {made_by}, the worker has {own};"
            " give every worker the same wheel or image, then run again"
        )
        raise WrongBuild(message)
    kind, state = pickler.loads(packed)
    made = kind.__new__(kind)
    made.__dict__.update(state)
    return made
