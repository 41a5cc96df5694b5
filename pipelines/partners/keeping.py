"""What a stand-in took, in SQLite: each record once, and every version that it got of it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

import orjson

_TABLES = """
CREATE TABLE IF NOT EXISTS received (
    id TEXT PRIMARY KEY, collection TEXT NOT NULL, moment TEXT NOT NULL, record TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS given (id INTEGER PRIMARY KEY, collection TEXT NOT NULL, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS refused (collection TEXT NOT NULL, moment TEXT NOT NULL, reasons TEXT NOT NULL);
"""


class Kept:
    """The file of one stand-in; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.executescript(_TABLES)
        self._lock = Lock()

    def take(self, records: list[tuple[str, str, Mapping[str, Any]]]) -> list[bool]:
        """Keep records (id, collection, members) in one commit; for each whether it was there already."""
        now = datetime.now(UTC).isoformat()
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            known = [not self._add((name, of, now, orjson.dumps(one).decode())) for name, of, one in records]
            self._connection.execute("COMMIT")
        return known

    def _add(self, row: tuple[str, ...]) -> bool:
        return self._connection.execute("INSERT OR IGNORE INTO received VALUES (?, ?, ?, ?)", row).rowcount == 1

    def refuse(self, collection: str, reasons: str) -> None:
        """Note that a record was refused."""
        with self._lock:
            self._connection.execute(
                "INSERT INTO refused VALUES (?, ?, ?)", (collection, datetime.now(UTC).isoformat(), reasons)
            )

    def counts(self) -> dict[str, int]:
        """Collection -> records taken; `refused` -> those that were not."""
        with self._lock:
            rows = self._connection.execute("SELECT collection, count(*) FROM received GROUP BY collection").fetchall()
            refused = self._connection.execute("SELECT count(*) FROM refused").fetchone()[0]
        return dict(Counter(dict(rows)) + Counter(refused=refused))

    def records(self, collection: str, after: str = "", most: int = 200) -> Iterator[tuple[str, str]]:
        """Ids and records of a collection, in the order of their ids behind `after`."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT id, record FROM received WHERE collection = ? AND id > ? ORDER BY id LIMIT ?",
                (collection, after, most),
            ).fetchall()
        yield from rows

    def give(self, collection: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Hand out further records of a collection."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            told = [(collection, orjson.dumps(one).decode()) for one in records]
            self._connection.executemany("INSERT INTO given (collection, record) VALUES (?, ?)", told)
            self._connection.execute("COMMIT")

    def given(self, collection: str, after: int = 0, most: int = 200) -> list[tuple[int, str]]:
        """Records that are handed out, each with its number, in order behind `after`."""
        with self._lock:
            return self._connection.execute(
                "SELECT id, record FROM given WHERE collection = ? AND id > ? ORDER BY id LIMIT ?",
                (collection, after, most),
            ).fetchall()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
