"""What every connector's settings have in common: nothing unknown, nothing changed later, no input in error texts."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ConnectorSettings(BaseModel):
    """Base of the `Settings` of every connector.

    Unknown members are refused, values are frozen (a connector built from them can be pickled and built again
    anywhere), and a validation error never repeats the value: it may be a password.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True)
