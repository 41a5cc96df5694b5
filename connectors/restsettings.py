"""Settings that HTTP connectors share: where the peer is, how it is told who we are, and how long to bear with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from connectors.breakers import BreakerSettings
from connectors.budgets import BudgetSettings
from connectors.restanswers import AnswerTable
from connectors.resttemplates import checked
from connectors.settings import ConnectorSettings
from connectors.windows import Windows

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
MOMENTS = frozenset({"millis", "seconds", "nonce", "nonce_hex", "date", "time", "secrets"})
"""What every template knows: the moment in three forms (Asia/Shanghai), two nonces, and the named secrets."""


class CallTemplate(ConnectorSettings):
    """A call to be made."""

    path: str = ""
    """Path below `url`; what its places hold is percent-encoded."""
    method: Method = "POST"
    query: dict[str, str] = Field(default_factory=dict)
    headers: dict[str, str] = Field(default_factory=dict)
    body: Any = None
    """JSON with places, see `connectors.resttemplates`; nothing: no body."""


class TlsSettings(ConnectorSettings):
    """TLS towards the peer. Its certificate is always verified."""

    ca: Path | None = None
    """Certificates to trust, PEM; default: those that the HTTP library ships."""
    cert: Path | None = None
    """Our certificate, PEM, where the peer asks for one."""
    key: Path | None = None
    """Its key; default: in the same file."""


class NoAuth(ConnectorSettings):
    """The peer does not ask who we are, or the request itself says so."""

    kind: Literal["none"] = "none"


class BearerAuth(ConnectorSettings):
    """A token that was given to us; a `file:` is read again when the peer refuses it."""

    kind: Literal["bearer"]
    token: SecretStr


class BasicAuth(ConnectorSettings):
    """Name and password with every call."""

    kind: Literal["basic"]
    user: str
    password: SecretStr


class LoginAuth(ConnectorSettings):
    """A token that a call gives, for a while."""

    kind: Literal["login"]
    call: CallTemplate
    token: str = "access_token"  # noqa: S105 - the place of the token in the answer
    """JSON path to the token in the answer."""
    expires: str = ""
    """JSON path to the seconds that the token lives, where the answer says so."""
    lifetime_seconds: float = Field(default=1800.0, gt=0)
    """How long a token is used where the answer does not say."""
    renew_before_seconds: float = Field(default=60.0, ge=0)
    header: str = "Authorization: Bearer {token}"
    """Where the token goes; empty: only where templates name `{token}`."""
    answers: AnswerTable = AnswerTable()
    """How the answer is read; what is not accepted is a refusal of our credentials."""

    @field_validator("header")
    @classmethod
    def _header_known(cls, header: str) -> str:
        if header and ":" not in header:
            message = "应为 名称: 值 / a header is written 'Name: value'"
            raise ValueError(message)
        checked(header, frozenset({"token"}))
        return header

    @model_validator(mode="after")
    def _places_known(self) -> LoginAuth:
        checked([self.call.path, self.call.query, self.call.headers, self.call.body], MOMENTS)
        return self


Auth = Annotated[NoAuth | BearerAuth | BasicAuth | LoginAuth, Field(discriminator="kind")]


class Signing(ConnectorSettings):
    """A signature over each request; see `connectors.restsigning`."""

    algorithm: Literal["md5", "sha256", "hmac-md5", "hmac-sha1", "hmac-sha256", "hmac-sha512"]
    secret: SecretStr
    over: str = "members"
    """`members`: `name=value` of the body's members, sorted, joined by `&`; `body`: its bytes; or a template of
    `{method}`, `{path}`, `{query}`, `{body}`, `{body_sha256}` and the moments."""
    only: tuple[str, ...] = ()
    """`members`: sign these alone."""
    placement: str = "{text}{secret}"
    """Where the secret stands when the algorithm is a plain hash; HMAC has it as its key."""
    members: dict[str, Any] = Field(default_factory=dict)
    """Members added to the body before it is signed, such as appId, nonce and timestamp."""
    put: str = "sign"
    """Where the signature goes: a member of the body, or `Name:` for a header."""
    prefix: str = ""
    """Stands before the signature in a header."""
    form: Literal["hex", "HEX", "base64"] = "hex"

    @model_validator(mode="after")
    def _places_known(self) -> Signing:
        checked(self.members, MOMENTS)
        if self.over not in ("members", "body"):
            checked(self.over, MOMENTS | {"method", "path", "query", "body", "body_sha256"})
        if self.placement.count("{text}") != 1 or "{secret}" not in self.placement:
            message = "placement 须含一个 {text} 与 {secret} / placement holds {text} once, and {secret}"
            raise ValueError(message)
        return self


class RetrySettings(ConnectorSettings):
    """How a single call is repeated at once; what still fails waits and comes again later."""

    tries: int = Field(default=2, ge=1, le=20)
    first_seconds: float = Field(default=0.2, ge=0)
    most_seconds: float = Field(default=2.0, ge=0)
    deadline_seconds: float = Field(default=5.0, gt=0)
    """No repetition begins after this; a peer that stalls is not asked twice while others wait."""


class RestSettings(ConnectorSettings):
    """What every HTTP connector is told about its peer."""

    url: str
    """Base address, `https://host[:port][/path]`; credentials do not stand in it."""
    secrets: dict[str, SecretStr] = Field(default_factory=dict)
    """Named secrets for templates, `{secrets.NAME}`: texts, `env:NAME` or `file:PATH`."""
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    """Sent with every call; values may be `env:` or `file:`."""
    auth: Auth = NoAuth()
    signing: Signing | None = None
    tls: TlsSettings = TlsSettings()
    proxy: SecretStr | None = None
    """Address of a proxy; those of the environment are never used."""
    connect_seconds: float = Field(default=5.0, gt=0)
    call_seconds: float = Field(default=10.0, gt=0)
    """For the whole answer of one call."""
    max_answer_bytes: int = Field(default=1 << 20, ge=1)
    redirects: int = Field(default=0, ge=0, le=10)
    """Redirections followed, within the same scheme, host and port only; by default none."""
    retry: RetrySettings = RetrySettings()
    breaker: BreakerSettings = BreakerSettings()
    budget: BudgetSettings | None = None
    budget_wait_seconds: float = Field(default=1.0, ge=0)
    """How long a call may wait for the budget; what would wait longer is left for later."""
    maintenance: Windows = ()
    """Windows in which the peer is left alone, see `connectors.windows`."""
    max_retry_after_seconds: float = Field(default=3600.0, ge=0)
    """A longer `Retry-After` counts as this long."""
    stop_seconds: float = Field(default=1800.0, gt=0)
    """After the peer refused our credentials nothing goes out for so long, unless they change."""
    check_call: CallTemplate | None = None
    """What `check` calls beside the login; default: a GET of the base address, whatever it answers."""

    @field_validator("url")
    @classmethod
    def _plain_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.fragment:
            message = (
                "应为 https://主机[:端口][/路径]，不含密码 / must be https://host[:port][/path], no credentials in it"
            )
            raise ValueError(message)
        return url.rstrip("/")
