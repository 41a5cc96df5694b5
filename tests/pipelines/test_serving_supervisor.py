"""The supervisor with children that crash, hang and refuse: all of them real processes."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.serving.supervisor import ECHO_SECONDS

FAMILY = Path(__file__).with_name("serving_family.py")
PATIENCE = 60


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(what)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Family:
    def __init__(self, folder, process):
        self.folder, self.process = folder, process
        self.said = []

    def pids(self, name):
        try:
            return [int(line) for line in (self.folder / f"{name}.pids").read_text().split()]
        except FileNotFoundError:
            return []

    def hear(self, wanted):
        """The next line on stdout that fits."""
        for line in self.process.stdout:
            self.said.append(json.loads(line))
            if wanted.items() <= self.said[-1].items():
                return self.said[-1]
        raise AssertionError((wanted, self.said, self.raw()))

    def raw(self):
        return (self.folder / "log").read_text()

    def log(self):
        return [json.loads(line) for line in self.raw().splitlines() if line.startswith("{")]

    def logged(self, event):
        return [line for line in self.log() if line["event"] == event]

    def end(self):
        return self.process.wait(PATIENCE)


@contextmanager
def family(folder, *children, **more):
    given = {"children": [{"folder": str(folder), **one} for one in children], **more}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(FAMILY), "parent", json.dumps(given)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=FAMILY.parents[2],
        )
    made = Family(folder, process)
    try:
        yield made
    finally:
        process.kill()
        process.wait(PATIENCE)
        process.stdout.close()
        for one in children:
            for pid in made.pids(one["name"]):
                wait_for(lambda pid=pid: not alive(pid), f"{one['name']} {pid} is left behind")


def test_children_start_in_order_and_finish_when_told(tmp_path):
    door = {"name": "door", "does": "well", "after": "gateway"}
    with family(tmp_path, {"name": "gateway", "does": "well"}, door) as made:
        made.hear({"ready": True})
        events = [(line["event"], line["child"]) for line in made.log() if line["event"].startswith("child-")]
        assert events.index(("child-ready", "gateway")) < events.index(("child-started", "door"))
        made.process.send_signal(signal.SIGTERM)
        assert made.end() == 0
        assert (tmp_path / "gateway.finished").exists()
        assert (tmp_path / "door.finished").exists()


def test_ctrl_c_reaches_the_supervisor_and_it_finishes(tmp_path):
    with family(tmp_path, {"name": "a", "does": "well"}) as made:
        made.hear({"ready": True})
        made.process.send_signal(signal.SIGINT)
        assert made.end() == 0
        assert (tmp_path / "a.finished").exists()


@pytest.mark.parametrize("does", ["crash-once"])
def test_a_crashed_child_starts_again_and_ready_is_said_once(tmp_path, does):
    with family(tmp_path, {"name": "a", "does": does}, {"name": "b", "does": "well"}) as made:
        made.hear({"ready": True})
        made.hear({"beat": "a", "starts": 2})
        assert [line for line in made.said if "ready" in line] == [{"ready": True}]
        crashed = made.logged("child-crashed")
        assert [(line["child"], line["text"]) for line in crashed] == [("a", "exit 9")]
        assert len(set(made.pids("a"))) == 2
        assert len(made.pids("b")) == 1


def test_a_child_that_is_killed_again_and_again_after_it_was_ready_is_never_given_up(tmp_path):
    with family(tmp_path, {"name": "a", "does": "die"}) as made:
        for starts in range(1, 7):
            made.hear({"beat": "a", "starts": starts})
        assert made.process.poll() is None
        assert {line["text"] for line in made.logged("child-crashed")} == {"SIGKILL"}


def test_a_child_that_crashes_at_every_start_ends_the_service_with_a_clear_error(tmp_path):
    with family(tmp_path, {"name": "good", "does": "well"}, {"name": "bad", "does": "crash"}) as made:
        assert made.end() == 3
        (said,) = [json.loads(line) for line in made.process.stdout if "gave_up" in line]
        assert "bad: 60 秒内启动失败 5 次" in said["gave_up"]
        assert " / failed to start 5 times" in said["gave_up"]
        assert len(made.pids("bad")) == 5
        assert (tmp_path / "good.finished").exists()


def test_a_child_that_waits_for_its_database_is_started_until_it_is_back(tmp_path):
    with family(tmp_path, {"name": "good", "does": "well"}, {"name": "late", "does": "wait"}) as made:
        made.hear({"ready": True})
        assert len(made.pids("late")) == 7
        assert len(made.pids("good")) == 1, "the other one went on"
        assert len(made.logged("child-waits")) == 6
        assert made.logged("child-crashed") == []


def test_a_child_whose_settings_cannot_be_used_ends_the_service_at_once(tmp_path):
    with family(tmp_path, {"name": "a", "does": "refuse"}) as made:
        assert made.end() == 2
        assert json.loads(made.process.stdout.readline()) == {"gave_up": "设置不可用 / cannot be used"}
        assert len(made.pids("a")) == 1


def test_a_child_that_hangs_on_stop_is_killed_in_the_end_and_the_others_finish(tmp_path):
    hung, good = {"name": "hung", "does": "hang"}, {"name": "good", "does": "well"}
    with family(tmp_path, hung, good, stop_seconds=0.5) as made:
        made.hear({"ready": True})
        made.process.send_signal(signal.SIGTERM)
        assert made.end() == 1
        assert [line["child"] for line in made.logged("child-killed")] == ["hung"]
        assert (tmp_path / "good.finished").exists()


def test_what_crashes_while_it_drains_is_started_again_and_a_second_signal_ends_that(tmp_path):
    with family(tmp_path, {"name": "a", "does": "well"}, stop_seconds=600, drain_seconds=600) as made:
        made.hear({"ready": True})
        made.process.send_signal(signal.SIGTERM)
        wait_for(lambda: made.logged("stop"), "no stop")
        os.kill(made.pids("a")[0], signal.SIGKILL)
        wait_for(lambda: len(made.logged("child-ready")) == 2, "not started again")
        assert not (tmp_path / "a.finished").exists()
        time.sleep(ECHO_SECONDS)  # what comes sooner is the first signal's echo
        made.process.send_signal(signal.SIGTERM)
        assert made.end() == 0
        assert (tmp_path / "a.finished").exists()


def test_a_second_signal_stops_at_once(tmp_path):
    with family(tmp_path, {"name": "hung", "does": "hang"}, stop_seconds=600) as made:
        made.hear({"ready": True})
        made.process.send_signal(signal.SIGTERM)
        wait_for(lambda: made.logged("stop"), "no stop")
        time.sleep(ECHO_SECONDS)  # or it would be the first signal's echo
        made.process.send_signal(signal.SIGTERM)
        assert made.end() == 1


def test_a_signal_that_comes_to_the_process_and_to_its_group_is_one(tmp_path):
    with family(tmp_path, {"name": "a", "does": "well"}, stop_seconds=600, drain_seconds=600) as made:
        made.hear({"ready": True})
        made.process.send_signal(signal.SIGTERM)
        made.process.send_signal(signal.SIGINT)  # two of one kind might come as one
        wait_for(lambda: made.logged("stop"), "no stop")
        os.kill(made.pids("a")[0], signal.SIGKILL)
        wait_for(lambda: len(made.logged("child-ready")) == 2, "not started again: it drains no more")
        time.sleep(ECHO_SECONDS)  # or it would be the first signal's echo
        made.process.send_signal(signal.SIGTERM)
        assert made.end() == 0


def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path):
    grand = {"name": "grand", "does": "parent-of"}
    with family(tmp_path, {"name": "a", "does": "well"}, {"name": "hung", "does": "hang"}, grand) as made:
        made.hear({"ready": True})
        pids = [pid for name in ("a", "hung", "grand") for pid in made.pids(name)]
        assert len(pids) == 4
        assert all(alive(pid) for pid in pids)
        made.process.kill()
        made.end()
        for pid in pids:
            wait_for(lambda pid=pid: not alive(pid), pid)
        assert not (tmp_path / "a.finished").exists()


def test_what_a_child_started_ends_with_it(tmp_path):
    with family(tmp_path, {"name": "a", "does": "parent-of"}) as made:
        made.hear({"ready": True})
        child, inner = made.pids("a")
        os.kill(child, signal.SIGKILL)
        wait_for(lambda: not alive(inner), "the inner process is left behind")
        made.hear({"beat": "a", "starts": 2})


def test_sighup_reaches_the_children_as_an_order(tmp_path):
    with family(tmp_path, {"name": "a", "does": "well"}) as made:
        made.hear({"ready": True})
        made.process.send_signal(signal.SIGHUP)
        heard = tmp_path / "a.heard"
        wait_for(lambda: heard.exists() and heard.read_text().endswith("}}"), "no order")
        assert json.loads(heard.read_text()) == {"order": "reload", "role": {"n": 1}}


def test_a_terminal_that_is_closed_ends_the_service(tmp_path):
    given = {"children": [{"folder": str(tmp_path), "name": "a", "does": "well"}]}
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, str(FAMILY), "parent", json.dumps(given)])  # noqa: S606 - ours
    try:
        said = b""
        while b'{"ready": true}' not in said:
            said += os.read(terminal, 4096)
    finally:
        os.close(terminal)
    wait_for(lambda: (tmp_path / "a.finished").exists(), "the child did not finish")
    assert os.WIFEXITED(os.waitpid(pid, 0)[1])  # with what code is nobody left to see


def test_a_restarted_child_finishes_first_and_its_end_is_no_crash(tmp_path):
    with family(tmp_path, {"name": "a", "does": "well"}, restart="well") as made:
        made.hear({"ready": True})
        made.process.send_signal(signal.SIGHUP)
        made.hear({"beat": "a", "starts": 2})
        assert (tmp_path / "a.finished").exists()
        assert made.logged("child-crashed") == []


def test_a_child_that_hangs_on_restart_is_killed(tmp_path):
    with family(tmp_path, {"name": "a", "does": "hang"}, restart="well", stop_seconds=0.3) as made:
        made.hear({"ready": True})
        made.process.send_signal(signal.SIGHUP)
        made.hear({"beat": "a", "starts": 2})
        assert [line["child"] for line in made.logged("child-killed")] == ["a"]
