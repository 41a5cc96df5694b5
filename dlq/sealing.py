"""Sealing of kept bytes: AES-256-GCM under one key file that only its owner can read.

A sealed value is `version (1 byte) | key id (4) | nonce (12) | ciphertext and tag`. The context that a value was sealed
for (a letter's id, an inbox key) is authenticated with it, so a body moved to another row does not open. Nonces are
random; NIST SP 800-38D 8.3 bounds their use to 2^32 values under one key, some four thousand million envelopes.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dlq.errors import KeyLost, KeyUnsafe, SealError, Tampered, WrongKey

VERSION = 1
KEY_BYTES = 32
_ID, _NONCE, _TAG = 4, 12, 16
_HEAD = 1 + _ID
_BODY = _HEAD + _NONCE
OVERHEAD = _BODY + _TAG
"""Bytes that sealing adds."""
_MAGIC = "vingate-key-1 "


class Sealer:
    """Seals and opens bytes with one key.

    Made by `Sealer.open` it pickles as the key's path, so no key travels; `carried()` gives one that pickles with the
    key itself, for workers that do not see the file. The key stands in no repr and in no message.
    """

    __slots__ = ("_cipher", "_head", "_key", "_mac", "_path", "fingerprint")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            msg = f"密钥须为 {KEY_BYTES} 字节 / the key must have {KEY_BYTES} bytes"
            raise KeyUnsafe(msg)
        self._key = key
        self._path = ""
        self._cipher = AESGCM(key)
        self._mac = blake2b(b"vingate pseudonyms", key=key).digest()
        identity = blake2b(b"vingate key fingerprint", key=key, digest_size=8).digest()
        self._head = bytes((VERSION,)) + identity[:_ID]
        self.fingerprint = identity.hex()
        """16 hex digits that name the key without telling it."""

    @classmethod
    def open(cls, key_path: Path | str, create: bool) -> Sealer:
        """Read the key file, or make it.

        Args:
            key_path: where the key lies.
            create: whether a missing key may be made: True only while nothing was sealed yet.

        Raises:
            KeyLost: it is missing and `create` is False.
            KeyUnsafe: others may read it, or it holds no key.
        """
        path = Path(key_path).absolute()
        if not path.exists():
            if not create:
                raise KeyLost(_lost(path))
            _make(path)
        sealer = cls(_read(path))
        sealer._path = str(path)
        return sealer

    @classmethod
    def parsed(cls, text: str) -> Sealer:
        """The sealer of a key as it stands in a key file.

        Raises:
            KeyUnsafe: the text is no key.
        """
        found = _key_of(text)
        if len(found) != KEY_BYTES:
            msg = "所给内容不是密钥 / what was given is no key: it must be the content of a key file"
            raise KeyUnsafe(msg)
        return cls(found)

    @classmethod
    def put(cls, key_path: Path | str, text: str) -> Sealer:
        """Write a key file with this content where there is none; the sealer of the file that is there then.

        Raises:
            KeyUnsafe: the text is no key.
        """
        cls.parsed(text)
        path = Path(key_path).absolute()
        if not path.exists():
            _make(path, f"{text.strip()}\n".encode())
        return cls.open(path, create=False)

    def carried(self) -> Sealer:
        """The same sealer, pickled with its key instead of its path."""
        return Sealer(self._key)

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """Encrypt and authenticate `plain` for `context` (row id and the like; not secret, not kept inside)."""
        nonce = os.urandom(_NONCE)
        return self._head + nonce + self._cipher.encrypt(nonce, plain, self._head + context)

    def unseal(self, sealed: bytes, context: bytes) -> bytes:
        """The plain bytes.

        Raises:
            WrongKey: sealed with another key.
            Tampered: cut, changed, or sealed for another context.
        """
        if len(sealed) < OVERHEAD or sealed[0] != VERSION:
            msg = "密文不完整或格式未知 / the sealed bytes are cut or of an unknown form"
            raise Tampered(msg)
        if sealed[:_HEAD] != self._head:
            msg = (
                f"密文由另一把密钥加密（当前密钥指纹 {self.fingerprint}），请换回原密钥文件 / sealed with another key "
                f"(this one's fingerprint is {self.fingerprint}): put the original key file back"
            )
            raise WrongKey(msg)
        try:
            return self._cipher.decrypt(sealed[_HEAD:_BODY], sealed[_BODY:], self._head + context)
        except InvalidTag:
            msg = "密文被改动或不属于此处 / the sealed bytes were changed or belong elsewhere"
            raise Tampered(msg) from None

    def pseudonym(self, value: str) -> str:
        """A keyed hash (32 hex digits) to search by without keeping the value; empty for an empty value."""
        if not value:
            return ""
        return blake2b(value.encode("utf-8", "surrogatepass"), key=self._mac, digest_size=16).hexdigest()

    def __repr__(self) -> str:
        return f"Sealer({self.fingerprint})"

    def __reduce__(self) -> tuple[object, ...]:
        return (Sealer.open, (self._path, False)) if self._path else (Sealer, (self._key,))


def _make(path: Path, content: bytes = b"") -> None:
    """Write a key, a new one where none is given, wholly or not at all; a process that was quicker wins."""
    temporary = path.with_name(f".{path.name}.{token_hex(6)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _fill(descriptor, content or f"{_MAGIC}{os.urandom(KEY_BYTES).hex()}\n".encode())
            with suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        msg = f"无法建立密钥文件 {path}: {error.strerror} / cannot make the key file {path}: {error.strerror}"
        raise SealError(msg) from error


def _fill(descriptor: int, content: bytes) -> None:
    try:
        os.fchmod(descriptor, 0o600)  # a umask can only take rights away, yet 0o600 is promised exactly
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) or mode & 0o077:
            msg = (
                f"密钥文件 {path} 的权限为 {stat.S_IMODE(mode):04o}，他人可读：请执行 chmod 600 {path} / "
                f"the key file {path} has mode {stat.S_IMODE(mode):04o}, others can read it: run chmod 600 {path}"
            )
            raise KeyUnsafe(msg)
        text = path.read_text("ascii", "replace")
    except OSError as error:
        msg = f"无法读取密钥文件 {path}: {error.strerror} / cannot read the key file {path}: {error.strerror}"
        raise KeyUnsafe(msg) from error
    key = _key_of(text)
    if len(key) != KEY_BYTES:
        msg = f"{path} 不是密钥文件，请从备份恢复 / {path} holds no key: put it back from the backup"
        raise KeyUnsafe(msg)
    return key


def _key_of(text: str) -> bytes:
    """The key in the text of a key file; another length where there is none."""
    try:
        return bytes.fromhex(text.removeprefix(_MAGIC).strip()) if text.startswith(_MAGIC) else b""
    except ValueError:
        return b""


def _lost(path: Path) -> str:
    return (
        f"密钥文件 {path} 不见了，而库中已有用它加密的数据。丢失：死信原文、收件箱和等待中的分步数据无法再打开，"
        "死信不能重放。未丢失：已送达的记录、台账、死信的原因与哈希。请把备份的密钥放回原处（权限 600）；"
        "若没有备份，请请求上报方重新上报，并用新的状态目录重新开始 / "
        f"the key file {path} is gone while data sealed with it is there. Lost: original bytes of letters, inbox and "
        "fragments cannot be opened, letters cannot be replayed. Not lost: delivered records, the ledger, the letters' "
        "reasons and hashes. Put the key's backup back (mode 600); without a backup ask the senders to send again and "
        "begin with a new state folder"
    )
