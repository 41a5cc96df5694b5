"""The objects of one bucket: listing by the page, reading by the window, writing whole, copying within the store."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from hashlib import md5
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

from connectors.contracts import Misconfigured
from connectors.parts import disk_error
from connectors.s3line import S3Settings, client, code_of, translated
from connectors.storages import Changed

LARGEST = 5 << 30
"""Most that one request writes or copies."""
_FIRST, _WINDOW = 1 << 16, 4 << 20
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_REPLACED = "列出后被替换 / it was replaced after it was listed"
_BACK = "再次运行即按现状重新计划 / run again: what is there now is planned anew"


class Entry(NamedTuple):
    """An object as the store shows it."""

    key: str
    size: int
    mtime: int
    """Whole seconds: a listing gives more of them than an answer about one object."""
    etag: str
    """Without its quotes; empty where the store gives none."""


class Bucket:
    """The objects of the bucket that settings name. Keys are whole keys."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self.name = settings.bucket

    @property
    def _client(self) -> Any:  # noqa: ANN401 - botocore's own
        return client(self._settings)

    def pages(self, prefix: str, *, flat: bool = False, most: int = 1000) -> Iterator[list[Entry]]:
        """All objects behind a prefix by key, a page of at most `most` at a time; `flat`: none below another `/`.

        One request a page; nothing of a page is kept when the next one is fetched.
        """
        wanted: dict[str, Any] = {"Bucket": self.name, "Prefix": prefix, "MaxKeys": most}
        if flat:
            wanted["Delimiter"] = "/"
        while True:
            with translated(self._settings.place):
                answer = self._client.list_objects_v2(**wanted)
            yield [
                Entry(one["Key"], one["Size"], _seconds(one["LastModified"]), one.get("ETag", "").strip('"'))
                for one in answer.get("Contents", ())
                if not one["Key"].endswith("/")  # what some write to have a folder to show
            ]
            if not answer.get("IsTruncated"):
                return
            wanted["ContinuationToken"] = answer["NextContinuationToken"]

    def look(self, key: str) -> Entry | None:
        """What stands under a key; None when nothing does."""
        with translated(self._settings.place):
            try:
                about = self._client.head_object(Bucket=self.name, Key=key)
            except ClientError as error:
                if _status(error) == HTTPStatus.NOT_FOUND:
                    return None
                raise
        return Entry(key, about["ContentLength"], _seconds(about["LastModified"]), about.get("ETag", "").strip('"'))

    def read(self, found: Entry, start: int, count: int) -> bytes:
        """Bytes of an object that is still the one that was found.

        Raises:
            Changed: it is gone, or another one stands under its key.
            Unavailable: the store does not give them, however often it is asked.
            Misconfigured: the store gives other bytes than it was asked for.
        """
        wanted = {"Bucket": self.name, "Key": found.key, "Range": f"bytes={start}-{start + count - 1}"}
        if found.etag:
            wanted["IfMatch"] = f'"{found.etag}"'
        for left in reversed(range(self._settings.tries)):
            with translated(self._settings.place):
                try:
                    answer = self._client.get_object(**wanted)
                except ClientError as error:
                    raise _of_reading(found, error) or error from None
                with closing(answer["Body"]) as body:
                    self._see_that_it_fits(found, start, count, answer)
                    try:
                        data: bytes = body.read()
                    except (HTTPClientError, IncompleteReadError):
                        if not left:  # calls are tried again by the SDK, what follows their headers is not
                            raise
                    else:
                        return data
        raise AssertionError

    def _see_that_it_fits(self, found: Entry, start: int, count: int, answer: dict[str, Any]) -> None:
        """Compare an answer's headers with what was asked, which not every store heeds; without a range it is whole."""
        if found.etag and answer.get("ETag", "").strip('"') not in ("", found.etag):
            raise _changed(found, _REPLACED)
        length = int(answer["ContentLength"])
        given = _RANGE.fullmatch(str(answer.get("ContentRange", "")))
        total = int(given[2]) if given else length
        if total != found.size:
            raise _changed(found, f"长度不符 / it has another length: {found.size} -> {total}")
        if (int(given[1]) if given else 0, length) != (start, count):
            message = f"{self._settings.place}: 存储服务不支持按范围读取 / the store does not give ranges: {found.key}"
            raise Misconfigured(message, "请更换或升级存储服务 / use another store, or a newer version of it")

    def whole(self, found: Entry, place: Path) -> None:
        """Copy an object into a new file here.

        Raises:
            Changed: it is another one by now.
            Unavailable: no room here, or the store cannot be reached.
        """
        try:
            with place.open("xb") as out:
                for at in range(0, found.size, _WINDOW):
                    out.write(self.read(found, at, min(_WINDOW, found.size - at)))
        except OSError as error:
            raise disk_error(error, str(place)) from error

    def send(self, place: Path, key: str) -> None:
        """Write a file as an object: it stands there wholly or not at all, and the store has checked what arrived.

        Raises:
            Misconfigured: it is too large for one request.
        """
        with place.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            if size > LARGEST:
                message = f"对象过大 / too large for an object that is written at once: {size} bytes, {key}"
                raise Misconfigured(
                    message, "请调小 source.item_bytes 或拆分来源文件 / lower source.item_bytes, or cut the files"
                )
            file.seek(0)
            digest = md5(usedforsecurity=False)
            while data := file.read(1 << 20):
                digest.update(data)
            file.seek(0)
            with translated(self._settings.place):
                self._client.put_object(
                    Bucket=self.name, Key=key, Body=file, ContentMD5=base64.b64encode(digest.digest()).decode()
                )

    def put(self, key: str, data: bytes) -> None:
        """Write a small object."""
        with translated(self._settings.place):
            self._client.put_object(Bucket=self.name, Key=key, Body=data)

    def copy(self, old: str, new: str) -> bool:
        """Copy an object within the store; False where there is none."""
        with translated(self._settings.place):
            try:
                self._client.copy_object(Bucket=self.name, Key=new, CopySource={"Bucket": self.name, "Key": old})
            except ClientError as error:
                if code_of(error) in ("NoSuchKey", "404"):
                    return False
                raise
        return True

    def remove(self, key: str) -> None:
        """Remove an object; one that is gone is no error."""
        with translated(self._settings.place):
            self._client.delete_object(Bucket=self.name, Key=key)


class ObjectFile(io.RawIOBase):
    """An object as a file to read and seek in: windows of it are fetched, larger ones the further it is read on.

    Every window is asked of the very object that was found (`If-Match`): one that is replaced meanwhile is not mixed.
    """

    def __init__(self, bucket: Bucket, found: Entry) -> None:
        super().__init__()
        self._bucket, self._found = bucket, found
        self._at = self._from = 0
        self._window = b""
        self._next = _FIRST

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next byte comes from."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go on reading elsewhere."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._found.size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - anything that can be written into
        """Fill a buffer as far as the present window goes; 0 at the end.

        Raises:
            Changed: the object is gone, or is another one by now.
        """
        view = memoryview(buffer).cast("B")
        if self._at >= self._found.size or not len(view):
            return 0
        within = self._at - self._from
        if not 0 <= within < len(self._window):
            self._fetch(len(view))
            within = 0
        data = self._window[within : within + len(view)]
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _fetch(self, wanted: int) -> None:
        onward = self._at == self._from + len(self._window)
        self._next = min(self._next * 4, _WINDOW) if onward and self._window else _FIRST
        count = min(max(self._next, min(wanted, _WINDOW)), self._found.size - self._at)
        self._window, self._from = self._bucket.read(self._found, self._at, count), self._at


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def _changed(found: Entry, why: str) -> Changed:
    return Changed(f"{found.key}: {why}", _BACK)


def _of_reading(found: Entry, error: ClientError) -> Changed | None:
    """What a refused read says of the object; None where the refusal is none of the object's."""
    status = _status(error)
    if code_of(error) == "NoSuchKey" or (status == HTTPStatus.NOT_FOUND and code_of(error) != "NoSuchBucket"):
        return _changed(found, "列出后被删除 / it was removed after it was listed")
    if status in (HTTPStatus.PRECONDITION_FAILED, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
        return _changed(found, _REPLACED)
    return None
