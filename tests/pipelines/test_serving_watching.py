"""What an operator sees of a service: logs without data, metrics, health codes, spans."""

import http.client
import json
import logging
import sys
import time
from datetime import datetime

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert

from connectors.breakers import Breaker, BreakerSettings
from connectors.gates import Gate
from pipelines import tables
from pipelines.diskroom import DiskRoom
from pipelines.errors import SettingsError, StateMissing
from pipelines.progress import Event
from pipelines.serving import logs, tracing
from pipelines.serving.children import Child
from pipelines.serving.health import Health
from pipelines.serving.metrics import Page, carried, gauge
from pipelines.serving.observing import Observing
from pipelines.serving.pulse import Pulse, Verdict
from pipelines.serving.standing import Standing
from pipelines.state import State

VIN = "LSVAA218XK2000001"


class Written:
    """What was written to stderr so far."""

    def __init__(self, capsys):
        self._capsys, self._text = capsys, ""

    def getvalue(self):
        self._text += self._capsys.readouterr().err
        return self._text


@pytest.fixture
def written(capsys):
    """What is logged; the loggers are as before afterwards."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions
    yield Written(capsys)
    root.handlers[:], root.level, logging.raiseExceptions = before
    logging.captureWarnings(False)
    for name in (*logs._QUIET, logs.ACCESS):
        logging.getLogger(name).setLevel(logging.NOTSET)


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_what_it_concerns(written):
    logs.set_up("province", "gateway-1", logs.LogSettings())
    counts = {"received": 3, "dead": 1}
    logs.log.info("batch", extra={"exchange": "collect", "batch": "collect-7", "counts": counts, "seconds": 0.25})
    logs.log.debug("quiet")
    (line,) = lines(written)
    assert datetime.fromisoformat(line.pop("ts")).tzinfo is not None
    assert line == {
        "level": "info",
        "role": "province",
        "process": "gateway-1",
        "event": "batch",
        "exchange": "collect",
        "batch": "collect-7",
        "counts": counts,
        "seconds": 0.25,
    }


def test_a_log_holds_no_data_and_no_secret(written):
    logs.set_up("province", "door", logs.LogSettings(access=True))
    logs.log.error("failed", extra={"text": f'{{"vin": "{VIN}", "access_token": "AB12CD34", "tel": "13812345678"}}'})
    logging.getLogger("somebody.else").warning("call https://h/x?companypassword=geheim&tel=13812345678")
    try:
        raise ValueError(VIN)
    except ValueError:
        logs.log.exception("bug")
    logging.getLogger("broken").warning("%s %s", "one")
    logging.getLogger(logs.ACCESS).info("GET %s", "/api", extra={"answer": "ok", "ms": 1.5, "peer": "10.0.0.1"})
    said = written.getvalue()
    for secret in (VIN, "AB12CD34", "geheim", "13812345678"):
        assert secret not in said
    bug = lines(written)[2]
    assert (bug["event"], bug["error"]) == ("bug", "ValueError")
    assert "test_serving_watching.py" in bug["at"][0]
    assert lines(written)[3]["text"] == "%s %s"
    assert lines(written)[4] | {"ts": ""} == {
        "ts": "",
        "level": "info",
        "role": "province",
        "process": "door",
        "event": "vingate.door.access",
        "answer": "ok",
        "ms": 1.5,
        "peer": "10.0.0.1",
        "text": "GET /api",
    }


def test_logs_for_people_are_one_line_each(written):
    logs.set_up("province", "gateway-1", logs.LogSettings(format="text", level="warning"))
    logs.log.info("quiet")
    logs.log.warning("batch", extra={"exchange": "collect", "counts": {"received": 3, "dead": 0}, "text": "a\nb"})
    try:
        raise KeyError(VIN)
    except KeyError:
        logs.log.exception("bug")
    first, second = written.getvalue().splitlines()
    assert first.endswith("warning gateway-1 collect batch received 3 a ⏎ b")
    assert "gateway-1 bug KeyError (" in second
    assert VIN not in second


def test_requests_at_the_door_are_logged_only_when_asked_for(written):
    logs.set_up("province", "door", logs.LogSettings())
    logging.getLogger(logs.ACCESS).info("GET /api")
    assert written.getvalue() == ""


# -- metrics -----------------------------------------------------------------------------------------------------------


def samples(text):
    return {
        (one.name, *sorted(one.labels.items())): one.value
        for family in text_string_to_metric_families(text.decode())
        for one in family.samples
    }


def test_what_children_count_is_shown_with_their_names():
    registry = CollectorRegistry()
    Counter("things", "Things", ["kind"], registry=registry).labels("a").inc(3)
    Histogram("times", "Times", buckets=(1, 2), registry=registry).observe(1.5)
    travelled = json.loads(json.dumps(carried(registry)))
    page = Page()
    page.carry("gateway-1", travelled)
    page.carry("gateway-2", travelled)
    page.add(lambda: [gauge("depth", "Depth", ["exchange"], {("collect",): 7})])
    text = page.text()
    found = samples(text)
    assert found["things_total", ("kind", "a"), ("process", "gateway-1")] == 3
    assert found["things_total", ("kind", "a"), ("process", "gateway-2")] == 3
    assert found["times_bucket", ("le", "2.0"), ("process", "gateway-1")] == 1
    assert found["depth", ("exchange", "collect")] == 7
    assert text.count(b"# TYPE things_total counter") == 1
    assert [key for key in found if key[0] == "vingate_build_info"]


def test_the_breaker_of_a_peer_is_shown():
    now = [0.0]
    breaker = Breaker(BreakerSettings(failures=1, open_seconds=10, jitter=0), clock=lambda: now[0])
    gate = Gate(breaker=breaker, peer="province.example:443", clock=lambda: now[0])
    assert ("vingate_breaker", ("peer", "province.example:443"), ("process", "supervisor")) in samples(Page().text())
    gate.failed()
    found = samples(Page().text())
    labels = [("peer", "province.example:443"), ("process", "supervisor")]
    assert found["vingate_breaker", *labels] == 2
    assert found["vingate_peer_pause_seconds", *labels] == 10
    now[0] = 10.0
    assert samples(Page().text())["vingate_breaker", *labels] == 1


@pytest.fixture
def state(tmp_path):
    with State(tmp_path / "state", own=True) as made:
        yield made


def batch_row(**counts):
    return {
        "id": "collect-000001",
        "exchange": "collect",
        "number": 1,
        "run": 1,
        "kind": "inbox",
        "state": "closed",
        "received_at": "2026-01-01T00:00:00+00:00",
        "items": b"[]",
        **counts,
    }


def fill(state, **counts):
    with state.unit_of_work() as connection:
        connection.execute(
            insert(tables.runs), {"id": 1, "exchange": "collect", "started_at": "2026-01-01T00:00:00+00:00"}
        )
        connection.execute(insert(tables.batches), batch_row(**counts))
        connection.execute(
            insert(tables.batch_destinations),
            {"batch": "collect-000001", "destination": "province-44", "sink": "p", "addressed": 5, "delivered": 5},
        )
        for number in (1, 2):
            connection.execute(
                insert(tables.inbox),
                {
                    **dict.fromkeys(("source", "key", "company", "system", "dialect", "verdict"), ""),
                    "exchange": "collect",
                    "received_at": f"2026-01-01T00:00:0{number}+00:00",
                    "vin": 0,
                    "size": 100 * number,
                    "body": b"x",
                },
            )


def test_what_stands_in_the_state_is_shown(state):
    fill(state, received=6, decoded=6, addressed=5, duplicate_records=1)
    page = Page()
    page.add(Standing(lambda: State(state.path, own=False), ["collect", "operators"], 0))
    found = samples(page.text())
    collect, other = ("exchange", "collect"), ("exchange", "operators")
    assert found["vingate_inbox_rows", collect] == 2
    assert found["vingate_inbox_bytes", collect] == 300
    assert found["vingate_inbox_oldest_seconds", collect] > 0
    assert found["vingate_inbox_rows", other] == 0
    assert found["vingate_ledger_gap", collect] == 0
    assert found["vingate_ledger_gap", other] == 0
    assert found["vingate_unplaced", collect] == 0
    assert found["vingate_state_readable",] == 1


def test_a_gap_in_the_ledger_shows(state):
    fill(state, received=7, decoded=6, addressed=4, duplicate_records=1)
    page = Page()
    page.add(Standing(lambda: State(state.path, own=False), [], 0))
    assert samples(page.text())["vingate_ledger_gap", ("exchange", "collect")] == 2


def test_the_state_is_asked_no_more_often_than_allowed(tmp_path):
    asked = []

    def missing():
        asked.append(1)
        raise StateMissing(tmp_path)

    standing = Standing(missing, [], 1000)
    assert [one.samples[0].value for one in (*standing(), *standing())] == [0, 0]
    assert len(asked) == 1


def test_events_become_counts_times_lines_and_spans(state, written):
    logs.set_up("r", "p", logs.LogSettings())
    fill(state, received=6, decoded=5, dead_intake=1, dead_records=1, addressed=4)
    spans, moved = [], []

    class Tracer:
        def stage(self, batch, timed):
            spans.append(timed[:3])

        whole = stage

        def close(self):
            pass

    times = iter(range(10, 90, 10))
    observe = Observing(state, Tracer(), moved.append, lambda: next(times) * 1_000_000_000)
    for name in ("opened", "item", "staged", "decided", "effect", "closed"):
        observe(Event(name, "collect", "collect-000001", 1, 6))
    second = 1_000_000_000
    assert [(stage, since // second, until // second) for stage, since, until in spans] == [
        ("work", 10, 30),
        ("decide", 30, 40),
        ("deliver", 40, 60),
        ("batch", 10, 60),
    ]
    assert moved == ["collect"] * 6
    (line,) = lines(written)
    assert (line["event"], line["seconds"], line["counts"]["dead"], line["counts"]["decoded"]) == ("batch", 50.0, 2, 5)
    page = Page()
    found = samples(page.text())
    labels = [("exchange", "collect"), ("process", "supervisor")]
    assert found["vingate_batches_total", *labels] >= 1
    assert found["vingate_stage_seconds_count", *labels, ("stage", "work")] >= 1


def test_an_event_of_an_unknown_batch_is_no_harm(state, written):
    logs.set_up("r", "p", logs.LogSettings(level="debug"))
    observe = Observing(state)
    observe(Event("closed", "x", "x-1", total=4))
    observe(Event("run", "x", note="resumed"))
    assert [line["event"] for line in lines(written)] == ["batch", "run"]
    assert lines(written)[0]["counts"] == {"received": 4}


def test_tracing_without_its_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match=r"pip install -e '\.\[tracing\]'"):
        tracing.open_tracer("province", "")


# -- health ------------------------------------------------------------------------------------------------------------


def running(name, **more):
    child = Child(name, (), {}, **more)
    child.process, child.said_at = object(), time.monotonic()
    return child


def get(server, path, method="GET"):
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture
def told():
    return {"health": Verdict(True, []), "ready": Verdict(False, ["x: 未就绪"])}


@pytest.fixture
def server(told):
    made = Health("127.0.0.1", 0, lambda: told["health"], lambda: told["ready"], lambda: b"m 1\n")
    yield made
    made.close()


def test_the_codes_of_the_health_port(server, told):
    assert get(server, "/healthz")[0] == 200
    status, body = get(server, "/readyz?verbose")
    assert (status, json.loads(body)) == (503, {"ok": False, "problems": ["x: 未就绪"]})
    told["health"], told["ready"] = told["ready"], told["health"]
    assert get(server, "/healthz")[0] == 503
    assert get(server, "/readyz") == (200, b'{"ok": true, "problems": []}\n')
    assert get(server, "/metrics") == (200, b"m 1\n")
    assert get(server, "/metrics", "HEAD") == (200, b"")
    assert get(server, "/secrets")[0] == 404
    assert get(server, "/healthz", "POST")[0] == 501


def test_a_port_that_is_taken_is_named(server):
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(SettingsError, match=f"health.port {port}: "):
        Health("127.0.0.1", port, lambda: Verdict(True, []), lambda: Verdict(True, []), None)


def test_metrics_can_be_switched_off():
    server = Health("127.0.0.1", 0, lambda: Verdict(True, []), lambda: Verdict(True, []), None)
    try:
        assert get(server, "/metrics")[0] == 404
    finally:
        server.close()


def test_health_is_processes_that_run_and_loops_that_move():
    gateway, door = running("gateway-1"), running("door", after="gateway-1")
    pulse = Pulse([gateway, door], 30, lambda: "")
    gateway.said = {"loops": {"collect": {"idle": 1.0, "failing": "", "feeds": {}}}}
    assert pulse.health() == Verdict(True, [])
    gateway.said = {"loops": {"collect": {"idle": 31.0, "failing": "", "feeds": {}}}}
    assert "collect" in pulse.health().problems[0]
    gateway.said, door.said_at = {}, time.monotonic() - 31
    assert "silent" in pulse.health().problems[0]
    door.process, door.was_ready = None, True
    assert "not running" in pulse.health().problems[0]
    door.was_ready = False  # it waits for the gateway
    assert pulse.health().good


def test_ready_is_when_work_can_be_taken():
    gateway, hindrance = running("gateway-1"), [""]
    pulse = Pulse([gateway], 30, lambda: hindrance[0])
    assert not pulse.readiness().good
    gateway.became_ready({})
    gateway.said = {"loops": {"collect": {"idle": 0.0, "failing": "", "feeds": {"queue": True}}}}
    assert pulse.readiness().good
    gateway.said = {"loops": {"collect": {"idle": 0.0, "failing": "away", "feeds": {"queue": False}}}}
    door = running("door")
    door.became_ready({})
    door.said = {"full": True}
    full = Pulse([door], 30, lambda: "")
    assert "takes nothing in" in full.readiness().problems[0]
    door.said = {"full": False}
    assert full.readiness().good
    hindrance[0], pulse.stopping = "磁盘已满 / full", True
    problems = pulse.readiness().problems
    assert len(problems) == 4
    assert problems[-1] == "磁盘已满 / full"
    values = {family.name: family.samples[0].value for family in pulse.families()}
    assert (values["vingate_ready"], values["vingate_healthy"], values["vingate_child_up"]) == (0, 1, 1)


def test_room_for_the_state(tmp_path):
    assert DiskRoom(tmp_path, 0)() == ""
    assert "磁盘只剩" in DiskRoom(tmp_path, 1 << 80)()
    assert "不可写" in DiskRoom(tmp_path / "gone", 0)()
