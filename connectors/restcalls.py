"""One HTTP call to a peer: bounded in time and size, never redirected elsewhere, its errors translated.

The client ignores proxies, certificates and passwords of the environment. Everything that can go wrong on the way is
`Unavailable`: connections refused, cut or timed out, answers that are too large or not HTTP. No message repeats a
query, a body or a secret.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit

import httpx

from connectors.confidential import revealed
from connectors.contracts import Misconfigured, Unavailable
from connectors.restsettings import RestSettings, TlsSettings

# The libraries log whole addresses at INFO, and a query may hold a password (the Foshan interface asks for that).
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_AGAIN = "稍后自动重试 / it is tried again later"
_REDIRECTS = (301, 302, 303, 307, 308)


class Request(NamedTuple):
    """A call as it goes out."""

    method: str
    path: str
    """Below the base address, or a whole address of the same origin."""
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    body: bytes | None = None


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def retry_after(self, now: datetime) -> float | None:
        """Seconds that the peer asks to wait: `Retry-After` as a number or an HTTP date; None when it does not say."""
        text = self.headers.get("retry-after", "").strip()
        if text.isdecimal():
            return float(text[:9])
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        return max((moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds(), 0.0)


def trust(tls: TlsSettings) -> ssl.SSLContext:
    """What we trust and show in TLS.

    Raises:
        Misconfigured: a file cannot be read or is no certificate or key.
    """
    remedy = "请检查 tls.ca、tls.cert 与 tls.key / check tls.ca, tls.cert and tls.key"
    try:
        context = httpx.create_ssl_context(trust_env=False)
        if tls.ca is not None:
            context = ssl.create_default_context(cafile=str(tls.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.cert is not None:
            context.load_cert_chain(str(tls.cert), str(tls.key) if tls.key else None)
    except (OSError, ssl.SSLError) as error:
        message = f"证书无法使用 / certificates cannot be used: {error.strerror or type(error).__name__}"
        raise Misconfigured(message, remedy) from None
    return context


def _trusting_nobody() -> ssl.SSLContext:
    """Of calls that need none: the certificates of authorities take long to read."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Line:
    """The connection to one peer; one object may be used by several threads."""

    def __init__(self, settings: RestSettings) -> None:
        self._settings = settings
        parts = urlsplit(settings.url)
        self._origin = (parts.scheme, parts.netloc)
        self.client = httpx.Client(
            verify=trust(settings.tls) if parts.scheme == "https" else _trusting_nobody(),
            trust_env=False,
            proxy=revealed(settings.proxy, "proxy") if settings.proxy else None,
            timeout=httpx.Timeout(settings.call_seconds, connect=settings.connect_seconds),
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=4, keepalive_expiry=30.0),
            headers={"User-Agent": "vingate", "Accept-Encoding": "identity"},
        )

    def send(self, request: Request, clean: Callable[[str], str]) -> Answer:
        """Send a request and read its answer; redirections are followed as far as the settings allow.

        Args:
            request: the request.
            clean: makes foreign words fit for a message.

        Raises:
            Unavailable: there is no answer, or none that can be read.
        """
        address, left = self._address(request), self._settings.redirects
        method, body = request.method, request.body
        try:
            while True:
                answer = self._once(method, address, request.headers, body)
                target = self._target(address, answer) if left and answer.status in _REDIRECTS else ""
                if not target:
                    return answer
                if answer.status == 303 or (answer.status in (301, 302) and method == "POST"):
                    method, body = "GET", None
                address, left = target, left - 1
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            message = f"{self._name}: {_what(error)}"
            words = clean(str(error)) if isinstance(error, httpx.ConnectError | httpx.RemoteProtocolError) else ""
            raise Unavailable(f"{message}: {words}" if words else message, _AGAIN) from None

    @property
    def _name(self) -> str:
        return self._origin[1]

    def _address(self, request: Request) -> str:
        base = self._settings.url
        address = request.path if "://" in request.path else base + request.path
        try:
            ours = urlsplit(address)[:2] == self._origin
        except ValueError:
            ours = False
        if not ours:
            message = f"地址不属于 {self._name} / the address is not at {self._name}"
            raise Misconfigured(message, "请改正 path / correct path")
        if not request.query:
            return address
        return f"{address}{'&' if '?' in address else '?'}{urlencode(request.query)}"

    def _target(self, address: str, answer: Answer) -> str:
        """Where a redirection leads; empty: to another origin."""
        try:
            target = urljoin(address, answer.headers.get("location", ""))
            return target if urlsplit(target)[:2] == self._origin else ""
        except ValueError:
            raise _unfit(self._name, "改址无法读取 / it redirects to what is no address") from None

    def _once(self, method: str, address: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        settings, end = self._settings, time.monotonic() + self._settings.call_seconds
        with self.client.stream(method, address, headers=_encoded(headers), content=body) as response:
            if response.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
                raise _unfit(self._name, "压缩的答复 / a packed answer, though none was asked for")
            pieces, size = [], 0
            for piece in response.iter_raw():
                pieces.append(piece)
                size += len(piece)
                if size > settings.max_answer_bytes:
                    raise _unfit(self._name, f"答复过大 / the answer is larger than {settings.max_answer_bytes} bytes")
                if time.monotonic() > end:
                    raise _unfit(self._name, f"答复过慢 / the answer took longer than {settings.call_seconds:g} s")
            return Answer(response.status_code, dict(response.headers.items()), b"".join(pieces))

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as bytes: UTF-8, since secrets and names may be Chinese.

    Raises:
        Misconfigured: a header that cannot be one; only its name is shown.
    """
    for name, value in headers.items():
        if not name.isascii() or not value.replace("\t", " ").isprintable():
            message = f"请求头无法发送 / a header cannot be sent: {name!r}"
            raise Misconfigured(message, "请检查其值是否含换行 / check whether its value holds a line break")
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def _unfit(name: str, why: str) -> Unavailable:
    return Unavailable(f"{name}: {why}", _AGAIN)


def _what(error: Exception) -> str:
    if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError | httpx.PoolTimeout):
        return "无法连接 / cannot be reached"
    if isinstance(error, httpx.TimeoutException):
        return "超时未答复 / did not answer in time"
    if isinstance(error, httpx.NetworkError):
        return "连接中断 / the connection was cut"
    if isinstance(error, httpx.ProtocolError):
        return "答复不完整或不是 HTTP / the answer was cut short or is no HTTP"
    return f"呼叫失败 / the call failed ({type(error).__name__})"
