"""What shipped agreements let through of documents: each member named, and nothing personal in what is left."""

from __future__ import annotations

import tomllib
from datetime import date
from importlib.resources import files

import orjson
import pytest
from document_canaries import Maker, texts, with_more
from document_canaries import chance as chance_of

from mappings.documents.kinds import KINDS, kind
from mappings.documents.paths import ENVELOPE, member_paths
from pipelines.nation import DEPLOY
from routing.agreements import REPAIR_PATHS, REST, SHIPPED, STATUTORY, load_agreement, parse_agreement
from routing.errors import TableError
from routing.table import load_table
from routing.treatments import MASK, PASS, WITHHOLD, mask_free, treat

OUTSIDE = sorted(set(SHIPPED) - set(STATUTORY))
LANES = [
    (name, of)
    for name in OUTSIDE
    for of in tomllib.loads(files("routing").joinpath(f"data/agreements/{name}.toml").read_text("utf-8"))["kinds"]
    if of != "repair"
]
_WORDS = """
    companycode uscc period scoring level foundlevel rule measure bound appealno about aboutno member kind
    number companyuniquecode companyname costlistcode test_no plate vin code area state issuer named
    candidates what ref by findings insurer report_no estimate_nos loss_nos remark partid holder wastecode
    model maker region month partcode evidence companyunifiedsocialcreditidentifier
    companyadministrativedivisioncode authority rectification matter category oldcode reverses batch ofbatches
    manifest counterpart licence destination method containercode containertype id kind province city order
    vehicle certificate plan receiver transporterlicence key requester approval exportproof lastmaintaintime
    lastrepairtime mileageestimate groups name zh en reason notice status event unit
"""
CODES = frozenset(_WORDS.split())
"""Names of texts that go out as they are: codes, numbers of papers, names of businesses, words of our own."""
OURS = {"credit-entry": ("name", "zh", "en", "reason")}
"""Texts that the gateway words itself, by kind; elsewhere members of these names are somebody's words."""


def rules(name: str, of: str) -> dict[str, str]:
    return load_agreement(name).kinds[of]


@pytest.mark.parametrize(("name", "of"), LANES)
def test_every_member_of_a_kind_is_decided_by_name(name, of):
    told = rules(name, of)
    assert set(told) == {*member_paths(of), *ENVELOPE}
    assert not [path for path in told if REST in path]


@pytest.mark.parametrize("name", [name for name in OUTSIDE if load_agreement(name).covers(name, "repair")])
def test_every_member_of_a_repair_that_leaves_is_named(name):
    assert not [path for path, treatment in rules(name, "repair").items() if REST in path and treatment != WITHHOLD]
    assert set(load_agreement(name).terms("repair").fields) <= {*REPAIR_PATHS} & set(rules(name, "repair"))


def test_what_the_shipped_tables_send_out_is_what_the_agreements_cover():
    tables = load_table("outside"), load_table(str(DEPLOY / "tables/makers.toml"))
    sent = {
        (destination, of)
        for rule in (rule for table in tables for rule in table.rules)
        for destination in rule.to
        if destination in SHIPPED
        for of in rule.when["kind"].any_of
    }
    assert sent <= set(LANES)
    assert set(LANES) - sent == {("environment", "im-case")}


@pytest.mark.parametrize(("name", "of"), LANES)
def test_a_text_that_passes_as_it_is_is_a_code(name, of):
    """Whatever a person may have typed is masked: a new text member must be called a code here before it passes."""
    passing = [
        path.rpartition(".")[2]
        for path, treatment in rules(name, of).items()
        if treatment == PASS and path.startswith("members.") and _is_text(of, path)
    ]
    typed = {"name", "zh", "en", "reason"} - set(OURS.get(of, ()))
    if of == "waste-case":
        typed.discard("reason")
    assert [one for one in passing if one not in CODES or one in typed] == []


def _is_text(of: str, path: str) -> bool:
    made = Maker(of, load_agreement("own-store").terms(of), chance_of(of, path)).made()
    return any(text.startswith("词") for text in made.values.get(path, ()))


@pytest.mark.parametrize(("name", "of"), LANES)
def test_no_withheld_value_leaves_whatever_the_document(name, of):
    chance = chance_of(name, of)
    terms = load_agreement(name).terms(of)
    maker = Maker(of, terms, chance)
    kinds = sum(one == name for one, _ in LANES)
    for _ in range(max(400, 2_000 // kinds)):
        made, foreign = maker.made(), []
        about = {
            "schema": "vingate.document/1", "kind": of, "version": 1, "system": "44", "companycode": "C1",
            "costlistcode": f"{of}:1", "vin": "", "day": "2026-09-01", "dialect": "geheim-dialekt",
            "received_at": "2026-09-21T11:12:13+08:00", "findings": ["GEHEIMER_FUND"],
        }  # fmt: skip
        record = {**about, "members": with_more(made.members, chance, foreign)}
        left = terms.apply(record)
        body = orjson.dumps(left).decode()
        gone = [path for path in made.values if terms.treatment(path) == WITHHOLD]
        assert [path for path in gone for value in made.values[path] if value in body] == []
        assert [value for value in (*foreign, *made.personal) if value in body] == []
        if not terms.lane:
            assert [value for value in made.amounts if value in body] == []
        for path, value in (("dialect", "geheim-dialekt"), ("findings", "GEHEIMER_FUND"), ("received_at", "11:12:13")):
            assert (value in body) is (terms.treatment(path) == PASS)
        kept = [p for p in made.values if terms.treatment(p) in (PASS, MASK) and not p.endswith(("vin", "plate"))]
        assert [p for p in kept for value in made.values[p] if value not in body] == []
        assert all(text for text in texts(left.get("members", {})))


@pytest.mark.parametrize(("name", "of"), LANES)
def test_what_is_made_is_a_document(name, of):
    document, made = Maker(of, load_agreement(name).terms(of), chance_of(of)).document()
    assert isinstance(document, kind(of))
    assert isinstance(document.identity.day, date)
    assert set(made.values) <= set(member_paths(of))


@pytest.mark.parametrize("of", sorted(KINDS))
def test_prices_owners_and_phones_leave_in_no_other_lane_whatever_the_agreement(of):
    """An agreement that passes all of any kind, outside the insurers' lane."""
    head = 'id = "x"\nversion = 1\nzh = "x"\nen = "x"\ndestinations = ["x"]\napproval = "x"\nbasis = ["x"]\n'
    head += f'purpose = "x"\nfrom = 2026-01-01\n[kinds.{of}]\n"*" = "pass"\n"members.*" = "pass"\n'
    terms = parse_agreement(head).terms(of)
    chance, foreign = chance_of(of), []
    made = Maker(of, terms, chance).made()
    left = orjson.dumps(terms.apply({"kind": of, "members": with_more(made.members, chance, foreign)})).decode()
    unknown = [one for one in foreign if one in left]
    assert len(unknown) * 8 == len(foreign), "all but the member that says nothing of itself"
    words = ("fee", "price", "cost", "phone", "owner", "wage", "policy", "sum")
    for path in member_paths(of):
        name = path.rpartition(".")[2].replace("feed", "").replace("costlist", "")
        if any(word in name for word in words[:-1]) or name.endswith("sum"):
            assert terms.treatment(path) == WITHHOLD, path


@pytest.mark.parametrize("path", ["members.owner.name", "members.lines.price", "members.contact.*", "members.owner"])
def test_a_member_of_the_lane_cannot_be_let_through_by_what_it_stands_in(path):
    head = 'id = "x"\nversion = 1\nzh = "x"\nen = "x"\ndestinations = ["x"]\napproval = "x"\nbasis = ["x"]\n'
    head += 'purpose = "x"\nfrom = 2026-01-01\n'
    with pytest.raises(TableError, match="insurers' lane"):
        parse_agreement(f'{head}[kinds.claim]\n"{path}" = "pass"\n')


def test_a_member_that_a_kind_does_not_have_is_refused_by_name():
    head = 'id = "x"\nversion = 1\nzh = "x"\nen = "x"\ndestinations = ["x"]\napproval = "x"\nbasis = ["x"]\n'
    with pytest.raises(TableError, match=r"closure\.members\.fault: .* no such member"):
        parse_agreement(f'{head}purpose = "x"\nfrom = 2026-01-01\n[kinds.closure]\n"members.fault" = "pass"\n')


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("换机油 380元", "换机油 ***"),
        ("￥1,280.50 已付", "*** 已付"),
        ("共计三百八十元", "共计***"),
        ("RMB 99 / 12 万元", "*** / ***"),
        ("费用：450", "***"),
        ("三元催化器更换，清洗三元，3元催化，三元锂电池", "三元催化器更换，清洗三元，3元催化，三元锂电池"),
        ("十三元 三元整 三元五角 三十三元 13元催款", "*** ***整 ***五角 *** ***催款"),
        ("异响 45000公里 4条轮胎 元件", "异响 45000公里 4条轮胎 元件"),
    ],
)
def test_amounts_in_free_text(text, left):
    assert mask_free(text, amounts=False) == left
    assert mask_free(text, amounts=True) == text
    assert treat(MASK, "faultdescription")(text) == text
