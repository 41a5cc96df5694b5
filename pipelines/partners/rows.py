"""The plain protocol, for systems whose own one is not public: `POST /v1/COLLECTION` with a batch of records.

    {"batch": "closures-000003", "records": [{"id": "...", "record": {...}}]}
    {"results": [{"id": "...", "code": "0", "message": ""}]}

Codes: 0 taken, 114 known already, 422 refused (the message names everything that is wrong).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from pipelines.partners.protocol import Answered, Came, Protocol, UnreadableError


def plain(collection: str) -> Protocol:
    """The plain protocol for a collection."""

    def read(body: bytes, _headers: Mapping[str, str]) -> Sequence[Came]:
        records = object_of(body).get("records")
        if not isinstance(records, list):
            message = "records: 应为数组 / a list is needed"
            raise UnreadableError(message)
        return [_came(collection, one) for one in records]

    return Protocol(f"/v1/{collection}", read, _answer, _unreadable)


def object_of(body: bytes) -> Mapping[str, Any]:
    """The object that a body is.

    Raises:
        UnreadableError: it is none.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        message = "不是 JSON 对象 / not a JSON object"
        raise UnreadableError(message)
    return value


def _came(collection: str, one: Any) -> Came:
    if not isinstance(one, dict) or not isinstance(one.get("id"), str) or not isinstance(one.get("record"), dict):
        message = "records[]: 应为 {id, record} / each is {id, record}"
        raise UnreadableError(message)
    return Came(one["id"], collection, one["record"])


def _answer(answered: Sequence[Answered]) -> bytes:
    return orjson.dumps(
        {
            "results": [
                {
                    "id": one.came.id,
                    "code": "422" if one.wrong else "114" if one.known else "0",
                    "message": "; ".join(one.wrong),
                }
                for one in answered
            ]
        }
    )


def _unreadable(why: str) -> bytes:
    return orjson.dumps({"code": "400", "message": why, "results": []})
