"""Objects of a bucket as a source: listed by the page, read by whichever process works on them.

    source = S3Source(S3Source.Settings(url="s3://records/in", endpoint="https://s3.example.cn", access_key="env:KEY",
                                        secret_key="file:/run/secrets/s3", layout="{system}/{company}/*"))

An object is whole once it is listed, so there is no unfinished one to wait for. What it is called below the prefix goes
as for folders (`include`, `layout`; names with a part that begins with a dot, and those of unfinished files, are passed
over), and so does how it is read: as files of payloads, or with `format = "avro"` as Avro files.

Its **mark** is `size:seconds:ETag`. It is planned anew when size or ETag change; where a store gives no ETag, when size
or time do. Planning lists and reads nothing, but for the beginning of a file whose name does not say its format and the
directory of a zip file; reading names the ETag, so that what was replaced meanwhile is never read in its place. What
was read stays where it is: the bucket's own rules (a lifecycle) say for how long.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, BinaryIO, Literal, cast

from connectors.avrofiles import AvroReader, AvroReading
from connectors.contracts import Block, WorkItem
from connectors.files import Format, PayloadReader, PayloadSettings
from connectors.s3line import S3Settings
from connectors.s3remote import Bucket, Entry, ObjectFile
from connectors.storages import UNFINISHED, Found, WhichFiles

_MD5 = re.compile("[0-9a-f]{32}")


class S3SourceSettings(S3Settings, WhichFiles, PayloadSettings, AvroReading):
    """Settings of an S3 source: the bucket's, and those of a file source about what lies there."""

    format: Format | Literal["avro"] = "auto"  # type: ignore[assignment]  # one more than files have
    """As for files; `avro`: Avro files, each record a payload."""


@dataclass(frozen=True, slots=True)
class FoundObject(Found):
    """An object that waits; `digest` is its ETag."""

    @property
    def identity(self) -> str:
        """What makes its envelopes unique.

        The MD5 of its content where the ETag is one, whatever it is called; any other ETag stands for this key alone,
        and where there is none its time does.
        """
        told = f"{self.name}\0{self.problem or self.digest or self.mtime}"
        if not self.problem and _MD5.fullmatch(self.digest):
            told = self.digest
        return blake2b(f"{self.size}\0{told}".encode(), digest_size=32).hexdigest()


class Objects:
    """The objects below a prefix, as a storage."""

    def __init__(self, settings: S3SourceSettings) -> None:
        self._settings = settings
        self._bucket = Bucket(settings)
        self._planned: dict[str, str] = {}

    def plan(self, done: Mapping[str, str]) -> Iterator[Found]:
        """Objects that wait, by key; a page of the listing is held at a time.

        Raises:
            Unavailable: the store cannot be reached, or is too busy.
            Misconfigured: credentials, bucket or rights.
        """
        self._planned.clear()
        for page in self._bucket.pages(self._settings.prefix):
            for entry in page:
                found = self._look(entry)
                if found is not None and not _same(done.get(found.name, ""), found):
                    self._planned[found.name] = found.mark
                    yield found

    def _look(self, entry: Entry) -> FoundObject | None:
        name = entry.key.removeprefix(self._settings.prefix)
        if _passed_over(name) or not self._settings.included(name):
            return None
        sender = self._settings.sender(name)
        if sender is None:
            return FoundObject(name, problem=self._settings.misplaced)
        return FoundObject(name, entry.size, entry.mtime, *sender, digest=entry.etag)

    def open(self, name: str, mark: str) -> BinaryIO:
        """A planned object; that it is still the same is asked with each window of it that is fetched."""
        size, mtime, etag = mark.split(":", 2)
        entry = Entry(self._settings.prefix + name, int(size), int(mtime), etag)
        return cast("BinaryIO", ObjectFile(self._bucket, entry))

    def mark(self, name: str) -> str:
        """The state that was planned by this object, else the present one; empty if it is gone."""
        if name in self._planned:
            return self._planned[name]
        entry = self._bucket.look(self._settings.prefix + name)
        found = None if entry is None else self._look(entry)
        return "" if found is None else found.mark

    def finish(self, names: Iterable[str]) -> None:
        """Nothing: a store cannot remove an object on the condition that nobody replaced it meanwhile."""

    def check(self) -> list[str]:
        """What the first page of the listing shows.

        Raises:
            ConnectorError: the store cannot be reached, refuses us, or there is no such bucket.
        """
        page = next(self._bucket.pages(self._settings.prefix))
        found = [one for one in map(self._look, page) if one is not None]
        good, place = [one for one in found if not one.problem], self._settings.place
        total = sum(one.size for one in good)
        first = "（首页 / of the first page）" if len(page) >= 1000 else ""
        lines = [f"{place}: {len(good)} 个对象, {total} 字节 / {len(good)} objects, {total} bytes{first}"]
        return lines + [f"{one.name}: {one.problem}" for one in found if one.problem]


class S3Source:
    """Objects of a bucket; see the module."""

    Settings = S3SourceSettings
    remote = True
    """Connecting costs as much as reading some thousand records."""

    def __init__(self, settings: S3SourceSettings) -> None:
        self.settings = settings
        reader = AvroReader if settings.format == "avro" else PayloadReader
        self._reader: AvroReader | PayloadReader = reader(settings, Objects(settings))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    def plan(self, done: Mapping[str, str]) -> Iterator[WorkItem]:
        """Items of the objects that wait, by key and offset.

        Raises:
            Unavailable: the store cannot be reached, or is too busy.
            Misconfigured: credentials, bucket or rights.
        """
        return self._reader.plan(done)

    def read(self, item: WorkItem, block: int = 512) -> Iterator[Block]:
        """The item's envelopes.

        Raises:
            Changed: the object is gone, or another one stands under its key.
            Unavailable: the store cannot be reached, or is too busy.
        """
        return self._reader.read(item, block)

    def mark(self, path: str) -> str:
        """`size:seconds:ETag`, as it was planned by this source, else as it is now; empty if it is gone."""
        return self._reader.mark(path)

    def finish(self, paths: Iterable[str]) -> None:
        """Nothing to do: what was read is remembered, and stays."""
        self._reader.finish(paths)

    def check(self) -> list[str]:
        """What waits, as far as the first page of a listing shows it.

        Raises:
            ConnectorError: the store cannot be reached, refuses us, or there is no such bucket.
        """
        return self._reader.check()


def _passed_over(name: str) -> bool:
    return name.endswith(UNFINISHED) or any(part.startswith(".") for part in name.split("/"))


def _same(mark: str, found: Found) -> bool:
    """Whether a mark is that of an object as it was found."""
    if found.problem or mark.count(":") < 2:
        return mark == found.mark
    size, mtime, etag = mark.split(":", 2)
    return size == str(found.size) and (etag == found.digest if etag else mtime == str(found.mtime))
