"""The examples work as the how-tos say: a mapping for a new shop software, and a connector in a package of its own."""

import os
import shutil
import subprocess
import sys

import pytest

from mappings.examples import run_examples


def test_the_example_mapping_passes_its_own_examples(root):
    results = run_examples(str(root / "examples/new-shop-software/jiangxiutong.toml"))
    assert [(one.example, one.differences) for one in results] == [("order", ())]


def test_an_example_that_does_not_hold_is_seen(root, tmp_path):
    folder = shutil.copytree(root / "examples/new-shop-software", tmp_path / "mine")
    expected = folder / "examples/jiangxiutong/order.expected.json"
    expected.write_text(expected.read_text("utf-8").replace("21560", "2156"), "utf-8")
    (result,) = run_examples(str(folder / "jiangxiutong.toml"))
    assert not result.passed
    assert "members.mileage" in result.differences[0]


@pytest.fixture(scope="module")
def package(root, tmp_path_factory):
    """The example connector, copied out of the checkout and installed into a folder of its own."""
    folder = shutil.copytree(root / "examples/connector", tmp_path_factory.mktemp("third-party") / "connector")
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", "site"]
    install = [sys.executable, "-m", "pip", "install", *options, "."]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def _run(package, root, *arguments):
    path = os.pathsep.join([str(package / "site"), str(root)])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=package, env=environment, capture_output=True, text=True)


def test_the_example_connector_passes_the_contract_suite(package, root):
    done = _run(package, root, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert done.returncode == 0, done.stdout
    assert "31 passed" in done.stdout


def test_the_example_connector_is_found_by_name(package, root):
    done = _run(package, root, "-c", "from connectors import registry; print(registry.names('source'))")
    assert "'frames'" in done.stdout, done.stderr
