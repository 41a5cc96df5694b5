"""The HTTP sink keeps the contract against a real server, and bears everything that a peer can do wrong."""

from __future__ import annotations

import ssl
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count
from pathlib import Path
from urllib.parse import unquote

import orjson
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers import certificates, httppeer

from connectors import registry
from connectors.contracts import ACCEPTED, DUPLICATE, REFUSED, UNAVAILABLE, Delivery, Misconfigured, Tally, Unavailable
from connectors.restpeer import Peer
from connectors.restsink import HttpSink
from connectors.sendsettings import HttpSettings
from connectors.testing import SinkContract

RECORD = {
    name: f"{{{name}}}" for name in ("id", "key", "version", "content", "batch", "destination", "merged_into")
} | {"data": "{record}"}
CODES = {"ok": "accepted", "known": "duplicate", "VERSION_CONFLICT": "refused", "full": "unavailable"}
NUMBER = count()


@pytest.fixture(scope="module")
def server():
    with httppeer.serving() as running:
        yield running


@pytest.fixture
def hub(server):
    return server.hub(f"hub{next(NUMBER)}")


@pytest.fixture(autouse=True)
def _named_secrets(monkeypatch):
    monkeypatch.setenv("PEER_PASSWORD", httppeer.PASSWORD)


def batches(url, **more):
    """Settings of a sink for a peer that answers record by record."""
    return {
        "url": url,
        "per_request": 200,
        "request": {"path": "/records", "body": {"records": "{records}"}},
        "record": RECORD,
        "answers": {"records": "results", "record_id": "id", "codes": CODES},
        "exact": True,
        "tally": {"call": {"path": "/tally", "method": "GET", "query": {"batch": "{batch}"}}},
        "held": {"call": {"path": "/held", "method": "GET", "query": {"cursor": "{cursor}"}}},
        "retry": {"tries": 1},
        **more,
    }


class TestHttpSink(SinkContract):
    name = "http"

    @pytest.fixture(autouse=True)
    def _hub(self, server, place):
        self.hub = server.hub(place.name)

    def sink(self, place):
        return HttpSink(HttpSettings(**self.working_settings(place)))

    def tamper(self, place, delivery):
        held = self.hub.taken[delivery.id]
        self.hub.taken[delivery.id] = Delivery(
            held.id, held.destination, held.key, held.version, held.content, b"{}", held.batch, held.merged_into
        )

    def remove(self, place, delivery):
        del self.hub.taken[delivery.id]

    def no_room(self, place):
        self.hub.room = len(self.hub.taken) + 100
        settings = self.working_settings(place)
        return HttpSink(HttpSettings(**settings | {"request": {**settings["request"], "path": "/full/records"}}))

    def unmappable(self):
        return b"{no json"

    def working_settings(self, place):
        return batches(self.hub.url)

    def broken_settings(self, place):
        return self.working_settings(place) | {"auth": {"kind": "bearer", "token": "env:NOBODY_SETS_THIS"}}


class TestHttpSinkWithReceipts(TestHttpSink):
    """The same peer, which cannot be asked: receipts are kept here."""

    def working_settings(self, place):
        return batches(self.hub.url, tally=None, held=None, receipts=str(place / "receipts"))

    def file(self, place, delivery):
        return place / "receipts" / f"{delivery.batch}.receipts"

    def tamper(self, place, delivery):
        file = self.file(place, delivery)
        lines = file.read_text().splitlines()
        file.write_text("\n".join(f"{delivery.id} {0:016x}" if delivery.id in one else one for one in lines) + "\n")

    def remove(self, place, delivery):
        file = self.file(place, delivery)
        file.write_text("\n".join(one for one in file.read_text().splitlines() if delivery.id not in one) + "\n")

    def test_a_receipt_that_a_crash_cut_does_not_count(self, place):
        sink, given = self.sink(place), [self.delivery(n) for n in range(3)]
        sink.write(given)
        file = self.file(place, given[0])
        file.write_bytes(file.read_bytes()[:-9])
        assert sink.verify("b1").count == 2
        assert self.statuses(sink, given) == [ACCEPTED] * 3
        assert sink.verify("b1") == self.tally(given)

    def test_without_room_for_the_receipt_it_is_sent_again(self, place):
        (place / "receipts").write_text("in the way")
        sink, given = self.sink(place), [self.delivery(1)]
        assert self.statuses(sink, given) == [UNAVAILABLE]
        (place / "receipts").unlink()
        assert self.statuses(sink, given) == [ACCEPTED]
        assert sink.verify("b1") == self.tally(given)


# -- faults of the peer ------------------------------------------------------------------------------------------------


class Time:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now, self.slept = 1000.0, []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


def sink_of(hub, time=None, **more):
    settings = HttpSettings(**batches(hub.url, **more))
    time = time or Time()
    return HttpSink(settings, peer=Peer(settings, sleep=time.sleep, clock=time))


def deliveries(n=3, key="k{}", **more):
    return [
        Delivery(f"{i:064x}", "d", key.format(i), 1, f"c{i}", orjson.dumps({"n": i, **more}), "b1") for i in range(n)
    ]


def statuses(outcomes):
    return [one.status for one in outcomes]


@pytest.mark.parametrize("fault", ["500", "502", "503", "429", "408", "cut", "html", "huge", "packed"])
def test_a_fault_of_the_peer_is_unavailable_and_heals(hub, fault):
    sink = sink_of(hub)
    hub.faults.append(fault)
    first = sink.write(deliveries())
    assert statuses(first) == [UNAVAILABLE] * 3
    assert all(one.reason for one in first)
    assert statuses(sink.write(deliveries())) == [ACCEPTED] * 3
    assert len(hub.taken) == 3


@pytest.mark.parametrize(("fault", "words"), [("stall", "in time"), ("drip", "took longer")])
def test_a_peer_that_does_not_come_to_an_end_is_unavailable(hub, fault, words):
    sink = sink_of(hub, call_seconds=0.2)
    hub.faults.append(fault)
    first = sink.write(deliveries())
    assert statuses(first) == [UNAVAILABLE] * 3
    assert words in first[0].reason
    assert statuses(sink.write(deliveries())) == [ACCEPTED] * 3


def test_a_peer_that_is_not_there_is_unavailable():
    settings = HttpSettings(**batches("http://127.0.0.1:1"))
    outcomes = HttpSink(settings).write(deliveries())
    assert statuses(outcomes) == [UNAVAILABLE] * 3
    assert "127.0.0.1:1" in outcomes[0].reason
    with pytest.raises(Unavailable) as caught:
        HttpSink(settings).check()
    assert caught.value.remedy


def test_a_call_is_repeated_a_few_times_with_growing_pauses(hub):
    time = Time()
    sink = sink_of(hub, time, retry={"tries": 4, "first_seconds": 1, "most_seconds": 2}, breaker={"failures": 9})
    hub.faults += ["500", "cut", "503"]
    assert statuses(sink.write(deliveries())) == [ACCEPTED] * 3
    assert len(hub.calls) == 4
    assert len(time.slept) == 3
    assert all(0 <= one <= 2 for one in time.slept)
    assert len({call.headers["idempotency-key"] for call in hub.calls}) == 1


def test_after_a_call_without_answer_nothing_later_goes_out_in_this_write(hub):
    sink = sink_of(hub, per_request=1)
    hub.faults += ["", "500"]
    assert statuses(sink.write(deliveries(5))) == [ACCEPTED] + [UNAVAILABLE] * 4
    assert len(hub.calls) == 2


def test_retry_after_in_seconds_is_waited_for_and_nothing_is_sent_meanwhile(hub):
    time = Time()
    sink = sink_of(hub, time)
    hub.faults.append("429:17")
    assert statuses(sink.write(deliveries())) == [UNAVAILABLE] * 3
    assert 16 < sink.pause().seconds <= 17
    assert statuses(sink.write(deliveries())) == [UNAVAILABLE] * 3
    assert len(hub.calls) == 1
    time.now += 17
    assert statuses(sink.write(deliveries())) == [ACCEPTED] * 3


def test_retry_after_as_a_date_is_waited_for(hub):
    time = Time()
    sink = sink_of(hub, time, retry={"tries": 2, "deadline_seconds": 600})
    hub.faults.append("503:" + format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True))
    assert statuses(sink.write(deliveries())) == [ACCEPTED] * 3
    assert 60 < time.slept[0] <= 90


def test_a_retry_after_without_end_is_bounded(hub):
    sink = sink_of(hub, max_retry_after_seconds=50)
    hub.faults.append("503:99999999")
    sink.write(deliveries())
    assert sink.pause().seconds <= 50


def test_redirections_are_refused_by_default(hub, server):
    other = server.hub("elsewhere")
    sink = sink_of(hub)
    hub.faults.append(f"to:{other.url}/records")
    assert statuses(sink.write(deliveries())) == [UNAVAILABLE] * 3
    assert not other.calls


def test_a_redirection_is_followed_within_the_same_origin_only(hub):
    sink = sink_of(hub, redirects=2)
    hub.faults.append(f"to:{hub.url}/moved/records")
    assert statuses(sink.write(deliveries())) == [ACCEPTED] * 3
    assert hub.paths() == ["/records", "/moved/records"]
    with httppeer.serving() as another:
        elsewhere = another.hub("elsewhere")
        hub.faults.append(f"to:{elsewhere.url}/records")
        assert statuses(sink.write(deliveries())) == [UNAVAILABLE] * 3
        assert not elsewhere.calls


@pytest.mark.parametrize(("status", "said"), [(200, ACCEPTED), (307, UNAVAILABLE)])
def test_an_address_that_is_none_harms_only_a_redirection(hub, status, said):
    hub.always = f"at:{status}:http://["
    sink = sink_of(hub, per_request=1, redirects=2, answers={"code": "code", "codes": CODES}, breaker={"failures": 99})
    assert statuses(sink.write(deliveries(1))) == [said]


def test_what_stands_in_a_path_leads_nowhere_else(hub):
    hub.always = "200"
    request = {"path": "/records/{record.code}/{key}", "method": "PUT"}
    sink = sink_of(hub, per_request=1, request=request, answers={})
    bodies = [b'{"code": "../../admin?x=1#"}', '{"code": "A/b 京"}'.encode(), b'{"code": ".."}']
    given = [Delivery(f"i{n}", "d", f"k|{n}", 1, "c", body, "b1") for n, body in enumerate(bodies)]
    assert statuses(sink.write(given))[2] == REFUSED
    sent = [unquote(one.path) for one in hub.calls]
    assert sent == ["/records/../../admin?x=1#/k|0", "/records/A/b 京/k|1"]
    assert [one.query for one in hub.calls] == [{}, {}]


def test_an_error_of_our_own_leaves_the_try_to_others(hub):
    peer = Peer(HttpSettings(url=hub.url, breaker={"failures": 1, "open_seconds": 0.001}))
    peer.gate.failed()
    time.sleep(0.002)

    def broken(_):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        peer.call(broken, HttpSettings(url=hub.url).answers)
    assert peer.pause().seconds == 0
    peer.close()


def test_a_request_that_names_its_batch_carries_that_alone(hub):
    body = {"batch": "{batch}", "records": "{records}"}
    given = [Delivery(f"i{n}", "d", f"k{n}", 1, "c", b"{}", batch) for n, batch in enumerate(("b1", "b1", "b2", "b1"))]
    sink_of(hub, request={"path": "/records", "body": body}).write(given)
    named = [orjson.loads(one.body) for one in hub.calls]
    assert [(one["batch"], {r["batch"] for r in one["records"]}) for one in named] == [
        ("b1", {"b1"}),
        ("b2", {"b2"}),
        ("b1", {"b1"}),
    ]


def test_an_answer_that_is_too_large_is_read_no_further(hub):
    sink = sink_of(hub, max_answer_bytes=1000)
    hub.faults.append("huge")
    (outcome,) = sink.write(deliveries(1))
    assert "larger than 1000 bytes" in outcome.reason


def test_a_wrong_address_waits_and_makes_no_letters(hub):
    sink = sink_of(hub, request={"path": "/nowhere", "body": {"records": "{records}"}})
    assert statuses(sink.write(deliveries())) == [UNAVAILABLE] * 3


def test_partial_acceptance_is_told_record_by_record(hub):
    sink = sink_of(hub)
    given = deliveries(4)
    hub.contents[given[1].key, 1] = "another"
    outcomes = sink.write(given)
    assert statuses(outcomes) == [ACCEPTED, REFUSED, ACCEPTED, ACCEPTED]
    assert outcomes[1].reason == "VERSION_CONFLICT: 该版本已有不同内容"


def test_a_record_that_the_answer_forgets_is_unavailable(hub):
    sink = sink_of(hub, request={"path": "/say", "body": {"records": "{records}"}})
    given = deliveries(2)
    hub.answers.append({"results": [{"id": given[1].id, "code": "ok"}]})
    assert statuses(sink.write(given)) == [UNAVAILABLE, ACCEPTED]


def test_answers_without_ids_come_in_order(hub):
    sink = sink_of(
        hub,
        request={"path": "/say", "body": {"records": "{records}"}},
        answers={"records": "r", "record_code": "c", "record_reason": "w", "codes": {"0": "accepted", "*": "refused"}},
    )
    hub.answers.append({"r": [{"c": 0}, {"c": 7, "w": "坏"}]})
    outcomes = sink.write(deliveries(3))
    assert [tuple(one) for one in outcomes[:2]] == [(ACCEPTED, ""), (REFUSED, "7: 坏")]
    assert outcomes[2].status == UNAVAILABLE


def test_a_request_refused_as_a_whole_is_halved_until_the_culprit_stands_alone(hub, monkeypatch):
    sink = sink_of(hub, per_request=8)
    real = httppeer._records
    monkeypatch.setattr(
        httppeer,
        "_records",
        lambda hub, body, room: (
            httppeer.JSONResponse({"message": "坏记录"}, status_code=422)
            if b'"bad":true' in body
            else real(hub, body, room)
        ),
    )
    given = deliveries(8)
    given[5] = deliveries(6, bad=True)[5]
    outcomes = sink.write(given)
    assert statuses(outcomes) == [ACCEPTED] * 5 + [REFUSED] + [ACCEPTED] * 2
    assert outcomes[5].reason == "HTTP 422: 坏记录"


def test_what_follows_an_unavailable_version_waits_behind_it(hub):
    sink = sink_of(hub, per_request=1)
    given = deliveries(3)
    second = Delivery("f" * 64, "d", given[0].key, 2, "c9", b"{}", "b1")
    hub.room = 0
    settings = HttpSettings(
        **batches(hub.url, per_request=1, request={"path": "/full/records", "body": {"records": "{records}"}})
    )
    assert statuses(HttpSink(settings).write([given[0], second])) == [UNAVAILABLE] * 2
    assert len(hub.calls) == 1
    assert statuses(sink.write([given[0], second])) == [ACCEPTED] * 2


def test_versions_of_a_record_go_out_one_after_another(hub):
    given = deliveries(3)
    second = Delivery("f" * 64, "d", given[0].key, 2, "c9", b"{}", "b1")
    assert statuses(sink_of(hub).write([*given, second])) == [ACCEPTED] * 4
    assert [len(orjson.loads(one.body)["records"]) for one in hub.calls] == [3, 1]


def test_no_log_shows_an_address_with_its_query(hub, caplog):
    hub.answers.append({})
    request = {"path": "/say", "method": "GET", "query": {"companydata": "{secrets.word}"}}
    settings = HttpSettings(url=hub.url, request=request, secrets={"word": "s3cret"})
    with caplog.at_level("INFO"):
        assert statuses(HttpSink(settings).write(deliveries(1))) == [ACCEPTED]
    assert hub.calls[0].query == {"companydata": "s3cret"}
    assert "s3cret" not in str([one.getMessage() for one in caplog.records if not one.name.startswith("uvicorn")])


def test_bodies_go_out_byte_for_byte(hub):
    sink = sink_of(hub)
    body = b'{"hours": 1.50, "text":  "\xe6\x9c\xba"}'
    sink.write([Delivery("a" * 64, "d", "k", 1, "c", body, "b1")])
    assert hub.taken["a" * 64].body == body


def test_one_record_alone_is_the_body(hub):
    settings = HttpSettings(url=hub.url, request={"path": "/say"}, answers={"code": "code", "codes": {"0": "accepted"}})
    hub.answers.append({"code": 0})
    assert statuses(HttpSink(settings).write(deliveries(2))) == [ACCEPTED] * 2
    assert [one.body for one in hub.calls] == [b'{"n":0}', b'{"n":1}']
    assert [one.headers["idempotency-key"] for one in hub.calls] == [f"{i:064x}" for i in range(2)]


def test_many_without_a_template_are_a_list(hub):
    settings = HttpSettings(url=hub.url, per_request=2, request={"path": "/say"})
    hub.answers.append({})
    assert statuses(HttpSink(settings).write(deliveries(3))) == [ACCEPTED] * 3
    assert [one.body for one in hub.calls] == [b'[{"n":0},{"n":1}]', b'[{"n":2}]']


# -- who we are --------------------------------------------------------------------------------------------------------

LOGIN = {
    "kind": "login",
    "call": {"path": "/token", "body": {"user": httppeer.USER, "password": "{secrets.word}"}},
    "expires": "expires_in",
    "answers": {"code": "code", "reason": "status", "codes": {"1": "accepted", "*": "refused"}},
}


def guarded(hub, time=None, **more):
    base = {"url": hub.url, "request": {"path": "/guarded"}, "secrets": {"word": "env:PEER_PASSWORD"}, "auth": LOGIN}
    settings = HttpSettings(**base | {"retry": {"tries": 1}} | more)
    time = time or Time()
    return HttpSink(settings, peer=Peer(settings, sleep=time.sleep, clock=time))


def test_a_token_is_fetched_once_and_used(hub):
    sink = guarded(hub)
    assert statuses(sink.write(deliveries(3))) == [ACCEPTED] * 3
    assert hub.paths() == ["/token", "/guarded", "/guarded", "/guarded"]


def test_a_token_is_renewed_before_it_ends(hub):
    time = Time()
    sink = guarded(hub, time)
    sink.write(deliveries(1))
    time.now += 539
    sink.write(deliveries(1))
    assert hub.logins == 1
    time.now += 2
    sink.write(deliveries(1))
    assert hub.logins == 2


def test_a_refused_token_is_renewed_once(hub):
    sink = guarded(hub)
    sink.write(deliveries(1))
    hub.tokens.clear()
    assert statuses(sink.write(deliveries(2))) == [ACCEPTED] * 2
    assert hub.paths()[2:] == ["/guarded", "/token", "/guarded", "/guarded"]


def test_refused_credentials_stop_the_flow_at_the_first_refusal(hub, monkeypatch):
    time = Time()
    hub.word = "another"
    sink = guarded(hub, time)
    outcomes = sink.write(deliveries(3))
    assert statuses(outcomes) == [UNAVAILABLE] * 3
    assert all(one.reason.startswith("AUTH_FAILED") for one in outcomes)
    assert httppeer.PASSWORD not in str(outcomes)
    assert "***" in outcomes[0].reason
    assert sink.pause().stopped
    assert statuses(sink.write(deliveries(3))) == [UNAVAILABLE] * 3
    assert hub.logins == 1
    with pytest.raises(Misconfigured) as caught:
        sink.check()
    assert caught.value.remedy
    monkeypatch.delenv("PEER_PASSWORD")
    assert sink.pause().stopped
    monkeypatch.setenv("PEER_PASSWORD", "another")
    assert not sink.pause().seconds  # who asks before a call learns of it too
    assert statuses(sink.write(deliveries(3))) == [ACCEPTED] * 3
    assert hub.logins == 2


def test_a_stop_ends_by_itself_after_a_while(hub):
    time = Time()
    hub.word = "another"
    sink = guarded(hub, time, stop_seconds=600)
    sink.write(deliveries(1))
    time.now += 599
    sink.write(deliveries(1))
    assert hub.logins == 1
    time.now += 1
    hub.word = httppeer.PASSWORD
    assert statuses(sink.write(deliveries(1))) == [ACCEPTED]


def test_a_token_that_stays_refused_stops_too(hub):
    hub.faults += ["", "401", "", "403"]
    sink = guarded(hub)
    assert statuses(sink.write(deliveries(2))) == [UNAVAILABLE] * 2
    assert hub.paths() == ["/token", "/guarded", "/token", "/guarded"]
    assert sink.pause().stopped


def test_a_fixed_token_is_read_again_from_its_file(hub, tmp_path):
    (tmp_path / "token").write_text("old\n")
    sink = guarded(hub, auth={"kind": "bearer", "token": f"file:{tmp_path / 'token'}"})
    hub.tokens.add("new")
    assert statuses(sink.write(deliveries(1))) == [UNAVAILABLE]
    (tmp_path / "token").write_text("new\n")
    assert statuses(sink.write(deliveries(1))) == [ACCEPTED]


def test_basic_and_fixed_headers(hub):
    auth = {"kind": "basic", "user": "me", "password": "pw"}
    sink = guarded(hub, request={"path": "/say"}, auth=auth, headers={"X-App": "env:PEER_PASSWORD"})
    hub.answers.append({})
    assert statuses(sink.write(deliveries(1))) == [ACCEPTED]
    assert hub.calls[-1].headers["authorization"] == "Basic bWU6cHc="
    assert hub.calls[-1].headers["x-app"].encode("latin-1").decode() == httppeer.PASSWORD


def test_a_header_that_cannot_be_one_is_named_without_its_value(hub):
    sink = guarded(hub, auth={"kind": "none"}, headers={"X-App": "s3cret\r\nX: y"})
    with pytest.raises(Misconfigured, match="X-App") as caught:
        sink.write(deliveries(1))
    assert "s3cret" not in str(caught.value)


def test_nothing_of_a_secret_stands_in_errors_or_settings(hub, monkeypatch):
    settings = batches(hub.url, auth={"kind": "bearer", "token": "s3cret"}, headers={"X": "s3cret"})
    sink = HttpSink(HttpSettings(**settings))
    assert "s3cret" not in repr(sink.settings)
    with pytest.raises(Misconfigured) as caught:
        registry.sink("http", settings | {"url": "https://user:s3cret@host"})
    assert "s3cret" not in str(caught.value)


# -- presets, TLS, gates -----------------------------------------------------------------------------------------------

SENT = {
    "plate": "沪BL7806", "companyname": "上海某某", "vin": "WP1AG2923CLA64129", "repairdate": "2018-04-12",
    "settledate": "2018-04-13", "mileage": "52000", "faultdescription": "发动机异响", "costlistcode": "20180413-01",
    "parts": [{"name": "火花塞", "quantity": "6", "code": "99917022190"}],
    "projects": [{"name": "更换火花塞", "hours": "2.5"}], "companycode": "330103000000001",
}  # fmt: skip


def national(hub, **more):
    given = {"preset": "lcippro", "url": hub.url, "retry": {"tries": 1}} | more
    given.setdefault("secrets", {"companycode": httppeer.USER, "companypassword": "env:PEER_PASSWORD"})
    return registry.sink("http", given)


def test_the_national_preset_sends_what_the_interface_asks_for(hub, payloads):
    sink = national(hub)
    sent = Delivery("1" * 64, "d", "k", 1, "c", orjson.dumps(SENT), "b1")
    assert sink.write([sent]) == [(ACCEPTED, "")]
    body = orjson.loads(hub.calls[1].body)
    sample = orjson.loads((payloads / "15_shanghai_webform_record.json").read_bytes())
    assert set(body) == set(sample)
    assert set(body["basicInfo"]) == set(sample["basicInfo"])
    assert body["basicInfo"]["repairdate"] == "20180412"
    assert body["vehiclepartslist"] == [{"partsname": "火花塞", "partsquantity": "6", "partscode": "99917022190"}]
    assert body["repairprojectlist"] == [{"repairproject": "更换火花塞", "workinghours": "2.5"}]
    assert hub.paths()[1] == "/restservices/lcipprodatarest/lcipprocarfixrecordadd/query"


def test_the_national_preset_reads_refusals_and_tokens(hub):
    sink = national(hub)
    good, bad = (
        Delivery(f"{n:064x}", "d", f"k{n}", 1, "c", orjson.dumps(SENT | {"vin": vin}), "b1")
        for n, vin in enumerate(("WP1AG2923CLA64129", ""))
    )
    assert sink.write([bad, good]) == [(REFUSED, "0: 车辆识别代码不能为空；工时有误"), (ACCEPTED, "")]
    hub.tokens.clear()
    assert sink.write([good]) == [(ACCEPTED, "")]
    assert hub.logins == 2
    assert sink.check()


def test_a_record_that_lacks_what_the_preset_names_is_refused_alone(hub):
    sink = national(hub)
    given = [
        Delivery("1" * 64, "d", "k1", 1, "c", b'{"plate": "x"}', "b1"),
        Delivery("2" * 64, "d", "k2", 1, "c", orjson.dumps(SENT), "b1"),
    ]
    outcomes = sink.write(given)
    assert statuses(outcomes) == [REFUSED, ACCEPTED]
    assert "record.companyname" in outcomes[0].reason


def test_a_preset_needs_its_secrets(hub):
    sink = national(hub, secrets={"companycode": "1"})
    with pytest.raises(Misconfigured, match=r"secrets\.companypassword"):
        sink.write([Delivery("2" * 64, "d", "k2", 1, "c", orjson.dumps(SENT), "b1")])


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"preset": "nobody"}, "lcippro"),
        ({"record": "{nothing}"}, "nothing"),
        ({"record": "{record.n|odd}"}, "odd"),
        ({"maintenance": ["tomorrow"]}, "23:30-01:00"),
        ({"answers": {"status": {"4": "refused"}}}, "409"),
        ({"answers": {"codes": {"1": "fine"}}}, "codes"),
        ({"answers": {"code": "a..b["}}, "path"),
        ({"signing": {"algorithm": "md5", "secret": "x", "placement": "{secret}"}}, "placement"),
        ({"auth": {"kind": "login", "call": {"body": "{token}"}}}, "token"),
    ],
)
def test_settings_that_cannot_work_are_refused_when_they_are_read(hub, wrong, word):
    with pytest.raises(Misconfigured) as caught:
        registry.sink("http", batches(hub.url) | wrong)
    assert word in str(caught.value)


def test_a_peer_with_its_own_authority_and_our_certificate(tmp_path):

    certificates.make(tmp_path)
    options = {"ssl_certfile": tmp_path / "server.pem", "ssl_keyfile": tmp_path / "server.key"}
    with httppeer.serving(**options, ssl_ca_certs=tmp_path / "ca.pem", ssl_cert_reqs=ssl.CERT_REQUIRED) as server:
        url = f"https://127.0.0.1:{server.port}/tls"
        ours = {"ca": tmp_path / "ca.pem", "cert": tmp_path / "client.pem", "key": tmp_path / "client.key"}
        for tls, expected in (
            (ours, ACCEPTED),
            (ours | {"ca": tmp_path / "other-ca.pem"}, UNAVAILABLE),
            ({"ca": tmp_path / "ca.pem"}, UNAVAILABLE),
            ({}, UNAVAILABLE),
        ):
            sink = HttpSink(HttpSettings(**batches(url, tls=tls)))
            outcomes = sink.write(deliveries(1))
            sink.close()
            assert statuses(outcomes) == [expected], (tls, outcomes)
    with pytest.raises(Misconfigured, match=r"tls\.ca"):
        HttpSink(HttpSettings(**batches(url, tls={"ca": tmp_path / "nowhere.pem"}))).write(deliveries(1))


def test_proxies_of_the_environment_are_ignored(hub, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert statuses(sink_of(hub).write(deliveries())) == [ACCEPTED] * 3
    assert statuses(sink_of(hub, proxy="http://127.0.0.1:1").write(deliveries())) == [UNAVAILABLE] * 3


def test_a_peer_that_keeps_failing_is_left_alone_and_tried_again(hub):
    time = Time()
    sink = sink_of(hub, time, breaker={"failures": 3, "open_seconds": 10, "jitter": 0})
    hub.always = "500"
    for _ in range(6):
        sink.write(deliveries())
    assert len(hub.calls) == 3
    assert sink.pause().seconds == 10
    time.now += 10
    sink.write(deliveries())
    assert len(hub.calls) == 4
    assert sink.pause().seconds == 20
    hub.always = ""
    time.now += 20
    assert statuses(sink.write(deliveries())) == [ACCEPTED] * 3
    assert sink.pause().seconds == 0


def test_a_budget_is_kept(hub):
    sink = sink_of(hub, per_request=1, budget={"calls": 2, "seconds": 3600, "name": hub.url})
    assert statuses(sink.write(deliveries(5))) == [ACCEPTED] * 2 + [UNAVAILABLE] * 3
    assert len(hub.calls) == 2


def test_in_a_maintenance_window_nothing_is_sent(hub):
    sink = sink_of(hub, maintenance=["00:00-24:00"])
    outcomes = sink.write(deliveries())
    assert statuses(outcomes) == [UNAVAILABLE] * 3
    assert "maintenance" in outcomes[0].reason
    assert not hub.calls


def test_what_nobody_can_verify_says_so(hub):
    with pytest.raises(Misconfigured, match="receipts"):
        HttpSink(HttpSettings(url=hub.url)).verify("b1")
    hub.answers.append({"count": "many"})
    asked = {"call": {"path": "/say", "query": {"b": "{batch}"}}}
    with pytest.raises(Misconfigured, match="tally"):
        HttpSink(HttpSettings(url=hub.url, tally=asked)).verify("b1")
    hub.answers[0] = {"count": 2, "digest": str(2**64 + 5)}
    assert HttpSink(HttpSettings(url=hub.url, tally=asked)).verify("b1") == Tally(2, 5)


def test_twice_in_one_write_is_sent_once(hub):
    sink = sink_of(hub, per_request=1)
    one = deliveries(1)[0]
    assert statuses(sink.write([one, one])) == [ACCEPTED] * 2
    assert len(hub.calls) == 1


def test_a_duplicate_of_another_batch_is_one(hub):
    sink = sink_of(hub)
    sink.write(deliveries(1))
    other = Delivery(
        *[getattr(deliveries(1)[0], n) for n in ("id", "destination", "key", "version", "content", "body")], "b2"
    )
    assert statuses(sink.write([other])) == [DUPLICATE]
