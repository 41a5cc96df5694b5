"""Passwords of companies: hashed with scrypt (RFC 7914), compared in constant time, never shown.

Stored forms:

- `$scrypt$ln=14,r=8,p=1$SALT$HASH` (Base64 without padding): made here, parameters beside the hash, so that old hashes
  stay good and are made anew at the next good login when `Cost` has changed;
- `{MD5}HEX`, `{SHA1}HEX`, `{SHA256}HEX`: of platforms that knew no better; made anew at the first good login;
- the empty text: nothing fits, the operator must reset it.

Every comparison costs one scrypt of today's cost, whatever is stored, so that its time tells nothing. That is CPU and
memory (16 MiB by default): a server calls it from worker threads (`hashlib.scrypt` gives the interpreter free
meanwhile).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass

LONGEST = 256
"""Bytes (UTF-8) of the longest password; a longer one fits nothing and cannot be set."""
SHORTEST = 6
"""Characters of the shortest password that may be set; older, shorter ones are still compared."""

_SALT, _HASH = 16, 32
_SCRYPT = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})")
_LEGACY = re.compile(r"\{(MD5|SHA1|SHA256)\}([0-9A-Fa-f]+)")
_DIGITS = {"MD5": 32, "SHA1": 40, "SHA256": 64}
_LETTERS = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"


@dataclass(frozen=True, slots=True)
class Cost:
    """Parameters of scrypt: N = 2^`ln`, block size `r`, lanes `p`; memory is 128 * N * r bytes."""

    ln: int = 14
    r: int = 8
    p: int = 1

    def bearable(self) -> bool:
        """Whether a hash with these may be computed at all: at most 256 MiB and 16 lanes, whoever wrote them."""
        return 1 <= self.ln <= 20 and 1 <= self.r <= 32 and 1 <= self.p <= 16 and self.memory <= 256 << 20

    @property
    def memory(self) -> int:
        """Bytes that one computation needs."""
        return 128 * self.r << self.ln


DEFAULT = Cost()


def acceptable(password: str) -> bool:
    """Whether a password may be set: `SHORTEST` characters at least, `LONGEST` bytes at most, no control characters."""
    return len(password) >= SHORTEST and len(_bytes(password)) <= LONGEST and password.isprintable()


def generate() -> str:
    """A new random password of 16 letters and digits (92 bits), without those that look alike."""
    return "".join(secrets.choice(_LETTERS) for _ in range(16))


def hashed(password: str, cost: Cost = DEFAULT) -> str:
    """The text to store for a password, with a fresh salt.

    Raises:
        ValueError: longer than `LONGEST`.
    """
    raw = _bytes(password)
    if len(raw) > LONGEST:
        msg = f"密码不超过 {LONGEST} 字节 / at most {LONGEST} bytes"
        raise ValueError(msg)
    salt = os.urandom(_SALT)
    return f"$scrypt$ln={cost.ln},r={cost.r},p={cost.p}${_text(salt)}${_text(_scrypt(raw, salt, cost, _HASH))}"


def known_form(stored: str) -> bool:
    """Whether a text is a hash that this module can compare with (imports ask before they keep one)."""
    legacy = _LEGACY.fullmatch(stored)
    return len(legacy[2]) == _DIGITS[legacy[1]] if legacy else _parsed(stored) is not None


def outdated(stored: str, cost: Cost = DEFAULT) -> bool:
    """Whether a hash that fitted should be replaced by a new one: a legacy form, or other parameters."""
    parsed = _parsed(stored)
    return parsed is None or parsed[0] != cost


class Given:
    """A password that somebody gave, and what was found out about it: so that hashing is done once, in any thread.

    `fits` and `hashed` cost a scrypt each for what they have not answered before. The password stands in no repr and
    is not pickled.
    """

    __slots__ = ("_cost", "_known", "_new", "_password")

    def __init__(self, password: str, cost: Cost = DEFAULT) -> None:
        self._password, self._cost = password, cost
        self._known: dict[str, bool] = {}
        self._new = ""

    def fits(self, stored: str) -> bool:
        """Whether it is the password of a stored hash; False for a form that is not known."""
        if stored not in self._known:
            self._known[stored] = self._fits(stored)
        return self._known[stored]

    def hashed(self) -> str:
        """The text to store for it. Only for a password that is not longer than `LONGEST`."""
        if not self._new:
            self._new = hashed(self._password, self._cost)
        return self._new

    def renewed(self, stored: str) -> str:
        """What to store from now on for a hash that it fits: the same text while it is up to date, else a new one."""
        return self.hashed() if outdated(stored, self._cost) else stored

    @property
    def acceptable(self) -> bool:
        """Whether it may be set as a password."""
        return acceptable(self._password)

    def _fits(self, stored: str) -> bool:
        raw = _bytes(self._password)
        if len(raw) > LONGEST:
            raw, stored = b"", ""
        parsed = _parsed(stored)
        if parsed is not None:
            cost, salt, digest = parsed
            if cost != self._cost:
                self.hashed()  # cheaper or dearer ones shall not be told apart, and it is needed next if it fits
            return hmac.compare_digest(_scrypt(raw, salt, cost, len(digest)), digest)
        legacy = _LEGACY.fullmatch(stored)
        if legacy is None:
            _scrypt(raw, bytes(_SALT), self._cost, _HASH)  # what is unknown takes as long as what is wrong
            return False
        self.hashed()  # as long as any other, and needed next if it fits
        found = hashlib.new(legacy[1].lower(), raw, usedforsecurity=False).hexdigest()
        return hmac.compare_digest(found, legacy[2].lower())

    def __repr__(self) -> str:
        return "Given(***)"

    def __reduce__(self) -> tuple[object, ...]:
        msg = "密码不得序列化 / a password is not pickled"
        raise TypeError(msg)


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")


def _scrypt(raw: bytes, salt: bytes, cost: Cost, length: int) -> bytes:
    return hashlib.scrypt(
        raw, salt=salt, n=1 << cost.ln, r=cost.r, p=cost.p, maxmem=cost.memory + (4 << 20), dklen=length
    )


def _parsed(stored: str) -> tuple[Cost, bytes, bytes] | None:
    found = _SCRYPT.fullmatch(stored)
    if not found:
        return None
    cost = Cost(*(int(found[i]) for i in (1, 2, 3)))
    try:
        return (cost, _unpadded(found[4]), _unpadded(found[5])) if cost.bearable() else None
    except ValueError:
        return None


def _unpadded(text: str) -> bytes:
    return b64decode(text + "=" * (-len(text) % 4), validate=True)


def _text(raw: bytes) -> str:
    return b64encode(raw).rstrip(b"=").decode()
