"""Export certificates: what the archive knows of a car that is sold abroad, signed, as JSON and as PDF.

The JSON is what counts: `{"certificate", "code", "signature"}`. The signature (Ed25519, detached, base64) is over the
certificate's own bytes (`mappings.documents.usedcars.encode_export_certificate`) behind a line that says what they are,
so that a signature of ours on something else is none on a certificate. The verification code is made of the signature:
who has not the key cannot make one that fits. The PDF shows the same, bears the code, and has the JSON as attachment.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mappings.documents.usedcars import CERTIFICATE_SCHEMA, ExportCertificate, encode_export_certificate
from pipelines.errors import PipelineError

ATTACHMENT = "certificate.json"
"""Name of the JSON inside the PDF."""
LARGEST = 16 * 1024 * 1024
"""Most bytes of a file that is verified."""

_CONTEXT = f"{CERTIFICATE_SCHEMA}\n".encode()
_STREAM = re.compile(rb"/Type /EmbeddedFile\b.{0,400}?>>\s*stream\r?\n(.*?)\r?\nendstream", re.DOTALL)


class CertificateError(PipelineError):
    """A key or a file that cannot be used; the text says how to mend it."""

    exit_code = 2


class Certificate(NamedTuple):
    """A certificate as it is handed out."""

    code: str
    """Verification code, four groups of four letters and digits."""
    json: bytes
    pdf: bytes


class Verified(NamedTuple):
    """What a file turned out to be."""

    valid: bool
    """Whether the signature is one of the keys' and the code that of the signature."""
    code: str
    key: str
    """Short name of the key that it says it was signed with."""
    certificate: Mapping[str, Any]
    """What is signed; show this to people rather than the page."""
    page: str
    """Of a PDF `same` where its page is what we print of the JSON, else `differs`; empty for JSON."""


def issue(document: ExportCertificate, key: Ed25519PrivateKey) -> Certificate:
    """Sign a certificate and print it. The same document and key give the same bytes."""
    signature = key.sign(_CONTEXT + encode_export_certificate(document))
    code = code_of(signature)
    body = orjson.dumps(
        {
            "certificate": orjson.loads(encode_export_certificate(document)),
            "code": code,
            "signature": {
                "algorithm": "Ed25519",
                "key": name_of(key.public_key()),
                "value": base64.b64encode(signature).decode(),
            },
        }
    )
    return Certificate(code, body, _printed(body))


def verify(body: bytes, keys: Iterable[Ed25519PublicKey]) -> Verified:
    """Hold a certificate (JSON or PDF) against the keys of its issuer.

    Raises:
        CertificateError: it is no certificate of ours.
    """
    inner = attached(body) if body.startswith(b"%PDF-") else body
    certificate, code, key, signature = _opened(inner)
    message = _CONTEXT + _canonical(certificate)
    valid = code == code_of(signature) and any(_signed(one, signature, message) for one in keys if name_of(one) == key)
    page = ""
    if inner is not body:
        page = "same" if valid and _printed(inner) == body else "differs"
    return Verified(valid, code, key, certificate, page)


def code_of(signature: bytes) -> str:
    """The verification code of a signature: 80 bits of its SHA-256 in base 32, in groups of four."""
    text = base64.b32encode(sha256(_CONTEXT + signature).digest()[:10]).decode()
    return "-".join(text[start : start + 4] for start in range(0, 16, 4))


def name_of(key: Ed25519PublicKey) -> str:
    """Short name of a key: the first 16 hex digits of the SHA-256 over its 32 bytes."""
    return sha256(key.public_bytes_raw()).hexdigest()[:16]


def private_key(path: Path) -> Ed25519PrivateKey:
    """Read a signing key (PKCS 8, PEM, without a password, readable by its owner only).

    Raises:
        CertificateError: there is none, or others can read it.
    """
    body = read(path)
    if path.stat().st_mode & 0o077:
        message = f"{path}: 他人可读，请 chmod 600 / others can read the key: chmod 600"
        raise CertificateError(message)
    try:
        key = serialization.load_pem_private_key(body, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        message = (
            f"{path}: 不是 Ed25519 私钥（PEM，无口令） / no Ed25519 private key in PEM without a password; "
            "make one with: openssl genpkey -algorithm ed25519"
        )
        raise CertificateError(message)
    return key


def public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key (PEM).

    Raises:
        CertificateError: there is none.
    """
    try:
        key = serialization.load_pem_public_key(read(path))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        message = f"{path}: 不是 Ed25519 公钥（PEM） / no Ed25519 public key in PEM"
        raise CertificateError(message)
    return key


def attached(pdf: bytes) -> bytes:
    """The JSON inside a PDF of ours.

    Raises:
        CertificateError: there is none, or more than one.
    """
    found = _STREAM.findall(pdf)
    if len(found) == 1:
        unpacker = zlib.decompressobj()
        try:
            return unpacker.decompress(found[0], LARGEST)
        except zlib.error:
            pass
    message = "PDF 中没有（唯一的）证书 JSON / the PDF holds no certificate, or several"
    raise CertificateError(message)


def _opened(body: bytes) -> tuple[dict[str, Any], str, str, bytes]:
    """Certificate, code, key name and signature of the JSON."""
    try:
        whole = orjson.loads(body)
        certificate, code, signature = whole["certificate"], whole["code"], whole["signature"]
        value = base64.b64decode(signature["value"], validate=True)
        if not (
            set(whole) == {"certificate", "code", "signature"}
            and certificate["schema"] == CERTIFICATE_SCHEMA
            and signature["algorithm"] == "Ed25519"
            and isinstance(code, str)
            and isinstance(signature["key"], str)
        ):
            raise ValueError
        _canonical(certificate)
    except (ValueError, KeyError, TypeError):
        message = "不是本系统的证书 / no certificate of this system"
        raise CertificateError(message) from None
    return certificate, code, signature["key"], value


def _canonical(certificate: Mapping[str, Any]) -> bytes:
    return orjson.dumps(certificate, option=orjson.OPT_SORT_KEYS)


def _signed(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _printed(body: bytes) -> bytes:
    from pipelines.certificatepage import printed  # imported late: a verifier of JSON needs no fonts

    return printed(body, ATTACHMENT)


def read(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        CertificateError: it is larger than `LARGEST`.
    """
    with path.open("rb") as file:
        body = file.read(LARGEST + 1)
    if len(body) > LARGEST:
        message = f"{path}: 超过 16 MB / larger than 16 MB"
        raise CertificateError(message)
    return body
