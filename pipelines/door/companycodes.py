"""Company codes for new shops: division and serial (domain table 1.3).

15 digits: GB/T 2260 division (6) and serial (9), from 000000001 up within each division. Shanghai has 12 digits, 310000
and a serial of 6 from 010001 up (31000001xxxx), whatever the district.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, Subquery, func, select, union_all

from pipelines import tables

_SHANGHAI = "31"


class Series(NamedTuple):
    """The codes that one division gives out: `prefix`, then a serial of `digits` digits, from `first` up."""

    prefix: str
    digits: int
    first: int

    def code(self, serial: int) -> str:
        """The code with a serial."""
        return f"{self.prefix}{serial:0{self.digits}d}"

    @property
    def last(self) -> int:
        """The highest serial."""
        return int(10**self.digits) - 1


def series_of(division: str) -> Series:
    """The series of a 6-digit division.

    Raises:
        ValueError: not 6 digits.
    """
    if not (len(division) == 6 and division.isascii() and division.isdigit()):
        msg = "行政区划代码须为 6 位数字 / a division has 6 digits"
        raise ValueError(msg)
    return Series("310000", 6, 10_001) if division.startswith(_SHANGHAI) else Series(division, 9, 1)


def next_code(connection: Connection, division: str) -> str:
    """A code that neither an account nor the register of operators has: the highest serial so far plus one.

    Where the highest serial is taken (platforms had test accounts there), the lowest gap. Who calls keeps others from
    doing the same meanwhile.
    """
    series = series_of(division)
    known = _known(series)
    highest = connection.execute(select(func.max(known.c.code))).scalar()
    serial = series.first if highest is None else int(highest[len(series.prefix) :]) + 1
    if serial <= series.last:
        return series.code(serial)
    serial = series.first
    for code in connection.execute(select(known.c.code).distinct().order_by(known.c.code)).scalars():
        if int(code[len(series.prefix) :]) > serial:
            break
        serial += 1
    return series.code(serial)


def _known(series: Series) -> Subquery:
    a, o = tables.accounts.c.company, tables.operators.c.companycode
    low, high = series.code(series.first), series.code(series.last)
    length = len(low)
    return union_all(
        *(
            select(column.label("code")).where(column >= low, column <= high, func.length(column) == length)
            for column in (a, o)
        )
    ).subquery()
