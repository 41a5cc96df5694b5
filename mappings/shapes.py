"""How personal data, vehicle identities and credentials look, and how much of each stays readable.

* credentials (token, password, secret, sign) and names of persons: nothing
* phones: the first three and the last two digits; ID numbers and bank cards: the first two and the last two
* e-mail: the first character and the domain's last label
* VIN, frame and engine numbers: the first three (the maker) and the last four characters
* plates: province, issuing letter and the last two characters

Values shorter than usual show a quarter at each end. Business identities stay readable, an operator needs them: company
code (15 digits), credit code (18 characters), company names, list codes. Every pattern is bounded, so that hostile text
costs linear time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

HIDDEN: Final = "***"

_CREDENTIALS = (
    "token", "password", "passwd", "passphrase", "pwd", "secret", "credential", "authorization", "signature",
    "apikey", "appkey", "accesskey", "privatekey", "jksqm", "密码", "口令", "密钥", "令牌", "签名",
)  # fmt: skip
_PERSONS = (
    "linkman", "contactname", "contactperson", "contacts", "contactaddress", "homeaddress", "owner", "customer",
    "driver", "operatorname", "superint", "supereint", "consignor", "entrust", "realname", "fullname", "username",
    "personname", "applicant", "insured", "holder", "联系人", "姓名", "车主", "托修", "客户", "送修人", "驾驶员",
    "负责人", "经办人", "接待人", "所有人", "住址", "家庭地址",
)  # fmt: skip
_PHONES = ("phone", "mobile", "telno", "fax", "contactdetail", "contactway", "手机", "电话", "联系方式")
_NUMBERS = (
    "idcard", "idno", "idnum", "certno", "identityno", "identitycard", "bankcard", "bankaccount", "cardno",
    "身份证", "证件号", "银行卡", "卡号",
)  # fmt: skip
_VEHICLES = ("vin", "frameno", "chassis", "engineno", "enginenum", "车架", "车辆识别", "发动机号")
_PLATES = ("plate", "vpn", "licenseno", "licenceno", "carno", "车牌", "号牌", "chepai")

# Full-width letters, digits and signs, one for one.
_WIDE = {0xFF10 + i: 0x30 + i for i in range(10)}
_WIDE |= {0xFF21 + i: 0x41 + i for i in range(26)} | {0xFF41 + i: 0x61 + i for i in range(26)}
_WIDE |= {0xFF20: 0x40, 0xFF0D: 0x2D, 0xFF0E: 0x2E, 0xFF0B: 0x2B, 0xFF1D: 0x3D}
# What is not seen but would part a value in two: NUL, soft hyphen, zero-width and direction marks.
_UNSEEN = re.compile("[\x00\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
# What a terminal would act on, and halves of characters.
_CONTROL = re.compile("[\x01-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_ESCAPE = re.compile(r"\\{1,8}u([0-9a-fA-F]{4})")
_NAME = re.compile(r"[\W_]+")

_PROVINCES = "京津冀晋蒙辽吉黑沪苏浙皖闽赣鲁豫鄂湘粤桂琼川贵云藏陕甘青宁新"
_WORTH = re.compile(
    r"\d[\d .()-]{4}|@|[A-Za-z0-9]{17}|使|[\u4e00-\u9fff][ ·•.-]?[A-Za-z0-9][ ·•.-]?[A-Za-z0-9]{3}|WJ"
    r"|(?i:token|passw|passphrase|pwd|secret|sign|credential|authori|key|jksqm|bearer|basic)"
    r"|密码|口令|密钥|令牌|签名|联系人|姓名|车主|送修人|托修|驾驶员|[\"'][:： ]"
)
_SECRET = re.compile(
    r"""(?ix) ( (?: token | passw(?:or)?d | passphrase | pwd | secret | credential | authorization | signature | sign
        | jksqm | (?:app|access|private|api)[_-]?key | 密码 | 口令 | 密钥 | 令牌 | 签名 ) \w{0,32} \\{0,8} ["']? \s{0,8}
        [:=：]{1,3} \s{0,8} )
        ( \\{0,8} " (?: [^"\\] | \\. )* (?:"|$) | \\{0,8} ' [^']* (?:'|$) | \[ [^\]]* \]? | \{ [^}]* \}?
        | (?: (?:bearer|basic) \s{1,4} )? [^\s,;&}\]"'<>]+ )"""
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s{1,4}[\w.~+/=-]{8,}")
_MEMBER = re.compile(r"""(\\{0,8}["'])([^"'\\\n]{1,64})\\{0,8}["']\s{0,8}[:：]\s{0,8}""")
_VALUE = re.compile(r"""\\{0,8}"(?:[^"\\]|\\.)*(?:"|$)|\\{0,8}'[^'\n]*(?:'|$)|[^\s,}\]"]+""")
_PERSON = re.compile(
    r"(联系人|姓名|车主|送修人|托修[方人]|驾驶员)(\s{0,4}[:：是为]\s{0,4}|\s{1,4})([^\s,，。;；:：\"'&}<>]{1,24})"
)
_EMAIL = re.compile(r"(\w)[\w.+%-]{0,63}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,4}\.(\w{1,24})")
_IDENTITY = re.compile(r"(?<![0-9A-Za-z])\d{6}[ -]?(?:18|19|20)\d{2}[ -]?\d{4}[ -]?\d{3}[\dXx](?![0-9A-Za-z])")
_CARD = re.compile(r"(?<!\d)\d{4}(?:[ -]?\d{4}){3}(?:[ -]?\d{1,3})?(?!\d)")
_DIGITS = re.compile(r"\d{16,}[Xx]?")
_MOBILE = re.compile(r"(?<!\d)(?:(?:\+|00)?86[ -]?)?1[3-9]\d[ .-]?\d{4}[ .-]?\d{4}(?!\d)")
_AREA = r"(?:10|2\d|[3-9]\d{2})"
_LANDLINE = re.compile(
    rf"(?<!\d)\(0?{_AREA}\)[ -]?\d{{3,4}}[ -]?\d{{4}}(?!\d)"
    rf"|(?<!\d)(?:\+|00)86[ -]?0?{_AREA}[ -]?\d{{3,4}}[ -]?\d{{4}}(?!\d)"
    rf"|(?<!\d)0{_AREA}[ -]?\d{{3,4}}[ -]?\d{{4}}(?!\d)"
    r"|(?<!\d)[48]00[ -]\d{3,4}[ -]?\d{3,4}(?!\d)"
)
_RUN = re.compile(r"[A-Za-z0-9]{17,}")
_CREDIT_CODE = re.compile(r"[0-9A-HJ-NP-Z]{2}\d{6}[0-9A-Z]{10,11}")
_PLATE = re.compile(
    rf"(?:WJ[{_PROVINCES}]?|[{_PROVINCES}])[ ·•.-]?[A-Za-z0-9][ ·•.-]?[A-Za-z0-9]{{3,5}}"
    r"[A-Za-z0-9警学挂试领港澳使应][A-Za-z0-9急]?"
)
_PARTING = re.compile("[ ·•.-]")
_MISSION = re.compile(r"使\d{6}|\d{6}使")


def _keep(text: str, head: int, tail: int) -> str:
    if not text:
        return text
    if len(text) < 2 * (head + tail):
        head = tail = len(text) // 4
    return text[:head] + HIDDEN + (text[-tail:] if tail else "")


def hide(text: str) -> str:
    """Show nothing of it."""
    return HIDDEN if text else text


def mask_vin(text: str) -> str:
    """`LSVAL41Z882104202` -> `LSV***4202`; shorter ones show less."""
    return _keep(text, 3, 4)


def mask_plate(text: str) -> str:
    """`沪A12345` -> `沪A***45`."""
    plain = _PARTING.sub("", text)
    return plain[:2] + HIDDEN + plain[-2:] if len(plain) >= 7 else _keep(plain, 1, 1)


def mask_phone(text: str) -> str:
    """`13800000012` -> `138***12`."""
    return _keep(text, 3, 2)


def mask_number(text: str) -> str:
    """`110105194912310021` -> `11***21`."""
    return _keep(text, 2, 2)


def mask_mail(text: str) -> str:
    """`zhang@example.com` -> `z***@***.com`."""
    return _EMAIL.sub(rf"\1{HIDDEN}@{HIDDEN}.\2", text) if _EMAIL.fullmatch(text) else hide(text)


@lru_cache(maxsize=2_048)
def kind_of(name: str) -> Callable[[str], str] | None:
    """How the value of a member of this name is masked, whatever its spelling; None for a name that tells nothing."""
    plain = _NAME.sub("", narrow(name)).casefold()

    def has(parts: tuple[str, ...]) -> bool:
        return any(part in plain for part in parts)

    if has(_CREDENTIALS) or plain.startswith("sign") or plain.endswith("sign"):
        return hide
    if has(_PHONES) or plain.startswith("tel") or plain.endswith("tel"):
        return mask_phone
    if "mail" in plain or "邮箱" in plain:
        return mask_mail
    if has(_PERSONS) or plain == "contact":
        return hide
    if has(_NUMBERS):
        return mask_number
    if has(_VEHICLES):
        return mask_vin
    return mask_plate if has(_PLATES) and not has(("color", "colour", "颜色")) else None


def narrow(text: str) -> str:
    r"""Full-width letters and digits made narrow, escapes `\uXXXX` resolved, unseen characters removed."""
    if "\\" in text:
        text = _ESCAPE.sub(lambda m: chr(int(m[1], 16)), text)
    return text if text.isascii() and text.isprintable() else _UNSEEN.sub("", text.translate(_WIDE))


def mask_shapes(text: str) -> str:
    """Mask what looks like something to hide; control characters become U+FFFD."""
    text = narrow(text)
    if not text.isprintable():
        text = _CONTROL.sub("\ufffd", text)
    if not _WORTH.search(text):
        return text
    text = _members(text)
    for pattern, replacement in _SHAPES:
        text = pattern.sub(replacement, text)
    return text


def _members(text: str) -> str:
    """Mask the members of broken JSON by their names, at any level of escaping."""
    out: list[str] = []
    place = 0
    while found := _MEMBER.search(text, place):
        end = found.end()
        out.append(text[place:end])
        kind = kind_of(found[2])
        value = _VALUE.match(text, end) if kind else None
        if kind and value:
            out.append(f'"{kind(value[0].strip(chr(92) + chr(34)))}"')
            end = value.end()
        place = end
    return "".join(out) + text[place:] if out else text


def _secret(match: re.Match[str]) -> str:
    return match[1] + (f'"{HIDDEN}"' if match[2][0] in "\\\"'" else HIDDEN)


def _run(match: re.Match[str]) -> str:
    run = match[0]
    business = run.isalpha() or (len(run) in {18, 19} and _CREDIT_CODE.fullmatch(run))
    return run if business else mask_vin(run)


_SHAPES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (_SECRET, _secret),
    (_BEARER, rf"\1 {HIDDEN}"),
    (_PERSON, rf"\1\2{HIDDEN}"),
    (_EMAIL, rf"\1{HIDDEN}@{HIDDEN}.\2"),
    (_IDENTITY, lambda m: mask_number(m[0])),
    (_CARD, lambda m: mask_number(m[0])),
    (_DIGITS, lambda m: mask_number(m[0])),
    (_MOBILE, lambda m: mask_phone(m[0])),
    (_LANDLINE, lambda m: mask_phone(m[0])),
    (_RUN, _run),
    (_PLATE, lambda m: mask_plate(m[0])),
    (_MISSION, HIDDEN),
)
