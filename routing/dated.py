"""Entries of registers that are in force from a day on, to a day or until further notice."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _compact_date(value: object) -> object:
    if isinstance(value, str):
        return date.fromisoformat(value)  # reads yyyyMMdd and yyyy-MM-dd
    return value


Day = Annotated[date, BeforeValidator(_compact_date)]
"""A day, also as `yyyyMMdd` or `yyyy-MM-dd`."""


class Dated(BaseModel):
    """An entry with `from` and `to`, both days included."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    valid_from: Day = Field(alias="from")
    valid_to: Day | None = Field(default=None, alias="to")
    """Last day of validity; absent while it is in force."""

    @model_validator(mode="after")
    def _in_order(self) -> Any:  # noqa: ANN401 - pydantic wants the model itself back
        if self.valid_to is not None and self.valid_to < self.valid_from:
            message = "to 早于 from / to is earlier than from"
            raise ValueError(message)
        return self

    def valid(self, day: date) -> bool:
        """Whether the entry is in force on that day, both bounds included."""
        return self.valid_from <= day and (self.valid_to is None or day <= self.valid_to)
