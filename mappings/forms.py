"""JSON that travels URL-encoded: `companydata=%7B...`, `repairdata=%7B...`, or bare percent-encoded (domain table 1.4).

The Foshan clients send their calls by GET with the payload, password included, in the query string. Nothing of it is
ever put into a message here.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

FORM_BYTES = 4 * 1024 * 1024
"""Longest URL-encoded payload: real ones travel in a URL, and decoding costs many times its length in memory."""

_START = re.compile(rb"(?:\A[^{\[\"]{0,4096}?[?&]|\A)\s*+(?:[A-Za-z_][\w.-]{0,63}=\s*+)?(%7B|%5B|\{|\[)", re.IGNORECASE)


class FormError(Exception):
    """A URL-encoded payload beyond `FORM_BYTES`."""

    def __init__(self, length: int) -> None:
        super().__init__(f"{length} bytes of URL-encoded data")
        self.length = length
        self.expected = f"URL 编码不超过 {FORM_BYTES} 字节 / at most {FORM_BYTES} bytes when URL-encoded"

    def __reduce__(self) -> tuple[type[FormError], tuple[int]]:
        return type(self), (self.length,)


def unwrap_form(body: bytes) -> bytes:
    """The JSON inside a URL-encoded body; a body that is not URL-encoded comes back as it is.

    Of several parameters the first whose value begins with a bracket is taken. A value that begins with a bare bracket
    was not encoded and is taken to its end.

    Raises:
        FormError: URL-encoded and longer than `FORM_BYTES`.
    """
    if body[:1] in (b"{", b"["):
        return body
    found = _START.match(body)
    if not found:
        return body
    rest = body[found.start(1) :]
    if not found[1].startswith(b"%"):
        return rest
    if len(body) > FORM_BYTES:
        raise FormError(len(body))
    return unquote_to_bytes(rest.split(b"&", 1)[0].replace(b"+", b" "))
