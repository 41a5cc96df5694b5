"""Routing tables: which destinations a record goes to, and which rules say so.

One evaluation serves both: `RoutingTable.steps` looks at every rule in order; `route` keeps the conclusion, `explain`
puts every step into words.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path

from pydantic import ValidationError

from routing.errors import NoRoute, TableError
from routing.facts import Facts
from routing.homes import Homes, Registrations, homes_for
from routing.registers import describe, header_line, key_line, parse_toml
from routing.rules import Rule, TableModel, View, checks, fill, placeholders, unusable
from routing.steps import CHOSEN_BEFORE, LeftOut, Route, Routing, Step, conclude
from routing.texts import Text
from routing.wording import Explained, conclusion_in_words, home_in_words, step_in_words

SHIPPED = ("collect", "headquarters", "report", "push", "home")
"""Names of the tables in `routing/data` that route repairs."""

OF_DOCUMENTS = ("outside",)
"""Those that route documents."""

UPWARD = frozenset({"ministry"})
"""Destinations above a province. No table sends them a record that came down (repaircomefrom 2)."""

_HIDDEN = frozenset({"vin", "plate"})


class RoutingTable:
    """An ordered list of rules.

    A rule whose conditions all hold adds its destinations, each of which is chosen once. `stop`, `filter` and `wait`
    end the evaluation; the latter two decide only where nothing was chosen before. Where rules matched and every
    destination was left out, the record is filtered with the first such reason.
    """

    def __init__(self, model: TableModel) -> None:
        self.name, self.origin = model.name, model.origin
        self.title = Text(model.zh, model.en)
        self.rules = model.rule
        self.mapping = model.mapping
        """Outbound mapping of rules that name none."""
        self._compiled = tuple((rule, checks(rule.when)) for rule in model.rule)
        self.reads = frozenset({"repaircomefrom"}).union(*(rule.reads() for rule in model.rule))
        """Names of the facts that decide; `held` and the homes beside them."""

    @property
    def templates(self) -> tuple[str, ...]:
        """Every destination that the table can name, as written, without repeats."""
        return tuple(dict.fromkeys(text for rule in self.rules for text in rule.to or ()))

    def route(self, facts: Facts, registrations: Registrations | None = None) -> Routing:
        """Decide about one record.

        Raises:
            NoRoute: no rule decides.
        """
        decided = self.decide(facts, homes_for(facts, registrations))
        if decided.hole is not None:
            raise decided.hole
        return decided

    def decide(self, facts: Facts, homes: Homes) -> Routing:
        """Decide about one record whose homes are known; a hole is a value here."""
        return self._closed(conclude(self.steps(facts, homes)), facts, homes)

    def explain(self, facts: Facts, registrations: Registrations | None = None) -> list[Explained]:
        """How the home was found, then every rule, matched or not, and why, then the conclusion; never raises."""
        homes = homes_for(facts, registrations)
        seen = view_of(facts, homes)
        steps = list(self.steps(facts, homes))
        rules = [step_in_words(step, seen) for step in steps]
        return [home_in_words(facts, homes), *rules, conclusion_in_words(self._closed(conclude(steps), facts, homes))]

    def _closed(self, decided: Routing, facts: Facts, homes: Homes) -> Routing:
        return decided if decided.outcome != "no-route" else Routing(hole=self.hole(facts, homes))

    def hole(self, facts: Facts, homes: Homes) -> NoRoute:
        """The error for a record that no rule decides."""
        seen = view_of(facts, homes)
        return NoRoute(self.name, {name: str(seen[name]) for name in sorted(self.reads - _HIDDEN)})

    def steps(self, facts: Facts, homes: Homes) -> Iterator[Step]:
        """What becomes of each rule, in order."""
        seen = view_of(facts, homes)
        chosen: set[str] = set()
        ended = False
        for rule, conditions in self._compiled:
            if ended:
                yield Step(rule, reached=False)
                continue
            failed = tuple(check for check in conditions if not check.test(seen))
            step = Step(rule, reached=True, failed=failed) if failed else self._apply(rule, facts, homes, seen, chosen)
            chosen.update(route.destination for route in step.routes)
            ended = step.matched and (rule.stop or rule.to is None)
            yield step

    def _apply(self, rule: Rule, facts: Facts, homes: Homes, seen: View, chosen: set[str]) -> Step:
        if rule.filter is not None:
            return Step(rule, reached=True, filtered=fill(rule.filter, seen))
        if rule.wait is not None:
            return Step(rule, reached=True, waiting=rule.wait)
        routes: dict[str, Route] = {}
        left_out: list[LeftOut] = []
        for template in rule.to or ():
            if missing := unusable(template, seen):
                return Step(rule, reached=True, unusable=missing)
            for destination, province in _destinations(template, homes, seen):
                reason = _left_out(rule, destination, province, facts)
                if reason:
                    left_out.append(LeftOut(destination, reason))
                elif destination in chosen:
                    left_out.append(LeftOut(destination, CHOSEN_BEFORE))
                else:
                    routes.setdefault(destination, self._route(rule, destination, facts))
        return Step(rule, reached=True, routes=tuple(routes.values()), left_out=tuple(left_out))

    def _route(self, rule: Rule, destination: str, facts: Facts) -> Route:
        carried = rule.repaircomefrom or facts.repaircomefrom
        return Route(destination, rule.mapping or self.mapping, rule.name, carried)


def view_of(facts: Facts, homes: Homes) -> View:
    """The facts that rules can read, by name."""
    return facts._asdict() | {"home": homes.first, "home_reason": homes.reason}


def _destinations(template: str, homes: Homes, seen: View) -> Iterator[tuple[str, str]]:
    """Destinations of a template with the province that each names ('' when it names none)."""
    names = placeholders(template)
    if "home" not in names:
        yield fill(template, seen), str(seen[names[0]]) if names else ""
        return
    for key in homes.keys:
        yield fill(template, {**seen, "home": key}), key


def _left_out(rule: Rule, destination: str, province: str, facts: Facts) -> str:
    """Reason for which a destination that a rule names is not chosen, or ''."""
    if destination in UPWARD and facts.repaircomefrom != 1:
        return "came-down"
    if "held" in rule.unless and destination in facts.held:
        return "held"
    own = (facts.system if name == "system" else facts.shop_province for name in rule.unless if name != "held")
    return "at-home" if province and province in own else ""


def parse_table(text: str, source: str = "table") -> RoutingTable:
    """Compile a routing table from TOML.

    Raises:
        TableError: with the line, what is wrong with it, and the remedy.
    """
    document = parse_toml(text, source)
    try:
        return RoutingTable(TableModel.model_validate(document))
    except ValidationError as error:
        problem, remedy = describe(error)
        raise TableError(source, _line_of(error, text), problem, remedy) from None


def load_table(name: str) -> RoutingTable:
    """A shipped table by its name (`collect`), or the one in the TOML file that `name` is the path of.

    Raises:
        TableError: no such table, or one that is wrong.
    """
    if name in (*SHIPPED, *OF_DOCUMENTS):
        return _shipped(name)
    path = Path(name)
    if path.suffix != ".toml":
        problem = f"没有路由表 / there is no routing table {name!r}"
        remedy = (
            f"可用 / use one of {', '.join((*SHIPPED, *OF_DOCUMENTS))}, 或 .toml 文件路径 / or the path of a .toml file"
        )
        raise TableError(name, 0, problem, remedy)
    try:
        return parse_table(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        problem = f"无法读取 / cannot be read: {type(error).__name__}"
        raise TableError(name, 0, problem, "请检查路径、权限与 UTF-8 编码 / check path, rights and UTF-8") from None


@cache
def _shipped(name: str) -> RoutingTable:
    return parse_table(files("routing").joinpath(f"data/{name}.toml").read_text("utf-8"), f"{name}.toml")


def _line_of(error: ValidationError, text: str) -> int:
    path = error.errors(include_url=False, include_input=False)[0]["loc"]
    start = 0
    if len(path) > 1 and path[0] == "rule" and isinstance(path[1], int):
        start, path = header_line(text, "rule", path[1]), path[2:]
    return key_line(text, start, [str(step) for step in path if isinstance(step, str)]) or start
