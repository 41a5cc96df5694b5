"""Avro files as a source (each record becomes one JSON payload) and as a sink (parts of records already encoded).

source = AvroSource(AvroSource.Settings(path="feed", include=["*.avro"]))
sink = AvroSink(AvroSink.Settings(path="out", schema="repair.avsc"))
part = sink.open("440000", "b1", "i1")
part.add([encoded, encoded])
sink.promote([part.close()])
"""

from __future__ import annotations

import base64
import io
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, cast

import fastavro
import orjson
from fastavro.schema import SchemaParseException
from pydantic import Field

from connectors.avroblocks import SYNC, BlockReader, RawBlock, count_records, header, zigzag
from connectors.avrobounds import refuse_endless
from connectors.contracts import Block, Misconfigured, StagedPart, Unreadable, WorkItem
from connectors.folders import Folder, FolderSettings
from connectors.lines import KEPT
from connectors.parts import PartFolder, PartNames, PartSettings, StagedFile
from connectors.settings import ConnectorSettings
from connectors.storages import Changed, Storage
from connectors.unpacking import Limit

Schema = Path | dict[str, Any]
"""A schema file (`.avsc`), or the schema itself."""


def load_schema(schema: Schema) -> dict[str, Any]:
    """The schema as a value.

    Raises:
        Misconfigured: no such file, no JSON, or no Avro schema.
    """
    try:
        value = schema if isinstance(schema, dict) else orjson.loads(schema.read_bytes())
        fastavro.parse_schema(value, _write_hint=False)
    except (OSError, orjson.JSONDecodeError, SchemaParseException, KeyError, TypeError, ValueError) as error:
        message = f"Avro 模式不可用 / Avro schema cannot be used: {type(error).__name__}: {error}"
        raise Misconfigured(message, "请检查 schema 设置 / check the setting schema") from error
    if not isinstance(value, dict):
        message = "Avro 模式须是记录 / the Avro schema must be a record"
        raise Misconfigured(message, "请检查 schema 设置 / check the setting schema")
    return value


class AvroReading(ConnectorSettings):
    """How Avro files are read, and how large things may be."""

    avro_schema: Schema | None = Field(default=None, alias="schema")
    """Schema that the files are read as; one that does not resolve to it is a problem. None: each file's own."""
    max_block_bytes: int = Field(default=64 << 20, ge=1 << 10)
    """Bytes of a block, as it is stored and unpacked."""
    max_expansion: float = Field(default=200.0, gt=1)
    """Unpacked bytes for each stored one of a file's blocks, asked from 16 MB on."""
    max_unpacked_bytes: int = Field(default=8 << 30, ge=1)
    """Unpacked bytes of one file whose blocks are compressed."""


class AvroReader:
    """Avro files of a storage: each record an envelope.

    Its body is the record as JSON: members in the schema's order, decimals as text, dates and times in ISO 8601,
    bytes in base64. Its offset is the record's number in the file. A record that cannot be decoded ends its block,
    which becomes one problem with the rest of its bytes; a file cut short gives its whole records, then one problem,
    and one without records a problem.
    """

    def __init__(self, settings: AvroReading, storage: Storage) -> None:
        self.settings: AvroReading = settings
        self._storage = storage
        self._reader = None if settings.avro_schema is None else load_schema(settings.avro_schema)

    def plan(self, done: Mapping[str, str]) -> Iterator[WorkItem]:
        """One item for each file that waits, by path.

        Raises:
            Misconfigured: the folder cannot be read.
        """
        for one in self._storage.plan(done):
            problem = one.problem or ("" if one.size else "空文件 / the file is empty")
            extra = {"mark": one.mark, **({"problem": problem} if problem else {})}
            yield WorkItem(one.name, one.identity, 0, one.size, one.company, one.system, extra)

    def read(self, item: WorkItem, block: int = 512) -> Iterator[Block]:
        """The file's records as JSON.

        Raises:
            Changed: the file is gone, shrank or changed since it was planned.
        """
        if item.extra.get("problem"):
            yield Block(item, [], [], [(0, b"", item.extra["problem"])])
            return
        number = 0
        with io.BufferedReader(cast("io.RawIOBase", self._storage.open(item.source, item.extra["mark"]))) as file:
            try:
                limit = Limit(self.settings.max_expansion, self.settings.max_unpacked_bytes)
                reader = BlockReader(file, self.settings.max_block_bytes, limit)
                decoder = _Decoder(reader.metadata, self._reader)
                while (found := reader.next()) is not None:
                    following = number + found.records
                    for bodies, problem in decoder.bodies(found, block):
                        if bodies:
                            yield Block(item, bodies, list(range(number, number + len(bodies))), [])
                        number += len(bodies)
                        if problem is not None:
                            yield Block(item, [], [], [(number, *problem)])
                            number += 1
                    number = max(number, following)
                    if found.last:
                        return
                if not number:
                    yield Block(item, [], [], [(0, b"", "没有记录 / no record")])
            except Changed:
                raise
            except Unreadable as error:
                yield Block(item, [], [], [(number, b"", str(error))])

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
            Misconfigured: the path or the schema cannot be used.
        """
        return self._storage.check()


class AvroSource(AvroReader):
    """Avro files below a folder, or one file; each is read once for its digest when it is planned."""

    class Settings(FolderSettings, AvroReading):
        """Settings of an Avro source."""

        include: tuple[str, ...] = ("*.avro",)

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, Folder(settings))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)


class _Decoder:
    """Turns blocks of one file into JSON bodies."""

    def __init__(self, metadata: Mapping[str, bytes], expected: dict[str, Any] | None) -> None:
        try:
            schema = orjson.loads(metadata.get("avro.schema", b""))
            names: dict[str, Any] = {}
            self._schema: Any = fastavro.parse_schema(schema, names, _write_hint=False)
            refuse_endless(self._schema, names)
            self._expected: Any = None if expected is None else fastavro.parse_schema(expected, _write_hint=False)
        except (SchemaParseException, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            message = f"Avro 文件的模式不可用 / the file's Avro schema cannot be used: {type(error).__name__}"
            raise Unreadable(message, "请发送方检查模式 / ask the sender to check the schema") from error

    def bodies(self, block: RawBlock, most: int) -> Iterator[tuple[list[bytes], tuple[bytes, str] | None]]:
        """Bodies that could be decoded, at most so many at a time; with the last, the rest of the bytes and why."""
        stream = io.BytesIO(block.data)
        bodies: list[bytes] = []
        at, count, reason = 0, 0, block.problem
        # A record takes no bytes only if its schema is empty: a count beyond the bytes is a lie.
        for _ in range(min(block.records, len(block.data) + 1)):
            try:
                value = fastavro.schemaless_reader(stream, self._schema, self._expected)
                bodies.append(orjson.dumps(value, default=_plain))
            except Exception as error:  # noqa: BLE001 - whatever foreign bytes make the decoder do is the file's fault
                why = f"{type(error).__name__}: {error}"[:300]
                reason = reason or f"Avro 记录无法解码 / record cannot be decoded: {why}"
                break
            at, count = stream.tell(), count + 1
            if len(bodies) == most:
                yield bodies, None
                bodies = []
        if not reason and count != block.records:
            reason = f"Avro 块记录数不符 / block holds {count} records and claims {block.records}"
        if not reason and at != len(block.data):
            reason = "Avro 块内有多余数据 / bytes are left over in the block"
        left = block.packed or block.data[at:]
        yield bodies, (left[:KEPT], reason) if reason else None


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    raise TypeError(type(value).__name__)


class AvroPartWriter(StagedFile):
    """A part of an Avro file whose bytes depend on nothing but its name, its schema and its records.

    Args:
        names: what the part is called.
        preface: the file's header.
        sync: the sync marker.
        level: of zlib's deflate (0-9); -1 for no compression. `isal`, though faster, was seen to write the same input
            in two ways in one process and another, and parts are known by their bytes.
        block_bytes: a block is closed with the record that reaches this size, however records come in.
    """

    def __init__(self, names: PartNames, preface: bytes, sync: bytes, level: int, block_bytes: int) -> None:
        super().__init__(names)
        self._sync, self._level, self._block_bytes = sync, level, block_bytes
        self._pending: list[bytes] = []
        self._bytes = 0
        self.put(preface)

    def add(self, records: Sequence[bytes]) -> None:
        """Append Avro-encoded records.

        Raises:
            Unavailable: no room.
        """
        self._pending += records
        self._bytes += sum(map(len, records))
        if self._bytes >= self._block_bytes:
            self._cut()

    def _cut(self) -> None:
        pending, ends = self._pending, list(accumulate(map(len, self._pending)))
        begin = base = 0
        while (last := bisect_left(ends, base + self._block_bytes)) < len(ends):
            self._block(pending[begin : last + 1])
            begin, base = last + 1, ends[last]
        self._pending, self._bytes = pending[begin:], self._bytes - base

    def _block(self, records: list[bytes]) -> None:
        data = b"".join(records)
        if self._level >= 0:
            data = zlib.compress(data, self._level, -15)
        self.count += len(records)
        self.put(b"".join([zigzag(len(records)), zigzag(len(data)), data, self._sync]))

    def close(self) -> StagedPart:
        """Write the last block, then finish, sync and hash the file.

        Raises:
            Unavailable: no room.
        """
        if self._pending:
            self._block(self._pending)
            self._pending, self._bytes = [], 0
        return super().close()


class AvroWriting(ConnectorSettings):
    """How Avro files are written."""

    codec: Literal["deflate", "null"] = "deflate"
    level: int = Field(default=1, ge=0, le=9)
    """Of deflate: 0 is fastest, 3 smallest."""
    block_bytes: int = Field(default=64 << 10, ge=1 << 10)


class AvroSink(PartFolder):
    """Avro files, one for each destination, batch and item; see `connectors.parts`."""

    class Settings(PartSettings, AvroWriting):
        """Settings of an Avro sink."""

        avro_schema: Schema = Field(alias="schema")
        """Schema of the records that are handed in."""

    suffix = ".avro"
    count = staticmethod(count_records)

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._schema = orjson.dumps(load_schema(settings.avro_schema))
        self._level = settings.level if settings.codec == "deflate" else -1
        self._metadata = {"avro.codec": settings.codec.encode(), "avro.schema": self._schema}
        self._block_bytes = settings.block_bytes

    def open(self, destination: str, batch: str, item: str) -> AvroPartWriter:
        """Begin a part."""
        names = self.names(destination, batch, item)
        sync = blake2b("\0".join((destination, batch, item)).encode(), digest_size=SYNC).digest()
        return AvroPartWriter(names, header(self._metadata, sync), sync, self._level, self._block_bytes)
