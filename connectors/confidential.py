"""Secrets in settings: named by place rather than written out, read when they are used, and masked in what others say.

A setting that is a secret may be the text itself, `env:NAME` (an environment variable, which may name a file in turn)
or `file:PATH` (the content of a file, without the line break at its end). What stands in the settings is kept; what
it points to never is.

    >>> from pydantic import SecretStr
    >>> revealed(SecretStr("plain"), "password")
    'plain'
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pydantic import SecretStr

from connectors.contracts import Misconfigured

_LONGEST = 1 << 16


def revealed(given: SecretStr, name: str) -> str:
    """The secret that a setting stands for.

    Args:
        given: the setting's value.
        name: the setting's name, for the error.

    Raises:
        Misconfigured: the variable is not set, or the file cannot be read; the message names the place only.
    """
    text = given.get_secret_value()
    form, _, place = text.partition(":")
    if form == "env":
        found = os.environ.get(place)
        if found is None:
            message = f"{name}: 环境变量 {place} 未设置 / environment variable {place} is not set"
            raise Misconfigured(message, "请在启动前设置 / set it before the start")
        form, _, place = found.partition(":")
        text = found
    if form == "file":
        try:
            with Path(place).open("rb") as file:
                return file.read(_LONGEST).decode().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "UTF-8"
            message = f"{name}: 文件无法读取 / file cannot be read: {place}: {why}"
            raise Misconfigured(message, "请检查路径与权限 / check the path and its rights") from None
    return text


def masked(text: str, secrets: Iterable[str], longest: int = 300) -> str:
    """Foreign words fit for a message: without the secrets, without control characters, at most `longest` long."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    clean = "".join(sign if sign.isprintable() else " " for sign in text).strip()
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"
