"""Where an AMQP broker is, who we are to it, and how patient we are. Secrets leave this module in pika's values."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

import pika
from pydantic import Field, SecretStr

from connectors.confidential import revealed
from connectors.contracts import Misconfigured
from connectors.settings import ConnectorSettings

_PORTS = {"amqp": 5672, "amqps": 5671}


class BrokerSettings(ConnectorSettings):
    """Which broker."""

    url: SecretStr
    """`amqp://user:password@host:5672/vhost`, with TLS `amqps://`; or `env:NAME`, `file:PATH`. Never shown."""
    user: str = ""
    """Instead of the one in `url`."""
    password: SecretStr | None = None
    """Instead of the one in `url`; the text, `env:NAME` or `file:PATH` (read again at each new connection)."""
    nodes: tuple[Annotated[str, Field(pattern=r"^[^@/\s]+$")], ...] = ()
    """Further nodes of the same cluster, `host` or `host:port`: each new connection tries the next one."""
    ca: Path | None = None
    """Certificates to trust (PEM) with `amqps`; default: those of the system."""
    cert: Path | None = None
    """Our own certificate (PEM), where the broker asks for one."""
    key: Path | None = None
    """Its key; default: in the same file."""
    heartbeat_seconds: int = Field(default=4, ge=1, le=3600)
    """A broker that says nothing for one and a half times as long is given up, and gives us up after two or three
    times: only then another gateway is given what we held back. Kept alive by a thread, however busy we are."""
    connect_seconds: float = Field(default=10.0, gt=0)
    """How long making a connection may take."""
    backoff_seconds: float = Field(default=0.2, gt=0)
    """Pause before the second try to connect; it doubles, with jitter."""
    backoff_limit_seconds: float = Field(default=15.0, gt=0)
    """The longest pause."""
    refused_seconds: float = Field(default=60.0, gt=0)
    """After a refusal that only a person can mend (password, no such queue), how long the broker is left in peace."""


class Address(NamedTuple):
    """A broker node with all that a connection needs; `place` can be shown."""

    place: str
    parameters: pika.ConnectionParameters
    secrets: tuple[str, ...]
    """What no message may hold."""


def addresses(settings: BrokerSettings) -> list[Address]:
    """The nodes, first that of `url`.

    Raises:
        Misconfigured: the address, a certificate or a secret cannot be used; no message holds address or password.
    """
    parts = _parts(revealed(settings.url, "url"))
    user = settings.user or unquote(parts.username or "guest")
    written = unquote(parts.password) if parts.password else "guest"
    password = written if settings.password is None else revealed(settings.password, "password")
    vhost = unquote(parts.path[1:]) or "/"
    context = _context(settings) if parts.scheme == "amqps" else None
    if context is None and (settings.ca or settings.cert):
        message = "ca 与 cert 只用于 amqps:// 地址 / ca and cert are for amqps:// addresses"
        raise Misconfigured(message, "请改用 amqps:// / use an amqps:// address")
    found = []
    first = (parts.hostname or "localhost", parts.port or _PORTS[parts.scheme])
    for host, port in (first, *(_node(one, _PORTS[parts.scheme]) for one in settings.nodes)):
        parameters = pika.ConnectionParameters(
            host=host,
            port=port,
            virtual_host=vhost,
            credentials=pika.PlainCredentials(user, password),
            heartbeat=settings.heartbeat_seconds,
            socket_timeout=settings.connect_seconds,
            stack_timeout=settings.connect_seconds,
            connection_attempts=1,
            client_properties={"connection_name": "vingate"},
            ssl_options=None if context is None else pika.SSLOptions(context, host),
        )
        found.append(Address(f"{parts.scheme}://{host}:{port}/{vhost.lstrip('/')}", parameters, (password,)))
    return found


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0 and not parts.query
    except ValueError:
        usable = False
    if not usable:
        message = "AMQP 地址不可用 / the AMQP address cannot be used"
        raise Misconfigured(message, "例如 / for example amqps://user@broker.example:5671/vhost") from None
    return parts


def _node(text: str, port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        if parts.hostname:
            return parts.hostname, parts.port or port
    except ValueError:
        pass
    message = f"节点地址不可用 / this node's address cannot be used: {text}"
    raise Misconfigured(message, "例如 / for example broker2.example:5671")


def _context(settings: BrokerSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.cert is not None:
            context.load_cert_chain(settings.cert, settings.key, password=_no_password)
    except (OSError, ValueError) as error:
        why = error.strerror or type(error).__name__ if isinstance(error, OSError) else type(error).__name__
        message = f"证书或私钥无法读取 / certificate or key cannot be read: {why}"
        raise Misconfigured(
            message, "请检查 ca、cert、key / check ca, cert and key (PEM, key without password)"
        ) from None
    return context


def _no_password() -> str:
    """A key with a password would else ask at the terminal."""
    message = "key with password"
    raise ValueError(message)
