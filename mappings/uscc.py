"""USCC, the unified social credit identifier: GB 32100 with the organisation code of GB 11714 inside.

18 characters out of digits and letters without I, O, S, V, Z: registration department (1), kind (2), division (3-8),
organisation code (9-17, its own check character at 17) and check character (18).
"""

from __future__ import annotations

from mappings.folding import compact
from mappings.tables import table

LENGTH = 18
ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
"""Characters of GB 32100 in the order of their values 0-30."""

_VALUE = {character: value for value, character in enumerate(ALPHABET)}
_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
_ORG_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ORG_VALUE = {character: value for value, character in enumerate(_ORG_ALPHABET)}
_ORG_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)


def normalise(text: str) -> str:
    """Half-width, upper case, without blanks."""
    return compact(text)


def check_char(code17: str) -> str:
    """The 18th character for the first 17: 31 - (weighted sum mod 31), 31 counting as 0 (GB 32100).

    A widely copied recipe forgets the `31 -`; codes made with it are wrong.

    Raises:
        ValueError: not 17 characters of the alphabet.
    """
    return ALPHABET[-_weighted(code17, _VALUE, _WEIGHTS) % 31]


def org_check_char(code8: str) -> str:
    """The 9th character of an organisation code: 11 - (weighted sum mod 11), 10 written X and 11 written 0 (GB 11714).

    Raises:
        ValueError: not 8 digits or letters.
    """
    return "0123456789X"[-_weighted(code8, _ORG_VALUE, _ORG_WEIGHTS) % 11]


def problems(code: str) -> list[tuple[str, str]]:
    """Everything wrong with a normalised code, as (finding code, what was expected); empty where all is right.

    With a wrong length nothing but length and alphabet can be judged, with foreign characters neither check character.
    """
    found: list[tuple[str, str]] = []
    if len(code) != LENGTH:
        found.append(("USCC_LENGTH", "18 位 / 18 characters"))
    if not _VALUE.keys() >= set(code):
        found.append(("USCC_ALPHABET", "0-9 A-Z 除 I O S V Z / 0-9 A-Z without I O S V Z"))
    if found:
        return found
    if code[17] != (expected := check_char(code[:17])):
        found.append(("USCC_CHECK_CHAR", expected))
    if code[16] != (expected := org_check_char(code[8:16])):
        found.append(("USCC_ORG_CODE", expected))
    departments = table("uscc-departments")
    if code[:2] not in departments:
        found.append(("USCC_DEPARTMENT", ", ".join(departments.entries)))
    return found


def _weighted(text: str, values: dict[str, int], weights: tuple[int, ...]) -> int:
    if len(text) != len(weights) or not values.keys() >= set(text):
        msg = f"应为 {len(weights)} 位合法字符 / {len(weights)} characters of the alphabet expected"
        raise ValueError(msg)
    return sum(values[character] * weight for character, weight in zip(text, weights, strict=True))
