"""Rules on single fields: each reader gives the typed value, or None, and remarks what is wrong with it.

A reader never raises for what a partner sent. What it returns beside a finding is the best reading of the field, so
that a profile which only flags still gets a record.
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

from mappings import plates, vin
from mappings.dates import day, day_in_shanghai, is_long_term
from mappings.folding import half_width
from mappings.numbers import number
from mappings.placeholders import clean, is_placeholder
from mappings.reportnumbers import linked
from mappings.rules.case import SCALARS, Case
from mappings.tables import table

_NO_YEAR = "IOQUZ0"
DATE_FORMS = "yyyyMMdd, yyyy-MM-dd [HH:mm:ss], yyyy/MM/dd"
_SCALAR = "文本或数字 / a text or number"
_SURROGATE = re.compile("[\ud800-\udfff]")


def scalar(case: Case, field: str, value: object) -> bool:
    """Whether a value is of a scalar kind; remarks STRUCTURE_WRONG otherwise."""
    if isinstance(value, SCALARS) and not isinstance(value, bool):
        return True
    case.wrong_kind(field, value, _SCALAR)
    return False


def text_of(case: Case, field: str, length: str, value: object) -> str | None:
    """A text: trimmed, numbers as plain digits; TOO_LONG over the profile's length, and kept whole."""
    if isinstance(value, str):
        text = value.strip()
    elif scalar(case, field, value):
        text = value.isoformat() if isinstance(value, date) else clean(value)
    else:
        return None
    if not text.isprintable() and _SURROGATE.search(text):
        text = _SURROGATE.sub("\ufffd", text)
        case.add("STRUCTURE_WRONG", field, text, "可编码的文本 / encodable text")
    most = case.profile.lengths.get(length)
    if most is not None and len(text) > most:
        case.add("TOO_LONG", field, text, f"<= {most}")
    return text


def required(case: Case, field: str) -> object:
    """The value of a mandatory member as sent, or None with MANDATORY_MISSING where it is a placeholder."""
    value = case.members.get(field)
    if is_placeholder(value):
        if field not in case.broken:
            case.add("MANDATORY_MISSING", field, value, "必填 / mandatory")
        return None
    return value


def required_text(case: Case, field: str) -> str | None:
    """A mandatory text."""
    value = required(case, field)
    return None if value is None else text_of(case, field, field, value)


def optional_text(case: Case, field: str) -> str | None:
    """An optional text; a placeholder counts as not given."""
    value = case.members.get(field)
    return None if is_placeholder(value) else text_of(case, field, field, value)


def company_code(case: Case) -> str | None:
    """The company's code: the payload's own, else the one that the envelope was authenticated for.

    Neither is MANDATORY_MISSING only where the exchange's source does not supply the company.
    """
    own = optional_text(case, "companycode")
    if own is not None:
        return own
    if not case.context.company and case.context.company_required and "companycode" not in case.broken:
        case.add("MANDATORY_MISSING", "companycode", case.members.get("companycode"), "必填 / mandatory")
    return case.context.company


def vehicle_number(case: Case) -> str | None:
    """The VIN, normalised: GB 16735 with rules 9 to 11. Its model year is a cross-field rule (`model_year`)."""
    value = case.members.get("vin")
    if is_placeholder(value):
        if "vin" not in case.broken:
            case.add("VIN_MISSING", "vin", value, "17 位 / 17 characters")
        return None
    sent = text_of(case, "vin", "vin", value)
    if sent is None:
        return None
    text = vin.normalise(sent)
    legal = vin.is_alphabet(text)
    if len(text) != vin.LENGTH:
        case.add("VIN_LENGTH", "vin", text, "17 位 / 17 characters")
    if not legal:
        case.add("VIN_ALPHABET", "vin", text, "0-9 A-Z 除 I O Q / 0-9 A-Z without I O Q")
    if legal and len(text) == vin.LENGTH:
        digit = vin.check_digit(text)
        if text[8] != digit:
            binds = vin.check_digit_binds(text)
            case.add("VIN_CHECK_DIGIT" if binds else "VIN_CHECK_DIGIT_NOT_APPLICABLE", "vin", text, f"[9] = {digit}")
    return text


def model_year(case: Case, text: str | None, repaired: date | None) -> None:
    """VIN_MODEL_YEAR: no year code under a maker that is bound to one, or a year after the repair's year + 1.

    A code recurs every 30 years; it is read against the year of receipt, not against the date under test.
    """
    if text is None or len(text) != vin.LENGTH:
        return
    year = vin.model_year(text, day_in_shanghai(case.context.received_at).year + 1)
    if year is None:
        if text[9] in _NO_YEAR and vin.check_digit_binds(text):
            case.add("VIN_MODEL_YEAR", "vin", text, f"[10] 不得为 / is none of {' '.join(_NO_YEAR)}")
    elif repaired is not None and year > repaired.year + 1:
        case.add("VIN_MODEL_YEAR", "vin", text, f"{year} <= {repaired.year + 1}")


def plate(case: Case) -> str | None:
    """The plate, normalised: GA 36 with rule 12."""
    value = required(case, "plate")
    text = None if value is None else text_of(case, "plate", "plate", value)
    if text is None:
        return None
    written = plates.normalise(text)
    found = plates.parse(written)
    if found is None:
        case.add("PLATE_SYNTAX", "plate", text, "GA 36")
        if not plates.province_key(written) and not plates.special(written):
            case.add("PLATE_PROVINCE_UNKNOWN", "plate", text, "省份简称或特殊号牌 / a province or a special kind")
    elif not found.letter_known:
        case.add("PLATE_LETTER_UNKNOWN", "plate", text, "发牌机关代号 / issuing letter")
    return written


def required_day(case: Case, field: str) -> date | None:
    """A mandatory date."""
    value = required(case, field)
    return None if value is None else day_of(case, field, value)


def optional_day(case: Case, field: str) -> date | None:
    """An optional date; 99990909 (long term), in any form of a date, and placeholders give None."""
    value = case.members.get(field)
    if is_placeholder(value) or is_long_term(value):
        return None
    return day_of(case, field, value)


def day_of(case: Case, field: str, value: object) -> date | None:
    """A date in one of the forms of rule 6; DATE_FORMAT where there is none, or no such day."""
    found = day(value)
    if found is None:
        if isinstance(value, SCALARS):
            case.add("DATE_FORMAT", field, value, DATE_FORMS)
        else:
            case.wrong_kind(field, value, _SCALAR)
    return found


def mileage(case: Case) -> Decimal | None:
    """The mileage in km."""
    value = required(case, "mileage")
    if value is None:
        return None
    found = number(value)
    if found is None:
        if isinstance(value, SCALARS):
            case.add("MILEAGE_NOT_NUMERIC", "mileage", value, "km")
        else:
            case.wrong_kind("mileage", value, _SCALAR)
    elif found < 0:
        case.add("MILEAGE_NEGATIVE", "mileage", value, ">= 0")
    elif not found:
        case.add("MILEAGE_ZERO", "mileage", value, "> 0")
    elif found > case.profile.limits["mileage_outlier"]:
        case.add("MILEAGE_OUTLIER", "mileage", value, f"<= {case.profile.limits['mileage_outlier']}")
    return found


def fault(case: Case) -> str | None:
    """The fault description: never mandatory (rule 8); a report number in it is linked (rule 24)."""
    value = case.members.get("faultdescription")
    if is_placeholder(value):
        if "faultdescription" not in case.broken:
            case.add("PLACEHOLDER_FAULT", "faultdescription", value, "故障描述 / a description")
        return clean(value)
    text = text_of(case, "faultdescription", "faultdescription", value)
    if text and (report := linked(text)):
        case.add("REPORT_LINK", "faultdescription", report)
    return text


def report_number(case: Case) -> None:
    """REPORT_LINK: the number of an inspection report in a member of its own (rule 24)."""
    number = optional_text(case, "test_no")
    if number:
        case.add("REPORT_LINK", "test_no", half_width(number), "")


def coded(case: Case, field: str, name: str, value: object) -> str | None:
    """A code of the table `name`; a text or short form is mapped where the profile maps (CODE_MAPPED)."""
    text = text_of(case, field, field, value)
    if text is None:
        return None
    codes = table(name)
    code = half_width(text).upper()
    if code in codes:
        return code
    mapped = codes.code_for(text)
    if mapped is not None and case.profile.maps_codes:
        case.add("CODE_MAPPED", field, text, mapped)
        return mapped
    case.add("CODE_NOT_IN_TABLE", field, text, mapped or ", ".join(codes.entries))
    return text
