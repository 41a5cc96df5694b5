"""`vingate certificate issue|verify`: certificates about a car's repairs, signed; held against their issuer's keys."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from mappings.documents.usedcars import ExportCertificate
from mappings.findings import profile
from mappings.judging import Context
from mappings.reading import judge, read
from pipelines import certificates
from pipelines.certificates import CertificateError, Verified
from pipelines.cli.out import AsJson, console, emit, wrong_use

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")


@app.command()
def issue(
    file: Annotated[Path, typer.Argument(help="证书文书（vingate.document/1） / the document, as it was delivered")],
    key: Annotated[Path, typer.Option(help="签名私钥 Ed25519，PEM / the signing key, Ed25519 in PEM")],
    out: Annotated[Path, typer.Option(help="输出目录 / the folder to write to")] = Path(),
    as_json: AsJson = False,
) -> None:
    """出具证书：签名的 JSON 与 PDF / issue a certificate: the signed JSON and the PDF, named by their code.

    [bold]示例 / example:[/bold]  vingate certificate issue document.json --key signing.pem --out certificates
    """
    signing = certificates.private_key(key)
    certificate = certificates.issue(_document(file), signing)
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for ending, body in (("json", certificate.json), ("pdf", certificate.pdf)):
        path = out / f"{certificate.code}.{ending}"
        path.write_bytes(body)
        paths.append(str(path))
    if as_json:
        emit({"code": certificate.code, "files": paths})
    else:
        console().print(f"验证码 verification code {certificate.code}", *paths, sep="\n", markup=False, soft_wrap=True)


@app.command()
def verify(
    files: Annotated[list[Path], typer.Argument(help="证书，JSON 或 PDF / certificates, JSON or PDF")],
    key: Annotated[list[Path], typer.Option(help="签发机构的公钥，PEM，可多次 / a public key of the issuer, in PEM")],
    as_json: AsJson = False,
) -> None:
    """核验证书：签名、验证码与页面 / verify certificates: signature, code, and what the page shows.

    PDF 的页面与签名的 JSON 不一致时不予通过；请以显示的内容为准。
    A PDF whose page is not what we print of its signed JSON does not pass; what is shown here is what was signed.

    [bold]示例 / example:[/bold]  vingate certificate verify DX67-KIWE-XPH3-DA4K.pdf --key issuer.pem
    """
    keys = [certificates.public_key(path) for path in key]
    passed = True
    for file in files:
        try:
            found = certificates.verify(certificates.read(file), keys)
        except CertificateError as error:
            wrong_use(f"{file}: {error}")
        good = found.valid and found.page != "differs"
        passed = passed and good
        if as_json:
            emit({"file": str(file), "verdict": "accept" if good else "reject", **found._asdict()})
        else:
            _show(file, found, good=good)
    raise typer.Exit(0 if passed else 1)


def _document(file: Path) -> ExportCertificate:
    draft = read(certificates.read(file), "document")
    found = judge(draft, Context(profile("strict"), datetime.now(UTC)))
    if not isinstance(found.record, ExportCertificate):
        codes = ", ".join(f"{one.code} {one.field}".strip() for one in found.findings)
        wrong_use(f"{file}: 不是出口证书文书 / no document of the kind {ExportCertificate.KIND} {codes}".rstrip())
    return found.record


def _show(file: Path, found: Verified, *, good: bool) -> None:
    from rich.text import Text

    screen = console()
    head = Text("✓ 有效 valid ", "bold green") if good else Text("✗ 无效 not valid ", "bold red")
    screen.print(head + Text(f"{file}  {found.code}"))
    if not found.valid:
        screen.print(
            f"  签名不属于所给公钥，或内容、验证码被改动（密钥 {found.key}）"
            f" / not signed by a key given, or content or code changed (key {found.key})",
            markup=False,
        )
        return
    if found.page == "differs":
        screen.print(
            "  PDF 页面与签名内容不同，或由其他版本生成；以下为签名内容"
            " / the page is not what is signed, or another version printed it; this is what is signed:"
        )
    for name, value in found.certificate.items():
        screen.print(f"  {name}: {value}", markup=False, soft_wrap=True)
