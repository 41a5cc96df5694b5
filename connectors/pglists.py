"""Lists of texts, bytes or numbers as PostgreSQL's arrays, written at once: the driver takes 2 us for an element."""

from __future__ import annotations

from typing import Any

from psycopg.adapt import Buffer
from psycopg.types.array import ListDumper


class QuickLists(ListDumper):
    """Writes a list of one such kind by joining it; any other list as the driver does."""

    def dump(self, obj: list[Any]) -> Buffer | None:
        """The text form of an array, every text and byte string in quotes."""
        kinds = set(map(type, obj))
        if kinds == {str}:
            joined = '","'.join(obj)
            if joined.count('"') == 2 * len(obj) - 2 and "\\" not in joined and "\0" not in joined:
                return b'{"' + joined.encode(self._encoding) + b'"}'
        elif kinds == {int}:
            return b"{" + ",".join(map(str, obj)).encode() + b"}"
        elif kinds == {bytes}:
            return b'{"\\\\x' + '","\\\\x'.join([one.hex() for one in obj]).encode() + b'"}'
        return super().dump(obj)

    @property
    def _encoding(self) -> str:
        return self.connection.info.encoding if self.connection is not None else "utf-8"
