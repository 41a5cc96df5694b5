"""Bodies of calls from templates: JSON as a settings file writes it, with places that are filled in.

A string that is one place, such as `"{record.mileage}"`, becomes the value itself, whatever its type; a place inside a
longer string becomes text. `"{record}"` alone is the record's bytes exactly as they were encoded. After a `|` stands a
filter: `digits` (only the digits: 2026-03-01 becomes 20260301), `text`, `upper`, `lower`. An object with the members
`each` and `as` becomes a list: `as` filled in for every element of what stands at `each`, as `{item}`. A member `"*"`
is replaced by the members of the object that is its value.

    >>> render({"plate": "{record.plate}", "parts": {"each": "{record.parts}", "as": {"n": "{item.name}"}}},
    ...        {"record": {"plate": "京A12345", "parts": [{"name": "滤芯"}]}})
    {'plate': '京A12345', 'parts': [{'n': '滤芯'}]}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import orjson

from connectors.jsonpaths import at, text_of

_PLACE = re.compile(r"\{([a-z][a-z0-9_]*)((?:\.[\w-]+|\[\d+\])*)(?:\|([a-z]+))?\}")
_INDEX = re.compile(r"\[\d+\]")
_FILTERS: dict[str, Callable[[str], str]] = {
    "digits": lambda text: "".join(filter(str.isdecimal, text)),
    "text": str,
    "upper": str.upper,
    "lower": str.lower,
}


class UnfillableError(Exception):
    """A place names something that is not there; `of_record`: in the record, not in the settings."""

    def __init__(self, message: str, root: str = "record") -> None:
        super().__init__(message)
        self.of_record = root in ("record", "item")


class Record:
    """A record that a template asks for: its bytes, opened only where a place goes into it."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self._opened: Any = None

    def __str__(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def opened(self) -> Any:  # noqa: ANN401 - any JSON value
        """The record's value.

        Raises:
            UnfillableError: its body is no JSON.
        """
        if self._opened is None:
            try:
                self._opened = orjson.loads(self.body)
            except orjson.JSONDecodeError:
                message = "记录不是 JSON / the record is no JSON"
                raise UnfillableError(message) from None
        return self._opened


Scope = Mapping[str, Any]


def render(template: Any, scope: Scope) -> Any:  # noqa: ANN401 - any JSON value
    """A template filled in: a value for `dumped`.

    Raises:
        UnfillableError: a place names what is not there, `each` is no list, or `*` no object.
    """
    if isinstance(template, str):
        return _text(template, scope)
    if isinstance(template, Mapping):
        if set(template) == {"each", "as"}:
            return [render(template["as"], {**scope, "item": one}) for one in _list(template["each"], scope)]
        made: dict[str, Any] = {}
        for name, part in template.items():
            value = render(part, scope)
            if name == "*":
                made.update(_members(value))
            else:
                made[str(name)] = value
        return made
    if isinstance(template, (list, tuple)):
        return [render(part, scope) for part in template]
    return template


def dumped(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """The JSON of a rendered template; records stand in it byte for byte."""
    return orjson.dumps(value, default=_fragment)


def _fragment(value: object) -> Any:  # noqa: ANN401 - orjson's own type
    if isinstance(value, Record):
        return orjson.Fragment(value.body)
    raise TypeError


def filled(template: str, scope: Scope) -> str:
    """A template that is text: a header, a member of the query.

    Raises:
        UnfillableError: a place names what is not there.
    """
    return _PLACE.sub(lambda match: text_of(_value(match, scope)), template)


def path_of(template: str, scope: Scope) -> str:
    """A path filled in: whatever a place holds, it stays a part of its segment, and leads nowhere else.

    Raises:
        UnfillableError: a place names what is not there, or holds `.` or `..`.
    """

    def segment(match: re.Match[str]) -> str:
        value = text_of(_value(match, scope))
        if value in (".", ".."):
            message = f"不能作路径 / no part of a path: {match[1]}{match[2]}"
            raise UnfillableError(message, match[1])
        return quote(value, safe="")

    return _PLACE.sub(segment, template)


def _text(template: str, scope: Scope) -> Any:  # noqa: ANN401 - any JSON value
    match = _PLACE.fullmatch(template)
    return filled(template, scope) if match is None else _value(match, scope)


def _value(match: re.Match[str], scope: Scope) -> Any:  # noqa: ANN401 - any JSON value
    root, path, name = match.groups()
    if root not in scope:
        raise UnfillableError(_missing(root + path), root)
    value = scope[root]
    if path:
        value = at(value.opened if isinstance(value, Record) else value, path.removeprefix("."))
        if value is None:
            raise UnfillableError(_missing(root + path), root)
    return _FILTERS[name](text_of(value)) if name else value


def _missing(place: str) -> str:
    return f"缺少 / missing: {place}"


def _list(template: Any, scope: Scope) -> list[Any]:  # noqa: ANN401 - any JSON value
    value = render(template, scope)
    if isinstance(value, Record):
        value = value.opened
    if not isinstance(value, list):
        message = f"each 不是列表 / each is no list: {template}"
        raise UnfillableError(message)
    return value


def _members(value: Any) -> Mapping[str, Any]:  # noqa: ANN401 - any JSON value
    if isinstance(value, Record):
        value = value.opened
    if not isinstance(value, Mapping):
        message = "* 不是对象 / * is no object"
        raise UnfillableError(message)
    return value


def places(template: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any JSON value
    """All places of a template, as (first name, filter): what a check of settings asks for."""
    if isinstance(template, str):
        for match in _PLACE.finditer(template):
            yield match[1], match[3] or ""
    elif isinstance(template, Mapping):
        for name, part in template.items():
            yield from places(str(name))
            yield from places(part)
    elif isinstance(template, (list, tuple)):
        for part in template:
            yield from places(part)


def asked(template: Any, root: str = "record", each: str = "") -> Iterator[str]:  # noqa: ANN401 - any JSON value
    """Paths inside the record that a template needs: `plate`, `parts.name`. `{record}` as a whole needs none of them.

    Args:
        template: the template.
        root: name of the record in it.
        each: path of the list whose elements are `{item}`.
    """
    if isinstance(template, str):
        for match in _PLACE.finditer(template):
            path = _INDEX.sub("", match[2]).removeprefix(".")
            if match[1] == root and path:
                yield path
            elif match[1] == "item" and each:
                yield f"{each}.{path}".removesuffix(".")
    elif isinstance(template, Mapping):
        if set(template) == {"each", "as"}:
            inner = next(asked(template["each"], root, each), "")
            yield from filter(None, [inner])
            yield from asked(template["as"], root, inner)
            return
        for name, part in template.items():
            yield from asked(str(name), root, each)
            yield from asked(part, root, each)
    elif isinstance(template, (list, tuple)):
        for part in template:
            yield from asked(part, root, each)


def checked(template: Any, known: frozenset[str]) -> Any:  # noqa: ANN401 - any JSON value
    """The template, whose places all have names that are known.

    Raises:
        ValueError: a place or a filter has another name.
    """
    for root, name in places(template):
        if root not in known:
            message = f"模板中没有 {{{root}}} / a template knows {', '.join(sorted(known))}, not {{{root}}}"
            raise ValueError(message)
        if name and name not in _FILTERS:
            message = f"没有过滤器 {name} / filters are {', '.join(_FILTERS)}, not {name}"
            raise ValueError(message)
    return template
