"""The line to an S3-compatible object store: an address, credentials, time-outs, and errors translated.

    with translated(settings.place):
        client(settings).head_bucket(Bucket=settings.bucket)

Requests are signed (version 4) by botocore, the part of the AWS SDK that does the wire; throttling (`SlowDown`, 503),
errors of the server and lost connections are tried again by it, with back-off and jitter, `tries` times in all. A
client is kept for each process and settings; after a refusal of the credentials they are read anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from connectors.confidential import masked, revealed
from connectors.contracts import ConnectorError, Misconfigured, Unavailable
from connectors.settings import ConnectorSettings

try:
    from botocore import exceptions as said
    from botocore.config import Config
    from botocore.session import Session
except ImportError:
    _missing = "botocore: pip install 'vingate[s3]'"
    raise ImportError(_missing) from None

_AGAIN = "稍后自动重试 / it is tried again later"
_KEYS = "请检查 access_key、secret_key 与 session_token / check access_key, secret_key and session_token"
_REFUSED = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
_BUSY = {"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests", "RequestTimeout"}
_REGION = {"AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect", "301", "307"}


class S3Settings(ConnectorSettings):
    """Where a bucket is, and who we are there."""

    url: str
    """`s3://bucket/prefix`; the prefix is a folder: names begin behind its `/`."""
    endpoint: str = ""
    """`https://host[:port]` of the store; empty: AWS, by the region."""
    region: str = "us-east-1"
    """Region that requests are signed for; most other stores take any."""
    style: Literal["auto", "path", "virtual"] = "auto"
    """Where the bucket's name stands: in the path or before the host; `auto`: in the path where an endpoint is set."""
    access_key: SecretStr | None = None
    """With `secret_key`; without both the SDK looks where it always does: environment, profile, role of the machine."""
    secret_key: SecretStr | None = None
    session_token: SecretStr | None = None
    """Of credentials that are lent for a while."""
    ca: Path | None = None
    """Certificates to trust, PEM; default: those that come with the SDK."""
    connect_seconds: float = Field(default=10.0, gt=0)
    call_seconds: float = Field(default=60.0, gt=0)
    """For each answer of the store to begin or go on; a transfer may take longer."""
    tries: int = Field(default=5, ge=1, le=20)
    """Tries of a call that may heal by itself, the first one counted."""

    @field_validator("url")
    @classmethod
    def _a_bucket(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc or parts.netloc != parts.hostname or parts.query or parts.fragment:
            message = "应为 s3://桶/前缀，桶名小写，不含密钥 / write s3://bucket/prefix: a name in lower case, no keys"
            raise ValueError(message)
        return url.rstrip("/")

    @field_validator("endpoint")
    @classmethod
    def _an_endpoint(cls, endpoint: str) -> str:
        parts = urlsplit(endpoint)
        if endpoint and (parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query):
            message = "应为 https://主机[:端口] / write https://host[:port]"
            raise ValueError(message)
        return endpoint.rstrip("/")

    @model_validator(mode="after")
    def _both_keys(self) -> S3Settings:
        if (self.access_key is None) != (self.secret_key is None):
            message = "access_key 与 secret_key 须同时设置 / set access_key and secret_key, or neither"
            raise ValueError(message)
        return self

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return urlsplit(self.url).netloc

    @property
    def prefix(self) -> str:
        """What all keys begin with: nothing, or a folder with its `/`."""
        path = unquote(urlsplit(self.url).path).lstrip("/")
        return f"{path}/" if path else ""

    @property
    def place(self) -> str:
        """Store, bucket and folder, for messages."""
        return f"{urlsplit(self.endpoint).netloc or 'AWS ' + self.region}/{self.bucket}/{self.prefix}"

    @property
    def line(self) -> S3Settings:
        """These settings and no others that a subclass adds."""
        return S3Settings(**{name: getattr(self, name) for name in S3Settings.model_fields})


_clients: dict[tuple[S3Settings, int], Any] = {}
_MOST = 16


def client(settings: S3Settings) -> Any:  # noqa: ANN401 - botocore makes its classes as it runs
    """The client of this process.

    Raises:
        Misconfigured: credentials or certificates that the settings name cannot be read.
    """
    name = settings.line, os.getpid()
    made = _clients.get(name)
    if made is None:
        forget(_MOST - 1)
        made = _clients[name] = _made(name[0])  # another thread may forget it at once: it is ours all the same
    return made


def forget(left: int = 0) -> None:
    """Close clients, the oldest first, but for so many: the next call reads credentials anew."""
    for name in list(_clients)[: max(len(_clients) - left, 0)]:
        made = _clients.pop(name, None)
        if made is not None and name[1] == os.getpid():  # what a fork inherits is its parent's
            made.close()


def _made(settings: S3Settings) -> Any:  # noqa: ANN401 - as above
    if settings.ca is not None and not settings.ca.is_file():
        message = f"证书文件不存在 / no such file of certificates: {settings.ca}"
        raise Misconfigured(message, "请检查 ca / check ca")
    style = settings.style if settings.style != "auto" else ("path" if settings.endpoint else "virtual")
    config = Config(
        connect_timeout=settings.connect_seconds,
        read_timeout=settings.call_seconds,
        retries={"total_max_attempts": settings.tries, "mode": "standard"},
        s3={"addressing_style": style},
        # Not every store knows the SDK's newer checksums; what we write has a Content-MD5, which all check.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        user_agent="vingate",
    )
    keys = {
        f"aws_{name}": revealed(value, given)
        for name, given, value in (
            ("access_key_id", "access_key", settings.access_key),
            ("secret_access_key", "secret_key", settings.secret_key),
            ("session_token", "session_token", settings.session_token),
        )
        if value is not None
    }
    return Session().create_client(
        "s3",
        region_name=settings.region,
        endpoint_url=settings.endpoint or None,
        verify=str(settings.ca) if settings.ca else True,
        config=config,
        **keys,
    )


def code_of(error: said.ClientError) -> str:
    """The code of a refusal, or where there is none its HTTP status."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Errors of the SDK as those of connectors; no message holds a secret.

    Raises:
        Unavailable: it may heal by itself.
        Misconfigured: a person must see to it.
    """
    try:
        yield
    except ConnectorError:
        raise
    except said.ClientError as error:
        raise _refusal(place, error) from None
    except said.SSLError as error:
        message = f"{place}: TLS 证书不被信任 / the store's certificate is not trusted: {masked(str(error), ())}"
        raise Misconfigured(message, "请检查 endpoint 与 ca / check endpoint and ca") from None
    except (said.NoCredentialsError, said.PartialCredentialsError, said.CredentialRetrievalError):
        message = f"{place}: 没有找到凭证 / no credentials were found"
        raise Misconfigured(message, "请设置 access_key 与 secret_key / set access_key and secret_key") from None
    except (said.ConnectionError, said.HTTPClientError, said.IncompleteReadError, OSError) as error:
        slow = isinstance(error, said.ConnectTimeoutError | said.ReadTimeoutError | TimeoutError)
        what = "超时 / timed out" if slow else "连接失败或中断 / cannot be reached, or was cut"
        message = f"{place}: {what} ({type(error).__name__})"
        raise Unavailable(message, f"请检查 endpoint / check endpoint; {_AGAIN}") from None
    except said.BotoCoreError as error:
        message = f"{place}: {masked(str(error), ())}"
        raise Misconfigured(message, "请检查 S3 设置 / check the settings of S3") from None


def _refusal(place: str, error: said.ClientError) -> ConnectorError:
    code, status = code_of(error), int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    words = masked(str(error.response.get("Error", {}).get("Message", "")), (), 200)
    told = f"{code}: {words}" if words else code
    if code in _REFUSED or code in ("400", "401", "403"):  # without a body nobody says what is wrong: keys may be
        forget()
    if code in _REFUSED or status == 401:
        return Misconfigured(f"{place}: AUTH_FAILED: 凭证被拒绝 / our credentials are refused ({told})", _KEYS)
    if code == "RequestTimeTooSkewed":
        message = f"{place}: 本机时钟不准 / the clock of this machine is off ({told})"
        return Misconfigured(message, "请校准时钟 / set the clock")
    if code in _REGION:
        message = f"{place}: 区域或地址不符 / region or address do not fit the bucket ({told})"
        return Misconfigured(message, "请检查 region、endpoint 与 style / check region, endpoint and style")
    if code == "NoSuchBucket":
        return Misconfigured(
            f"{place}: 桶不存在 / there is no such bucket", "请建立桶或改正 url / create it or correct url"
        )
    if code in _BUSY or status in (429, 500, 502, 503, 504):
        return Unavailable(f"{place}: 服务繁忙或故障 / the store is busy or failing ({status} {told})", _AGAIN)
    if status == 403:
        message = f"{place}: 没有权限，或凭证已更换 / no permission, or the keys are others by now ({told})"
        remedy = "请检查凭证，并给予列举、读取与写入的权限 / check the keys; grant the rights to list, read and write"
        return Misconfigured(message, remedy)
    message = f"{place}: 请求被拒绝 / the request is refused ({status} {told})"
    return Misconfigured(message, "请检查 S3 设置 / check the settings of S3")
