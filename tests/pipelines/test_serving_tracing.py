"""Spans of a running role, as a collector gets them by OTLP: what stands below what, and nothing of a payload."""

from __future__ import annotations

import shutil
import signal
import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from engine_samples import payload
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from test_serving_service import BASE, PASSWORD, PATIENCE, ROOT, SHOP, Running, wait_for

from pipelines.serving.roles import Tracing


class Collector(ThreadingHTTPServer):
    """Takes spans at /v1/traces."""

    def __init__(self):
        self.bodies = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def spans(self):
        """Name, parent's name or "", attributes of all spans, in the order of their ends."""
        found, names = [], {}
        for body in self.bodies:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    found += scope.spans
        names = {span.span_id: span.name for span in found}
        return [(span.name, names.get(span.parent_span_id, ""), _attributes(span)) for span in found]


def _attributes(span):
    kinds = {one.key: one.value.WhichOneof("value") for one in span.attributes}
    return {one.key: getattr(one.value, kinds[one.key]) for one in span.attributes}


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200 if self.path == "/v1/traces" else 404)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def collecting():
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    return tmp_path


def test_a_collector_gets_requests_batches_stages_and_effects_and_no_personal_data(folder):
    with collecting() as collector:
        endpoint = f"http://127.0.0.1:{collector.server_port}/v1/traces"
        said = ("--set", "tracing.enabled=true", "--set", f"tracing.endpoint={endpoint}")
        with closing(Running(folder, *said)) as running:
            running.call("lcipproaccountcompany", SHOP)
            running.login()
            vins = [running.upload(seed) for seed in (1, 2)]
            httpx.post(f"{running.told['door']}/nowhere/{PASSWORD}", timeout=PATIENCE)
            httpx.get(f"{running.told['door']}/v1/receipts/LIST-CODE-7", timeout=PATIENCE)
            wait_for(lambda: all(running.trace(vin) for vin in vins), running.log.read_text)
            assert running.end(signal.SIGTERM) == 0
        spans = collector.spans
    record = f"{BASE}/lcipprocarfixrecordadd/query"
    paths = [about["url.path"] for name, above, about in spans if (name, above) == ("door", "")]
    assert paths.count(record) == 2
    assert {"other", "/v1/"} <= set(paths)
    commits = [about for name, above, about in spans if (name, above) == ("inbox.commit", "door")]
    assert [one["vingate.envelopes"] for one in commits] == [1] * len(commits)
    assert len(commits) >= 2
    batches = [
        about
        for name, above, about in spans
        if (name, above) == ("batch", "") and about["vingate.exchange"] == "collect"
    ]
    assert sum(one["vingate.records.received"] for one in batches) == 2
    assert all(one["vingate.batch"].startswith("collect-") for one in batches)
    below = [(name, above) for name, above, _ in spans if above in ("batch", "deliver")]
    assert {("work", "batch"), ("decide", "batch"), ("deliver", "batch"), ("effect", "deliver")} == set(below)
    effects = [about for name, _, about in spans if name == "effect" and about["vingate.exchange"] == "collect"]
    assert {one["vingate.destination"] for one in effects} == {"province-44"}
    assert sum(one["vingate.deliveries.taken"] for one in effects) == 2
    sent = b"".join(collector.bodies)
    basic = payload(1)["basicInfo"]
    secrets = [*vins, PASSWORD, running.token, "LIST-CODE-7", SHOP["companyname"], "440300000000001"]
    secrets += [basic["vehicleplatenumber"], basic["costlistcode"], basic["faultdescription"]]
    assert [one for one in secrets if one.encode() in sent] == []


def test_a_collector_that_is_away_stops_nothing(folder):
    said = ("--set", "tracing.enabled=true", "--set", "tracing.endpoint=http://127.0.0.1:9/v1/traces")
    with closing(Running(folder, *said)) as running:
        running.call("lcipproaccountcompany", SHOP)
        running.login()
        vin = running.upload(1)
        wait_for(lambda: running.trace(vin), running.log.read_text)
        assert running.end(signal.SIGTERM) == 0


def test_nothing_is_traced_unless_it_is_switched_on():
    assert Tracing().enabled is False
