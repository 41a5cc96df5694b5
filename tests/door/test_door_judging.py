"""What the door says of a payload and what it keeps of it belong together."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from door_kit import NOW, PAYLOADS, exchange

from pipelines.door.judging import Judge

COMPANY = "330106000000001"
STEPS = ("", "insert", "items", "settle", "correction")
DIALECTS = ("national", "chengdu", "foshan", "shanghai", "secondary", "record")


def with_a_password(tree: Any) -> Iterator[Any]:
    """The payload with a password beside it: as a member of each object in it, and in each of its texts."""
    if isinstance(tree, dict):
        yield {**tree, "companypassword": "Test1234"}
        for name, value in tree.items():
            yield from ({**tree, name: changed} for changed in with_a_password(value))
    elif isinstance(tree, list):
        for at, value in enumerate(tree):
            yield from ([*tree[:at], changed, *tree[at + 1 :]] for changed in with_a_password(value))
    elif isinstance(tree, str):
        yield tree + " companypassword=Test1234"


@pytest.mark.parametrize("path", sorted(PAYLOADS.glob("*.json")), ids=lambda path: path.name[:2])
def test_what_is_not_kept_is_never_accepted(path):
    judge, tree = Judge(exchange()), json.loads(path.read_bytes())
    for given in (tree, *with_a_password(tree)):
        body = json.dumps(given).encode()
        for dialect in DIALECTS:
            for step in STEPS if dialect == "shanghai" else STEPS[:1]:
                verdict = judge.carefully(body, dialect, COMPANY, NOW, step)
                assert verdict.keep or verdict.refused, (dialect, step, given)
            quick = judge.quickly(body, dialect, COMPANY, NOW)
            assert quick is None or quick.keep
