"""Where the places in settings are: what is said relative to the folder of the call stands from anywhere else too.

A state outlives the call: letters, replays, the ledger and the next start ask for the same files from other folders.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from connectors import registry

_HEADS = ("sqlite:///", "file:")
"""What stands before the path of a store, and before that of a file that holds a secret."""
_PATHS = ("path", "schema")
"""Options that are local paths, whatever connector has them."""
_ELSEWHERE = {("sftp", "archive")}
"""Paths on another machine."""


def absolute(plain: dict[str, Any]) -> dict[str, Any]:
    """Settings of an exchange with absolute paths for relative ones, which are meant from the present folder."""
    routing, mapping = plain["routing"], plain["mapping"]
    kinds: tuple[registry.Kind, ...] = ("source", "sink", "sink")
    groups = ({"": plain["source"]}, plain["sinks"], plain["reconcile"]["ask"])
    source, sinks, ask = ({n: _part(k, p) for n, p in g.items()} for k, g in zip(kinds, groups, strict=True))
    return plain | {
        "source": source[""],
        "sinks": sinks,
        "reconcile": plain["reconcile"] | {"ask": ask},
        "routing": routing
        | {"table": _file(routing["table"]), "dealers": _path(routing["dealers"]), "oems": _path(routing["oems"])},
        "agreements": [_file(name) for name in plain["agreements"]],
        "mapping": mapping | {"dialect": _file(mapping["dialect"]), "profile": _file(mapping["profile"])},
        "prism": _path(plain["prism"]),
    }


def _part(kind: registry.Kind, part: dict[str, Any]) -> dict[str, Any]:
    """A source or a sink, and the sources that it holds."""
    name = part["connector"]
    paths = set(_PATHS)
    if registry.known(kind, name):
        paths.update(_of_paths(registry.connector(kind, name).Settings))
    told = {
        key: _path(value) if key in paths and (name, key) not in _ELSEWHERE else value for key, value in part.items()
    }
    inner, budget = part.get("of"), part.get("budget")
    if isinstance(inner, dict):
        told["of"] = {n: _part(kind, p) if isinstance(p, dict) and "connector" in p else p for n, p in inner.items()}
    if isinstance(budget, dict) and "folder" in budget:
        told["budget"] = budget | {"folder": _path(budget["folder"])}
    return {key: value if key == "of" else _deep(value) for key, value in told.items()}


def _of_paths(settings: type[BaseModel]) -> Iterator[str]:
    for name, field in settings.model_fields.items():
        if Path in (field.annotation, *get_args(field.annotation)):
            yield field.alias or name


def _deep(value: Any) -> Any:
    """A value with the SQLite stores and the files of secrets in it."""
    if isinstance(value, dict):
        return {key: _deep(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_deep(inner) for inner in value]
    for head in _HEADS:
        if isinstance(value, str) and value.startswith(head):
            place = value.removeprefix(head)
            return head + _path(place) if place and not place.startswith(":") else value
    return value


def _path(value: Any) -> Any:
    return str(Path(value).absolute()) if isinstance(value, str) and value else value


def _file(value: str) -> str:
    """A file of settings by its path; what is shipped is named without an ending."""
    return str(_path(value)) if value.endswith(".toml") else value
