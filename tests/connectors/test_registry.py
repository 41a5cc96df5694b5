"""Connectors are found by name, imported late, and built from settings that are checked."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from connectors import registry
from connectors.contracts import Misconfigured
from connectors.memory import MemorySink


def test_the_built_in_ones_are_there():
    assert {"avro", "files", "memory", "sql"} <= set(registry.names("source"))
    assert {"memory"} <= set(registry.names("feed"))
    assert {"avro", "files", "memory", "memory-parts", "sql"} <= set(registry.names("sink"))


@pytest.mark.parametrize("kind", ["source", "feed", "sink"])
def test_every_name_is_a_class_with_settings(kind):
    for name in registry.names(kind):
        settings = registry.connector(kind, name).Settings
        assert settings.model_config["extra"] == "forbid", name
        assert settings.model_config["frozen"], name


@pytest.mark.parametrize("build", [registry.source, registry.feed, registry.sink])
def test_an_unknown_name_is_answered_with_those_installed(build):
    with pytest.raises(Misconfigured) as caught:
        build("kafka", {})
    assert "kafka" in caught.value.message
    assert "memory" in caught.value.remedy


def test_naming_connectors_imports_none_of_them():
    code = (
        "import sys; from connectors import registry; registry.names('sink');"
        "print([m for m in ('sqlalchemy', 'fastavro', 'connectors.files') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _installed(monkeypatch, **places):
    points = [EntryPoint(name, place, "vingate.sinks") for name, place in places.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "vingate.sinks" else [])


def test_a_third_party_is_found_and_cannot_take_a_built_in_name(monkeypatch):
    _installed(monkeypatch, mine="connectors.memory:MemorySink", files="connectors.memory:MemorySink")
    assert isinstance(registry.sink("mine", {"hub": "x"}), MemorySink)
    assert registry.connector("sink", "files").__name__ == "FilesSink"
    assert "mine" in registry.names("sink")


@pytest.mark.parametrize("place", ["no.such.module:Thing", "connectors.memory:Nothing", "connectors.memory:Hub"])
def test_one_that_cannot_be_loaded_says_so(monkeypatch, place):
    _installed(monkeypatch, mine=place)
    with pytest.raises(Misconfigured) as caught:
        registry.sink("mine", {})
    assert place.partition(":")[0] in caught.value.message
    assert caught.value.remedy


def test_every_fault_of_the_settings_is_named_and_no_value_shown():
    with pytest.raises(Misconfigured) as caught:
        registry.sink("memory", {"mode": "s3cret", "every": 0, "hob": "s3cret"})
    text = str(caught.value)
    assert [name in text for name in ("mode", "every", "hob")] == [True] * 3
    assert "s3cret" not in text
