"""The examples of docs/talk-to-a-peer.md are settings that connectors take."""

from __future__ import annotations

import re
import tomllib

from connectors import registry
from pipelines.settings import Connector, Destinations


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
            told = (Destinations if kind == "sink" else Connector).model_validate(part)
            built.append(type(make[kind](told.connector, told.options)).__name__)
    assert built == ["HttpSink"] * 5 + ["HttpFeed", "SftpSource", "SftpSink", "QuerySource", "AmqpSink"]
