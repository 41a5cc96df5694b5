"""`scripts/servers`: silent where nothing is missing, and a clear word with the remedy where it cannot install."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "servers"
PROGRAMS = {
    "rabbitmq-server": "usr/lib/rabbitmq/lib/rabbitmq_server-3/sbin/rabbitmq-server",
    "postgresql": "usr/lib/postgresql/15/bin/postgres",
    "openssh-server": "usr/sbin/sshd",
}


@pytest.fixture
def call(tmp_path):
    """Call the script with some programs there, and nothing on the path but what is named."""

    def run(there, **tools):
        for name in there:
            place = tmp_path / "root" / PROGRAMS[name]
            place.parent.mkdir(parents=True)
            place.touch(0o755)
        path = tmp_path / "bin"
        path.mkdir()
        for name, code in tools.items():
            (path / name.replace("_", "-")).write_text(f"#!{shutil.which('sh')}\n{code}\n")
            (path / name.replace("_", "-")).chmod(0o755)
        return subprocess.run(
            [shutil.which("bash"), SCRIPT],
            env={"PATH": str(path), "SERVERS_ROOT": str(tmp_path / "root")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    return run


def test_it_is_silent_where_nothing_is_missing(call):
    done = call(PROGRAMS, id="exit 9", apt_get="exit 9")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_apt_it_names_what_is_missing(call):
    done = call(["postgresql"])
    assert done.returncode == 1
    assert "rabbitmq-server openssh-server" in done.stderr
    assert "postgresql" not in done.stderr.splitlines()[0]


@pytest.mark.parametrize("tools", [{}, {"sudo": "exit 1"}])
def test_who_is_not_root_and_may_not_become_it_is_told_what_to_run(call, tools):
    done = call(["rabbitmq-server", "openssh-server"], id="echo 1000", apt_get="exit 9", **tools)
    assert done.returncode == 1
    assert "sudo apt-get install --no-install-recommends postgresql" in done.stderr
