"""What insurers call: who may, what is kept before the answer, and that a repetition changes nothing."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import closing

import pytest
from door_kit import PASSWORD, PAYLOADS, kit, payload
from pydantic import SecretStr
from sqlalchemy import select

from mappings.documents.claims import Assessment, Estimate
from pipelines import tables
from pipelines.casebook import current
from pipelines.door.settings import DoorSettings, Insurers
from pipelines.ledger import prove
from pipelines.live import Live
from pipelines.settings import load

ASSESSMENTS, ESTIMATES = "/insurers/assessments", "/insurers/estimates"
PACKET = (PAYLOADS / "insurers" / "loss-assessment.xml").read_bytes().replace(b"2026-10-02", b"2026-09-12")
ESTIMATE = json.loads(payload("27"))


def answered(response):
    """ResponseCode and message of an answer, read as the insurer would."""
    found = re.search(
        "<ResponseCode>(.*)</ResponseCode><ErrorMessage>(.*)</ErrorMessage>", response.content.decode("gbk")
    )
    return found[1], found[2]


@pytest.fixture
def run(tmp_path, root):
    """Runs a coroutine function (door, headers of an insurer) on a door, then empties the inbox; gives the door."""

    def runner(story, *, drained=None, **others):
        claims = load(root / "deploy" / "exchanges" / "insurers-in.toml", (), {})
        settings = DoorSettings(insurers=Insurers(exchange="insurers-in"), **others)
        with kit(tmp_path, settings, claims=claims) as door:
            (door.state.path / "stores").mkdir()

            async def admitted():
                company = await door.shop()
                settings.insurers.callers[company] = "PICC"
                answer = await door.client.post("/v1/token", json={"companycode": company, "companypassword": PASSWORD})
                await story(door, {"authorization": f"Bearer {answer.json()['access_token']}"})

            asyncio.run(admitted())
            with closing(Live(door.state, claims, milliseconds=0)) as live:
                live.recover()
                while live.step(0):
                    pass
            proof = prove(door.state)
            assert (proof.problems, proof.balanced) == ([], True)
            if drained:
                drained(door)

    return runner


def stored(door, kind):
    return list(current(SecretStr(f"sqlite:///{door.state.path}/stores/documents-44.db"), kind))


def letters(door):
    t = tables.letters.letters
    with door.state.reading() as connection:
        return connection.execute(select(t.c.company)).all()


def test_an_assessment_is_kept_before_it_is_answered_and_reaches_the_store(run):
    async def story(door, headers):
        answer = await door.client.post(ASSESSMENTS, content=PACKET, headers=headers)
        assert (answer.status_code, answered(answer)) == (200, ("000", ""))
        (row,) = door.rows("insurers-in")
        assert (row.plain, row.company, row.dialect) == (PACKET, "PICC", "loss-assessment")

    def drained(door):
        (found,) = stored(door, Assessment)
        assert (found.insurer, found.lossno, found.fits[0].partname) == ("PICC", "DS2026100012", "前保险杠")

    run(story, drained=drained)


def test_who_called_is_the_insurer_whatever_the_packet_says(run):
    async def story(door, headers):
        other = PACKET.replace(b"<InsurerCode>PICC", b"<InsurerCode>CPIC")
        assert answered(await door.client.post(ASSESSMENTS, content=other, headers=headers))[0] == "000"

    run(story, drained=lambda door: _is(stored(door, Assessment)[0].insurer, "PICC"))


def _is(found, expected):
    assert found == expected


def test_a_packet_with_faults_is_told_all_of_them_and_becomes_a_letter(run):
    async def story(door, headers):
        bad = PACKET.replace(b"<LossNo>DS2026100012", b"<LossNo>").replace(b"<TotalSum>2860.50", b"<TotalSum>x")
        code, said = answered(await door.client.post(ASSESSMENTS, content=bad, headers=headers))
        assert code == "402"
        assert "lossno" in said
        assert "totalsum" in said
        assert len(door.rows("insurers-in")) == 1

    run(story, drained=lambda door: _is(letters(door), [("PICC",)]))


@pytest.mark.parametrize(
    "hostile",
    [
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "cc">]><PACKET><LossNo>&b;</LossNo></PACKET>',
        b'<?xml version="1.0"?><!DOCTYPE a SYSTEM "file:///etc/passwd"><PACKET><LossNo>1</LossNo></PACKET>',
        b"<LossInfo>" * 1_000 + b"<LossNo>1</LossNo>" + b"</LossInfo>" * 1_000,
        b"<PACKET><LossNo>" + b"1" * 100_000 + b"</LossNo></PACKET>",
        b"<PACKET><LossNo>1",
        b"\xff\xfe<PACKET>lossno",
        b"",
        b'{"report_no": 1}',
    ],
    ids=["entity", "outside", "deep", "long", "broken", "bytes", "empty", "json"],
)
def test_hostile_packets_are_refused_in_the_words_of_the_interface(run, hostile):
    async def story(door, headers):
        answer = await door.client.post(ASSESSMENTS, content=hostile, headers=headers)
        assert (answer.status_code, answered(answer)[0]) == (200, "402")

    run(story)


def test_a_packet_beyond_the_bound_is_not_read(run):
    async def story(door, headers):
        answer = await door.client.post(ASSESSMENTS, content=PACKET + b" " * 4_096, headers=headers)
        assert (answer.status_code, answered(answer)) == (413, ("402", "报文过大"))
        assert door.rows("insurers-in") == []

    run(story, body_bytes=4_096)


def test_an_estimate_is_one_however_often_its_request_comes(run):
    async def story(door, headers):
        again = {**ESTIMATE, "request_timestamp": "2018-04-24 08:00:00"}
        for sent in (ESTIMATE, ESTIMATE, again):
            answer = await door.client.post(ESTIMATES, json=sent, headers=headers)
            assert answer.json() == {
                "code": "1",
                "status": "接收成功",
                "estimate_request_uuid": ESTIMATE["estimate_request_uuid"],
            }
        assert len(door.rows("insurers-in")) == 1
        other = {**ESTIMATE, "license_no": "沪B12345"}
        answer = await door.client.post(ESTIMATES, json=other, headers=headers)
        assert (answer.json()["code"], "已用于其他内容" in answer.json()["status"]) == ("0", True)
        assert len(door.rows("insurers-in")) == 1

    run(story, drained=lambda door: _is([one.plate for one in stored(door, Estimate)], ["沪A12345"]))


def test_a_refused_estimate_may_come_again_mended(run):
    async def story(door, headers):
        answer = await door.client.post(ESTIMATES, json={**ESTIMATE, "report_no": ""}, headers=headers)
        assert answer.json()["code"] == "0"
        assert answer.json()["estimate_request_uuid"] == ESTIMATE["estimate_request_uuid"]
        assert "report_no" in answer.json()["status"]
        assert (await door.client.post(ESTIMATES, json=ESTIMATE, headers=headers)).json()["code"] == "1"

    run(story, drained=lambda door: _is((len(stored(door, Estimate)), len(letters(door))), (1, 1)))


def test_the_same_packet_again_is_the_same_version(run):
    async def story(door, headers):
        for _ in range(2):
            assert answered(await door.client.post(ASSESSMENTS, content=PACKET, headers=headers))[0] == "000"

    run(story, drained=lambda door: _is(len(stored(door, Assessment)), 1))


def test_only_insurers_may_call(run):
    async def story(door, headers):
        nobody = await door.client.post(ASSESSMENTS, content=PACKET)
        assert (nobody.status_code, answered(nobody)[0]) == (401, "402")
        wrong = await door.client.post(ESTIMATES, json=ESTIMATE, headers={"authorization": "Bearer " + "0" * 64})
        assert (wrong.status_code, wrong.json()["code"]) == (401, "0")
        door.settings.insurers.callers.clear()  # a shop with a token of its own
        shop = await door.client.post(ASSESSMENTS, content=PACKET, headers=headers)
        assert (shop.status_code, answered(shop)) == (403, ("402", "该账号不是已登记的保险机构"))
        assert door.rows("insurers-in") == []

    run(story)


def test_what_cannot_be_made_durable_is_our_fault_and_may_come_again(run, monkeypatch):
    async def story(door, headers):
        monkeypatch.setattr(type(door.door.desk.intake), "full", property(lambda self: True))
        answer = await door.client.post(ASSESSMENTS, content=PACKET, headers=headers)
        assert (answer.status_code, answered(answer)[0]) == (503, "499")
        assert int(answer.headers["retry-after"]) > 0
        monkeypatch.undo()
        assert answered(await door.client.post(ASSESSMENTS, content=PACKET, headers=headers))[0] == "000"

    run(story)


def test_without_the_exchange_the_addresses_are_not_there(tmp_path):
    with kit(tmp_path) as door:
        assert asyncio.run(door.client.post(ASSESSMENTS, content=PACKET)).status_code == 404


def test_letters_and_inbox_show_no_policy_number(run):
    async def story(door, headers):
        await door.client.post(ESTIMATES, json={**ESTIMATE, "frame_no": "X"}, headers=headers)
        (row,) = door.rows("insurers-in")
        assert ESTIMATE["commercial_policy_no"] not in row.verdict

    run(story)
