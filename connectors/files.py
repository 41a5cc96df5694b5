"""Folders of NDJSON, JSON, CSV, XML or text files as a source, and NDJSON files for each destination as a sink.

    source = FilesSource(FilesSource.Settings(path="incoming", layout="{system}/{company}/*", finished="archive"))
    for item in source.plan(done={}):
        for block in source.read(item):
            ...
    source.finish(["hub/110105000001/2025-06-05.ndjson"])

An uncompressed file of lines is cut into items of `item_bytes` that any number of processes can read side by side; any
other file is one item, a zip file one for each member. An XML file is one payload. What cannot be read as a payload
comes as a problem of its block, and so does a file without any: nothing but white space, a header without lines, an
empty array, an archive without files. Only a file that changed after it was planned raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from hashlib import sha256
from typing import Any, BinaryIO, Literal

import orjson
from pydantic import Field

from connectors.contracts import Block, Unreadable, WorkItem
from connectors.folders import Folder, FolderSettings
from connectors.lines import CHUNK, Read, Run, lines
from connectors.parts import PartFolder, PartSettings, StagedFile
from connectors.settings import ConnectorSettings
from connectors.slicing import Piece, Rows, csv_payloads, whole_payloads
from connectors.storages import Changed, Found, Storage
from connectors.unpacking import Limit, Unpacked, Zip, inner_name, packing

Format = Literal["auto", "ndjson", "json", "csv", "xml", "lines"]
_ENDINGS = {
    **{"ndjson": "ndjson", "jsonl": "ndjson", "json": "json"},
    **{"csv": "csv", "tsv": "csv", "xml": "xml", "txt": "lines"},
}
_BLOCK_BYTES = 1 << 20
_BLANK = "只有空白 / nothing but white space"
_NOTHING = {"csv": "没有数据行 / no line of data", "json": "没有元素 / an array without elements"}


class PayloadSettings(ConnectorSettings):
    """How payloads stand in files, and how large things may be."""

    format: Format = "auto"
    """How payloads stand in a file; `auto` goes by the ending, and by the first lines where that says nothing."""
    item_bytes: int = Field(default=32 << 20, ge=1)
    """Size of the items that a file of lines is cut into."""
    max_payload_bytes: int = Field(default=64 << 20, ge=1)
    """A longer payload becomes a problem with its first 64 KB, length and SHA-256; it is never held in memory."""
    max_expansion: float = Field(default=200.0, gt=1)
    """Unpacked bytes for each packed one, asked from 16 MB on."""
    max_unpacked_bytes: int = Field(default=8 << 30, ge=1)
    """Unpacked bytes of one compressed file or member."""
    max_members: int = Field(default=10_000, ge=1)
    """Files in one zip file."""
    group_by: str = ""
    """CSV: consecutive rows that are equal in this column are one envelope."""
    encoding: Literal["auto", "utf-8", "gbk"] = "auto"
    """CSV: how the `group_by` column is read; bodies stay bytes."""
    delimiter: str = Field(default="auto", pattern=r"^(auto|[,;\t|])$")
    """CSV: `auto` takes the commonest of comma, semicolon, tab and bar in the header."""


class PayloadReader:
    """Payloads of the files of a storage; see the module.

    Args:
        settings: how payloads stand in them.
        storage: where they lie.
    """

    def __init__(self, settings: PayloadSettings, storage: Storage) -> None:
        self.settings: PayloadSettings = settings
        self._storage = storage
        self._last_zip: tuple[tuple[str, str], Zip] | None = None

    def plan(self, done: Mapping[str, str]) -> Iterator[WorkItem]:
        """Items of the files that wait, by path and offset.

        `extra["mark"]` is the file's mark at this moment: what `mark` gives once the file is finished.

        Raises:
            Misconfigured: the folder cannot be read.
        """
        for found in self._storage.plan(done):
            yield from self._items(found)

    def _items(self, found: Found) -> Iterator[WorkItem]:
        packed = packing(found.name)
        extra = {"mark": found.mark, "packed": packed}
        problem = found.problem or ("" if found.size else "空文件 / the file is empty")
        if problem:
            yield self._item(found, {**extra, "problem": problem})
        elif packed == "zip":
            yield from self._members(found, extra)
        else:
            form = self._format(found, packed)
            step = self.settings.item_bytes if form in ("ndjson", "lines") and not packed else found.size
            for offset in range(0, found.size, step):
                yield self._item(found, {**extra, "format": form}, offset, min(step, found.size - offset))

    def _members(self, found: Found, extra: dict[str, Any]) -> Iterator[WorkItem]:
        try:
            with self._storage.open(found.name, found.mark) as file:
                archive = self._archive(found.name, found.mark, file)
                inside = archive.members(self.settings.max_members)
                for index, name in inside:
                    given = self._inside(name, partial(archive.member, file, index, self._limit()))
                    yield self._item(found, {**extra, "member": index, "member_name": name, **given})
        except Changed:
            return  # what is there now is planned next time
        except Unreadable as error:
            yield self._item(found, {**extra, "problem": str(error)})
        else:
            if not inside:
                yield self._item(found, {**extra, "problem": "压缩包中没有文件 / no file in the archive"})

    def _inside(self, name: str, opened: Callable[[], Read]) -> dict[str, str]:
        """Format of a member, or why it cannot be read."""
        if packing(name):
            return {"problem": "压缩包中的压缩包 / an archive inside an archive"}
        try:
            return {"format": self._sniffed(name, opened)}
        except Changed:
            raise
        except Unreadable as error:
            return {"problem": str(error)}

    def _archive(self, name: str, mark: str, file: BinaryIO) -> Zip:
        """The zip file of that name and state: the last one's directory is kept, for its items follow each other."""
        if self._last_zip is None or self._last_zip[0] != (name, mark):
            self._last_zip = (name, mark), Zip(file)
        return self._last_zip[1]

    @staticmethod
    def _item(found: Found, extra: dict[str, Any], offset: int = 0, length: int = -1) -> WorkItem:
        digest = found.identity
        if "member" in extra:
            digest = sha256(f"{digest}:{extra['member']}".encode()).hexdigest()
        return WorkItem(found.name, digest, offset, length, found.company, found.system, extra)

    def _limit(self) -> Limit:
        return Limit(self.settings.max_expansion, self.settings.max_unpacked_bytes)

    def _format(self, found: Found, packed: str) -> str:
        try:
            with self._storage.open(found.name, found.mark) as file:
                read = Unpacked(file, packed, self._limit(), found.size).read if packed else file.read
                return self._sniffed(inner_name(found.name), lambda: read)
        except Unreadable:
            return "lines"  # reading it says what is wrong

    def _sniffed(self, name: str, opened: Callable[[], Read]) -> str:
        if self.settings.format != "auto":
            return self.settings.format
        known = _ENDINGS.get(name.rpartition(".")[2].lower(), "")
        return known if known not in ("json", "") else sniff(opened()(1 << 16), known)

    def read(self, item: WorkItem, block: int = 512) -> Iterator[Block]:
        """The item's envelopes; offsets are bytes in the file, unpacked bytes in a compressed one.

        Raises:
            Changed: the file is gone, shrank or changed since it was planned.
        """
        if item.extra.get("problem"):
            yield Block(item, [], [], [(0, b"", item.extra["problem"])])
            return
        mark = item.extra["mark"]
        size = int(mark.partition(":")[0])
        seen = False
        with self._storage.open(item.source, mark) as file:
            last = item.offset
            try:
                if "member" in item.extra:
                    archive = self._archive(item.source, mark, file)
                    read = archive.member(file, item.extra["member"], self._limit())
                elif item.extra["packed"]:
                    read = Unpacked(file, item.extra["packed"], self._limit(), size).read
                else:
                    file.seek(max(item.offset - 1, 0))
                    read = _Bounded(file.read, size - file.tell()).read
                for one in self._blocks(item, read, block):
                    seen = True
                    last = one.offsets[-1] if one.offsets else last
                    yield one
            except Changed:
                raise
            except Unreadable as error:
                yield Block(item, [], [], [(last + 1 if seen else last, b"", str(error))])
                return
        if not seen and item.length in (-1, size):
            yield Block(item, [], [], [(0, b"", _NOTHING.get(item.extra["format"], _BLANK))])

    def _blocks(self, item: WorkItem, read: Read, block: int) -> Iterator[Block]:
        form = item.extra["format"]
        if form in ("ndjson", "lines"):
            start = max(item.offset - 1, 0)
            end = item.offset + item.length if item.length >= 0 and not item.extra["packed"] else -1
            longest = self.settings.max_payload_bytes
            for run in lines(read, start, end, longest, midway=item.offset > 0):
                yield from _cut(item, run, block)
            return
        if form == "csv":
            settings = self.settings
            rows = Rows(settings.group_by, settings.encoding, settings.delimiter, settings.max_payload_bytes)
            pieces = csv_payloads(read, rows)
        else:
            pieces = whole_payloads(read, self.settings.max_payload_bytes)
        yield from _gathered(item, pieces, block)

    def mark(self, path: str) -> str:
        """`size:mtime_ns:digest` of the file as it was planned by this object, else as it is now; "" if gone."""
        return self._storage.mark(path)

    def finish(self, paths: Iterable[str]) -> None:
        """Mark or archive the files, as `finished` says. Idempotent; a file that changed since stays.

        A mapping of paths to the marks that the gateway kept is taken too: give that after a restart.
        """
        self._storage.finish(paths)

    def check(self) -> list[str]:
        """What waits.

        Raises:
            Misconfigured: the path does not exist or cannot be read.
        """
        return self._storage.check()


class FilesSource(PayloadReader):
    """Files below a folder, or one file; each is read once for its digest when it is planned."""

    class Settings(FolderSettings, PayloadSettings):
        """Settings of a file source."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, Folder(settings))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)


class _Bounded:
    """Reads no further than was planned: what a file grew by meanwhile is the next plan's."""

    def __init__(self, read: Read, left: int) -> None:
        self._read, self._left = read, left

    def read(self, count: int) -> bytes:
        data = self._read(min(count, self._left)) if self._left > 0 else b""
        self._left -= len(data)
        return data


def sniff(head: bytes, known: str = "") -> str:
    """`ndjson`, `json`, `xml` or `lines` by the beginning of a file; whole JSON objects, a line each, are NDJSON."""
    first, _, rest = head.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")
    if first[:1] == b"{" and rest.lstrip()[:1] == b"{":
        try:
            orjson.loads(first)
        except orjson.JSONDecodeError:
            return "json"
        return "ndjson"
    if first.startswith(b"<?xml"):
        return known or "xml"
    return known or ("json" if first[:1] in (b"{", b"[") else "lines")


def _cut(item: WorkItem, run: Run, block: int) -> Iterator[Block]:
    problems = [
        (offset, whole.first, f"PAYLOAD_TOO_LARGE: 单条超长 / payload too long: {whole.text}")
        for offset, whole in run.too_long
    ]
    bodies, offsets = run.bodies, run.offsets
    for at in range(0, len(bodies), block):
        yield Block(item, bodies[at : at + block], offsets[at : at + block], [])
    if problems:
        yield Block(item, [], [], problems)


def _gathered(item: WorkItem, pieces: Iterable[Piece], block: int) -> Iterator[Block]:
    """Blocks of pieces, bounded by count and by bytes."""
    bodies: list[bytes] = []
    offsets: list[int] = []
    problems: list[tuple[int, bytes, str]] = []
    held = 0
    for offset, body, reason in pieces:
        if reason:
            problems.append((offset, body, reason))
        else:
            bodies.append(body)
            offsets.append(offset)
        held += len(body)
        if len(bodies) + len(problems) >= block or held >= _BLOCK_BYTES:
            yield Block(item, bodies, offsets, problems)
            bodies, offsets, problems, held = [], [], [], 0
    if bodies or problems:
        yield Block(item, bodies, offsets, problems)


class LinesPart(StagedFile):
    """A part of NDJSON: each record one line."""

    def add(self, records: Iterable[bytes]) -> None:
        """Append records.

        Raises:
            ValueError: a record holds a line break, so it could not be counted again.
            Unavailable: no room.
        """
        taken = list(records)
        data = b"\n".join([*taken, b""])
        if data.count(b"\n") != len(taken):
            message = "NDJSON 记录内不能换行 / a record of an NDJSON file cannot hold a line break"
            raise ValueError(message)
        self.count += len(taken)
        self.put(data)


class FilesSink(PartFolder):
    """NDJSON files, one for each destination, batch and item; see `connectors.parts`."""

    class Settings(PartSettings):
        """Settings of a sink of lines."""

        ending: str = Field(default=".ndjson", pattern=r"^\.[a-z0-9]{1,10}$")
        """End of the files' names."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.suffix = settings.ending

    def open(self, destination: str, batch: str, item: str) -> LinesPart:
        """Begin a part."""
        return LinesPart(self.names(destination, batch, item))

    @staticmethod
    def count(data: memoryview) -> int:
        """Records in a file."""
        return sum(bytes(data[at : at + CHUNK]).count(b"\n") for at in range(0, len(data), CHUNK))
