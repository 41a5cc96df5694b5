"""Folding of written forms: full-width letters and digits, blanks and case, as people and shop software type them."""

from __future__ import annotations

import unicodedata

_ASCII_BLANKS = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"


def half_width(text: str) -> str:
    """The NFKC form without blanks at either end: `　Ｎ／Ａ ` -> `N/A`."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return text.strip()


def compact(text: str) -> str:
    """Half-width, upper case and without any blank: `ｌｆｖ 2a21k` -> `LFV2A21K`. Folding twice changes nothing."""
    if text.isascii():
        return "".join(text.split()).upper() if any(c in text for c in _ASCII_BLANKS) else text.upper()
    text = unicodedata.normalize("NFKC", text)
    text = unicodedata.normalize("NFKC", "".join(text.split()).upper())
    return "".join(text.split())
