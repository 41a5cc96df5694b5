"""The line to an SFTP server: an address, a host key that must be known, a key or password, and errors translated.

    with session(settings) as remote:
        for entry in remote.listing(remote.root): ...

A session is opened for a piece of work and closed after it; nothing is held between. The server's host key is always
checked, against a known_hosts file or a fingerprint; a server that is unknown or changed is never talked to.
"""

from __future__ import annotations

import io
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import paramiko
from pydantic import Field, SecretStr, field_validator, model_validator

from connectors.confidential import revealed
from connectors.contracts import ConnectorError, Misconfigured, Unavailable
from connectors.settings import ConnectorSettings
from connectors.sftpremote import Remote

# What goes wrong is told by our own errors; paramiko's log repeats it with a traceback.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

_AGAIN = "稍后自动重试 / it is tried again later"
_HOW = "请与对方核对主机指纹后写入 known_hosts 或 fingerprint / check the key with its owner, then write it into either"
_KINDS = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)


class SftpSettings(ConnectorSettings):
    """Where an SFTP server is, how it proves itself, and how we do."""

    url: str
    """`sftp://user@host[:port]/folder`; the folder is absolute, `/~/` begins in the user's own."""
    known_hosts: Path | None = None
    """File of the host keys that are trusted, as OpenSSH writes it."""
    fingerprint: str = Field(default="", pattern=r"^(SHA256:[A-Za-z0-9+/]{43}=?)?$")
    """SHA-256 fingerprint of the host key, as `ssh-keygen -lf` shows it; instead of a known_hosts file."""
    key: SecretStr | None = None
    """Private key: `file:PATH` or `env:NAME`."""
    passphrase: SecretStr | None = None
    """Of the key."""
    password: SecretStr | None = None
    connect_seconds: float = Field(default=10.0, gt=0)
    call_seconds: float = Field(default=30.0, gt=0)
    """For each answer of the server; a transfer may take longer."""

    @field_validator("url")
    @classmethod
    def _an_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme != "sftp" or not parts.hostname or not parts.username or parts.password or parts.query:
            message = (
                "应为 sftp://用户@主机[:端口]/目录，不含密码 / write sftp://user@host[:port]/folder, without a password"
            )
            raise ValueError(message)
        return url.rstrip("/")

    @model_validator(mode="after")
    def _both_sides_proved(self) -> SftpSettings:
        if (self.known_hosts is None) == (not self.fingerprint):
            message = "须设 known_hosts 或 fingerprint 之一 / set known_hosts or fingerprint: host keys are checked"
            raise ValueError(message)
        if self.key is None and self.password is None:
            message = "须设 key 或 password / set key or password"
            raise ValueError(message)
        return self

    @property
    def place(self) -> str:
        """Host, port and folder, for messages and names."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port or 22}{unquote(parts.path)}"

    @property
    def root(self) -> str:
        """The folder on the server."""
        path = unquote(urlsplit(self.url).path) or "/"
        return path.removeprefix("/~/") if path != "/~" else "."


class _Known:
    """Called for every host key that no known_hosts file holds: only the fingerprint can save it."""

    def __init__(self, settings: SftpSettings) -> None:
        self._settings = settings

    def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:  # noqa: ANN401 - paramiko's own types
        shown = f"{key.get_name()} {key.fingerprint}"
        if not self._settings.fingerprint:
            message = f"主机未知 / the host is not in {self._settings.known_hosts}: {hostname} {shown}"
            raise Misconfigured(message, _HOW)
        if key.fingerprint.rstrip("=") != self._settings.fingerprint.rstrip("="):
            message = f"主机指纹不符 / the host shows another key than fingerprint says: {hostname} {shown}"
            raise Misconfigured(message, _HOW)


@contextmanager
def session(settings: SftpSettings) -> Iterator[Remote]:
    """A session with the server, while it lasts.

    Raises:
        Unavailable: the server cannot be reached, or the connection is lost.
        Misconfigured: host key, credentials, path or rights.
    """
    with translated(settings.place):
        client = paramiko.SSHClient()
        try:
            _connect(client, settings)
            sftp = client.open_sftp()
            sftp.get_channel().settimeout(settings.call_seconds)
            yield Remote(sftp, settings.root)
        finally:
            client.close()


def _connect(client: Any, settings: SftpSettings) -> None:  # noqa: ANN401 - paramiko's own type
    parts = urlsplit(settings.url)
    if settings.known_hosts is not None:
        try:
            client.load_host_keys(str(settings.known_hosts))
        except OSError as error:
            message = f"known_hosts 无法读取 / cannot be read: {settings.known_hosts}: {error.strerror}"
            raise Misconfigured(message, _HOW) from None
    client.set_missing_host_key_policy(_Known(settings))
    client.connect(
        parts.hostname,
        port=parts.port or 22,
        username=unquote(parts.username or ""),
        password=revealed(settings.password, "password") if settings.password else None,
        pkey=_private_key(settings),
        timeout=settings.connect_seconds,
        banner_timeout=settings.connect_seconds,
        auth_timeout=settings.connect_seconds,
        channel_timeout=settings.connect_seconds,
        allow_agent=False,
        look_for_keys=False,
    )


def _private_key(settings: SftpSettings) -> Any:  # noqa: ANN401 - paramiko's own type
    if settings.key is None:
        return None
    text = revealed(settings.key, "key") + "\n"
    phrase = revealed(settings.passphrase, "passphrase") if settings.passphrase else None
    for kind in _KINDS:
        try:
            return kind.from_private_key(io.StringIO(text), phrase)
        except paramiko.PasswordRequiredException:
            message = "密钥有口令 / the key has a passphrase"
            raise Misconfigured(message, "请设置 passphrase / set passphrase") from None
        except (paramiko.SSHException, ValueError, IndexError, TypeError):
            continue
    message = "密钥无法使用 / the key cannot be used: neither Ed25519, ECDSA nor RSA, or a wrong passphrase"
    raise Misconfigured(message, "请检查 key 与 passphrase / check key and passphrase")


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Errors of the session as those of connectors; no message holds a secret.

    Raises:
        Unavailable: it may heal by itself.
        Misconfigured: a person must see to it.
    """
    try:
        yield
    except ConnectorError:
        raise
    except paramiko.BadHostKeyException as error:
        shown = f"{error.key.get_name()} {error.key.fingerprint}"
        message = f"{place}: 主机密钥已变 / the host key changed: {shown}"
        raise Misconfigured(message, _HOW) from None
    except paramiko.AuthenticationException:
        message = f"{place}: AUTH_FAILED: 对方拒绝登录 / the server refuses our login"
        raise Misconfigured(message, "请检查用户、key 与 password / check user, key and password") from None
    except paramiko.ssh_exception.IncompatiblePeer as error:
        message = f"{place}: 没有共同的算法 / no algorithm in common: {error}"
        raise Misconfigured(message, "请对方升级 SSH 服务 / the server must offer current algorithms") from None
    except (PermissionError, FileNotFoundError) as error:
        what = "没有权限 / no permission" if isinstance(error, PermissionError) else "路径不存在 / no such path"
        message = f"{place}: {what}: {error.filename or ''}".rstrip(": ")
        raise Misconfigured(message, "请检查 url 中的目录与权限 / check the folder in url and its rights") from None
    except (socket.gaierror, TimeoutError, ConnectionError, EOFError, paramiko.SSHException) as error:
        what = (
            "超时 / timed out" if isinstance(error, TimeoutError) else "连接失败或中断 / cannot be reached, or was cut"
        )
        message = f"{place}: {what} ({type(error).__name__})"
        raise Unavailable(message, _AGAIN) from None
    except OSError as error:
        message = f"{place}: 服务器拒绝操作 / the server failed: {error}"
        raise Unavailable(message, "请检查对方磁盘空间 / check the room on the server; it is tried again") from None
