"""Paths of members: parsed from mapping files, looked up in trees, and written for people."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from mappings.trees import Json, fold

Path = tuple[str, ...]
"""Folded member names; `[]` stands for every row of a list."""


@lru_cache(maxsize=4096)
def parse_path(text: str, *, whole: bool = False) -> Path:
    """`basicInfo.vin` -> ("basicinfo", "vin"), `a[].b` -> ("a", "[]", "b"); `whole`: the text is one name (CSV)."""
    if whole:
        return (fold(text),)
    steps: list[str] = []
    for name in text.split("."):
        bare, rows = (name[:-2], ["[]"]) if name.endswith("[]") else (name, [])
        steps += [fold(bare), *rows]
    return tuple(steps)


def reach(root: Json, path: Path) -> Json:
    """The value at a path through objects, or None."""
    for name in path:
        if not isinstance(root, dict):
            return None
        root = root.get(name)
    return root


def present(root: Json, path: Path) -> bool:
    """Whether there is a member at a path through objects, null included."""
    if not path:
        return True
    parent = reach(root, path[:-1])
    return isinstance(parent, dict) and path[-1] in parent


def written(path: tuple[str | int, ...], spelled: Mapping[str, str]) -> str:
    """A path as the partner wrote it: `basicInfo.gd_id`, `vehiclePartsList[0].price`; long names are shortened."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step == "[]":
            text += step
        else:
            text += f".{spelled.get(step, step)[:64]}"
    return text.removeprefix(".")


def field_of(canonical: Mapping[Path, str], place: tuple[str | int, ...]) -> str:
    """Our name for a place of the payload (`parts[0].quantity`), or `""` if the mapping has none for it."""
    general = tuple("[]" if isinstance(step, int) else step for step in place)
    field = canonical.get(general, "")
    if not field and general[-1:] == ("[]",) and (rows := canonical.get(general[:-1])):
        field = f"{rows}[]"
    numbers = [step for step in place if isinstance(step, int)]
    return field.replace("[]", f"[{numbers[-1]}]", 1) if numbers else field
