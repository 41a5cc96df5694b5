"""Files for a bucket, NDJSON or Avro: staged by workers as objects beside their final place, promoted by copying.

    sink = S3Sink(S3Sink.Settings(url="s3://records/out", endpoint="https://s3.example.cn", access_key="env:KEY",
                                  secret_key="file:/run/secrets/s3", format="avro", schema=...))

A part is written in the temporary folder of its process, hashed, and put as `<prefix>/.staging/OWNER@....part`: a put
is atomic, and the store compares its MD5. So a worker needs no disk that others see. `promote` has the store copy the
object to `<prefix>/<destination>--<batch>--<item><ending>`, atomic again, and never in place of another content; then
the staged one is removed. What no decided batch names is swept. Nothing is uploaded in pieces, so nothing unfinished is
left that a listing does not show; a part is at most 5 GiB. Give each state a prefix of its own: a store cannot refuse a
copy because somebody else took the name at that moment.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from connectors.avrofiles import AvroSink, AvroWriting, Schema
from connectors.contracts import ConnectorError, Misconfigured, PartWriter, StagedPart, Tally
from connectors.files import FilesSink
from connectors.parts import safe
from connectors.s3line import S3Settings
from connectors.s3remote import Bucket, Entry

_SCRATCH = "vingate-s3-"
_JUST_MADE = 60.0
"""Seconds for which a folder that nobody has locked yet may be a new one's."""
_STAGED = re.compile(r"([0-9a-z-]{0,40})@.*\.part", re.DOTALL)


class S3SinkSettings(S3Settings, AvroWriting):
    """Settings of an S3 sink."""

    owner: str = Field(default="", pattern=r"^[0-9a-z-]{0,40}$")
    """Who stages here: nobody sweeps another's."""
    format: Literal["ndjson", "avro"] = "ndjson"
    ending: str = Field(default=".ndjson", pattern=r"^\.[a-z0-9]{1,10}$")
    """End of the names of files of lines; Avro files end with `.avro`."""
    avro_schema: Schema | None = Field(default=None, alias="schema")
    """Avro: schema of the records that are handed in."""

    @model_validator(mode="after")
    def _with_schema(self) -> S3SinkSettings:
        if self.format == "avro" and self.avro_schema is None:
            message = "avro 需要 schema / avro needs a schema"
            raise ValueError(message)
        return self


class _Part:
    """A part being written here, and put into the bucket when it is closed."""

    def __init__(self, inner: PartWriter, sink: S3Sink) -> None:
        self._inner, self._sink = inner, sink

    def add(self, records: Sequence[bytes]) -> None:
        """Append records.

        Raises:
            Unavailable: no room in the temporary folder.
        """
        self._inner.add(records)

    def close(self) -> StagedPart:
        """Finish the part and put it beside its final place.

        Raises:
            Unavailable: no room, or the store cannot be reached; nothing is left here then.
            Misconfigured: credentials, bucket or rights.
        """
        part = self._inner.close()
        here = Path(part.temporary)
        try:
            return self._sink.stage(part)
        finally:
            here.unlink(missing_ok=True)

    def abort(self) -> None:
        """Remove what was written. Idempotent."""
        self._inner.abort()


class S3Sink:
    """Whole files for a bucket; see the module."""

    Settings = S3SinkSettings

    def __init__(self, settings: S3SinkSettings) -> None:
        self.settings = settings
        self._bucket = Bucket(settings)
        self._staging = f"{settings.prefix}.staging/"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    @property
    def _local(self) -> FilesSink | AvroSink:
        """What writes parts in this process's temporary folder."""
        settings, folder = self.settings, _scratch(os.getpid())
        if settings.format == "ndjson":
            return FilesSink(FilesSink.Settings(path=folder, owner=settings.owner, ending=settings.ending))
        form = {name: getattr(settings, name) for name in (*AvroWriting.model_fields, "avro_schema")}
        return AvroSink(AvroSink.Settings(path=folder, owner=settings.owner, **form))

    def open(self, destination: str, batch: str, item: str) -> _Part:
        """Begin a part.

        Raises:
            Misconfigured: destination and batch are too long for a file name.
        """
        return _Part(self._local.open(destination, batch, item), self)

    def stage(self, part: StagedPart) -> StagedPart:
        """Put a part that is finished here into the bucket; the part as it is named there.

        Raises:
            Unavailable: the store cannot be reached, or is too busy.
            Misconfigured: credentials, bucket or rights.
        """
        key = self._staging + Path(part.temporary).name
        self._bucket.send(Path(part.temporary), key)
        return part._replace(
            temporary=self._named(key), final=self._named(self.settings.prefix + Path(part.final).name)
        )

    def _named(self, key: str) -> str:
        return f"s3://{self._bucket.name}/{key}"

    def _key(self, name: str) -> str:
        head = self._named("")
        if not name.startswith(head):
            message = f"分片在另一个桶 / a part is of another bucket: {name}"
            raise Misconfigured(message, "请改回 url 后再运行 / put url back, then run again")
        return name.removeprefix(head)

    def promote(self, parts: Sequence[StagedPart]) -> None:
        """Give the staged parts their final names; one that has its final name already is left.

        Raises:
            Unavailable: the store cannot be reached; what was promoted stays, the rest waits.
            Misconfigured: a part is in neither place, or another content stands under its final name.
        """
        for part in parts:
            staged, final = self._key(part.temporary), self._key(part.final)
            standing = self._bucket.look(final)
            if standing is not None:
                self._same(part, standing)
            elif not self._bucket.copy(staged, final):
                message = f"分片文件已丢失 / a part is lost: {part.final} ({part.temporary})"
                raise Misconfigured(message, "请从备份恢复该文件 / restore the file from a backup")
            self._bucket.remove(staged)

    def _same(self, part: StagedPart, standing: Entry) -> None:
        if self._again(standing)[1] != part.sha256:
            message = f"同名对象已存在且内容不同，不会覆盖 / an object of this name holds something else: {part.final}"
            remedy = (
                "请移走该对象后重新运行；每个状态目录应有自己的前缀"
                " / move that object away and run again; give each state folder a prefix of its own"
            )
            raise Misconfigured(message, remedy)

    def sweep(self, keep: Sequence[str]) -> int:
        """Remove this owner's staged objects that are not in `keep`; how many went. Only when no worker is writing.

        A store that cannot be reached keeps its leftovers until the next time.
        """
        kept, gone = set(keep), 0
        with suppress(ConnectorError):
            for entry in self._staged():
                if self._named(entry.key) not in kept:
                    self._bucket.remove(entry.key)
                    gone += 1
        return gone

    def _staged(self) -> Iterator[Entry]:
        for page in self._bucket.pages(self._staging):
            for entry in page:
                match = _STAGED.fullmatch(entry.key.removeprefix(self._staging))
                if match is not None and match[1] == self.settings.owner:
                    yield entry

    def verify(self, batch: str) -> Tally:
        """Records, and the sum of the hashes' first 8 bytes, of the batch's files, read back from the bucket.

        Raises:
            Unavailable: the store cannot be reached.
            Misconfigured: credentials, bucket or rights.
        """
        return self.verify_many([batch])[batch]

    def verify_many(self, batches: Sequence[str]) -> dict[str, Tally]:
        """The same for each of some batches; the bucket is listed once."""
        found: dict[str, tuple[int, int]] = dict.fromkeys(batches, (0, 0))
        middles = {safe(batch): batch for batch in batches}
        for entry in self._finals():
            parts = entry.key.removeprefix(self.settings.prefix).split("--", 2)
            if len(parts) == 3 and parts[1] in middles:
                records, hashed = self._again(entry)
                count, digest = found[middles[parts[1]]]
                found[middles[parts[1]]] = count + records, digest + int(hashed[:16], 16)
        return {batch: Tally(count, digest % 2**64) for batch, (count, digest) in found.items()}

    def _finals(self) -> Iterator[Entry]:
        ending = ".avro" if self.settings.format == "avro" else self.settings.ending
        for page in self._bucket.pages(self.settings.prefix, flat=True):
            yield from (entry for entry in page if entry.key.endswith(ending))

    def _again(self, entry: Entry) -> tuple[int, str]:
        """Records and SHA-256 of an object, which is fetched for it."""
        here = _scratch(os.getpid()) / secrets.token_hex(8)
        try:
            self._bucket.whole(entry, here)
            return self._local.counted(here)
        finally:
            here.unlink(missing_ok=True)

    def check(self) -> list[str]:
        """Whether objects can be written and removed, and what the first page of a listing shows.

        Raises:
            ConnectorError: they cannot, the store cannot be reached, or there is no such bucket.
        """
        probe = f"{self._staging}{self.settings.owner}@probe-{os.getpid()}.part"
        self._bucket.put(probe, b"\n")
        self._bucket.remove(probe)
        finished = len(next(self._bucket.pages(self.settings.prefix, flat=True)))
        staged = sum(1 for _ in self._staged())
        return [f"{self.settings.place}: {finished} 个对象, {staged} 个暂存 / {finished} objects, {staged} staged"]


@lru_cache(maxsize=1)
def _scratch(process: int) -> Path:
    """A folder of this process alone, removed when it ends; that of one that was killed goes with the next one."""
    _sweep_killed()
    folder = Path(tempfile.mkdtemp(prefix=_SCRATCH))
    _locked(folder)
    atexit.register(_cleared, folder, process)
    return folder


def _sweep_killed() -> None:
    """Remove folders that no process holds locked: half-written parts are records in plain text."""
    for left in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        with suppress(OSError):  # another user's, or just going
            if left.stat().st_mtime < time.time() - _JUST_MADE:
                os.close(_locked(left))
                shutil.rmtree(left)


def _locked(folder: Path) -> int:
    """A folder, opened and locked until this process and its forks end. Raises OSError where another one holds it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle


def _cleared(folder: Path, process: int) -> None:
    if os.getpid() == process:  # what a fork inherits is its parent's
        shutil.rmtree(folder, ignore_errors=True)
