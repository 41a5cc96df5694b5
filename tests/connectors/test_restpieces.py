"""The language in which HTTP peers are described: paths, templates, signatures, answers, secrets."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from connectors.confidential import masked, revealed
from connectors.contracts import Misconfigured
from connectors.jsonpaths import at, raw_at, raw_elements, text_of
from connectors.restanswers import AnswerTable, Said
from connectors.restcalls import Answer
from connectors.restpresets import laid_over, shipped, with_preset
from connectors.restsettings import Signing
from connectors.restsigning import members_text, moments, signature, signed
from connectors.resttemplates import Record, UnfillableError, asked, dumped, filled, render

NAMES = st.text("abcdefgh", min_size=1, max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


# -- paths -------------------------------------------------------------------------------------------------------------


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_raw_paths_and_opened_paths_agree(value):
    data = json.dumps(value, ensure_ascii=False).encode()
    for path in ("", "a", "a.b", "a[0]", "a[1].b", "b[0][1]", "c.d.e"):
        raw = raw_at(data, path)
        found = at(value, path)
        assert (None if raw is None else orjson.loads(raw)) == found


def test_raw_elements_are_the_very_bytes():
    assert raw_elements(b'[1.10, {"b" : "\\u4e2d"},[ ]]') == [b"1.10", b'{"b" : "\\u4e2d"}', b"[ ]"]
    for wrong in (b"", b"{}", b"[1", b"[1,]", b"\xff"):
        with pytest.raises(ValueError, match=r".+"):
            raw_elements(wrong)


@pytest.mark.parametrize(
    ("value", "text"), [(1, "1"), (1.0, "1"), ("1", "1"), (None, ""), (True, "true"), (1.5, "1.5")]
)
def test_codes_are_text(value, text):
    assert text_of(value) == text


# -- templates ---------------------------------------------------------------------------------------------------------

SCOPE = {
    "record": Record(b'{"plate": "a1", "day": "2026-03-01", "n": 5, "parts": [{"name": "x"}, {"name": "y"}]}'),
    "token": "T",
    "key": "k",
}


@pytest.mark.parametrize(
    ("template", "made"),
    [
        ("{record.plate}", "a1"),
        ("{record.n}", 5),
        ("n={record.n}", "n=5"),
        ("{record.day|digits}", "20260301"),
        ("{record.n|text}", "5"),
        ("{record.plate|upper}!", "A1!"),
        ({"a": ["{token}", 1, None, True]}, {"a": ["T", 1, None, True]}),
        (
            {"each": "{record.parts}", "as": {"n": "{item.name}", "k": "{key}"}},
            [{"n": "x", "k": "k"}, {"n": "y", "k": "k"}],
        ),
        ({"t": "{token}", "*": "{record.parts[0]}"}, {"t": "T", "name": "x"}),
        ("no {place here}", "no {place here}"),
    ],
)
def test_templates(template, made):
    assert render(template, SCOPE) == made


def test_a_record_stands_in_a_body_byte_for_byte():
    body = b'{"a":  1.50}'
    assert dumped(render({"t": "{token}", "r": "{record}"}, {"token": "T", "record": Record(body)})) == (
        b'{"t":"T","r":{"a":  1.50}}'
    )
    assert filled("x{record}", {"record": Record(body)}) == 'x{"a":  1.50}'


def test_members_of_a_record_can_stand_beside_others():
    made = render({"*": "{record}", "t": 1}, {"record": Record(b'{"a": 1}')})
    assert made == {"a": 1, "t": 1}


@pytest.mark.parametrize(
    "template",
    ["{record.none}", "{none}", {"each": "{record.plate}", "as": 1}, {"*": "{record.plate}"}, {"*": "{token}"}],
)
def test_what_is_missing_is_named(template):
    with pytest.raises(UnfillableError, match=r".+"):
        render(template, SCOPE)


def test_a_record_that_is_no_json_cannot_be_filled_in():
    with pytest.raises(UnfillableError, match="JSON"):
        render("{record.a}", {"record": Record(b"{")})


# -- signatures --------------------------------------------------------------------------------------------------------


def shanghai(**more):
    return Signing(**{"algorithm": "md5", "secret": "s3cret"} | more)


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_the_door_and_the_sink_sign_alike(members):
    door = pytest.importorskip("pipelines.door.signing")
    data = json.dumps(members, ensure_ascii=False).encode("utf-8", "replace")
    sent = door.members_as_sent(data)
    assert members_text(data, "sign") == door.signed_text(sent)
    assert signature(shanghai(), members_text(data, "sign"), "s3cret") == door.sign(sent, "s3cret")


def test_the_shanghai_scheme_adds_its_members_and_signs_them_as_sent():
    signing = shanghai(members={"appId": "{secrets.app}", "nonce": "{nonce}", "timestamp": "{millis}"})
    scope = {**moments(lambda: 1624250000.123), "secrets": {"app": "A1"}}
    body, headers = signed(signing, "s3cret", "POST", "/insert", "", b'{"workingHours": 1.50, "vin": null}', scope)
    sent = orjson.loads(body)
    assert headers == {}
    assert (sent["appId"], sent["timestamp"]) == ("A1", "1624250000123")
    assert isinstance(sent["nonce"], int)
    assert b'"workingHours": 1.50' in body
    text = f"appId=A1&nonce={sent['nonce']}&timestamp=1624250000123&vin=&workingHours=1.50"
    assert sent["sign"] == hashlib.md5(f"{text}s3cret".encode()).hexdigest()  # noqa: S324 - the interface asks for it


def test_the_maintenance_scheme_signs_three_members_behind_the_secret():
    signing = shanghai(only=("companyIdentity", "nonce", "timestamp"), placement="{secret}{text}")
    body, _ = signed(
        signing, "s3cret", "POST", "/", "", b'{"companyIdentity":"9","nonce":"1","timestamp":"2","vin":"x"}', {}
    )
    expected = hashlib.md5(b"s3cretcompanyIdentity=9&nonce=1&timestamp=2").hexdigest()  # noqa: S324 - as above
    assert orjson.loads(body)["sign"] == expected


def test_hmac_over_a_template_goes_into_a_header():
    over = "{method}\n{path}\n{query}\n{body_sha256}"
    signing = shanghai(algorithm="hmac-sha256", over=over, put="X-Sign:", prefix="v1=", form="base64")
    body, headers = signed(signing, "k", "POST", "/a", "b=1", b"{}", moments())
    text = f"POST\n/a\nb=1\n{hashlib.sha256(b'{}').hexdigest()}"
    assert body == b"{}"
    assert headers == {"X-Sign": "v1=" + base64.b64encode(hmac.new(b"k", text.encode(), "sha256").digest()).decode()}


@pytest.mark.parametrize("body", [b"{}", b"{ }", b'{"a": 1}'])
def test_the_signed_body_is_json(body):
    made, _ = signed(shanghai(members={"n": 1}), "s", "POST", "/", "", body, {})
    assert orjson.loads(made).keys() >= {"n", "sign"}


def test_only_objects_can_be_signed_by_members():
    for members in ({}, {"n": 1}):
        with pytest.raises(Misconfigured) as caught:
            signed(shanghai(members=members), "s", "POST", "/", "", b"[1]", {})
        assert caught.value.remedy


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "end"),
    [
        (200, "accepted"), (201, "accepted"), (204, "accepted"), (302, "stopped"), (400, "refused"), (401, "auth"),
        (403, "auth"), (404, "stopped"), (405, "stopped"), (408, "unavailable"), (409, "refused"), (413, "refused"),
        (422, "refused"), (425, "unavailable"), (429, "unavailable"), (500, "unavailable"), (503, "unavailable"),
        (599, "unavailable"), (199, "unavailable"),
    ],
)  # fmt: skip
def test_what_a_status_means_where_nothing_else_is_said(status, end):
    assert AnswerTable().whole(status, b"").end == end


CODED = AnswerTable(
    code="respInfo.code",
    codes={"1": "accepted", "2004": "duplicate", "111": "unavailable", "3027": "auth"},
    texts={"已存在": "duplicate"},
    reason="respInfo.status",
    status={"409": "duplicate", "500": "body"},
)


@pytest.mark.parametrize(
    ("status", "code", "words", "said"),
    [
        (200, "1", "", Said("accepted", "1")),
        (200, 1, "新增成功", Said("accepted", "1: 新增成功")),
        (200, 2004, "x", Said("duplicate", "2004: x")),
        (200, "0", "记录已存在", Said("duplicate", "记录已存在")),
        (500, 111, "服务超时", Said("unavailable", "111: 服务超时")),
        (200, 3027, "", Said("auth", "3027")),
        (409, 1, "", Said("duplicate", "HTTP 409")),
        (422, None, "坏", Said("refused", "HTTP 422: 坏")),
    ],
)
def test_codes_and_words(status, code, words, said):
    body = orjson.dumps({"respInfo": {"code": code, "status": words}})
    assert CODED.whole(status, body) == said


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"respInfo": 1}', b'{"respInfo": {"code": "77"}}', b"\xff"]
)
def test_an_answer_that_fits_nothing_is_unavailable_with_a_reason(body):
    said = CODED.whole(200, body)
    assert said.end == "unavailable"
    assert said.reason


def test_any_other_code_can_have_an_end_and_no_code_has_none():
    table = AnswerTable(code="code", codes={"1": "accepted", "*": "refused"})
    assert table.whole(200, b'{"code": 9}').end == "refused"
    assert table.whole(200, b"{}").end == "unavailable"


@given(st.binary(max_size=60), st.integers(100, 599))
def test_no_answer_is_too_strange(body, status):
    for table in (AnswerTable(), CODED, AnswerTable(records="r", record_id="id", codes={"*": "refused"})):
        assert table.whole(status, body).end in {"accepted", "duplicate", "refused", "unavailable", "auth", "stopped"}
        table.each(status, body, [("a",)])


@given(VALUES)
def test_no_list_of_answers_is_too_strange(value):
    table = AnswerTable(records="r", record_id="id", codes={"*": "refused"})
    said = table.each(200, orjson.dumps({"r": value}), [("a", "k"), ("b", "k")])
    assert said is None or len(said) == 2


def test_words_of_problem_documents_are_found():
    assert AnswerTable().whole(400, b'{"title": "t", "detail": "d"}').reason == "HTTP 400: d"
    assert AnswerTable().whole(400, "坏请求".encode()).reason == "HTTP 400: 坏请求"


@pytest.mark.parametrize(
    ("given_", "seconds"),
    [
        ("17", 17), ("", None), ("soon", None), ("-5", None), ("1.5", None),
        ("Sun, 01 Mar 2026 00:01:30 GMT", 90), ("Sat, 28 Feb 2026 00:00:00 GMT", 0), ("9" * 40, 999_999_999),
    ],
)  # fmt: skip
def test_retry_after(given_, seconds):
    now = datetime(2026, 3, 1, tzinfo=UTC)
    assert Answer(429, {"retry-after": given_} if given_ else {}, b"").retry_after(now) == seconds


# -- secrets and presets -----------------------------------------------------------------------------------------------


def test_secrets_are_read_where_they_are(monkeypatch, tmp_path):
    monkeypatch.setenv("A_SECRET", "from env")
    (tmp_path / "secret").write_text("from file\n")
    assert revealed(SecretStr("env:A_SECRET"), "x") == "from env"
    assert revealed(SecretStr(f"file:{tmp_path / 'secret'}"), "x") == "from file"
    assert revealed(SecretStr("plain"), "x") == "plain"
    monkeypatch.setenv("A_SECRET", f"file:{tmp_path / 'secret'}")
    assert revealed(SecretStr("env:A_SECRET"), "x") == "from file"
    monkeypatch.setenv("A_SECRET", "env:A_SECRET")
    assert revealed(SecretStr("env:A_SECRET"), "x") == "env:A_SECRET"


def test_a_secret_that_is_not_there_is_named_by_its_place(tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff")
    for text in ("env:NOBODY_SETS_THIS", f"file:{tmp_path / 'none'}", f"file:{tmp_path}", f"file:{tmp_path / 'bytes'}"):
        with pytest.raises(Misconfigured, match=r"auth\.token") as caught:
            revealed(SecretStr(text), "auth.token")
        assert text.partition(":")[2] in caught.value.message
        assert caught.value.remedy


@given(st.lists(st.text(min_size=1, max_size=8), max_size=4), st.text(max_size=20))
def test_no_secret_and_no_control_character_is_left(secrets, around):
    shown = masked(around.join(secrets), secrets)
    assert shown.isprintable()
    for secret in secrets:
        assert secret not in shown.replace("***", "") or not secret.strip("* ")


def test_foreign_words_are_bounded():
    assert len(masked("x" * 5000, [])) == 300


def test_presets_are_laid_under_what_is_given():
    assert "lcippro" in shipped()
    made = with_preset(
        {"preset": "lcippro", "auth": {"lifetime_seconds": 60}, "answers": {"texts": {"额外": "refused"}}}
    )
    assert made["auth"]["kind"] == "login"
    assert made["auth"]["lifetime_seconds"] == 60
    assert made["answers"]["texts"] == {**with_preset({"preset": "lcippro"})["answers"]["texts"], "额外": "refused"}
    assert laid_over({"a": {"b": 1}}, {"a": 2}) == {"a": 2}


def test_a_preset_of_ones_own_is_a_file(tmp_path):
    (tmp_path / "mine.toml").write_text('url = "https://h"\n')
    assert with_preset({"preset": str(tmp_path / "mine.toml")})["url"] == "https://h"
    (tmp_path / "mine.toml").write_text("url = [")
    for name in ("mine.toml", "none.toml"):
        with pytest.raises(ValueError, match="preset"):
            with_preset({"preset": str(tmp_path / name)})


def test_settings_never_show_a_secret_in_an_error():
    with pytest.raises(ValidationError) as caught:
        shanghai(over="{nobody}")
    assert "s3cret" not in str(caught.value)


def test_a_template_says_what_it_needs_of_a_record():
    template = {
        "day": "{record.settledate|digits}",
        "first": "{record.parts[0].code}",
        "lines": {"each": "{record.parts}", "as": {"n": "{item.name}", "k": "{key}"}},
        "whole": "{record}",
        "more": ["{record.vin} {record.plate}"],
    }
    assert {*asked(template)} == {"settledate", "parts", "parts.code", "parts.name", "vin", "plate"}
