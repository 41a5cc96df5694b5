"""The examples of docs/talk-to-a-peer.md are settings that connectors take."""

from __future__ import annotations

import re
import tomllib

from connectors import registry

OTHERS = ("connector", "for")


def test_every_example_builds(root, tmp_path):
    page = (root / "docs" / "talk-to-a-peer.md").read_text("utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    built = []
    for block in blocks:
        given = tomllib.loads(block.replace("{state}", str(tmp_path)))
        parts = [("source", given["source"])] if "source" in given else []
        parts += [("feed", one) for one in given.get("feeds", {}).values()]
        parts += [("sink", one) for one in given.get("sinks", {}).values()]
        parts += [("sink", one) for one in given.get("reconcile", {}).get("ask", {}).values()]
        make = {"source": registry.source, "feed": registry.feed, "sink": registry.sink}
        for kind, part in parts:
            options = {name: value for name, value in part.items() if name not in OTHERS}
            built.append(type(make[kind](part["connector"], options)).__name__)
    assert built == ["HttpSink"] * 5 + ["HttpFeed", "SftpSource", "SftpSink", "QuerySource"]
