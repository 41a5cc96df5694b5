"""What the contracts share."""
# ruff: noqa: S101, D102 - a suite is made of assertions, and a test's name says what it shows

from __future__ import annotations

import pickle
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from connectors import registry
from connectors.contracts import (
    Misconfigured,
)

TEXT = "机油滤清器 \U00020bb7 é"
"""Stands in every envelope and record: more than ASCII, and more than the basic plane."""


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """A disk on which no file can grow beyond `limit` bytes, for this process; writes fail with an OSError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Contract:
    """What every connector must do, source, feed or sink."""

    name = ""
    """The connector's name in the registry; empty if it has none."""
    kind: registry.Kind = "source"

    def working_settings(self, place: Path) -> dict[str, Any]:
        """Settings, as a settings file would have them, that work."""
        raise NotImplementedError

    def broken_settings(self, place: Path) -> dict[str, Any] | None:
        """Settings that are well-formed and cannot work (no such folder or table); None if there are none."""
        raise NotImplementedError

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """An empty folder."""
        return tmp_path

    def build(self, settings: dict[str, Any]) -> Any:  # noqa: ANN401 - any kind
        """Build the connector by its name."""
        build: dict[registry.Kind, Callable[[str, dict[str, Any]], Any]] = {
            "source": registry.source,
            "feed": registry.feed,
            "sink": registry.sink,
        }
        return build[self.kind](self.name, settings)

    def test_it_is_found_by_name(self, place: Path) -> None:
        built = self.build(self.working_settings(place))
        assert type(built) is registry.connector(self.kind, self.name)

    def test_unknown_settings_are_refused_with_the_known_ones(self, place: Path) -> None:
        with pytest.raises(Misconfigured) as caught:
            self.build({**self.working_settings(place), "no_such_setting": "s3cret"})
        assert "no_such_setting" in caught.value.message
        assert caught.value.remedy
        assert "s3cret" not in str(caught.value)

    def test_check_says_what_it_found(self, place: Path) -> None:
        lines = self.build(self.working_settings(place)).check()
        assert lines
        assert all(isinstance(line, str) and line for line in lines)

    def test_check_of_what_cannot_work_names_a_remedy(self, place: Path) -> None:
        settings = self.broken_settings(place)
        if settings is None:
            pytest.skip("nothing about this connector can be misconfigured")
        with pytest.raises(Misconfigured) as caught:
            self.build(settings).check()
        assert caught.value.remedy
        again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
        assert str(again) == str(caught.value)

    def test_it_can_be_pickled_before_use(self, place: Path) -> None:
        built = self.build(self.working_settings(place))
        assert type(copy(built)) is type(built)


def copy(value: Any) -> Any:  # noqa: ANN401 - whatever goes in
    """The value, pickled and unpickled."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes
