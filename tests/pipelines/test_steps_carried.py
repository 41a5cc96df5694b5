"""Messages between systems that go the quick way end as they do the careful way: in every step, to the last byte."""

# ruff: noqa: S311 - chance is seeded
from __future__ import annotations

import json
import random

import pytest
from test_steps import Bench
from test_steps_columns import CONTEXT, clean_ones, followed

from mappings.encoding_interchange import encode_interchange
from mappings.reading import judge, read
from pipelines import steps

ODD = (
    {"plate": "使123456"}, {"plate": "WJ12345"}, {"faultdescription": "无"}, {"mileage": "1234.5"}, {"version": 0},
    {"received_at": "yesterday"}, {"system": "", "repaircomefrom": 2}, {"findings": ["A B"]}, {"companycode": "2"},
    {"settledate": "2035-01-01"}, {"kind": "push"}, {"extra": 1}, {"parts": []}, {"vin": "LVSHCAMB2CE054249"},
)  # fmt: skip


def messages(dialect: str, count: int = 200) -> list[bytes]:
    """Messages of several senders; every fifth one is odd in some way."""
    rnd = random.Random(dialect)
    made = []
    for i, one in enumerate(clean_ones(count)):
        row = judge(read(json.dumps(one).encode(), "national"), CONTEXT).record
        if row is None:
            continue
        about = {"system": rnd.choice(["11", "44"]), "version": 1 + i % 3, "repaircomefrom": 1 + i % 2}
        told = {**about, "dialect": "national", "received_at": CONTEXT.received_at, "findings": ("X",) if i % 7 else ()}
        message = json.loads(encode_interchange(row, told, dialect))
        made.append(json.dumps(message | (rnd.choice(ODD) if i % 5 == 0 else {}), ensure_ascii=False).encode())
    return [*made, b"not json", b"{}"]


@pytest.mark.parametrize("company", ["", "31000001"])
@pytest.mark.parametrize("sink", ["sql", "avro"])
@pytest.mark.parametrize(("dialect", "table"), [("report", "report"), ("report", "push"), ("push", "collect")])
def test_both_ways_say_the_same(tmp_path, dialect, table, sink, company):
    options = {"url": "sqlite:///x.db"} if sink == "sql" else {"path": str(tmp_path / "out")}
    made = Bench(
        tmp_path,
        mapping={"dialect": dialect},
        versions={"mode": "carried"},
        routing={"table": table},
        sinks={"out": {"connector": sink, **options}},
    )
    assert made.bench.sheet_read is None
    bodies = messages(dialect)
    (load, _) = steps.decode(made.bench, made.load(*bodies, company=company))
    assert sum(hasattr(value, "raw") for value in load.values) > len(bodies) // 2, "most go the quick way"
    quick = followed(made, made.load(*bodies, company=company))
    made.bench.quick_read = None
    assert quick == followed(made, made.load(*bodies, company=company))


def test_payloads_of_another_dialect_are_not_read_as_messages(tmp_path):
    made = Bench(tmp_path, mapping={"dialect": "report"})
    assert [made.bench.is_quick(name) for name in ("report", "push", "national")] == [True, False, False]
