"""What routing tables may say, what it does, and how errors in them read."""

import pickle
from datetime import date

import pytest

from routing.errors import NoRoute, TableError
from routing.facts import facts_of
from routing.table import load_table, parse_table

HEAD = """name = "t"
zh = "表"
en = "table"
mapping = "record"
"""
FACTS = facts_of("LSVAL41Z882104202", "京A12345", "440100000000001", date(2025, 2, 15), "44")


def rule(body, name="r"):
    return f'\n[[rule]]\nname = "{name}"\nzh = "规则"\nen = "rule"\n{body}\n'


def table(*bodies):
    return parse_table(HEAD + "".join(rule(body, f"r{number}") for number, body in enumerate(bodies)), "t.toml")


def ends(*bodies, **changes):
    decided = table(*bodies).explain(FACTS._replace(**changes))[-1].decided
    return [found.destination for found in decided.routes] or decided.filtered or decided.waiting or "hole"


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ('system = "44"', True),
        ('system = "11"', False),
        ('system = ["11", "44"]', True),
        ('system = { in = ["11", "44"] }', True),
        ('system = { not = "44" }', False),
        ('system = { not = ["11", "31"] }', True),
        ('system = { prefix = "4" }', True),
        ('company = { prefix = ["11", "4401"] }', True),
        ('company = { prefix = "{home}" }', False),
        ('company = { prefix = "{shop_province}" }', True),
        ('system = "{shop_province}"', True),
        ('system = { not = "{shop_province}" }', False),
        ("system = { province = true }", True),
        ("system = { province = false }", False),
        ('system = { prefix = "4", not = "44" }', False),
        ("repaircomefrom = 1", True),
        ('repaircomefrom = "1"', False),
        ("repaircomefrom = { not = 2 }", True),
        ('kind = "repair"\nhome = "11"\nplate = { prefix = "京" }\nvin = { prefix = "LSV" }', True),
        ('kind = "repair"\nhome = "44"', False),
    ],
)
def test_conditions(condition, holds):
    assert ends(f'to = "x"\n[rule.when]\n{condition}') == (["x"] if holds else "hole")


def test_rules_add_up_and_each_destination_is_chosen_once():
    both = table('to = ["a", "b"]', 'to = ["b", "c"]\nmapping = "other"\nrepaircomefrom = 2').route(FACTS).routes
    assert [(r.destination, r.rule, r.mapping, r.repaircomefrom) for r in both] == [
        ("a", "r0", "record", 1),
        ("b", "r0", "record", 1),
        ("c", "r1", "other", 2),
    ]


def test_stop_ends_the_evaluation_only_where_the_rule_matched():
    assert ends('to = "a"\nstop = true', 'to = "b"') == ["a"]
    assert ends('to = "a"\nstop = true\nwhen = { system = "11" }', 'to = "b"') == ["b"]


def test_filter_and_wait_decide_only_where_nothing_was_chosen():
    assert ends('filter = "own"', 'to = "a"') == "own"
    assert ends('wait = "later"', 'to = "a"') == "later"
    assert ends('to = "a"', 'filter = "own"', 'to = "b"') == ["a"]
    assert ends('to = "a"', 'wait = "later"', 'to = "b"') == ["a"]


def test_a_template_without_its_province_does_not_match():
    assert ends('to = "province-{system}"', system="oem-SVW") == "hole"
    assert ends('to = "province-{shop_province}"', shop_province="") == "hole"
    assert ends('to = "hq-{dealer_of}"') == "hole"
    assert ends('to = "hq-{dealer_of}"', dealer_of="SVW") == ["hq-SVW"]


def test_unless_leaves_out_and_gives_its_reason():
    assert ends('to = ["a", "b"]\nunless = ["held"]', held=frozenset({"a"})) == ["b"]
    assert ends('to = "a"\nunless = ["held"]', held=frozenset({"a"})) == "held"
    assert ends('to = "province-{home}"\nunless = ["system"]', system="11") == "at-home"
    assert ends('to = "province-{home}"\nunless = ["shop_province"]', shop_province="11") == "at-home"
    assert ends('to = "a"\nunless = ["held"]', 'to = "b"', held=frozenset({"a"})) == ["b"]


def test_a_held_destination_is_left_out_only_where_the_rule_says_so():
    assert ends('to = "a"', held=frozenset({"a"})) == ["a"]


def test_where_all_is_left_out_the_first_reason_counts():
    held = frozenset({"province-11", "a"})
    assert ends('to = "a"\nunless = ["held"]', 'to = "province-{system}"\nunless = ["system"]', held=held) == "held"
    assert ends('to = "province-{system}"\nunless = ["system"]', 'to = "a"\nunless = ["held"]', held=held) == "at-home"


def test_no_table_of_a_user_sends_up_what_came_down():
    assert ends('to = ["ministry", "b"]', repaircomefrom=2) == ["b"]
    assert ends('to = "ministry"', repaircomefrom=2) == "came-down"


def test_no_route_names_table_and_facts_but_not_the_vehicle():
    with pytest.raises(NoRoute) as caught:
        table('to = "a"\nwhen = { system = "11", vin = "x", plate = "y" }').route(FACTS)
    assert "system='44'" in str(caught.value)
    assert FACTS.vin not in str(caught.value)
    assert FACTS.plate not in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own value
    assert again == caught.value
    assert hash(again) == hash(caught.value)
    assert str(again) == str(caught.value)


def test_templates_of_a_table():
    assert load_table("headquarters").templates == ("ministry", "province-{shop_province}")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("name = \n", 1, "TOML"),
        (HEAD + "name = 'u'\n", 5, "TOML"),
        (HEAD, 0, "rule"),
        (HEAD + "colour = 1\n" + rule('to = "a"'), 5, "no such name"),
        (HEAD + 'origin = "shop"\n' + rule('to = "a"'), 5, "province"),
        (HEAD + rule('to = "a"\nwhenn = {}'), 11, "no such name"),
        (HEAD + rule('to = "a"') + rule('to = "b"\nwhen = { sytem = "44" }', "s"), 17, "sytem"),
        (HEAD + rule('to = "a"') + rule('to = "b"\n[rule.when]\nhome = "11"\nsystem = { is = 1 }', "s"), 19, "no such"),
        (HEAD + rule('to = "province-{hom}"'), 10, "hom"),
        (HEAD + rule('to = "a"\nwhen = { system = "{sistem}" }'), 11, "sistem"),
        (HEAD + rule('to = "a"\nwhen = { system = {} }'), 11, "empty"),
        (HEAD + rule('to = "a"\nunless = ["never"]'), 11, "unless"),
        (HEAD + rule('to = "a"\nfilter = "b"'), 6, "exactly one"),
        (HEAD + rule("stop = true"), 6, "exactly one"),
        (HEAD + rule('filter = "a"\nunless = ["held"]'), 6, "belong"),
        (HEAD + rule('to = "a"\nrepaircomefrom = 3'), 11, "repaircomefrom"),
        (HEAD + rule("to = []"), 10, "to"),
        (HEAD + rule('to = "a"', "Bad Name"), 7, "name"),
        (HEAD + rule('to = "a"') + rule('to = "b"'), 0, "two rules"),
        ("a = " + "[" * 5000, 0, ""),
    ],
)
def test_errors_name_line_and_remedy(text, line, words):
    with pytest.raises(TableError) as caught:
        parse_table(text, "t.toml")
    assert words in str(caught.value)
    assert caught.value.remedy
    assert str(caught.value).startswith("t.toml")
    if line:
        assert caught.value.line == line


def test_a_table_of_one_s_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(HEAD + rule('to = "a"'), "utf-8")
    assert [r.destination for r in load_table(str(path)).route(FACTS).routes] == ["a"]


@pytest.mark.parametrize("name", ["nowhere", "nowhere.toml"])
def test_an_unknown_table(name):
    with pytest.raises(TableError) as caught:
        load_table(name)
    assert caught.value.remedy


def test_a_table_that_is_no_utf_8(tmp_path):
    path = tmp_path / "gbk.toml"
    path.write_bytes("zh = '表'".encode("gbk"))
    with pytest.raises(TableError, match="UTF-8"):
        load_table(str(path))


def test_table_errors_travel_between_processes():
    error = TableError("t.toml", 3, "p", "r")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "t.toml:3: p - r"  # noqa: S301 - our own value
