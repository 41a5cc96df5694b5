"""The page on `--json` names every member that commands print, in the section of the command."""

from __future__ import annotations

import inspect
import io
import json
import re
import sys
from pathlib import Path

import pytest

from pipelines.cli import main
from pipelines.cli.commands import COMMANDS
from pipelines.local.demo import Counts

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "json.md").read_text("utf-8")
GOOD = (ROOT / "tests" / "payloads" / "15_shanghai_webform_record.json").read_text("utf-8")
NAMES_ARE_DATA = {"destinations", "findings", "reasons", "members", "exchanges", "connectors"}
"""Members whose own members are names, not part of the form."""


def section(command):
    found = re.search(rf"^## [^\n]*`vingate {command}`.*?(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, command
    return set(re.findall(r"`([a-z_0-9]+)`", found[0]))


def members(value):
    """Every member name of a JSON value, but for objects that go by name."""
    if isinstance(value, list):
        return {name for item in value for name in members(item)}
    if not isinstance(value, dict):
        return set()
    deeper = (item for name, item in value.items() if name not in NAMES_ARE_DATA or isinstance(item, list))
    return {*value, *(name for item in deeper for name in members(item))}


@pytest.fixture
def state(tmp_path, capsys):
    """A state with one delivered record and one letter."""
    bad = json.loads(GOOD)
    bad["basicInfo"] |= {"costlistcode": "B", "vin": "", "companycode": "310100000000001"}
    good = json.loads(GOOD)
    good["basicInfo"]["companycode"] = "310100000000001"
    lines = "".join(json.dumps(one) + "\n" for one in (good, bad))
    (tmp_path / "in.ndjson").write_text(lines, "utf-8")
    bulk = str(ROOT / "deploy" / "exchanges" / "bulk-files.toml")
    out = f"sinks.provinces.path={tmp_path / 'out'}"
    arguments = [bulk, "--set", f"source.path={tmp_path / 'in.ndjson'}", "--set", out]
    assert main(["run", *arguments, "--state", str(tmp_path / "state"), "--json"]) == 0
    told = capsys.readouterr().out
    return tmp_path / "state", arguments, told


def test_the_page_names_every_member(state, capsys):
    folder, settings, ran = state
    there = ["--state", str(folder)]
    main(["letters", "list", *there, "--json"])
    name = json.loads(capsys.readouterr().out)["id"]
    main(["letters", "list", *there, "--json"])
    printed = {"run": ran, "letters list": capsys.readouterr().out}
    calls = {
        "judge": ["judge", str(folder.parent / "in.ndjson")],
        "check": ["check", *settings],
        "letters stats": ["letters", "stats", *there],
        "letters replay": ["letters", "replay", name, *there],
        "ledger": ["ledger", *there],
        "trace": ["trace", "--vin", "WP1AG2923CLA64129", *there],
        "explain": ["explain", "--vin", "WP1AG2923CLA64129", "--plate", "沪BL7806"],
        "mappings list": ["mappings", "list"],
        "plan": ["plan", "--records-per-day", "3000000", "--backlog", "1000000"],
        "version": ["version"],
    }
    for command, arguments in calls.items():
        assert main([*arguments, "--json"]) in (0, 1), command
        printed[command] = capsys.readouterr().out
    for command, text in printed.items():
        values = [json.loads(line) for line in text.splitlines()]
        shown = set(values[0]) if command == "explain" else members(values)
        assert shown, command
        known = section(command) | (section("run") if command == "ledger" else set())
        assert shown - known == set(), command


def test_the_members_of_a_shown_letter_are_named_too(state, capsys):
    folder, _, _ = state
    main(["letters", "list", "--state", str(folder), "--json"])
    name = json.loads(capsys.readouterr().out)["id"]
    main(["letters", "show", name, "--state", str(folder), "--json"])
    assert members(json.loads(capsys.readouterr().out)) - section("letters list") == set()
    main(["letters", "show", name, "--state", str(folder), "--unmask", "--by", "a", "--for", "b", "--json"])
    assert members(json.loads(capsys.readouterr().out)) - section("letters list") == set()


def test_json_is_utf_8_whatever_the_terminal_is(state, monkeypatch):
    folder, settings, _ = state
    there = ["--state", str(folder)]
    for arguments in (
        ["check", *settings],
        ["judge", str(folder.parent / "in.ndjson")],
        ["letters", "list", *there],
        ["letters", "stats", *there],
        ["ledger", *there],
        ["trace", "--vin", "WP1AG2923CLA64129", *there],
        ["sample", str(folder.parent / "样本"), "--scale", "0.001", "--days", "7"],
        ["version"],
    ):
        with io.BytesIO() as told, io.TextIOWrapper(told, "utf-16") as terminal, monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", terminal)
            assert main([*arguments, "--json"]) in (0, 1), arguments
            lines = told.getvalue().decode("utf-8").splitlines()
        assert all(isinstance(json.loads(line), dict) for line in lines), arguments
        assert lines, arguments


def every_command():
    """Each command as it is called, with the function behind it."""
    for command in COMMANDS:
        found = command.load()
        if not command.group:
            yield command.name, found
        else:
            for one in found.registered_commands:
                name = one.name or one.callback.__name__.rstrip("_").replace("_", "-")
                yield f"{command.name} {name}", one.callback


@pytest.mark.parametrize(
    ("name", "function"), list(every_command()), ids=lambda one: one if isinstance(one, str) else ""
)
def test_every_command_takes_json_and_stands_on_the_page(name, function):
    assert "as_json" in inspect.signature(function).parameters
    group, _, verb = name.partition(" ")
    told = [f"`vingate {name}`", f"`vingate {name} ", f"`vingate {name}|"]
    told += [f"`{verb}`" for _ in re.findall(rf"^## `vingate {group}`$", PAGE, re.MULTILINE) if verb]
    assert any(one in PAGE for one in told)


def test_the_page_names_what_the_demo_tells():
    assert {*Counts._fields, "refusal"} <= section("demo")
