"""The nation in small: provinces with plate letters, some county divisions of each, and a weight for its traffic.

Codes and names are those of GB/T 2260 (domain table 7.1), plate letters those of domain table 7.2; a few counties of
each province are enough for an invented nation.
"""

from __future__ import annotations

from typing import NamedTuple

BINGTUAN = "bt"
"""Key of 兵团: it has no code of level 1 in GB/T 2260."""


class Place(NamedTuple):
    """A county-level division with the name that shops there use for themselves."""

    division: str
    city: str


class Province(NamedTuple):
    """One of the 32 provincial systems."""

    key: str
    """GB/T 2260 level 1, or `bt`."""
    character: str
    """Plate character (兵团 bears 新, as all of Xinjiang)."""
    letters: str
    """Issuing letters that are in use."""
    weight: int
    """Share of the nation's repairs, in thousandths."""
    places: tuple[Place, ...]


def _province(key: str, character: str, letters: str, weight: int, places: str) -> Province:
    pairs = (item.split(":") for item in places.split())
    return Province(key, character, letters, weight, tuple(Place(code, city) for code, city in pairs))


PROVINCES: tuple[Province, ...] = (
    _province("11", "京", "ABCEFHJKLMNPQY", 42, "110105:北京 110108:北京 110106:北京"),
    _province("12", "津", "ABCDEFGHJKLMNQR", 20, "120101:天津 120103:天津"),
    _province("13", "冀", "ABCDEFGHJRT", 44, "130102:石家庄 130203:唐山 130602:保定"),
    _province("14", "晋", "ABCDEFHJKLM", 22, "140105:太原 140213:大同"),
    _province("15", "蒙", "ABCDEFGHJKLM", 16, "150102:呼和浩特 150203:包头"),
    _province("21", "辽", "ABCDEFGHJKLMNP", 30, "210102:沈阳 210202:大连"),
    _province("22", "吉", "ABCDEFGHJK", 18, "220102:长春 220202:吉林"),
    _province("23", "黑", "ABCDEFGHJKLMNPR", 20, "230102:哈尔滨 230603:大庆"),
    _province("31", "沪", "ABCDEFGHJKLMN", 52, "310115:上海 310104:上海 310112:上海"),
    _province("32", "苏", "ABCDEFGHJKLMN", 78, "320102:南京 320508:苏州 320211:无锡"),
    _province("33", "浙", "ABCDEFGHJKL", 70, "330106:杭州 330203:宁波 330302:温州"),
    _province("34", "皖", "ABCDEFGHJKLMNPRS", 32, "340102:合肥 340202:芜湖"),
    _province("35", "闽", "ABCDEFGHJK", 32, "350102:福州 350203:厦门"),
    _province("36", "赣", "ABCDEFGHJKLM", 22, "360102:南昌 360702:赣州"),
    _province("37", "鲁", "ABCDEFGHJKLMNPQRSUVWY", 72, "370102:济南 370202:青岛 370602:烟台"),
    _province("41", "豫", "ABCDEFGHJKLMNPQRSU", 48, "410102:郑州 410302:洛阳"),
    _province("42", "鄂", "ABCDEFGHJKLMNPQRS", 36, "420102:武汉 420502:宜昌"),
    _province("43", "湘", "ABCDEFGHJKLMNSU", 32, "430102:长沙 430202:株洲"),
    _province("44", "粤", "ABCDEFGHJKLMNPQRSTUVWXY", 96, "440604:佛山 440103:广州 440303:深圳 441900:东莞"),
    _province("45", "桂", "ABCDEFGHJKLMNPR", 22, "450102:南宁 450202:柳州"),
    _province("46", "琼", "ABCDEF", 10, "460105:海口 460203:三亚"),
    _province("50", "渝", "ABCDFGHN", 26, "500103:重庆 500105:重庆"),
    _province("51", "川", "ABCDEFGHJKLMQRSTUVWXYZ", 58, "510107:成都 510104:成都 510703:绵阳"),
    _province("52", "贵", "ABCDEFGHJ", 18, "520102:贵阳 520302:遵义"),
    _province("53", "云", "ACDEFGHJKLMNPQRS", 22, "530102:昆明 530302:曲靖"),
    _province("54", "藏", "ABCDEFG", 3, "540102:拉萨"),
    _province("61", "陕", "ABCDEFGHJKV", 26, "610102:西安 610302:宝鸡"),
    _province("62", "甘", "ABCDEFGHJKLMNP", 13, "620102:兰州 620502:天水"),
    _province("63", "青", "ABCDEFGH", 5, "630102:西宁"),
    _province("64", "宁", "ABCDE", 6, "640104:银川"),
    _province("65", "新", "ABCDEFGHJKLMNPQR", 14, "650102:乌鲁木齐 652301:昌吉"),
    _province(BINGTUAN, "新", "BCDEGJKNP", 5, "659001:石河子 659002:阿拉尔"),
)
"""The 31 provinces and 兵团, in the order of their keys."""

BY_KEY = {province.key: province for province in PROVINCES}
