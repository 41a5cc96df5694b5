"""What a peer's answer means, by a table: HTTP status, code in the body, words, and answers for each record.

    [answers]
    status = { "409" = "duplicate" }
    code = "code"                                  # where the code stands
    codes = { "1" = "accepted", "*" = "refused" }  # what it means; * is any other
    texts = { "已存在" = "duplicate" }              # words that say more than the code
    reason = "status"                              # where the words stand
    records = "results"                            # where the list of answers for each record stands
    record_id = "id"                               # which record each is for; none: they come in order

Ends: `accepted`, `duplicate`, `refused`, `unavailable` (it may heal), `auth` (our credentials are refused), `stopped`
(the settings are wrong: nothing of this kind can succeed). An answer that nothing in the table fits is `unavailable`:
whether the record was taken is not known, and the same delivery id is sent again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import orjson
from pydantic import Field, field_validator

from connectors.jsonpaths import at, steps, text_at, text_of
from connectors.settings import ConnectorSettings

End = Literal["accepted", "duplicate", "refused", "unavailable", "auth", "stopped"]
_ENDS = frozenset({"accepted", "duplicate", "refused", "unavailable", "auth", "stopped"})
_STATUS: dict[str, str] = {
    "2xx": "body",
    "3xx": "stopped",
    "401": "auth",
    "403": "auth",
    "408": "unavailable",
    "409": "refused",
    "413": "refused",
    "422": "refused",
    "425": "unavailable",
    "429": "unavailable",
    "400": "refused",
    "4xx": "stopped",
    "5xx": "unavailable",
}
_SHOWN = 200


class Said(NamedTuple):
    """What an answer means for one record or a whole request."""

    end: str
    reason: str = ""


class AnswerTable(ConnectorSettings):
    """How answers of one peer are read; see the module."""

    status: dict[str, str] = Field(default_factory=dict)
    """HTTP status (`409`, `5xx`) to an end, or to `body`: the body says. Beside the usual ones."""
    code: str = ""
    """JSON path to the code of a whole answer; empty: a 2xx is enough."""
    codes: dict[str, End] = Field(default_factory=dict)
    texts: dict[str, End] = Field(default_factory=dict)
    """Words within the reason, looked at before the code; the first that is found counts."""
    reason: str = ""
    """JSON path to the words of a whole answer."""
    records: str = ""
    """JSON path to the list of answers for each record; where it is missing the whole answer counts."""
    record_id: str = ""
    """Path inside such an answer to the delivery's id or key; empty: they come in the order of the records."""
    record_code: str = "code"
    record_reason: str = "message"

    @field_validator("status")
    @classmethod
    def _ends_known(cls, status: dict[str, str]) -> dict[str, str]:
        for form, end in status.items():
            if len(form) != 3 or not form[0].isdigit() or not (form[1:] == "xx" or form.isdigit()):
                message = f"HTTP 状态应如 409 或 5xx / a status is written 409 or 5xx, not {form}"
                raise ValueError(message)
            if end not in _ENDS | {"body"}:
                message = f"没有结果 {end} / an end is one of {', '.join(sorted(_ENDS))} or body, not {end}"
                raise ValueError(message)
        return status

    @field_validator("code", "reason", "records", "record_id", "record_code", "record_reason")
    @classmethod
    def _paths_readable(cls, path: str) -> str:
        steps(path)
        return path

    def whole(self, status: int, body: bytes) -> Said:
        """What an answer means for the whole request."""
        end = self.by_status(status)
        opened, readable = _opened(body)
        words = self._words(opened, body)
        if end != "body":
            return self._by_words(words) or Said(end, f"HTTP {status}: {words}" if words else f"HTTP {status}")
        if not self.code and not self.texts:
            missing = f"答复中没有 {self.records} / the answer holds no {self.records}: HTTP {status}"
            return Said("unavailable", missing) if self.records else Said("accepted")
        code = (text_of(at(opened, self.code)) if readable else text_at(body, self.code) or "") if self.code else ""
        if not readable and not code:
            return self._by_words(words) or Said("unavailable", f"答复不是 JSON / the answer is no JSON: HTTP {status}")
        return self._read(code, words, self.code)

    def each(self, status: int, body: bytes, ids: Sequence[tuple[str, ...]]) -> list[Said] | None:
        """What an answer means for each record, where it says so record by record; else None.

        Args:
            status: the HTTP status.
            body: the answer.
            ids: for each record the names that the peer may know it by (delivery id, record key).
        """
        if not self.records or self.by_status(status) in ("auth", "stopped"):
            return None
        listed = at(_opened(body)[0], self.records)
        if not isinstance(listed, list):
            return None
        if self.record_id:
            by_id = {text_of(at(one, self.record_id)): one for one in listed}
            chosen = [next((by_id[name] for name in names if name in by_id), None) for names in ids]
        else:
            chosen = [listed[place] if place < len(listed) else None for place in range(len(ids))]
        return [self._one(one) for one in chosen]

    def _one(self, answer: Any) -> Said:  # noqa: ANN401 - any JSON value
        if answer is None:
            return Said("unavailable", "答复中没有这条记录 / the answer does not speak of this record")
        words = text_of(at(answer, self.record_reason)) if self.record_reason else ""
        return self._read(text_of(at(answer, self.record_code)), words, self.record_code)

    def by_status(self, status: int) -> str:
        """The end of an HTTP status, or `body`: the body says."""
        for table in (self.status, _STATUS):
            for form in (str(status), f"{status // 100}xx"):
                if form in table:
                    return table[form]
        return "unavailable"

    def _by_words(self, words: str) -> Said | None:
        found = next((end for text, end in self.texts.items() if text in words), None)
        return Said(found, words) if found else None

    def _read(self, code: str, words: str, path: str) -> Said:
        by_words = self._by_words(words)
        if by_words is not None:
            return by_words
        end: str | None = self.codes.get(code)
        if end is None and code:
            end = self.codes.get("*")
        if end is None:
            reason = f"答复的 {path} 未列入 answers.codes / {path} of the answer is not in answers.codes"
            return Said("unavailable", f"{reason}: {code or '-'} {words}".rstrip())
        return Said(end, f"{code}: {words}" if words else code)

    def _words(self, opened: Any, body: bytes) -> str:  # noqa: ANN401 - any JSON value
        if isinstance(opened, Mapping | list):
            for path in filter(None, (self.reason, "detail", "message", "title", "error")):
                words = at(opened, path)
                if isinstance(words, str | int | float) and words != "":
                    return text_of(words)
            return ""
        return body[: 4 * _SHOWN].decode("utf-8", "replace")[:_SHOWN].strip()


def _opened(body: bytes) -> tuple[Any, bool]:
    try:
        return orjson.loads(body), True
    except orjson.JSONDecodeError:
        return None, False
