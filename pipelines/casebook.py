"""What a store of documents holds of one kind now: the current versions, read for reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import orjson
from pydantic import SecretStr
from sqlalchemy import select

from connectors.engines import translated
from connectors.sqlbase import Store, StoreSettings
from mappings.documents import Document
from pipelines.sinks import must_be_there
from pipelines.storeform import DOCUMENTS

D = TypeVar("D", bound=Document)


def current(url: SecretStr, kind: type[D]) -> Iterator[D]:
    """The documents of a kind that stand, by key; what was withdrawn does not.

    Raises:
        Misconfigured: there is no such store.
        Unavailable: it is not to be had now.
    """
    must_be_there(url.get_secret_value())
    store = Store(StoreSettings(url=url, table=DOCUMENTS))
    own = store.table.c
    wanted = select(own.members).where(own.kind == kind.KIND, own.current.is_(True), own.withdrawn.is_(None))
    try:
        with translated(), store.engine.connect().execution_options(yield_per=2_000) as connection:
            for (members,) in connection.execute(wanted.order_by(own.record_key)):
                yield kind.of_members(orjson.loads(members))
    finally:
        store.engine.dispose()
