"""Steps of an evaluation in words: what people read when they ask why a record went where it went."""

from __future__ import annotations

from typing import NamedTuple

from routing.facts import Facts
from routing.homes import KNOWN, Home, Homes
from routing.rules import View, checks
from routing.steps import CHOSEN_BEFORE, Routing, Step
from routing.texts import Text, province, reason

MATCHED, NOT_MATCHED, NOT_REACHED = "matched", "not-matched", "not-reached"


class Explained(NamedTuple):
    """One line of an explanation: how the home was found, what became of a rule, or the conclusion."""

    part: str
    """`home`, `rule` or `conclusion`."""
    name: str
    """The rule's name; '' for the other parts."""
    verdict: str
    """Home: `known`, `none`, `unknown`. Rule: `matched`, `not-matched`, `not-reached`. Conclusion: the outcome."""
    zh: str
    en: str
    destinations: tuple[str, ...] = ()
    """What the rule chose, or what the record goes to in the end."""
    decided: Routing | None = None
    """In the conclusion: exactly what `RoutingTable.decide` gives."""


def home_in_words(facts: Facts, homes: Homes) -> Explained:
    """How the home was found."""
    texts = [_home_text(home, facts) for home in homes.found]
    keys = homes.keys
    return Explained("home", "", homes.state, "；".join(t.zh for t in texts), "; ".join(t.en for t in texts), keys)


def step_in_words(step: Step, view: View) -> Explained:
    """What became of one rule, and why."""
    if not step.reached:
        text = Text("此前的规则已作出决定", "an earlier rule has decided")
        return _explained(step, NOT_REACHED, text)
    if not step.matched:
        return _explained(step, NOT_MATCHED, _why_not(step, view))
    return _explained(step, MATCHED, _why(step, view))


def conclusion_in_words(decided: Routing) -> Explained:
    """What the rules come to."""
    names = tuple(route.destination for route in decided.routes)
    return Explained("conclusion", "", decided.outcome, *_conclusion(decided), names, decided)


def _explained(step: Step, verdict: str, why: Text) -> Explained:
    zh, en = f"{step.rule.zh}：{why.zh}", f"{step.rule.en}: {why.en}"
    return Explained("rule", step.rule.name, verdict, zh, en, tuple(route.destination for route in step.routes))


def _home_text(home: Home, facts: Facts) -> Text:
    where = province(home.key) if home.state == KNOWN else reason(home.reason)
    day = facts.settledate.isoformat()
    if home.by == "registration":
        return Text(f"{day} 有效的登记：{where.zh}", f"registration in force on {day}: {where.en}")
    if home.by == "later-registration":
        return Text(f"{day} 之后的登记：{where.zh}", f"registration after {day}: {where.en}")
    plate = facts.plate or "-"
    if home.by == "plate-and-shop":
        return Text(
            f"号牌 {plate} 且由兵团系统采集：{where.zh}", f"plate {plate}, collected by 兵团's own system: {where.en}"
        )
    found = Text(f"{day} 无有效登记，号牌 {plate}", f"no registration in force on {day}, plate {plate}")
    return Text(f"{found.zh}：{where.zh}", f"{found.en}: {where.en}")


def _why_not(step: Step, view: View) -> Text:
    if step.unusable:
        name, value = step.unusable, view[step.unusable]
        return Text(f"{name} = {value!r}，不能作为目的地", f"{name} is {value!r}, which names no destination")
    return _joined([check.why(view) for check in step.failed])


def _why(step: Step, view: View) -> Text:
    met = _joined([check.why(view) for check in checks(step.rule.when)]) if step.rule.when else _ALWAYS
    done: list[Text] = [Text(f"→ {r.destination}", f"-> {r.destination}") for r in step.routes]
    for name, code in step.left_out:
        why = _CHOSEN_BEFORE if code == CHOSEN_BEFORE else reason(code)
        done.append(Text(f"不发 {name}（{why.zh}）", f"not {name} ({why.en})"))
    if step.filtered:
        done.append(Text(f"不再分发（{reason(step.filtered).zh}）", f"filtered ({reason(step.filtered).en})"))
    if step.waiting:
        done.append(Text(f"等待（{reason(step.waiting).zh}）", f"waits ({reason(step.waiting).en})"))
    result = _joined(done)
    return Text(f"{met.zh} {result.zh}", f"{met.en} {result.en}")


_ALWAYS = Text("无条件", "always")
_CHOSEN_BEFORE = Text("前面的规则已选", "an earlier rule chose it")


def _joined(texts: list[Text]) -> Text:
    return Text("；".join(text.zh for text in texts), "; ".join(text.en for text in texts))


def _conclusion(decided: Routing) -> Text:
    if decided.hole is not None:
        zh, _, en = str(decided.hole).partition(" / ")
        return Text(zh, en)
    if decided.routes:
        routes = [f"{r.destination} (repaircomefrom {r.repaircomefrom}, {r.mapping})" for r in decided.routes]
        return Text(f"发往 {'，'.join(routes)}", f"goes to {', '.join(routes)}")
    if decided.filtered:
        why = reason(decided.filtered)
        return Text(f"不再分发：{why.zh}", f"filtered: {why.en}")
    why = reason(decided.waiting)
    return Text(f"等待：{why.zh}", f"waits: {why.en}")
