"""Moments in documents: aware, in China's time, so that one moment is always written the same."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime

from mappings.dates import FIRST_YEAR, LAST_YEAR, SHANGHAI


def _in_shanghai(moment: datetime) -> datetime:
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        message = f"年份须在 {FIRST_YEAR}-{LAST_YEAR} 之间 / a year from {FIRST_YEAR} to {LAST_YEAR}"
        raise ValueError(message)
    return moment.astimezone(SHANGHAI)


Moment = Annotated[AwareDatetime, AfterValidator(_in_shanghai)]
"""A moment of the years that dates may have (`mappings.dates`)."""
