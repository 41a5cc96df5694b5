"""What commands write: JSON on stdout for machines, tables on stdout for people, progress and errors on stderr."""

from __future__ import annotations

import re
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, NoReturn

import orjson
import typer

if TYPE_CHECKING:
    from rich.console import Console

from pipelines.errors import PipelineError

AsJson = Annotated[bool, typer.Option("--json", help="标准输出为 JSON，供程序使用 / stdout is JSON, for machines")]
"""The option that every command has."""

_LONE = re.compile("[\ud800-\udfff]")


class WrongUse(PipelineError):
    """A command was called with what cannot be: the text says what to do instead."""

    exit_code = 2


def wrong_use(message: str) -> NoReturn:
    """Leave with the status of wrong use.

    Raises:
        WrongUse: always.
    """
    raise WrongUse(message)


def emit(value: object) -> None:
    """Write one JSON value and a line break to stdout, in UTF-8 whatever the terminal's encoding.

    Decimals become numbers, digit for digit.
    """
    data = to_json(value) + b"\n"
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:
        sys.stdout.write(data.decode())
    else:
        buffer.write(data)


def to_json(value: object) -> bytes:
    """A value as JSON; text that is no Unicode (a file's name in GBK) shows U+FFFD."""
    try:
        return orjson.dumps(value, default=_number)
    except TypeError:
        return orjson.dumps(_plain(value), default=_number)


def console(*, stderr: bool = False) -> Console:
    """A console for tables (stdout) or progress (stderr)."""
    from rich.console import Console  # imported late: machines do not need it

    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def _number(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(f"{value:f}")
    raise TypeError


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return _LONE.sub("\ufffd", value)
    return value
