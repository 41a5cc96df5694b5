"""What the pages say is so: paths exist, commands have the options named, sessions print what is shown.

In a page, a fenced block after a line that ends in a file's name and a colon is that file; a `console` block is a
session, where `...` stands for anything.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, get_args, get_origin

import pytest

from mappings import layout

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BIN = Path(sys.executable).parent
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GROUPS = {"letters", "mappings", "cases", "companies", "import", "certificate", "state", "store"}
NAMED = re.compile(r"`([\w./-]+\.\w+)`:\n\n\Z")


class Fence(NamedTuple):
    """A fenced block: its language, its text, and the file that it is."""

    language: str
    text: str
    file: str


def fences(page):
    text = page.read_text("utf-8")
    for found in FENCE.finditer(text):
        named = NAMED.search(text[: found.start()])
        yield Fence(found[1], found[2], named[1] if named else "")


def commands(page):
    """Every call of vingate in a page: in sessions, and in running text between backticks."""
    text = page.read_text("utf-8")
    prose = FENCE.sub("", text)
    spoken = [" ".join(one.split()) for one in re.findall(r"`((?:\.venv/bin/)?vingate [^`]+)`", prose)]
    typed = [line.removeprefix("$ ") for one in fences(page) for line in one.text.splitlines() if "vingate " in line]
    calls = [re.split(r"[|>#]", one)[0] for one in (*spoken, *typed)]
    return [call for call in calls if re.match(r"(\.venv/bin/)?vingate ", call)]


def run(command, cwd):
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


@cache
def help_of(*words):
    from pipelines.cli.commands import COMMANDS

    assert words[0] in {command.name for command in COMMANDS}, f"no command {words[0]}"
    return run(shlex.join(["vingate", *words, "--help"]), ROOT)


def names(pages):
    return [str(page.relative_to(ROOT)) for page in pages]


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_path_that_a_page_names_exists(page):
    text = FENCE.sub("", page.read_text("utf-8"))
    quoted = re.findall(r"`([\w.-]+(?:/[\w.*-]+)*/?)`", text)
    linked = [target for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) if "://" not in target]
    local = [name for name in quoted if "/" in name and name.split("/")[0] in FOLDERS - {"var", ".venv", "examples"}]
    assert [name for name in local if not list(ROOT.glob(name.rstrip("/")))] == []
    assert [name for name in linked if not (page.parent / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_command_that_a_page_names_has_the_options_named(page):
    wrong = []
    for call in commands(page):
        words = re.findall(r"[^\s\[\]]+", call)[1:]
        path = [words[0], words[1].split("|")[0]] if words[0] in GROUPS and words[1:] else words[:1]
        known = set(re.findall(r"--[a-z-]+", help_of(*path)))
        asked = {word for word in re.findall(r"(?<=\s)--[a-z-]+", call) if word != "--help"}
        if not known or asked - known:
            wrong.append((call, sorted(asked - known)))
    assert wrong == []


def matches(expected, printed):
    """Whether the printed text is as shown, line ends aside, `...` standing for anything."""
    shown = "\n".join(line.rstrip() for line in expected.strip().splitlines())
    found = "\n".join(line.rstrip() for line in printed.strip().splitlines())
    return re.fullmatch(".*".join(map(re.escape, shown.split("..."))), found, re.DOTALL) is not None


def sessions(text):
    """Command and expected output, in order."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield command, expected


def tried(page, folder):
    """Write the files of a page into a folder, try its sessions there, and give the names of the files."""
    written = []
    for block in fences(ROOT / "docs" / page):
        if block.file:
            (folder / block.file).write_text(block.text, "utf-8")
            written.append(block.file)
        for command, expected in sessions(block.text) if block.language == "console" else ():
            printed = run(command.replace("../../", f"{ROOT}/"), folder)
            assert matches(expected, printed), f"$ {command}\n{printed}"
    return written


def test_a_new_shop_software_is_onboarded_as_the_page_says(tmp_path):
    tried("onboard-a-shop-software.md", tmp_path)
    assert (tmp_path / "our-shop.toml").exists()


def test_the_page_on_the_market_is_tried(tmp_path):
    for block in fences(ROOT / "docs/market.md"):
        if block.file:
            (tmp_path / block.file).write_text(block.text, "utf-8")
        for command, expected in sessions(block.text) if block.language == "console" else ():
            printed = run(command, tmp_path)
            assert matches(expected, printed), f"$ {command}\n{printed}"
    assert len(list((tmp_path / "certificates").iterdir())) == 2


def test_the_page_on_sizing_prints_what_is_shown(tmp_path):
    assert tried("sizing.md", tmp_path) == []


def test_the_page_on_waste_prints_what_is_shown(tmp_path):
    assert tried("waste.md", tmp_path) == ["order.json", "ledger.csv"]


def test_the_page_on_registers_of_others_is_tried(tmp_path):
    assert tried("reference-feeds.md", tmp_path) == ["vehicle.ndjson"]


def test_the_page_on_mappings_names_every_setting():
    page = (ROOT / "docs/onboard-a-shop-software.md").read_text("utf-8")
    table = page[page.index("\n## All settings\n") :]
    models = [layout.Layout, layout.Envelope, layout.Shape, layout.Recognise, layout.Section, layout.Rule]
    settings = {field.alias or name for model in models for name, field in model.model_fields.items()}
    values = {value for name in ("kind", "step", "notes") for value in spelled_out(layout.Shape, name)}
    assert [word for word in sorted(settings | values) if f"`{word}`" not in table and f"[{word}]" not in table] == []


def spelled_out(model, name):
    """The words that a setting may be, but for the empty one."""
    kind = model.model_fields[name].annotation
    choices = [choice for one in (kind, *get_args(kind)) if get_origin(one) is Literal for choice in get_args(one)]
    assert choices
    return filter(None, choices)


def test_the_readmes_sessions_print_what_is_shown():
    for block in fences(ROOT / "README.md"):
        for command, expected in sessions(block.text) if block.language == "console" else ():
            printed = run(command, ROOT)
            assert matches(expected, printed), f"$ {command}\n{printed}"


def test_the_readmes_first_screen_runs(tmp_path):
    state = tmp_path / "nation"
    ran = run(f"vingate nation --state {state} --scale 0.002 --brief; echo exit $?", ROOT)
    assert "balanced" in ran, ran
    assert "payloads accounted" in ran, "progress is told where no terminal is, too"
    assert "\nexit 0\n" in ran, ran
    vehicle = re.search(r"vingate trace --vin (\w{17})", ran)[1]
    (block,) = [one for one in fences(ROOT / "README.md") if "vingate trace" in one.text]
    for line in block.text.splitlines()[1:]:
        command = line.split("#")[0].replace("var/nation", str(state)).replace("LSVAL41Z5MD150780", vehicle)
        printed = run(f"{command}; echo exit $?", ROOT)
        status = "exit 1" if "vingate judge" in line else "exit 0"
        assert printed.rstrip().endswith(status), f"$ {command}\n{printed}"


@pytest.mark.parametrize(
    ("page", "file", "kept"),
    [
        ("onboard-a-shop-software.md", "jiangxiutong.toml", "new-shop-software/jiangxiutong.toml"),
        ("onboard-a-shop-software.md", "order.json", "new-shop-software/examples/jiangxiutong/order.in.json"),
        ("write-a-connector.md", "pyproject.toml", "connector/pyproject.toml"),
        ("write-a-connector.md", "vingate_frames.py", "connector/vingate_frames.py"),
        ("write-a-connector.md", "test_frames.py", "connector/tests/test_frames.py"),
    ],
)
def test_the_files_of_a_page_are_those_that_are_tested(page, file, kept):
    (block,) = [one for one in fences(ROOT / "docs" / page) if one.file == file]
    assert block.text == (ROOT / "examples" / kept).read_text("utf-8")


def test_the_two_commands_are_verbs_of_make():
    listed = run("make --no-print-directory help", ROOT)
    for verb in ("run", "test", "check", "bench", "lock", "clean"):
        assert re.search(rf"^  make {verb}\s+\S", listed, re.MULTILINE), listed
    assert shutil.which("make")
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == "make test"


def test_a_page_that_lies_is_caught(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("Run `vingate judge --no-such-option FILE`.\n\n`x.json`:\n\n```json\n{}\n```\n", "utf-8")
    assert commands(page) == ["vingate judge --no-such-option FILE"]
    assert [one.file for one in fences(page)] == ["x.json"]
    assert not matches("a\n...\nc", "a\nb")
    with pytest.raises(AssertionError, match="no-such-option"):
        test_every_command_that_a_page_names_has_the_options_named(page)
