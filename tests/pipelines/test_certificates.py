"""Export certificates: signed and printed alike each time, and every change of them found out."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
from datetime import date
from importlib.resources import as_file, files

import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fontTools.ttLib import TTFont
from hypothesis import given, settings
from hypothesis import strategies as st

from mappings.documents.interchange import encode_document
from mappings.documents.usedcars import ExportCertificate, History, Visit
from pipelines import certificatepage, certificates
from pipelines.certificates import CertificateError, attached, code_of, issue, name_of, verify
from pipelines.cli import main

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
DOCUMENT = ExportCertificate(
    issuer="33",
    requester="91330100799655058B",
    requestername="杭州喆翀汽车出口有限公司",
    order="A1",
    approval="商建〔2026〕1号",
    exportproof="EX-1",
    vin="LSVAL41Z882104202",
    maker="上汽大众",
    day=date(2026, 11, 1),
    history=History(
        carcomponentrecordsflag=1,
        carconstructrecordsflag=0,
        odometerflag=0,
        lastmaintaintime="2026-04",
        lastrepairtime="2026-06",
        maintaintimes=1,
        mileageestimate="60000-70000",
        visits=(Visit(month="2026-06", category="repair", groups=("engine",), mileagefrom=60_000),),
    ),
)


@pytest.fixture(scope="module")
def issued():
    return issue(DOCUMENT, KEY)


def test_both_forms_are_valid_and_say_the_same(issued):
    by_json, by_pdf = (verify(body, [OTHER.public_key(), KEY.public_key()]) for body in (issued.json, issued.pdf))
    assert (by_json.valid, by_json.page) == (True, "")
    assert (by_pdf.valid, by_pdf.page) == (True, "same")
    assert by_json.certificate == by_pdf.certificate
    assert by_json.certificate["vin"] == DOCUMENT.vin
    assert attached(issued.pdf) == issued.json


def test_the_same_certificate_is_the_same_bytes(issued):
    assert issue(DOCUMENT, KEY) == issued


def test_the_page_bears_the_code_and_needs_no_font_of_the_machine(issued):
    assert issued.code.encode() in issued.json
    assert f"Vehicle repair certificate {issued.code}".encode() in issued.pdf
    assert b"/FontFile3" in issued.pdf
    assert b"NotoSansSC" in issued.pdf
    assert {name.partition(b"+")[2] for name in re.findall(rb"/BaseFont /(\S+)", issued.pdf)} == {b"NotoSansSC"}


def test_the_font_that_ships_has_the_characters_of_gbk():
    with TTFont(io.BytesIO(font())) as shipped:
        known = shipped.getBestCmap()
    common = [code for code in range(0x4E00, 0x9FA6) if chr(code).encode("gbk", "ignore")]
    assert [code for code in common if code not in known] == []
    assert {ord(one) for one in "〔〕（）：，。“”①ＡαЯ年月日"} <= set(known)


def font():
    return files("pipelines").joinpath(certificatepage._FONT_FILE).read_bytes()


def test_a_character_that_the_font_lacks_stands_as_its_number():
    with as_file(files("pipelines").joinpath(certificatepage._FONT_FILE)) as path:
        page = certificatepage._Page("X", path)
    assert page.readable("喆\U00020bb7") == "喆[U+20BB7]"
    page.release()


def test_what_the_page_says_itself_has_only_characters_that_print(monkeypatch):
    shown = []
    readable = certificatepage._Page.readable
    monkeypatch.setattr(certificatepage._Page, "readable", lambda page, text: shown.append(readable(page, text)) or "")
    issue(DOCUMENT, KEY)
    assert len(shown) > 20
    assert [text for text in shown if "[U+" in text] == []


def changed(issued, **members):
    whole = json.loads(issued.json)
    for path, value in members.items():
        *place, last = path.split("__")
        part = whole
        for name in place:
            part = part[name]
        part[last] = value
    return orjson.dumps(whole)


@pytest.mark.parametrize(
    "change",
    [
        {"certificate__vin": "LSVAL41Z882104203"},
        {"certificate__history__odometerFlag": 1},
        {"certificate__more": 1},
        {"code": "AAAA-AAAA-AAAA-AAAA"},
        {"signature__key": "0" * 16},
        {"signature__value": "AAAA"},
    ],
)
def test_a_changed_certificate_is_not_valid(issued, change):
    assert not verify(changed(issued, **change), [KEY.public_key()]).valid


def test_members_in_another_order_are_no_change(issued):
    whole = json.loads(issued.json)
    turned = {**whole, "certificate": dict(reversed(whole["certificate"].items()))}
    assert verify(json.dumps(turned, indent=2).encode(), [KEY.public_key()]).valid


def test_a_signature_on_something_else_is_none_on_a_certificate(issued):
    content = orjson.dumps(json.loads(issued.json)["certificate"], option=orjson.OPT_SORT_KEYS)
    bare = KEY.sign(content)
    forged = changed(issued, code=code_of(bare), signature__value=base64.b64encode(bare).decode())
    assert not verify(forged, [KEY.public_key()]).valid


def test_without_the_issuers_key_nothing_is_valid(issued):
    assert not verify(issued.json, [OTHER.public_key()]).valid
    assert not verify(issued.json, []).valid


def test_a_page_that_was_changed_is_found_out(issued):
    page = issued.pdf.replace(b"/Count 1", b"/Count 2")
    assert page != issued.pdf
    assert verify(page, [KEY.public_key()])[::4] == (True, "differs")


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"%PDF-1.7", b"null", b'{"certificate":1}', b"\xff", b"[" * 5000, b'{"certificate":{}}']
)
def test_what_is_no_certificate_is_said_so(body):
    with pytest.raises(CertificateError, match=" / "):
        verify(body, [KEY.public_key()])


@settings(max_examples=100)
@given(st.integers(0, 2000), st.integers(0, 255))
def test_no_single_byte_can_be_changed_unseen(issued, place, byte):
    place %= len(issued.json)
    body = issued.json[:place] + bytes((byte,)) + issued.json[place + 1 :]
    try:
        found = verify(body, [KEY.public_key()])
    except CertificateError:
        return
    assert not found.valid or found.certificate == json.loads(issued.json)["certificate"]


def keys(folder):
    private, public = folder / "signing.pem", folder / "issuer.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    private.chmod(0o600)
    key = certificates.private_key(private)
    form, kind = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(form, kind))
    assert name_of(certificates.public_key(public)) == name_of(key.public_key())
    return private, public


def test_the_command_issues_and_verifies(tmp_path, capsys):
    private, public = keys(tmp_path)
    document = tmp_path / "document.json"
    document.write_bytes(
        encode_document(DOCUMENT, {"system": "33", "dialect": "derived", "received_at": "2026-11-01T10:00:00+08:00"})
    )
    assert main(["certificate", "issue", str(document), "--key", str(private), "--out", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert main(["certificate", "verify", *told["files"], "--key", str(public), "--json"]) == 0
    verdicts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["verdict"], one["code"]) for one in verdicts] == [("accept", told["code"])] * 2
    (tmp_path / "forged.json").write_bytes((tmp_path / told["files"][0]).read_bytes().replace(b"A1", b"A2"))
    assert main(["certificate", "verify", str(tmp_path / "forged.json"), "--key", str(public)]) == 1
    shown = capsys.readouterr().out
    assert "无效 not valid" in shown
    assert "A2" not in shown


def test_wrong_use_says_what_to_do(tmp_path, capsys):
    private, public = keys(tmp_path)
    (tmp_path / "note.txt").write_text("no certificate", "utf-8")
    assert main(["certificate", "verify", str(tmp_path / "note.txt"), "--key", str(public)]) == 2
    assert main(["certificate", "verify", str(tmp_path / "note.txt"), "--key", str(private)]) == 2
    assert main(["certificate", "issue", str(tmp_path / "note.txt"), "--key", str(private)]) == 2
    private.chmod(0o644)
    assert main(["certificate", "issue", str(tmp_path / "note.txt"), "--key", str(private)]) == 2
    assert "chmod 600" in capsys.readouterr().err
