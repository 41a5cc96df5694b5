"""An sshd of the tests' own: its port, host key, settings and authorized keys lie in a folder, and only SFTP is served.

    with serving(folder) as server:
        server.url(folder / "in")     # sftp://user@127.0.0.1:port/...
        server.settings(...)          # what a connector needs to be let in

It runs as whoever runs the tests, in the foreground, and dies with them.
"""

from __future__ import annotations

import getpass
import os
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from pipelines.local import processes

_CONFIG = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
AuthorizedKeysFile {folder}/authorized
PasswordAuthentication yes
KbdInteractiveAuthentication no
PubkeyAuthentication yes
AllowUsers {user}
Subsystem sftp internal-sftp
ForceCommand internal-sftp -d {folder}/home
AllowTcpForwarding no
MaxStartups 100
MaxSessions 100
LogLevel ERROR
PrintMotd no
"""
_KINDS = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ecdsa": lambda: ec.generate_private_key(ec.SECP256R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
}


def write_key(path: Path, kind: str = "ed25519", phrase: str = "") -> str:
    """Write a private key in OpenSSH's form; its public line."""
    key: Any = _KINDS[kind]()
    hidden = serialization.BestAvailableEncryption(phrase.encode()) if phrase else serialization.NoEncryption()
    form = serialization.PrivateFormat.OpenSSH
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, hidden))
    path.chmod(0o600)
    public: bytes = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return public.decode()


class Server:
    """The running sshd."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port

    def url(self, place: Path, port: int = 0) -> str:
        """The address of a folder."""
        return f"sftp://{getpass.getuser()}@127.0.0.1:{port or self.port}{place}"

    @property
    def home(self) -> Path:
        """The user's own folder, `/~/` in an address."""
        return self.folder / "home"

    def known(self, port: int) -> Path:
        """A known_hosts file that knows this server under a port (its own, or a proxy's before it)."""
        file = self.folder / f"known-{port}"
        public = (self.folder / "host.pub").read_text().strip()
        file.write_text(f"[127.0.0.1]:{port} {public}\n")
        return file

    def settings(self, place: Path, port: int = 0) -> dict[str, Any]:
        """What a connector needs to be let in."""
        return {
            "url": self.url(place, port),
            "known_hosts": str(self.known(port or self.port)),
            "key": f"file:{self.folder / 'client'}",
        }


def program() -> str:
    """Where sshd is: it is not on everybody's PATH."""
    found = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        message = "sshd is missing: run scripts/servers, or apt-get install openssh-server"
        raise RuntimeError(message)
    return found


@contextmanager
def serving(folder: Path, file_bytes: int = 0) -> Iterator[Server]:
    """The server, while it lasts; with `file_bytes` no file on it can grow beyond that."""
    (folder / "home").mkdir(parents=True, exist_ok=True)
    (folder / "host.pub").write_text(write_key(folder / "host"))
    (folder / "authorized").write_text(write_key(folder / "client") + "\n")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where a privileged sshd locks its children in
    process, port = _started(folder, file_bytes)
    try:
        yield Server(folder, port)
    finally:
        process.terminate()
        process.wait(30)


def _started(folder: Path, file_bytes: int) -> tuple[subprocess.Popen[bytes], int]:
    """Start it on a free port; on another one when somebody was quicker."""
    for _ in range(5):
        port = processes.free_ports(1)[0]
        (folder / "config").write_text(_CONFIG.format(folder=folder, port=port, user=getpass.getuser()))
        command = [program(), "-D", "-e", "-f", folder / "config"]
        more: dict[str, Any] = {}
        if file_bytes:
            # Python ignores SIGXFSZ, and so do its children that do not restore signals: a write then fails instead.
            more = {"restore_signals": False}
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            if file_bytes:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, before[1]))
            process = processes.spawn(command, os.environ, folder / "sshd.log", **more)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        if _listens(process, port):
            return process, port
    message = f"sshd did not start: {(folder / 'sshd.log').read_text()[-2000:]}"
    raise RuntimeError(message)


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    end = time.monotonic() + processes.PATIENCE
    while process.poll() is None and time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0 and probe.recv(4) == b"SSH-":
                return True
        time.sleep(0.02)
    return False
