"""The house in order: locks fit the dependencies, and what is installed is all that the packages need."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("pipelines", "dlq", "routing", "connectors", "mappings")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
RUN = [*PYPROJECT["project"]["dependencies"], *PYPROJECT["dependency-groups"]["build"]]
LOCKS = {
    "requirements.lock": RUN,
    "requirements-dev.lock": [*RUN, *PYPROJECT["project"]["optional-dependencies"]["dev"]],
}


def pins(lock):
    """Name -> version and count of hashes."""
    text = (ROOT / lock).read_text("utf-8").replace("\\\n", " ")
    found = re.findall(r"^([a-z0-9.-]+)==(\S+)(.*)$", text, re.MULTILINE)
    assert len(found) == len(text.strip().splitlines()), "a line that is no pin"
    return {name: (version, rest.count("--hash=sha256:")) for name, version, rest in found}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_every_dependency_with_hashes(lock):
    locked = pins(lock)
    named = {re.split(r"[^A-Za-z0-9.-]", one)[0].lower() for one in LOCKS[lock]}
    assert named - set(locked) == set(), "run `make lock`"
    assert [name for name, (_, hashes) in locked.items() if not hashes] == []


def test_both_locks_agree():
    run, dev = pins("requirements.lock"), pins("requirements-dev.lock")
    assert {name: dev[name] for name in run} == run


def test_locks_name_no_host():
    for lock in LOCKS:
        text = (ROOT / lock).read_text("utf-8")
        assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host", text), lock


def test_every_file_of_the_packages_is_shipped():
    shipped = PYPROJECT["tool"]["setuptools"]["package-data"]["*"]
    endings = {".py", *(Path(pattern).suffix for pattern in shipped)}
    listed = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git here")
    files = [Path(name) for name in listed.stdout.splitlines()]
    assert [str(file) for file in files if file.suffix not in endings] == []
    code = {file.parent for file in files if file.suffix == ".py"}
    assert [str(folder) for folder in code if not (ROOT / folder / "__init__.py").exists()] == []


def test_no_file_of_the_project_is_another_ones_name():
    modules = {path.stem for package in PACKAGES for path in (ROOT / package).glob("*.py")}
    assert modules & {"pika", "fastavro", "sqlalchemy", "orjson", "typer", "rich"} == set()


def set_up(folder, python):
    """Call the set-up in a bare checkout, with nothing on the path but the basic tools and this interpreter."""
    tools, scripts = folder / "bin", folder / "clone" / "scripts"
    tools.mkdir()
    scripts.mkdir(parents=True)
    for tool in ("bash", "dirname", "id", "rm", "sh"):
        (tools / tool).symlink_to(shutil.which(tool))
    (tools / "python3").write_text(f"#!/bin/sh\n{python}\n")
    (tools / "python3").chmod(0o755)
    script = scripts / "setup"
    script.write_bytes((ROOT / "scripts/setup").read_bytes())
    command = [tools / "bash", script, "requirements.lock"]
    return subprocess.run(command, env={"PATH": str(tools)}, capture_output=True, text=True)


def test_the_set_up_refuses_an_interpreter_that_is_too_old(tmp_path):
    done = set_up(tmp_path, "exit 1")
    assert done.returncode == 1
    assert "Python 3.11" in done.stderr
    assert "apt-get install" in done.stderr


def test_the_set_up_names_the_package_that_debian_lacks(tmp_path):
    lacking = f'case "$2" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"'
    done = set_up(tmp_path, lacking)
    assert done.returncode == 1
    assert f"apt-get install python3.{sys.version_info[1]}-venv" in done.stderr
    assert not (tmp_path / "clone" / ".venv").exists()
