"""Settings of the HTTP sink; see `connectors.restsink`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from connectors.jsonpaths import steps
from connectors.restanswers import AnswerTable
from connectors.restpresets import with_preset
from connectors.restsettings import MOMENTS, CallTemplate, RestSettings
from connectors.resttemplates import checked
from connectors.settings import ConnectorSettings

_DELIVERY = frozenset({"record", "id", "key", "version", "content", "batch", "destination", "merged_into"})


class TallyCall(ConnectorSettings):
    """How the peer is asked what it holds of a batch."""

    call: CallTemplate
    """Knows `{batch}`."""
    count: str = "count"
    digest: str = "digest"
    """Paths to the number of deliveries, and to the sum of their fingerprints mod 2^64 (number or text)."""


class HeldCall(ConnectorSettings):
    """How the peer is asked which records it holds, a page at a time."""

    call: CallTemplate
    """Knows `{since}`, a moment in ISO 8601, and `{cursor}`, which is empty for the first page."""
    records: str = "records"
    """Path to the list of records."""
    key: str = "key"
    """Path inside a record to its key: system|companycode|costlistcode."""
    content: str = "content"
    """Path inside a record to the digest of its content."""
    id: str = ""
    """Path inside a record to the id of our delivery, where the peer keeps it."""
    next: str = "next"
    """Path to the cursor of the next page; nothing there: it was the last."""


class HttpSettings(RestSettings):
    """Settings of an HTTP sink."""

    preset: str = ""
    """What is known of this kind of peer, see `connectors.restpresets`."""
    request: CallTemplate = CallTemplate()
    """The call; its body knows `{records}`, and what `record` knows where there is one to a request. Without a body:
    the record itself, or the list of them."""
    record: Any = "{record}"
    """Each record in `{records}`: knows `{record}`, `{id}`, `{key}`, `{version}`, `{content}`, `{batch}`,
    `{destination}` and `{merged_into}`."""
    per_request: int = Field(default=1, ge=1, le=10_000)
    max_request_bytes: int = Field(default=8 << 20, ge=1)
    """No further record joins a request beyond this; one that is larger goes alone."""
    idempotency_header: str = "Idempotency-Key"
    """Header with the delivery's id, or a digest of the ids of a request; empty: none."""
    answers: AnswerTable = AnswerTable()
    exact: bool = False
    """Whether the peer knows deliveries by id and batch: its *duplicate* is one, also after an answer was lost."""
    tally: TallyCall | None = None
    held: HeldCall | None = None
    receipts: Path | None = None
    """Folder of receipts, for a peer that cannot be asked."""

    @model_validator(mode="before")
    @classmethod
    def _over_preset(cls, given: Any) -> Any:  # noqa: ANN401 - whatever was given
        return with_preset(given) if isinstance(given, dict) else given

    @field_validator("record")
    @classmethod
    def _record_known(cls, template: Any) -> Any:  # noqa: ANN401 - a template
        return checked(template, _DELIVERY | {"item"})

    @model_validator(mode="after")
    def _request_known(self) -> HttpSettings:
        single = _DELIVERY | {"item"} if self.per_request == 1 else frozenset[str]()
        request = self.request
        known = MOMENTS | {"records", "token", "batch", "destination"} | single
        checked([request.path, request.query, request.headers, request.body], known)
        if self.tally is not None:
            call = self.tally.call
            checked([call.path, call.query, call.headers, call.body], MOMENTS | {"token", "batch"})
            steps(self.tally.count)
            steps(self.tally.digest)
        if self.held is not None:
            call = self.held.call
            checked([call.path, call.query, call.headers, call.body], MOMENTS | {"token", "since", "cursor"})
            for path in (self.held.records, self.held.key, self.held.content, self.held.id, self.held.next):
                steps(path)
        return self
