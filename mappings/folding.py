"""Folding of written forms: full-width letters and digits, blanks and case, as people and shop software type them."""

from __future__ import annotations

import unicodedata


def half_width(text: str) -> str:
    """The NFKC form without blanks at either end: `　Ｎ／Ａ ` -> `N/A`."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return text.strip()


def digits(text: str) -> str:
    """`half_width` for numbers and dates; `""` where a character only looks like a digit: `10²` is not 102."""
    if text.isascii():
        return text.strip()
    return "" if any(unicodedata.category(c) == "No" for c in text) else half_width(text)


def compact(text: str) -> str:
    """Half-width, upper case and without any blank: `ｌｆｖ 2a21k` -> `LFV2A21K`. Folding twice changes nothing."""
    if text.isascii():
        return "".join(text.split()).upper()
    text = unicodedata.normalize("NFKC", text)
    return unicodedata.normalize("NFKC", "".join(text.split()).upper())
