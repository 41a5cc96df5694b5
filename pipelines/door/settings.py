"""Settings of the door."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from pipelines.door import signing
from pipelines.door.accounts import LockRules
from pipelines.door.callers import CallerRules
from pipelines.door.intake import Bounds
from pipelines.door.tokens import TokenRules

_MEBIBYTE = 1 << 20


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(_Section):
    """Certificates; without them the door speaks plain HTTP (behind a proxy that does not: `trusted_proxies`)."""

    certificate: Path | None = None
    """PEM file of the certificate and its chain."""
    key: Path | None = None
    """PEM file of its key."""
    authorities: Path | None = None
    """PEM file of authorities: callers may show a certificate of theirs."""
    demand: bool = False
    """Whether every caller must show one."""
    systems: dict[str, str] = {}
    """Common name of a caller's certificate -> the company code that it calls `/v1` for, without a token."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            message = "tls: 证书与私钥须同时给出 / certificate and key belong together"
            raise ValueError(message)
        if (self.demand or self.systems) and self.authorities is None:
            message = "tls: 验证对方证书需要 authorities / callers' certificates need authorities"
            raise ValueError(message)
        if self.authorities is not None and self.certificate is None:
            message = "tls: authorities 需要 certificate / authorities need a certificate of the door"
            raise ValueError(message)
        return self


class Commit(_Section):
    """How many requests share a commit."""

    rows: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Most requests of one commit."""
    linger_ms: Annotated[float, Field(ge=0, le=1_000)] = 1.0
    """How long a commit waits for other requests, again while they come."""


class Backlog(_Section):
    """How much may wait in the inbox before callers are told to come later."""

    rows: Annotated[int, Field(ge=1)] = 1_000_000
    bytes: Annotated[int, Field(ge=1)] = 8 << 30
    retry_after: Annotated[int, Field(ge=1)] = 30
    """Seconds that are named in Retry-After."""


class Insurers(_Section):
    """Who may send assessments and estimates, and where they go (`pipelines.door.insurers`)."""

    exchange: str = ""
    """Name of the exchange that they are judged by and handed to; empty: their addresses are not served."""
    callers: dict[str, str] = {}
    """Company code of an insurer's account or certificate -> its code as the register of direct settlement has it.

    Nobody else may call, whatever token it has; and these upload no repair records.
    """


class ClosureReader(_Section):
    """An environment department that asks for its closures."""

    destination: str = "environment"
    """The destination whose agreement says what it may have."""
    districts: tuple[str, ...] = ()
    """First digits of the divisions (of M stations) that it may see; none: all."""


class ClosureQueries(_Section):
    """Questions about closures of emission repairs, at `/v1/closures`."""

    store: SecretStr
    """Address of the store of cases; `{state}` stands for the folder of the state."""
    password: SecretStr = SecretStr("")
    """Password for the address: a text, `env:NAME` or `file:PATH`."""
    agreements: tuple[str, ...] = ("environment",)
    """Agreements by name or path."""
    callers: Annotated[dict[str, ClosureReader], Field(min_length=1)]
    """Company code of an account -> whose questions it asks. Such an account uploads no repair records."""


class DoorSettings(_Section):
    """The door: where it listens, whom it lets in, and how much it bears."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    """Port of every dialect but Foshan's; 0: a free one."""
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that answer calls. One needs a core for about each 3,000 records a second; limits count for all."""
    foshan: bool = False
    """Whether Foshan's interface is served, on a listener of its own: its clients send passwords in addresses."""
    foshan_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Its port, on which nothing else is served: naming one turns it on; 0: a free one, where `foshan` is on."""
    foshan_host: str = ""
    """Where Foshan's listener is; empty: as `host`."""
    operators: str = "operators"
    """Name of the exchange that registered shops are handed to; empty: to none."""
    registration: Literal["at-once", "approve"] = "at-once"
    """Whether a shop may call as soon as it registered, or after the operator approved it."""
    senders: dict[str, str] = {}
    """Company code -> collecting system (`oem-SVW`) whose records it may list at `/v1/held`, beside its own."""
    closures: ClosureQueries | None = None
    """Environment departments that ask for their closures; none: nobody does."""
    token_hours: Annotated[float, Field(gt=0, le=24 * 366)] = 24.0
    lock_after: Annotated[int, Field(ge=5)] = 5
    """Wrong passwords in a row after which an account is locked for some time."""
    requests_per_second: Annotated[float, Field(gt=0)] = 100.0
    """Calls of one company; a batch of `/v1` counts as one for each hundred of its records.

    Each door counts for itself: where two gateways share a state, a company that calls both may call twice as often.
    """
    address_per_second: Annotated[float, Field(gt=0)] = 50.0
    """Calls of one address without a valid token: registration, token request, wrong token or signature.

    Ten seconds' at once. Each door counts for itself.
    """
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks (`10.0.0.5`, `10.1.0.0/16`) of the reverse proxies before the door.

    The address of a call that comes from one of them is what X-Forwarded-For says, read from the right up to the first
    that is none of them. Without this all who come by a proxy count as one address.
    """
    body_bytes: Annotated[int, Field(ge=1_024)] = 8 * _MEBIBYTE
    """Longest request."""
    photo_body_bytes: Annotated[int, Field(ge=1_024)] = 16 * _MEBIBYTE
    """Longest request where photos belong to it (Shanghai: two of 5 MB, in Base64)."""
    batch_body_bytes: Annotated[int, Field(ge=1_024)] = 32 * _MEBIBYTE
    """Longest batch of `/v1/records`."""
    body_room_bytes: Annotated[int, Field(ge=_MEBIBYTE)] = 256 * _MEBIBYTE
    """All requests together that are being read and worked on; whoever is beyond it is told to come again."""
    header_bytes: Annotated[int, Field(ge=1_024)] = 64 * 1024
    """Longest head of a request."""
    address_bytes: Annotated[int, Field(ge=1_024)] = _MEBIBYTE
    """Longest address at Foshan's listener: records stand in them."""
    header_seconds: Annotated[float, Field(gt=0)] = 10.0
    """Time that a caller has to send the head of a request."""
    body_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Time that a caller has to send the rest."""
    keep_alive_seconds: Annotated[int, Field(ge=1)] = 75
    stop_seconds: Annotated[int, Field(ge=1)] = 25
    """Time for requests to finish when the door is stopped."""
    connections: Annotated[int, Field(ge=1)] = 5_000
    """Most connections at a time; what comes by further ones is told to come again, and those are closed."""
    timestamp_minutes: Annotated[float, Field(gt=0)] = 10.0
    """How far the timestamp of a signed call may be from the clock."""
    secret_placement: str = signing.APPENDED
    """Where the secret stands in the text that is signed (three-step interface)."""
    overload: Literal["status", "dialect"] = "status"
    """How callers are told that the door cannot take a call now: by HTTP 413, 429 or 503 around the dialect's answer,
    or by the dialect's answer alone (HTTP 200)."""
    insurers: Insurers = Insurers()
    tls: Tls = Tls()
    commit: Commit = Commit()
    backlog: Backlog = Backlog()

    @property
    def no_shops(self) -> frozenset[str]:
        """Company codes of accounts that ask, or send something else, and upload no repair records."""
        departments = self.closures.callers if self.closures is not None else ()
        return frozenset((*departments, *self.insurers.callers))

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            try:
                ip_network(one, strict=False)
            except ValueError:
                message = f"trusted_proxies: {one!r} 不是地址或网段 / is no address or network"
                raise ValueError(message) from None
        return value

    @field_validator("secret_placement")
    @classmethod
    def _placed(cls, value: str) -> str:
        signing.check_placement(value)
        return value

    def caller_rules(self) -> CallerRules:
        """What `Callers` are told."""
        return CallerRules(
            approve=self.registration == "at-once",
            locks=LockRules(after=self.lock_after),
            tokens=TokenRules(life=timedelta(hours=self.token_hours)),
        )

    @property
    def places(self) -> list[tuple[str, int]]:
        """Host and port of each listener: of all dialects, and of Foshan's where it is on."""
        found = [(self.host, self.port)]
        if self.foshan or self.foshan_port:
            found.append((self.foshan_host or self.host, self.foshan_port))
        return found

    @property
    def connections_each(self) -> int:
        """Most connections of one process."""
        return -(-self.connections // self.processes)

    @property
    def body_room_each(self) -> int:
        """Bytes for the bodies of one process: its share, and room for the longest request at least."""
        longest = max(self.body_bytes, self.photo_body_bytes, self.batch_body_bytes)
        return max(self.body_room_bytes // self.processes, min(self.body_room_bytes, longest))

    def bounds(self) -> Bounds:
        """What the intake is told."""
        return Bounds(self.commit.rows, self.commit.linger_ms / 1_000, self.backlog.rows, self.backlog.bytes)
