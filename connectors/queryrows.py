"""Rows of a query as payloads, and places in the order of a column as text (`connectors.querysource`)."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import orjson

Values = Sequence[Any]
_READERS: dict[str, Callable[[str], Any]] = {
    "i": int,
    "n": Decimal,
    "t": datetime.fromisoformat,
    "d": date.fromisoformat,
    "s": str,
}


_FORMS: tuple[Callable[[datetime], str], ...] = (
    lambda moment: moment.date().isoformat(),
    *(
        partial(datetime.isoformat, sep=sep, timespec=spec)
        for spec in ("seconds", "microseconds", "milliseconds", "minutes")
        for sep in " T"
    ),
)
"""How a moment is written as text."""


class UnfitError(ValueError):
    """A row that can be no payload; the text says why."""


def csv_payload(names: Sequence[str], rows: Sequence[Values]) -> bytes:
    """A header and lines, as a CSV export has them.

    Raises:
        UnfitError: a value is no text, number or moment.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(name, value) for name, value in zip(names, row, strict=True)] for row in rows)
    return out.getvalue().encode("utf-8", "replace")


def json_payload(names: Sequence[str], rows: Sequence[Values]) -> bytes:
    """The columns of the first row as members, and where there are more all rows as `lines`.

    Raises:
        UnfitError: as `csv_payload`.
    """
    objects = [{name: _value(name, value) for name, value in zip(names, row, strict=True)} for row in rows]
    return orjson.dumps(objects[0] if len(objects) == 1 else {**objects[0], "lines": objects})


def _value(name: str, value: Any) -> Any:  # noqa: ANN401 - what a driver gives
    if isinstance(value, bool | int) and -(2**53) < value < 2**53:
        return value
    return None if value is None else _cell(name, value)


def _cell(name: str, value: Any) -> str:  # noqa: ANN401 - what a driver gives
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds")
    if isinstance(value, date):
        return value.isoformat()
    message = f"STRUCTURE_WRONG: 列 {name} 的类型不支持 / column {name} is of no kind that can be read"
    raise UnfitError(message)


# -- places ------------------------------------------------------------------------------------------------------------


def place_text(value: Any) -> str:  # noqa: ANN401 - what a driver gives
    """A value of the cursor column as text that `place_value` reads, with its kind before it.

    Raises:
        UnfitError: it is no number, text, day or moment.
    """
    if isinstance(value, bool | float):
        pass  # equal ones need not compare as equal once they were text
    elif isinstance(value, int):
        return f"i:{value}"
    elif isinstance(value, Decimal):
        return f"n:{value}"
    elif isinstance(value, datetime):
        return f"t:{value.isoformat()}"
    elif isinstance(value, date):
        return f"d:{value.isoformat()}"
    elif isinstance(value, str):
        return f"s:{value}"
    message = (
        f"cursor 列应为整数、定点数、文本或时间 / the cursor is a number, text or moment, not {type(value).__name__}"
    )
    raise UnfitError(message)


def place_value(text: str) -> Any:  # noqa: ANN401 - what a driver takes
    """The value of such a text.

    Raises:
        ValueError: it is none.
    """
    kind, _, rest = text.partition(":")
    reader = _READERS.get(kind)
    if reader is None:
        raise ValueError(kind)
    try:
        return reader(rest)
    except ArithmeticError as error:
        raise ValueError(rest) from error


def earlier(value: Any, overlap: float) -> Any:  # noqa: ANN401 - both ways
    """A place so much before another: seconds of moments (days at least one), else units of numbers.

    SQLite keeps moments as text: one that is written as `2025-06-05` or `2025-06-05 10:00:00` (or with T, minutes
    alone, parts of seconds, an offset, Z) gives a text of the same form, so that both sort as the moments do.

    Raises:
        UnfitError: a text that is no moment of such a form.
    """
    if isinstance(value, datetime):
        return value - timedelta(seconds=overlap)
    if isinstance(value, date):
        return value - timedelta(days=max(1, round(overlap / 86_400)))
    if isinstance(value, int | Decimal):
        return value - type(value)(int(overlap))
    told, zone = (value[:-1], "Z") if value.endswith("Z") else (value, "")
    with suppress(ValueError):
        moment = datetime.fromisoformat(told)
        for written in _FORMS:
            if written(moment) == told:
                return written(moment - timedelta(seconds=overlap)) + zone
    message = (
        "overlap 需要数字、时间或形如 2025-06-05 10:00:00 的文本列"
        " / an overlap needs a cursor of numbers, moments, or texts like 2025-06-05 10:00:00"
    )
    raise UnfitError(message)
