"""`vingate demo` from outside: the whole network starts, records reach the home province, and nothing is left."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

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
