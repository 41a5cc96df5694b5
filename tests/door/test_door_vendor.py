"""Every dialect of a real `vingate serve`, called by a program that knows nothing of this one (`vendor.py`)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.state import State
from pipelines.trace import trace

VENDOR = Path(__file__).with_name("vendor.py")
PATIENCE = 120
USCC = "91310112132259241T"
VINS = (
    "WP1AG2923CLA64129",
    "LVSHCAMB1CE054249",
    "LRW3E7FS6PC834425",
    "LFV2A21K8G4043336",
    "WVWLJ57N4FV028811",
    "WP0ZZZ99ZTS392124",
)
"""What the vendor's program sends, whatever the dialect."""


def run(*command):
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def service(tmp_path, root):
    """What `vingate serve` said, and its state's folder."""
    role = root / "deploy/roles/province-embedded.toml"
    command = [sys.executable, "-m", "pipelines", "serve", str(role), "--set", "door.port=0"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--state", str(tmp_path / "state")], cwd=root, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        line = process.stdout.readline()
        assert line, (tmp_path / "log").read_text()
        yield json.loads(line), tmp_path / "state"
        process.terminate()
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_vendor_knows_nothing_of_us():
    imported = set(re.findall(r"^(?:import|from) (\w+)", VENDOR.read_text("utf-8"), re.MULTILINE))
    assert imported <= set(sys.stdlib_module_names)


def test_every_dialect_by_a_client_written_from_the_document(service):
    told, state = service

    def step(name, *given):
        return run(VENDOR, told["door"], told["foshan"], name, *given)

    def secret(company, name):
        return run("-m", "pipelines", "companies", "application", company, name, "--state", state, "--json")["secret"]

    shop = step("national")["company"]
    step("chengdu")
    step("foshan", shop)
    step("shanghai", "shop-app", secret(shop, "shop-app"))
    step("secondary", USCC, secret(shop, USCC))
    step("modern", shop)
    until = time.monotonic() + PATIENCE
    with State(state, own=False) as seen:
        for vin in VINS:
            while not trace(seen, seen.sealer(), vin)["versions"]:
                assert time.monotonic() < until, vin
                time.sleep(0.1)
    assert run("-m", "pipelines", "ledger", "--state", state, "--json")["balanced"] is True
