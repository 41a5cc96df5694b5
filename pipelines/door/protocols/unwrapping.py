"""The members of a request that the door itself needs: token, company and password, wherever the dialect puts them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from mappings.findings import REJECT, Finding
from mappings.trees import STRUCTURE_WRONG, Json, Limits, Tree, TreeError, fold, parse, parse_text

_TOKEN = re.compile(rb'"access_token"[ \t\r\n]*:[ \t\r\n]*"([0-9A-Za-z_.-]{1,256})"').search


def quick_token(payload: bytes) -> str:
    """The token of a payload as clients write it; empty: it must be looked for (`members`).

    A token found inside another text would still be one that the caller knows.
    """
    found = _TOKEN(payload)
    return found[1].decode() if found else ""


def members(payload: bytes, path: Sequence[str], limits: Limits) -> tuple[dict[str, Any], dict[str, Any]]:
    """The members of the object at `path` and of the root, names folded; texts that hold JSON are parsed (rule 3).

    Raises:
        TreeError: not JSON, beyond the limits, or no object at the root; what is missing on the way is empty.
    """
    tree = parse(payload, limits)
    root = _object(tree.root, limits, tree)
    if root is None:
        raise TreeError(STRUCTURE_WRONG, "", "对象 / an object")
    node: dict[str, Any] | None = root
    for name in path:
        node = _object(node.get(fold(name)), limits, tree) if node is not None else None
    return node or {}, root


def text(value: Json) -> str:
    """A scalar as text, trimmed; empty for everything else."""
    if isinstance(value, str):
        return value.strip()
    return str(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else ""


def secret(value: Json) -> str:
    """A password: a text as it stands, or a number's digits."""
    return value if isinstance(value, str) else text(value)


def problem(error: TreeError) -> Finding:
    """What could not be read of a request."""
    return Finding(error.code, REJECT, "", error.value, error.expected)


def _object(value: Json, limits: Limits, tree: Tree) -> dict[str, Any] | None:
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        value = parse_text(value, limits, tree)
    return value if isinstance(value, dict) else None
