"""The single place where an error becomes a reason; an error that nobody translated stops the job loudly.

A reason says in two languages why something could not go on and what to do about it. Codes are those of the findings
(`mappings.findings.catalogue`) and of `data/reasons.toml`. Values in it are masked: reasons are kept unsealed.
"""

from __future__ import annotations

import errno
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final, NamedTuple

import orjson
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from connectors.contracts import ACCEPTED, DUPLICATE, UNAVAILABLE, Outcome
from dlq.errors import Untranslated
from dlq.masking import masked_text
from mappings.findings import REJECT, Finding, catalogue
from mappings.shapes import kind_of, mask_shapes

KIND_REFUSED, KIND_UNAVAILABLE, KIND_BUG = "refused", "unavailable", "bug"
_SHORT = 11
_SIGNS = frozenset("@=:%")
SHOWN = 200
"""Characters of a value that a reason keeps."""


class Reason(NamedTuple):
    """Why something could not go on: who must act (`kind`), what it is, what was seen and what would be right.

    `value` is masked and shortened. The texts follow from the code; only the other members are kept.
    """

    code: str
    kind: str
    """`refused`: sender or receiver corrects it; `unavailable`: heals by itself; `bug`: this side mends it."""
    zh: str
    en: str
    remedy_zh: str
    remedy_en: str
    field: str = ""
    value: str = ""
    expected: str = ""

    @property
    def heals(self) -> bool:
        """Whether it waits and is retried, and never becomes a letter."""
        return self.kind == KIND_UNAVAILABLE


class _Text(NamedTuple):
    kind: str
    zh: str
    en: str
    remedy_zh: str
    remedy_en: str


_CORRECT = ("请上报方更正后重新上报", "Have the sender correct it and send it again")

# Class -> code, by name, so that nothing is imported for it. An error is looked up along its bases: a new class under a
# translated one means the same until it gets a line of its own.
ERRORS: Final[Mapping[str, str]] = {
    "connectors.contracts.ConnectorError": "MISCONFIGURED",
    "connectors.contracts.Misconfigured": "MISCONFIGURED",
    "connectors.contracts.Unavailable": "UNAVAILABLE",
    "connectors.contracts.Unreadable": "UNREADABLE",
    "connectors.queryrows.UnfitError": "UNREADABLE",
    "connectors.resttemplates.UnfillableError": "REFUSED_BY_DESTINATION",
    "connectors.sftpremote.Shorter": "SOURCE_GONE",
    "routing.errors.RoutingError": "MISCONFIGURED",
    "routing.errors.NoRoute": "NO_ROUTE",
    "mappings.profiles.ProfileError": "MISCONFIGURED",
    "mappings.tables.TableDamagedError": "INSTALLATION_DAMAGED",
    "mappings.layout.MappingError": "MISCONFIGURED",
    "mappings.trees.TreeError": "STRUCTURE_WRONG",
    "mappings.forms.FormError": "PAYLOAD_TOO_LARGE",
    "mappings.documents.creditfile.FileRefused": "UNREADABLE",
    "mappings.documents.outbound.UnfitError": "FORM_NOT_FILLED",
    "connectors.slicing.SlicingError": "UNREADABLE",
    "connectors.tables.UnmappableError": "REFUSED_BY_DESTINATION",
    "dlq.errors.SealError": "SEALING_FAILED",
    "dlq.errors.LetterError": "WRONG_USE",
    "dlq.errors.BodyGone": "BODY_GONE",
    "dlq.errors.BodyChanged": "BODY_CHANGED",
    "dlq.errors.SegmentDamaged": "SEGMENT_DAMAGED",
}
# Errors that connectors name for the fact, whatever their module: the fact is the code.
_FACTS: Final[Mapping[str, str]] = {
    "PayloadTooLarge": "PAYLOAD_TOO_LARGE",
    "TooLarge": "PAYLOAD_TOO_LARGE",
    "ArchiveBomb": "ARCHIVE_BOMB",
    "VersionConflict": "VERSION_CONFLICT",
}
_ERRNO: Final[Mapping[int, str]] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "DISK_FULL"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "PERMISSION_DENIED"),
    **dict.fromkeys((errno.ENOENT, errno.ESTALE), "SOURCE_GONE"),
    **dict.fromkeys((errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP), "UNREADABLE"),
    **dict.fromkeys(
        (
            *(errno.EAGAIN, errno.EBUSY, errno.EIO, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.ETIMEDOUT),
            *(errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ENOTCONN),
            *(errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENETDOWN),
        ),
        "UNAVAILABLE",
    ),
}
_SQLITE: Final[Mapping[str, str]] = {
    "SQLITE_BUSY": "STORE_BUSY",
    "SQLITE_LOCKED": "STORE_BUSY",
    "SQLITE_PROTOCOL": "STORE_BUSY",
    "SQLITE_IOERR": "STORE_BUSY",
    "SQLITE_FULL": "DISK_FULL",
    "SQLITE_READONLY": "PERMISSION_DENIED",
    "SQLITE_PERM": "PERMISSION_DENIED",
    "SQLITE_CANTOPEN": "PERMISSION_DENIED",
    "SQLITE_CORRUPT": "STORE_DAMAGED",
    "SQLITE_NOTADB": "STORE_DAMAGED",
}


@cache
def _texts() -> Mapping[str, _Text]:
    raw = tomllib.loads(files("dlq").joinpath("data/reasons.toml").read_text("utf-8"))
    own = {code: _Text(**entry) for code, entry in raw.items()}
    found = {code: _Text(KIND_REFUSED, text.zh, text.en, *_CORRECT) for code, text in catalogue().items()}
    return {**found, **own}


def codes() -> frozenset[str]:
    """Every code that a reason can have."""
    return frozenset(_texts())


def reason(code: str, *, field: str = "", value: str = "", expected: str = "") -> Reason:
    """The reason of a code; `value` and `expected` are masked here.

    Raises:
        Untranslated: the code stands in no catalogue.
    """
    text = _texts().get(code)
    if text is None:
        msg = f"原因代码 {code} 没有文本 / the reason code {code} has no text"
        raise Untranslated(msg)
    field = field if field.isascii() else mask_shapes(field)
    return Reason._make((code, *text, field, _shown(field, value), _expected(expected) if expected else ""))


def from_findings(findings: Iterable[Finding]) -> tuple[Reason, ...]:
    """The reasons of a rejected payload: every finding that rejects, in order. Empty if none does."""
    return tuple(
        [
            reason(found.code, field=found.field, value=found.value, expected=found.expected)
            for found in findings
            if found.severity == REJECT
        ]
    )


def from_outcome(outcome: Outcome, destination: str) -> Reason:
    """Why a destination did not take a delivery. An outcome's reason may begin with a code: `VERSION_CONFLICT: ...`.

    Raises:
        Untranslated: the outcome is no failure.
    """
    if outcome.status in {ACCEPTED, DUPLICATE}:
        msg = f"outcome {outcome.status} needs no reason"
        raise Untranslated(msg)
    fallback = "UNAVAILABLE" if outcome.status == UNAVAILABLE else "REFUSED_BY_DESTINATION"
    found = from_text(outcome.reason, fallback)
    if found.heals != (outcome.status == UNAVAILABLE):
        found = reason(fallback, value=outcome.reason)
    return found._replace(field=destination)


def from_text(text: str, fallback: str = "UNREADABLE") -> Reason:
    """The reason that a connector gave in words (`Block.problems`): `CODE: detail`, else `fallback` with the words."""
    code, _, detail = text.partition(":")
    return reason(code.strip(), value=detail.strip()) if code.strip() in _texts() else reason(fallback, value=text)


def from_error(error: BaseException) -> Reason:
    """The reason of an error that a step met.

    Raises:
        Untranslated: nobody said what this error means; the job must stop and show it.
    """
    code = _code(error)
    if code is None:
        kind = type(error)
        msg = (
            f"未翻译的错误 {kind.__module__}.{kind.__qualname__}：程序缺陷，请报告 / "
            f"untranslated error {kind.__module__}.{kind.__qualname__}: a bug, please report it"
        )
        raise Untranslated(msg) from error
    if isinstance(error, DBAPIError):
        detail = str(error.orig)  # not the statement: its parameters hold data
    elif isinstance(error, OSError):
        detail = f"{error.strerror or error}: {error.filename}" if error.filename else str(error.strerror or error)
    else:
        detail = str(getattr(error, "message", "") or error)
    right = getattr(error, "remedy", "") or getattr(error, "expected", "")
    return reason(code, value=detail, expected=str(right))


def pack(reasons: Iterable[Reason]) -> str:
    """Reasons as the store keeps them: a JSON list of [code, kind, field, value, expected]."""
    return orjson.dumps([(r[0], r[1], r[6], r[7], r[8]) for r in reasons]).decode()


def unpack(text: str | bytes) -> tuple[Reason, ...]:
    """The reasons of `pack`; a code that this build no longer knows shows itself as its text."""
    texts = _texts()
    out = []
    for code, kind, field, value, expected in orjson.loads(text):
        known = texts.get(code) or (kind, code, code, "", "")
        out.append(Reason._make((code, kind, *known[1:], field, value, expected)))
    return tuple(out)


def _code(error: BaseException) -> str | None:
    own = getattr(error, "code", "")
    if isinstance(own, str) and own in catalogue() and type(error).__module__.startswith("mappings."):
        return own  # an error that names its finding
    for kind in type(error).__mro__:
        if kind.__name__ in _FACTS and not isinstance(error, OSError):
            return _FACTS[kind.__name__]
        code = ERRORS.get(f"{kind.__module__}.{kind.__qualname__}")
        if code:
            return code
    if isinstance(error, DBAPIError | PoolTimeout):
        return _database(error)
    if isinstance(error, OSError):
        fallback = "UNAVAILABLE" if isinstance(error, ConnectionError | TimeoutError) else None
        return _ERRNO.get(error.errno or 0, fallback)
    return None


def _database(error: DBAPIError | PoolTimeout) -> str | None:
    if isinstance(error, PoolTimeout) or error.connection_invalidated:
        return "STORE_BUSY"
    name = getattr(error.orig, "sqlite_errorname", None)
    if name is None:
        # other drivers use OperationalError for what the server or the network does
        return "STORE_BUSY" if isinstance(error, OperationalError) else None
    # extended names carry the primary one: SQLITE_IOERR_WRITE, SQLITE_BUSY_SNAPSHOT; SQLITE_ERROR is a wrong statement
    return next((code for primary, code in _SQLITE.items() if name == primary or name.startswith(primary + "_")), None)


@lru_cache(maxsize=1_024)
def _expected(text: str) -> str:
    return masked_text(text)[:SHOWN]


def _shown(field: str, value: str) -> str:
    if not value:
        return ""
    kind = kind_of(field.rpartition(".")[2]) if field else None
    if kind:
        value = kind(value)
    if len(value) < _SHORT and value.isascii() and value.isprintable() and not _SIGNS.intersection(value):
        return value  # too short for anything that is masked by its shape
    shown = mask_shapes(value[: 4 * SHOWN]) if kind else masked_text(value[: 4 * SHOWN])
    return shown if len(shown) <= SHOWN else shown[: SHOWN - 1] + "…"
