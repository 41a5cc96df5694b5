"""Numbers of emission inspection reports: where they stand in a text, and the division that they begin with.

How a number is made up is not published. Those of 24 digits seen so far are a division (6), two digits, a moment
(yyMMddHHmmss) and a serial of four; other makes exist, so nothing here demands it.
"""

from __future__ import annotations

import re

from mappings import divisions
from mappings.folding import half_width

LINKING = "报告编码"
"""The word behind which a repair names a report."""
_LINK = re.compile(r"报告编码\s*:?\s*\{?\s*((?=[A-Za-z]*[0-9])[0-9A-Za-z]{6,32})(?![0-9A-Za-z])")
"""A report number in a text (half width): letters and digits, in braces or not."""


def linked(text: str) -> str | None:
    """The report number that a text names behind the word 报告编码 (rule 24), or None."""
    found = _LINK.search(half_width(text)) if LINKING in text else None
    return found[1] if found else None


def folded(number: str) -> str:
    """A report number as numbers are compared: half width, upper case, without blanks."""
    return "".join(half_width(number).upper().split())


def area_of(number: str) -> str | None:
    """The division (GB/T 2260, 6 digits) that a report number or a station's code begins with, or None."""
    head = number[:6]
    known = len(head) == len("330100") and head.isascii() and head.isdigit() and divisions.of_division(head)
    return head if known else None
