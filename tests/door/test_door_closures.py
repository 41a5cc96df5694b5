"""`/v1/closures`: a department's own closures, by day, district and VIN, page by page, as its agreement has it."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from decimal import Decimal

import orjson
import pytest
from door_kit import PASSWORD, kit
from sqlalchemy import select

from connectors.sqlstore import SqlSink
from mappings.documents.closures import Closure, ClosurePart
from mappings.documents.interchange import encode_document, encode_withdrawn
from mappings.records import Withdrawal
from pipelines import tables
from pipelines.cli import main
from pipelines.door.settings import DoorSettings
from pipelines.state import State
from pipelines.storeform import DOCUMENTS, deliver
from pipelines.trace import trace

USCC = "91310112132259241T"
VINS = ("LSVAL41Z882104202", "LGXC16DF1A0069957")
AGREEMENT = """
id = "own"
version = 1
zh = "闭环"
en = "closures"
destinations = ["environment-*"]
approval = "A-1"
basis = ["-"]
purpose = "test"
from = {begin}
[kinds.closure]
"*" = "pass"
{rules}
"""


def closure(number, *, day=1, area="440106", vin=VINS[0], fault="尾气超标"):
    return Closure(
        companyuniquecode=f"M{area}0001",
        companyname="某某维护站",
        costlistcode=f"J{number}",
        test_no="440100112609041952540972",
        plate="粤A12345",
        vin=vin,
        mileage=Decimal(50000),
        repairdate=date(2026, 9, day),
        settledate=date(2026, 9, day),
        faultdescription=fault,
        parts=(ClosurePart(name="三元催化器", quantity=Decimal(1), code="C-1"),),
        area=area,
    )


def stored(url, *closures, version=1, withdrawn=()):
    sink = SqlSink(SqlSink.Settings(url=url, table=DOCUMENTS))
    sink.create()
    told = {"system": "44", "dialect": "document", "received_at": datetime(2026, 9, 6, tzinfo=UTC), "findings": ()}
    bodies = [encode_document(one, told) for one in closures]
    bodies += [encode_withdrawn(Withdrawal(one.identity.issuer, one.listed, "录错"), told) for one in withdrawn]
    options = {"findings": (), "repaircomefrom": 0, "batch": f"b{version}", "merged_into": "", "as_row": True}
    given = [
        deliver(orjson.loads(body), "cases", version=version, content=hash(body) % 2**64, **options) for body in bodies
    ]
    assert {one.status for one in sink.write(given)} == {"accepted"}
    sink.close()


@pytest.fixture
def ask(tmp_path):
    """Asks `/v1/closures` with some queries; answers and who looked at vehicles."""

    def asked(*queries, path="", rules="", begin="2020-01-01", districts=(), destination="environment-44", known=True):
        (tmp_path / "own.toml").write_text(AGREEMENT.format(rules=rules, begin=begin), "utf-8")
        url = f"sqlite:///{tmp_path}/cases.db"

        async def story(door, settings):
            company = await door.shop(companyunifiedsocialcreditidentifier=USCC)
            settings["callers"].update({company: {"destination": destination, "districts": districts}} if known else {})
            given = {"companycode": company, "companypassword": PASSWORD}
            token = (await door.client.post("/v1/token", json=given)).json()["access_token"]
            return company, token

        made = {"store": url, "agreements": [str(tmp_path / "own.toml")], "callers": {"nobody": {}}}
        with kit(tmp_path) as door:
            company, token = asyncio.run(story(door, made))
            state = door.state.path
        with kit(state.parent, DoorSettings(closures=made)) as door:

            async def questions():
                headers = {"authorization": f"Bearer {token}"}
                return [await door.client.get(f"/v1/closures{path}", params=one, headers=headers) for one in queries]

            answers = asyncio.run(questions())
            with door.state.reading() as connection:
                looks = connection.execute(select(tables.looks.c.who, tables.looks.c.purpose)).all()
        return answers, [(who == company, purpose) for who, purpose in looks]

    asked.url = f"sqlite:///{tmp_path}/cases.db"
    asked.state = tmp_path / "state"
    return asked


def codes(answer):
    assert answer.status_code == 200, answer.text
    return [one["members"]["costlistcode"] for one in answer.json()["closures"]]


def test_by_day_district_and_vin(ask):
    stored(ask.url, closure(1), closure(2, day=5), closure(3, area="330106"), closure(4, vin=VINS[1]))
    days, district, vehicle, all_of = ask(
        {"from": "2026-09-02", "to": "2026-09-05"}, {"district": "4401"}, {"vin": VINS[1].lower()}, {}
    )[0]
    assert codes(days) == ["J2"]
    assert codes(district) == ["J1", "J2", "J4"]
    assert codes(vehicle) == ["J4"]
    assert codes(all_of) == ["J1", "J2", "J3", "J4"]


def test_pages_cover_everything_once(ask):
    stored(ask.url, *(closure(n) for n in range(7)))
    first = ask({"limit": "3"})[0][0]
    second = ask({"limit": "3", "cursor": first.json()["next"]})[0][0]
    third = ask({"limit": "3", "cursor": second.json()["next"]})[0][0]
    assert codes(first) + codes(second) + codes(third) == [f"J{n}" for n in range(7)]
    assert third.json()["next"] == ""


def test_what_was_corrected_stands_once_and_what_was_withdrawn_does_not(ask):
    stored(ask.url, closure(1), closure(2))
    stored(ask.url, closure(1, fault="更正"), version=2, withdrawn=[closure(2)])
    (answer,) = ask({})[0]
    (one,) = answer.json()["closures"]
    assert (one["members"]["faultdescription"], one["version"]) == ("更正", 2)


def test_a_department_sees_its_own_districts_only(ask):
    stored(ask.url, closure(1), closure(2, area="330106"))
    own, other = ask({}, {"district": "33"}, districts=("4401",))[0]
    assert (codes(own), codes(other)) == (["J1"], [])


def test_only_what_the_agreement_lets_go(ask):
    stored(ask.url, closure(1, fault="联系 13812345678"))
    withheld = "".join(f'"{path}" = "withhold"\n' for path in ("members.plate", "members.vin", "vin"))
    rules = f'"members.faultdescription" = "mask"\n{withheld}'
    answers, looks = ask({}, {"vin": VINS[0]}, rules=rules)
    (one,) = answers[0].json()["closures"]
    assert "13812345678" not in answers[0].text
    assert "plate" not in one["members"]
    assert VINS[0] not in answers[0].text
    assert (answers[1].status_code, answers[1].json()["type"]) == (403, "urn:vingate:problem:not-agreed")
    assert looks == []


@pytest.mark.parametrize("settings", [
    {"begin": "2099-01-01"}, {"destination": "another"}, {"known": False},
])  # fmt: skip
def test_who_has_no_agreement_in_force_gets_nothing(ask, settings):
    stored(ask.url, closure(1))
    (answer,) = ask({}, **settings)[0]
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
    assert "J1" not in answer.text


@pytest.mark.parametrize("query", [
    {"from": "yesterday"}, {"district": "4"}, {"district": "广州"}, {"limit": "0"}, {"cursor": "x"}, {"plate": "1"},
])  # fmt: skip
def test_what_cannot_be_understood_is_a_problem(ask, query):
    stored(ask.url, closure(1))
    (answer,) = ask(query)[0]
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:vingate:problem:wrong-request")


def test_looking_at_a_vehicle_is_logged(ask):
    stored(ask.url, closure(1))
    _, looks = ask({"vin": VINS[0]}, {})
    assert [(own, "GET /v1/closures" in purpose) for own, purpose in looks] == [(True, True)]


def disclosed(ask, vin):
    with State(ask.state, own=False) as state:
        versions = trace(state, state.sealer(), vin)["versions"]
    return [(one["version"], told) for one in versions for told in one["disclosed"]]


def test_what_was_told_is_written_down_as_what_is_sent(ask, capsys):
    stored(ask.url, closure(1), closure(2, vin=VINS[1]))
    stored(ask.url, closure(1, fault="更正"), version=2)
    ask({"district": "4401"}, {"vin": VINS[0]}, {"district": "33"}, rules='"members.plate" = "withhold"\n')
    first, second = disclosed(ask, VINS[0])
    assert [version for version, _ in (first, second)] == [2, 2]
    told = first[1]
    assert (told["destination"], told["agreement"], told["approval"], told["kind"]) == (
        "environment-44", "own", "A-1", "closure",
    )  # fmt: skip
    assert told["asked_by"].isdigit()
    fields = {one["path"]: one["treatment"] for one in told["fields"]}
    assert fields["vin"] == fields["members.test_no"] == "pass"
    assert not {"members.plate", "system", "costlistcode"} & fields.keys(), "withheld, or no part of an answer"
    assert len(disclosed(ask, VINS[1])) == 1
    assert main(["trace", "--vin", VINS[0], "--state", str(ask.state)]) == 0
    shown = capsys.readouterr().out
    assert f"asked by {told['asked_by']}" in " ".join(shown.split())
    assert "A-1" in shown


def test_an_answer_that_is_refused_or_empty_tells_nobody_anything(ask):
    stored(ask.url, closure(1))
    ask({"district": "33"})
    ask({}, begin="2099-01-01")
    assert disclosed(ask, VINS[0]) == []


SEPTEMBER = {"from": "2026-09-01", "to": "2026-09-30"}


def test_how_many_there_should_be_by_day_and_district(ask):
    stored(ask.url, closure(1), closure(2), closure(3, day=5), closure(4, area="440303"), closure(5, area="330106"))
    stored(ask.url, closure(1, fault="更正"), version=2, withdrawn=[closure(2)])
    answers, looks = ask(SEPTEMBER, {**SEPTEMBER, "district": "4403"}, path="/days", districts=("44",))
    assert [one.json()["days"] for one in answers] == [
        [
            {"day": "2026-09-01", "district": "440106", "due": 1},
            {"day": "2026-09-01", "district": "440303", "due": 1},
            {"day": "2026-09-05", "district": "440106", "due": 1},
        ],
        [{"day": "2026-09-01", "district": "440303", "due": 1}],
    ]
    assert looks == []


@pytest.mark.parametrize("query", [{}, {"from": "2026-09-01"}, {"from": "2020-01-01", "to": "2026-01-01"},
                                   {**SEPTEMBER, "vin": VINS[0]}])  # fmt: skip
def test_days_are_counted_a_year_at_most_and_for_no_vehicle(ask, query):
    stored(ask.url, closure(1))
    assert ask(query, path="/days")[0][0].status_code == 400


@pytest.mark.parametrize("settings", [
    {"begin": "2099-01-01"}, {"known": False}, {"rules": '"members.area" = "withhold"'},
])  # fmt: skip
def test_who_may_not_know_days_and_districts_gets_no_counts(ask, settings):
    stored(ask.url, closure(1))
    (answer,) = ask(SEPTEMBER, path="/days", **settings)[0]
    assert (answer.status_code, "due" in answer.text) == (403, False)
