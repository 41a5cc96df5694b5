"""What a peer that is called over HTTP says it holds, page after page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import orjson

from connectors.contracts import Held, Misconfigured, Unavailable
from connectors.jsonpaths import at, text_of
from connectors.restanswers import AnswerTable
from connectors.restpeer import Peer, from_template
from connectors.sendsettings import HeldCall

MOST_PAGES = 1_000_000
"""A peer whose pages never end is not to be believed."""


def listed(peer: Peer, asked: HeldCall, since: datetime) -> Iterator[Held]:
    """The records that a peer took since a moment. Each page is a call like any other: budget and gate hold for it.

    Raises:
        Unavailable: it cannot be asked now.
        Misconfigured: it answers with what is no such list, or gives the same cursor again.
    """
    cursor = ""
    for _ in range(MOST_PAGES):
        reply = peer.call(from_template(asked.call, {"since": since.isoformat(), "cursor": cursor}), AnswerTable())
        if reply.said.end == "unavailable":
            raise Unavailable(peer.clean(reply.said.reason), "稍后再问 / ask again later")
        opened = _opened(reply.answer.body) if reply.said.end == "accepted" else None
        records = at(opened, asked.records)
        if not isinstance(records, list):
            message = f"查询答复无法读取 / the answer is no list of records: HTTP {reply.answer.status}"
            raise Misconfigured(message, "请检查 held / check held")
        for one in records:
            yield _one(one, asked)
        last, cursor = cursor, text_of(at(opened, asked.next))
        if not cursor:
            return
        if cursor == last:
            break
    message = "查询的分页没有尽头 / the pages of the answer do not end"
    raise Misconfigured(message, "请检查 held.next / check held.next")


def _one(record: Any, asked: HeldCall) -> Held:  # noqa: ANN401 - any JSON value
    key, content = text_of(at(record, asked.key)), text_of(at(record, asked.content))
    if key.count("|") != 2 or not content:
        message = "查询答复缺少记录键或内容摘要 / a record of the answer lacks its key or its digest"
        raise Misconfigured(message, "请检查 held.key 与 held.content / check held.key and held.content")
    return Held(key, content, text_of(at(record, asked.id)) if asked.id else "")


def _opened(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
