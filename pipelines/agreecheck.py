"""Whether the flows of an exchange agree with its agreements: asked before any of them may start.

A flow is a destination that the routing table can name, and a kind that the exchange takes. Each needs an agreement;
and what the destination cannot do without may not be withheld: what a call's template names, what an outbound mapping
of the national shape calls mandatory, all of a record in files, which are written before anybody knows what may leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import cache
from itertools import product
from typing import Any, NamedTuple

from mappings.divisions import PROVINCES
from mappings.documents.outbound import OUTBOUND
from mappings.layout import dialect_names
from pipelines.agreeing import record_kinds
from pipelines.errors import SettingsError
from pipelines.settings import Exchange
from pipelines.workbench import sink_name
from routing.agreements import REPAIR_PATHS, Agreement, Agreements, Terms
from routing.cases import REPAIR
from routing.rules import Rule, fill, placeholders
from routing.table import load_table
from routing.treatments import MASK, PASS, WITHHOLD, free_text

_PROVINCE = ("home", "system", "shop_province")
"""Facts that name provinces where they stand in a destination; any other one may be whatever a glob fits."""
ELEMENTS = tuple(path for path in REPAIR_PATHS if path.split(".")[0] not in (
    "system", "repaircomefrom", "dialect", "received_at", "findings", "withdrawn",
))  # fmt: skip
"""The elements of JT/T 1132.2, down to their values."""


class Flow(NamedTuple):
    """What may go where: destination, kind, the sink's name and the outbound mapping."""

    destination: str
    kind: str
    sink: str
    mapping: str


def flows(exchange: Exchange) -> Iterator[Flow]:
    """Every flow that the settings allow for."""
    table = load_table(exchange.routing.table)
    for rule in table.rules:
        for template in rule.to or ():
            for destination in _destinations(template):
                sink = sink_name(exchange, destination)
                for kind in _kinds(rule, record_kinds(exchange.mapping.kinds)) if sink else ():
                    yield Flow(destination, kind, sink, rule.mapping or table.mapping)


def _kinds(rule: Rule, kinds: Iterable[str]) -> Iterator[str]:
    """The kinds that a rule may be for."""
    asked = rule.when.get("kind")
    for kind in kinds:
        wanted = asked is None or asked.any_of is None or kind in asked.any_of
        if wanted and (asked is None or asked.none_of is None or kind not in asked.none_of):
            yield kind


def _destinations(template: str) -> Iterator[str]:
    names = placeholders(template)
    for values in product(*(PROVINCES if name in _PROVINCE else "*" for name in names)):
        yield fill(template, dict(zip(names, values, strict=True)))


def needs_of(exchange: Exchange, made: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Sink -> paths without which it can send nothing: of its templates, and of its outbound form."""
    needs: dict[str, frozenset[str]] = {}
    for name, sink in made.items():
        form = OUTBOUND.get(exchange.sinks[name].form)
        needs[name] = getattr(sink, "needs", frozenset()) | (form.needs if form is not None else frozenset())
    return needs


def agree(exchange: Exchange, needs: Mapping[str, frozenset[str]], files: frozenset[str]) -> None:
    """See that every flow has an agreement, and that no destination needs what one of them withholds.

    Args:
        exchange: the settings.
        needs: sink -> paths without which it can send nothing.
        files: names of the sinks of whole files.

    Raises:
        RoutingError: no such agreement or table, or one that cannot be read.
        SettingsError: a flow without an agreement, or a withheld field that is needed, by its name.
    """
    agreements = Agreements.load(exchange.agreements)
    for flow in dict.fromkeys(flows(exchange)):
        found = agreements.matching(flow.destination, flow.kind)
        if not found:
            raise SettingsError(_without(flow))
        for one in found:
            wrong = _wanting(flow, one.terms(flow.kind), needs.get(flow.sink, frozenset()), whole=flow.sink in files)
            if wrong:
                raise SettingsError(_refused(flow, one, wrong))


def over(exchange: Exchange, moment: datetime) -> Iterator[str]:
    """Flows whose agreements are all over at a moment, so that nothing would ever leave; why, in words."""
    agreements = Agreements.load(exchange.agreements)
    told: set[str] = set()
    for flow in flows(exchange):
        found = agreements.matching(flow.destination, flow.kind)
        if found and all(one.over(moment) for one in found):
            said = f"{found[0].title} {found[0].why_not(moment)}"
            if said not in told:
                told.add(said)
                yield (
                    f"agreements: {flow.kind} → {flow.destination} 的协议不再有效，请续签或去掉这个去向：{said}"
                    f" / the agreement for it is over: renew it, or take the destination out"
                )


def examples(exchange: Exchange) -> Iterator[str]:
    """Flows that would leave under the example approval of a shipped pattern; what to do, in words."""
    wanted = ((flow.destination, flow.kind) for flow in flows(exchange))
    yield from rests_on_example(Agreements.load(exchange.agreements), wanted)


def rests_on_example(agreements: Agreements, wanted: Iterable[tuple[str, str]]) -> Iterator[str]:
    """What to do, in words, with each agreement of an example approval that covers one of these (destination, kind)."""
    told: set[str] = set()
    for destination, kind in wanted:
        for one in agreements.matching(destination, kind):
            if one.example and one.title not in told:
                told.add(one.title)
                yield (
                    f"agreements: {destination} 的协议 {one.title} 用的是示例批准文号“{one.approval}”；"
                    f"请复制该协议，填写真实的批准文号与日期，并在 agreements 中写上该文件"
                    f" / {one.title} rests on an example approval: copy the agreement, put the number and dates of a"
                    f" real one in, and name that file in `agreements`"
                )


def _without(flow: Flow) -> str:
    return (
        f"agreements: 没有协议允许向 {flow.destination} 提供 {flow.kind}；请在 agreements 中写上协议"
        f" / no agreement lets {flow.kind} go to {flow.destination}: name one in `agreements`"
    )


def _refused(flow: Flow, agreement: Agreement, wrong: str) -> str:
    return (
        f"agreements: {flow.kind} → {flow.destination}（sinks.{flow.sink}）：协议 {agreement.title} 不放行所需的字段"
        f" / the agreement does not let through what is needed: {wrong}"
    )


def _wanting(flow: Flow, terms: Terms, needs: frozenset[str], *, whole: bool) -> str:
    """The first field that a flow needs and its terms do not give; empty where there is none."""
    if terms.whole:
        return ""
    if whole:
        path = next((path for path in REPAIR_PATHS if terms.treatment(path) != PASS), "members")
        return f"{path}={terms.treatment(path)}（文件须全部放行 / files need all of it）"
    for path in sorted(needs):
        if _gone(terms, path):
            return f"{path}={terms.treatment(path)}（模板或出站格式 / a template or the form of the sink）"
    if flow.kind == REPAIR and flow.mapping in _national():
        for path in ELEMENTS:
            treatment = terms.treatment(path)
            if treatment != PASS and not (treatment == MASK and free_text(path.rpartition(".")[2])):
                return f"{path}={treatment}（出站映射 / the outbound mapping {flow.mapping}）"
    return ""


def _gone(terms: Terms, path: str) -> bool:
    """Whether nothing is left of what stands at a path: a value, or a list of them."""
    below = [one for one in REPAIR_PATHS if one == path or one.startswith(f"{path}.")]
    return all(terms.treatment(one) == WITHHOLD for one in below or [path])


@cache
def _national() -> frozenset[str]:
    return frozenset(dialect_names())
