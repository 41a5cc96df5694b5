"""Hosts of a test's own: network namespaces of Linux, where this machine lets us make them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_NET = "10.231"


class Host:
    """A network namespace: its loopback, and one cable to us. `gate` is our end of the cable, `address` its own."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self._cable = f"vg{os.getpid()}-{name}", f"vg{os.getpid() % 100_000}{name[0]}"
        self.gate, self.address = f"{_NET}.{number}.1", f"{_NET}.{number}.2"
        self.within = ("ip", "netns", "exec", self.name)

    def make(self) -> None:
        """Make it. Raises CalledProcessError where that is not allowed."""
        _ip("netns", "add", self.name)
        _ip("link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _ip("addr", "add", f"{self.gate}/30", "dev", self._cable)
        _ip("link", "set", self._cable, "up")
        for line in (f"addr add {self.address}/30 dev eth0", "link set eth0 up", "link set lo up"):
            _ip("-n", self.name, *line.split())

    def unplug(self) -> None:
        """Nothing passes any more, and nobody is told."""
        _ip("-n", self.name, "link", "set", "eth0", "down")

    def plug(self) -> None:
        """The network is there again."""
        _ip("-n", self.name, "link", "set", "eth0", "up")

    def remove(self) -> None:
        """Remove it, and its cable with it."""
        with suppress(subprocess.CalledProcessError):
            _ip("netns", "del", self.name)


def _ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True, capture_output=True)


@contextmanager
def hosts(*names: str) -> Iterator[dict[str, Host]]:
    """Hosts of these names; none where there can be none."""
    made = {name: Host(name, os.getpid() % 100 + 100 * at) for at, name in enumerate(names)}
    try:
        if shutil.which("ip") is None:
            yield {}
            return
        try:
            for one in made.values():
                one.make()
        except subprocess.CalledProcessError:
            yield {}
            return
        yield made
    finally:
        if shutil.which("ip") is not None:
            for one in made.values():
                one.remove()
