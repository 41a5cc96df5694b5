"""Deliveries as messages: what goes where, one or many to a message, and what no queue will ever take.

All of a message are of one batch, which its headers name. A message of one delivery has its id as message id; one of
many has a digest of their ids, so that a message that is published again after a crash is the same message.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Literal, NamedTuple

from connectors.contracts import REFUSED, Delivery, Outcome

_LONGEST_NAME = 255
"""Bytes of an exchange's name or a routing key (AMQP 0-9-1: shortstr)."""


class Form(NamedTuple):
    """How deliveries become messages; exchange and routing key may hold `{destination}`."""

    exchange: str
    routing_key: str
    per_message: int
    joined: Literal["array", "lines"]
    longest: int
    """Bytes of a message's body."""
    content_type: str


class Message(NamedTuple):
    """A message to be published."""

    id: str
    exchange: str
    routing_key: str
    headers: dict[str, Any]
    body: bytes
    places: tuple[int, ...]
    """Which of the deliveries it carries."""


class Packed(NamedTuple):
    """Deliveries of one call, packed."""

    messages: list[Message]
    refused: dict[int, Outcome]
    """What can never be published, by place."""
    same: dict[int, int]
    """Deliveries whose id came before in this call: place -> place of the first."""


def packed(deliveries: Sequence[Delivery], form: Form) -> Packed:
    """Messages for deliveries, in order for each destination; a delivery that is there twice goes once."""
    refused: dict[int, Outcome] = {}
    same: dict[int, int] = {}
    first: dict[str, int] = {}
    groups: list[list[int]] = []
    filling: dict[str, tuple[list[int], int]] = {}
    for place, one in enumerate(deliveries):
        if first.setdefault(one.id, place) != place:
            same[place] = first[one.id]
            continue
        outcome = _never(one, form)
        if outcome is not None:
            refused[place] = outcome
            continue
        group, size = filling.get(one.destination, ([], 0))
        full = len(group) >= form.per_message or size + len(one.body) + 1 > form.longest
        if not group or full or deliveries[group[0]].batch != one.batch:
            group, size = [], 1
            groups.append(group)
        group.append(place)
        filling[one.destination] = (group, size + len(one.body) + 1)
    return Packed([_message(deliveries, group, form) for group in groups], refused, same)


def _never(delivery: Delivery, form: Form) -> Outcome | None:
    room = form.longest - (2 if form.per_message > 1 else 0)
    if len(delivery.body) > room:
        return Outcome(REFUSED, f"PAYLOAD_TOO_LARGE: 超过 {form.longest} 字节 / more than {form.longest} bytes")
    names = _exchange(delivery, form), _routing_key(delivery, form)
    if any(len(name.encode()) > _LONGEST_NAME for name in names):
        return Outcome(REFUSED, f"NAME_TOO_LONG: 路由键超过 {_LONGEST_NAME} 字节 / routing key of over 255 bytes")
    return None


def _exchange(delivery: Delivery, form: Form) -> str:
    return form.exchange.replace("{destination}", delivery.destination)


def _routing_key(delivery: Delivery, form: Form) -> str:
    return form.routing_key.replace("{destination}", delivery.destination)


def _message(deliveries: Sequence[Delivery], places: list[int], form: Form) -> Message:
    first = deliveries[places[0]]
    headers: dict[str, Any] = {"destination": first.destination, "batch": first.batch}
    if form.per_message == 1:
        identity, body = first.id, first.body
        headers |= {"key": first.key, "version": first.version, "content": first.content}
        if first.merged_into:
            headers["merged_into"] = first.merged_into
    else:
        bodies = [deliveries[place].body for place in places]
        identity = sha256("\n".join(deliveries[place].id for place in places).encode()).hexdigest()
        body = b"\n".join(bodies) if form.joined == "lines" else b"[" + b",".join(bodies) + b"]"
        headers["count"] = len(places)
    return Message(identity, _exchange(first, form), _routing_key(first, form), headers, body, tuple(places))
