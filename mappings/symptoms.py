"""Symptoms: fault texts and part names made comparable, with all that names a person, a vehicle or a shop taken out.

What is taken out leaves no mark, so that two texts about one fault are equal whatever stood beside it. It errs on the
safe side: five digits in a row, or six letters and digits mixed, are taken for a number that belongs to somebody,
unless they are a trouble code (SAE J2012: `P0171`, `U010087`).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from mappings.divisions import BY_CHARACTER
from mappings.placeholders import is_placeholder

LONGEST = 60
"""Longer texts are stories and no symptoms: they are compared with nothing."""

_PART = "[ .,·•_()/\\\\:-]{0,3}"
_PROVINCES = "".join(BY_CHARACTER)
_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范"
    "金石廖贾夏韦付傅方白邹孟熊秦邱江尹薛闫阎段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤常温康施文牛樊葛邢安齐易乔"
    "伍庞颜倪庄聂章鲁岳翟申欧耿关兰焦俞左柳甘祝包宁尚符舒阮柯纪梅童凌毕单季成霍苗裴涂谷曲盛冉翁蓝骆路游辛管柴蒙鲍华喻祁"
    "蒲房滕屈解牟艾尤阳时穆农司卓古吉缪简车项连芦麦褚娄窦戚岑景党宫费卜冷晏卫席柏米宗瞿桂全佟应臧闵苟邬边卞姬师仇隋商刁沙"
    "荣巫寇桑郎甄丛仲虞敖巩明苑佘查麻"
)
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_CHINESE_DIGITS = "0-9〇零○一二三四五六七八九幺两壹贰叁肆伍陆柒捌玖"

_WHO = "客户|顾客|车主|用户|司机|驾驶员|车友|送修人|托修[人方]|报修人"
_FILLERS = re.compile(
    rf"(?:{_WHO})(?:反映|反应|描述|报修|报称|自述|陈述|主诉|投诉|要求检查|要求|称|说|发现)[:,]?"
    "|(?:反映|报修|自述|主诉|客诉|故障现象|故障描述)[:,]?|^(?:检查|检修|维修|处理)(?=.)"
    "|(?:联系)?(?:电话|手机|微信|身份证)(?:号码?)?"
)
_TAKEN_OUT = (
    re.compile(r"[\w.+%-]{1,64}@[\w.-]{1,64}"),
    re.compile(r"[0-9A-Z]{0,32}_[0-9A-Z_]{1,32}"),
    re.compile(r"报告编码[: ]{0,2}\{?[0-9A-Z]{0,32}\}?"),
    re.compile(
        rf"(?:{_WHO}|联系人|联系电话|电话|手机|姓名|经办人|接待人?|微信|地址|身份证)"
        r"(?:姓名|号码?|名字)?[ ]?[:是为][ ]?(?:[\u4e00-\u9fff·]{1,4}|[0-9A-Z][0-9A-Z ]{0,30})"
    ),
    re.compile(rf"(?:{_WHO}|联系人|姓名|经办人|接待人?) ?[{_SURNAMES}][\u4e00-\u9fff]{{1,2}}"),
    re.compile(rf"[{_SURNAMES}][\u4e00-\u9fff·]{{0,3}}?(?:先生|女士|小姐|师傅|老板|经理|同志)"),
    re.compile(r"(?:MR|MRS|MS|MISS)[. ]{1,2}[A-Z]{2,20}(?: [A-Z]{2,20})?"),
    re.compile(
        r"(?:在|到|由|经|去|从)?[\u4e00-\u9fff0-9A-Z()]{0,16}?"
        r"(?:有限公司|分公司|公司|修理[厂店部]|维修[厂店部站]|汽修[厂店部]?|快修店?|服务站|4S店|[维服][修务]中心|修配厂|车行|养护店)"
    ),
    re.compile(rf"[{_PROVINCES}]{_PART}[A-Z]{_PART}[0-9A-Z](?:{_PART}[0-9A-Z]){{3,5}}(?:应急|[警学挂试领港澳使])?"),
    re.compile(rf"WJ{_PART}[{_PROVINCES}]?(?:{_PART}[0-9A-Z]){{4,6}}"),
    re.compile(rf"[0-9A-Z](?:{_PART}[0-9A-Z]){{16,}}(?<=[0-9]{{2}})"),
    re.compile(rf"(?<![{_CHINESE_DIGITS}])[{_CHINESE_DIGITS}](?:{_PART}[{_CHINESE_DIGITS}]){{6,}}"),
    re.compile(rf"[0-9](?:{_PART}[0-9]){{4,}}X?"),
    re.compile(r"(?=[A-Z]*[0-9])(?![PCBU][0-9A-F]{4}(?:[0-9A-F]{2})?(?![0-9A-Z]))[0-9A-Z]{6,}"),
)
_NO_WORD = re.compile(r"[^0-9A-Z\u3400-\u9fff\U00020000-\U0003ffff]+")
_CODES = re.compile(r"[0-9A-Z][0-9A-Z./-]{1,23}")
_PERSONAL_CODE = re.compile(r"1[3-9][0-9]{9}|^(?:00?86)?0[0-9]{9,11}$|^[48]00[0-9]{7}$|[0-9]{15}|[0-9A-Z]{17}")


@lru_cache(maxsize=65_536)
def symptom(text: str) -> str:
    """A fault text as it is compared and told; empty where nothing comparable is left.

    `客户反映：发动机异响，电话138-0000-0012` -> `发动机异响`. Doing it twice changes nothing.
    """
    return _reduced(text, fillers=True)


@lru_cache(maxsize=65_536)
def part_name(text: str) -> str:
    """A part's name as it is compared and told; empty for a placeholder and where nothing is left."""
    return _reduced(text, fillers=False)


@lru_cache(maxsize=65_536)
def part_code(text: str) -> str:
    """A part's code in capitals without blanks; empty where it is none, or looks like a phone, VIN or ID number."""
    code = "".join(unicodedata.normalize("NFKC", text).upper().split())
    plain = re.sub(r"[./-]", "", code)
    if is_placeholder(text) or not _CODES.fullmatch(code) or _PERSONAL_CODE.search(plain):
        return ""
    return code


def _reduced(text: str, *, fillers: bool) -> str:
    if is_placeholder(text) or len(text) > 4 * LONGEST:
        return ""
    found = _folded(text)
    while True:  # each round is shorter or the last: what stood apart may be a number once it is joined
        before = found
        if fillers:
            found = _FILLERS.sub("", found)
        for pattern in _TAKEN_OUT:
            found = pattern.sub(" ", found)
        found = _joined(found)
        if found == before:
            return "" if len(found) > LONGEST or is_placeholder(found) else found


def _folded(text: str) -> str:
    plain = unicodedata.normalize("NFKC", _UNSEEN.sub("", text)).upper()
    return unicodedata.normalize("NFKC", " ".join(plain.split()))


def _joined(text: str) -> str:
    """Words only: a blank stays between two words in Latin letters or digits, and nowhere else."""
    words = _NO_WORD.sub(" ", text).split()
    out = ""
    for word in words:
        apart = out and out[-1].isascii() and word[0].isascii()
        out += f" {word}" if apart else word
    return out
