"""The life of a record as functions over loads: receive, decode, judge, address, encode.

Each takes a workbench and a load and gives the load on, and the dead of its stage. Beam only wires them
(`pipelines.flow`), so that they can be tested in microseconds and without it.
"""

from pipelines.steps.addressing import OPERATORS, REGISTRATIONS, address
from pipelines.steps.common import company_of, dialect_of, dialect_of_item, documents, withdrawals
from pipelines.steps.encoding import Encoder, encode
from pipelines.steps.judging import FAILING, TOO_OLD, decode, judge
from pipelines.steps.receiving import SEALED, receive

__all__ = [
    "FAILING",
    "OPERATORS",
    "REGISTRATIONS",
    "SEALED",
    "TOO_OLD",
    "Encoder",
    "address",
    "company_of",
    "decode",
    "dialect_of",
    "dialect_of_item",
    "documents",
    "encode",
    "judge",
    "receive",
    "withdrawals",
]
