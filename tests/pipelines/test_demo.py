"""`vingate demo` from outside: the whole network starts, records reach the home province, and nothing is left."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import pytest

from pipelines.cli import main
from pipelines.door.protocols.calls import REFUSALS, TOKEN_WRONG
from pipelines.local.shops import Payload, Shops

ROOT = Path(__file__).parents[2]
PATIENCE = 240


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(what())


def processes_of(folder):
    """Processes that name the folder in their arguments or their environment."""
    name, found = str(folder).encode(), []
    for one in Path("/proc").glob("[0-9]*"):
        try:
            text = (one / "cmdline").read_bytes() + (one / "environ").read_bytes()
        except OSError:
            continue
        if name in text and int(one.name) != os.getpid():
            found.append((int(one.name), text[:200]))
    return found


@pytest.fixture
def place():
    """A folder that the server's own user can pass through; pytest's are nobody else's."""
    with tempfile.TemporaryDirectory(prefix="vingate-demo-", ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o711)
        yield Path(made)


@pytest.fixture
def demo(place):
    folder, log = place / "demo", place / "log"
    command = [sys.executable, "-m", "pipelines", "demo", "--folder", str(folder), "--every", "0.5"]
    environment = {**os.environ, "OF_TEST": str(folder), "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out, start_new_session=True)
    process.said = lambda: log.read_text("utf-8")
    process.folder = folder
    yield process
    if process.poll() is None:
        process.kill()
        process.wait()


def test_records_reach_the_home_province_and_ctrl_c_leaves_no_process(demo):
    def at_home():
        assert demo.poll() is None, demo.said()
        return max(map(int, re.findall(r"车籍省 home (\d+)", demo.said())), default=0)

    wait_for(lambda: at_home() >= 10, demo.said)
    said = demo.said()
    assert len(re.findall(r"http://127\.0\.0\.1:\d+", said)) >= 6, said
    secrets = [one.read_text().split("@")[0].split(":")[-1] for one in demo.folder.glob("network/*/*.url")]
    assert len(secrets) == 9
    assert not any(secret in said for secret in secrets)
    assert len(processes_of(demo.folder)) > 8
    demo.send_signal(signal.SIGINT)
    assert demo.wait(PATIENCE) == 0, demo.said()
    wait_for(lambda: not processes_of(demo.folder), lambda: str(processes_of(demo.folder)))


def test_a_demo_that_is_killed_leaves_no_process(demo):
    wait_for(lambda: len(processes_of(demo.folder)) > 8, demo.said)
    demo.kill()
    demo.wait()
    wait_for(lambda: not processes_of(demo.folder), lambda: str(processes_of(demo.folder)))


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine").touch()
    command = [sys.executable, "-m", "pipelines", "demo", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert "is not empty" in done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["mine"]


class Refusing:
    """A door that ends every token after the third call with it, and remembers who registered and logged in."""

    def __init__(self):
        self.registered, self.calls = [], {}

    def __call__(self, request):
        body = json.loads(request.content.decode("utf-8", "replace"))
        if "accountcompany" in request.url.path:
            self.registered.append(str(len(self.registered)))
            return httpx.Response(200, json={"companycode": self.registered[-1]})
        if "getaccesstoken" in request.url.path:
            token = f"token-{len(self.calls)}-of-{body['companycode']}"
            self.calls[token] = 0
            return httpx.Response(200, json={"access_token": token})
        self.calls[body["access_token"]] += 1
        over = self.calls[body["access_token"]] > 3
        return httpx.Response(200, text=REFUSALS[TOKEN_WRONG] if over else "新增成功")


def test_shops_log_in_again_when_their_token_is_over(tmp_path, monkeypatch):
    lines = iter([Payload("S1", "T", "national", b'{"access_token": "T"}')] * 10)
    monkeypatch.setattr(Shops, "_stock", lambda self: lines)
    door = Refusing()
    with Shops("http://door", tmp_path) as shops:
        shops._client = httpx.Client(base_url="http://door", transport=httpx.MockTransport(door))
        shops._operators = {"S1": {"companyname": "某某汽修"}}
        for _ in range(10):
            shops.call()
    assert shops.told == {"sent": 10, "accepted": 10}
    assert (len(door.registered), len(door.calls)) == (1, 4)


@pytest.mark.parametrize("missing", ["account", "postgres", "rabbitmq"])
def test_what_is_not_installed_is_said_with_the_remedy(tmp_path, capsys, monkeypatch, missing):
    def nobody(name):
        raise KeyError(name)

    if missing == "account":
        monkeypatch.setattr("os.getuid", lambda: 0)
        monkeypatch.setattr("pwd.getpwnam", nobody)
    else:
        there = Path.glob
        monkeypatch.setattr(
            Path, "glob", lambda self, pattern: iter(()) if missing in str(self) + pattern else there(self, pattern)
        )
    monkeypatch.setattr("pipelines.local.network.passable", lambda folder: True)
    if missing == "postgres":
        monkeypatch.setattr("pipelines.local.rabbitmq.Node.start", lambda self: None)
    assert main(["demo", "--folder", str(tmp_path / "demo")]) == 3
    assert "run scripts/servers" in capsys.readouterr().err
