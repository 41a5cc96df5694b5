"""The door as a process on a real port: hostile callers, signals, crashes, TLS."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from door_kit import ADDED, PASSWORD, RECORD, REGISTER, TOKEN, payload, registration
from sqlalchemy import select

from pipelines import tables
from pipelines.inbox import SEALED_FOR
from pipelines.state import State

HERE = Path(__file__).parent
PATIENCE = 60


class Process:
    """A running door."""

    def __init__(self, process, urls, errors):
        self.process, (self.url, self.foshan), self.errors = process, urls, errors
        place = urlsplit(self.url)
        self.place = place.hostname, place.port

    def admitted(self, client):
        """A token of a shop that registers."""
        company = client.post(self.url + REGISTER, json=registration()).json()["companycode"]
        asked = {"companycode": company, "companypassword": PASSWORD}
        return client.post(self.url + TOKEN, json=asked).json()["access_token"]

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def door(path, level="INFO", **settings):
    """A door on a state below `path`, on a free port; at level DEBUG it logs every call, and answers none at once."""
    with State(path / "state", own=True):
        pass
    errors = path / "stderr"
    command = [sys.executable, HERE / "door_process.py", path / "state", json.dumps({"port": 0, **settings}), level]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)])}
    with errors.open("ab") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment)
    try:
        line = process.stdout.readline()
        assert line, errors.read_text()
        yield Process(process, json.loads(line), errors)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()


def kept(path):
    """The bodies in the inbox of the collecting exchange, in order."""
    with State(path / "state", own=False) as state, state.reading() as connection:
        t, sealer = tables.inbox, state.sealer()
        rows = connection.execute(select(t.c.body).where(t.c.exchange == "collect").order_by(t.c.id)).scalars().all()
        return [sealer.unseal(body, SEALED_FOR) for body in rows]


def request(body, path=RECORD, length=None):
    head = f"POST {path} HTTP/1.1\r\nhost: d\r\ncontent-length: {len(body) if length is None else length}\r\n\r\n"
    return head.encode() + body


def answer(connection):
    """Everything that comes until the other side closes, which it may do hard where it left something unread."""
    connection.settimeout(PATIENCE)
    found = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            found += piece
    return found


def test_hostile_callers(tmp_path):
    settings = {"header_seconds": 0.5, "body_seconds": 1.0, "header_bytes": 4096, "body_bytes": 1 << 20}
    with door(tmp_path, **settings) as running, httpx.Client(timeout=PATIENCE) as client:
        body = payload("15", running.admitted(client))

        def socketed(*pieces, cut=False):
            with closing(socket.create_connection(running.place)) as connection:
                for piece in pieces:
                    connection.sendall(piece)
                if cut:
                    connection.shutdown(socket.SHUT_WR)
                return answer(connection)

        assert b"408" in socketed(b""), "says nothing"
        assert b"408" in socketed(b"POST / HTTP/1.1\r\nhost: d\r\nx-slow: "), "half a head"
        assert b"408" in socketed(request(body)[:-10]), "half a body"
        assert b'"code":"1"' not in socketed(request(body)[:-10], cut=True), "cut in half"
        assert b"400" in socketed(b"\x16\x03\x01\x00garbage\r\n\r\n" * 3), "garbage"
        assert b"431" in socketed(b"GET / HTTP/1.1\r\nx: " + b"a" * 5_000), "a head without end"
        assert b"431" in socketed(b"GET / HTTP/1.1\r\nx: " + b"a" * 5_000 + b"\r\n\r\n"), "a head too long, at once"
        big = client.post(running.url + RECORD, content=b"[" * (3 << 20))
        assert (big.status_code, big.json()["code"]) == (413, "0"), "too large, and read to its end"
        assert b"413" in socketed(request(b"{", length=10**18)), "too large by what it announces, and not read"
        long = body + b" " * 300_000
        assert client.post(running.url + RECORD, content=long).json() == ADDED, "a long body is no long head"
        assert client.post(running.url + RECORD, content=body).json() == ADDED, "the door goes on"
        assert kept(tmp_path) == [long, body], "nothing half accepted"
        assert running.stop() == 0
    assert "Traceback" not in running.errors.read_text()


def test_a_caller_that_sends_empty_lines_after_its_request_is_cut(tmp_path):
    with door(tmp_path, header_seconds=0.5) as running, closing(socket.create_connection(running.place)) as connection:
        connection.settimeout(PATIENCE)
        connection.sendall(b"GET /time HTTP/1.1\r\nhost: d\r\n\r\n")
        assert b"200" in connection.recv(4096)
        connection.settimeout(0.1)
        until = time.monotonic() + PATIENCE / 2  # before keep_alive_seconds
        found = b""
        while b"408" not in found and time.monotonic() < until:
            connection.sendall(b"\r\n")
            with suppress(TimeoutError):
                found = connection.recv(4096)
        assert found.startswith(b"HTTP/1.1 408")


def test_who_comes_beyond_the_most_connections_is_sent_away_in_its_dialect(tmp_path):
    with door(tmp_path, connections=1) as running, httpx.Client(timeout=PATIENCE) as client:
        body = payload("15", running.admitted(client))
        with httpx.Client(timeout=PATIENCE) as late:
            told = late.post(running.url + RECORD, content=body)
            assert (told.status_code, told.json()["code"], told.headers["retry-after"]) == (503, "0", "1")
            assert "稍后" in told.json()["status"]
            told = late.post(running.url + "/v1/token", json={"companycode": "x", "companypassword": "y"})
            assert (told.status_code, told.headers["content-type"]) == (503, "application/problem+json")
            assert told.headers["connection"] == "close"
        assert client.post(running.url + RECORD, content=body).json() == ADDED, "who was there first goes on"
        assert kept(tmp_path) == [body]


def test_a_slow_caller_is_cut_though_it_goes_on(tmp_path):
    with door(tmp_path, header_seconds=0.5) as running, closing(socket.create_connection(running.place)) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\n")
        heard = threading.Event()

        def drip():
            while not heard.wait(0.05):
                try:
                    connection.sendall(b"x-a: b\r\n")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            connection.settimeout(PATIENCE)
            assert b"408" in connection.recv(4096)
        finally:
            heard.set()
            thread.join()


def test_ten_megabytes(tmp_path):
    with door(tmp_path) as running, httpx.Client(timeout=PATIENCE) as client:
        token = running.admitted(client)
        for body in (b"a" * (10 << 20), payload("15", token) + b" " * (10 << 20)):
            told = client.post(running.url + RECORD, content=body)
            assert (told.status_code, told.json()["code"]) == (413, "0")
        fits = json.dumps({**json.loads(payload("15", token)), "note": "a" * (7 << 20)}).encode()
        assert client.post(running.url + RECORD, content=fits).json() == ADDED
        assert client.get(running.url + "/time").status_code == 200
        assert [len(body) for body in kept(tmp_path)] == [len(fits)]


def test_the_same_record_twenty_times_in_parallel(tmp_path):
    with door(tmp_path) as running, httpx.Client(timeout=PATIENCE) as client:
        body = payload("15", running.admitted(client))
        with ThreadPoolExecutor(20) as pool:
            told = list(pool.map(lambda _: httpx.post(running.url + RECORD, content=body, timeout=PATIENCE), range(20)))
        assert [one.json() for one in told] == [ADDED] * 20
        assert kept(tmp_path) == [body] * 20


def heads_and_bodies(said):
    """Answers in the order of their coming, without their dates."""
    return [
        b"".join(line for line in one.splitlines(True) if line[:5] != b"date:") for one in said.split(b"HTTP/1.1 ")[1:]
    ]


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
def test_what_is_answered_at_once_is_answered_alike(tmp_path, level):
    with door(tmp_path, level) as running, httpx.Client(timeout=PATIENCE) as client:
        clean = json.loads(payload("15", running.admitted(client)))
        clean["basicInfo"]["companycode"] = "330106000000001"
        clean = json.dumps(clean).encode()
        flawed, last = clean.replace(b'"vin"', b'"win"'), b"GET /time HTTP/1.1\r\nhost: d\r\nconnection: close\r\n\r\n"
        added = b"200 OK\r\ncontent-type: application/json;charset=UTF-8\r\ncontent-length: %d\r\n\r\n%s"
        added %= len(said := json.dumps(ADDED, ensure_ascii=False, separators=(",", ":")).encode()), said

        def told(*pieces):
            with closing(socket.create_connection(running.place)) as connection:
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(0.05)
                return answer(connection)

        assert heads_and_bodies(told(request(clean), last))[0] == added, "the token is asked for"
        assert heads_and_bodies(told(request(clean), last))[0] == added, "the token is known"
        piped = heads_and_bodies(told(request(clean) + request(flawed) + request(clean) + request(clean) + last))
        assert [one == added for one in piped] == [True, False, True, True, False], "in order, though one takes a task"
        assert b'"code":"0"' in piped[1]
        cut = request(clean)
        assert heads_and_bodies(told(cut[:30], cut[30:400], cut[400:-5], cut[-5:] + last))[0] == added
        closing_one = request(clean).replace(b"host: d", b"host: d\r\nconnection: close")
        assert heads_and_bodies(told(closing_one))[0] == added.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
        waits = request(clean).replace(b"host: d", b"host: d\r\nexpect: 100-continue")
        assert told(waits + last).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
        assert kept(tmp_path) == [clean, clean, clean, flawed, clean, clean, clean, clean, clean]
        assert running.stop() == 0
    assert "Traceback" not in running.errors.read_text()


def test_sigterm_finishes_what_was_begun(tmp_path):
    with door(tmp_path, commit={"linger_ms": 500}) as running, httpx.Client(timeout=PATIENCE) as client:
        body = payload("15", running.admitted(client))
        open_ones = [socket.create_connection(running.place) for _ in range(4)]
        for connection in open_ones:
            connection.sendall(request(body))
        assert httpx.get(running.url + "/time", timeout=PATIENCE).status_code == 200, "came later: the others are in"
        running.process.send_signal(signal.SIGTERM)
        for connection in open_ones:
            with closing(connection):
                assert ADDED["status"].encode() in answer(connection)
        assert running.process.wait(PATIENCE) == 0
        assert kept(tmp_path) == [body] * 4


def test_accepted_is_durable(tmp_path):
    with door(tmp_path) as running, httpx.Client(timeout=PATIENCE) as client:
        body = payload("15", running.admitted(client))
        assert client.post(running.url + RECORD, content=body).json() == ADDED
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait(PATIENCE)
        assert kept(tmp_path) == [body]
    with door(tmp_path) as running, httpx.Client(timeout=PATIENCE) as client:
        assert client.post(running.url + RECORD, content=body).json() == ADDED, "the token outlived the process"
        assert len(kept(tmp_path)) == 2


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
@pytest.mark.parametrize("before", [False, True], ids=["new connection", "kept connection"])
def test_a_request_whose_caller_has_gone_is_not_kept(tmp_path, level, before):
    """A door that was halted finds it later: by then the caller may have sent newer ones of the same record."""
    with door(tmp_path, level) as running, httpx.Client(timeout=PATIENCE) as client:
        body = payload("15", running.admitted(client))
        newer = body + b" "
        gone = socket.create_connection(running.place) if before else None
        if gone is not None:  # a head that is answered: the connection was taken
            gone.sendall(b"GET /time HTTP/1.1\r\nhost: d\r\n\r\n")
            assert gone.recv(65536).startswith(b"HTTP/1.1 200")
        running.process.send_signal(signal.SIGSTOP)
        gone = gone or socket.create_connection(running.place)
        gone.sendall(request(body))
        gone.close()
        running.process.send_signal(signal.SIGCONT)
        assert client.post(running.url + RECORD, content=newer).json() == ADDED
        assert running.stop() == 0
        assert kept(tmp_path) == [newer]


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_who_goes_takes_nobody_elses_request_along(tmp_path, level):
    with door(tmp_path, level) as running, httpx.Client(timeout=PATIENCE) as client:
        body = payload("15", running.admitted(client))
        whole = request(body)
        with closing(socket.create_connection(running.place)) as slow:
            slow.sendall(whole[:30])
            assert httpx.get(running.url + "/time", timeout=PATIENCE).status_code == 200, "came later, and is gone"
            slow.sendall(whole[30:])
            slow.settimeout(PATIENCE)
            found = b""
            while not found.endswith(b"}"):
                piece = slow.recv(65536)
                assert piece, found
                found += piece
            assert ADDED["status"].encode() in found
        assert kept(tmp_path) == [body]


def test_foshan_on_a_listener_of_its_own_and_out_of_the_logs(tmp_path):
    with door(tmp_path, "DEBUG", foshan=True) as running, httpx.Client(timeout=PATIENCE) as client:
        token = running.admitted(client)
        asked = json.dumps({"header": {}, "body": {"companycode": "330106000000001", "companypassword": "Secret-9"}})
        url = f"{running.foshan}/api/getAccessToken.ashx?companydata={quote(asked)}"
        assert client.get(url).json()["code"] == "0"
        good = payload("10", token).replace(b"4454465656565", b"WP1AG2923CLA64129").replace(b"20180830", b"20180826")
        assert client.get(f"{running.foshan}/api/upRepairInfo.ashx?repairdata={quote(good)}").json() == ADDED
        many = json.loads(good)
        many["body"]["vehiclePartsList"] *= 400
        long = quote(json.dumps(many))
        assert len(long) > 1 << 16
        head = "GET /api/upRepairInfo.ashx?repairdata="
        for address, taken in ((long, True), (long + "%20" * (1 << 20), False)):
            with closing(socket.create_connection((running.place[0], urlsplit(running.foshan).port))) as connection:
                with suppress(ConnectionError):  # what is too long is not read to its end
                    connection.sendall(f"{head}{address} HTTP/1.1\r\nconnection: close\r\n\r\n".encode())
                assert (ADDED["status"].encode() in answer(connection)) == taken
        assert client.get(url.replace(running.foshan, running.url)).status_code == 404
        client.get(f"{running.foshan}/nothing?companydata={quote(asked)}")
        with closing(socket.create_connection((running.place[0], urlsplit(running.foshan).port))) as connection:
            connection.sendall(f"GET /api/getAccessToken.ashx?companydata={quote(asked)} HTTP/9\r\n\r\n".encode())
            answer(connection)
        assert running.stop() == 0
        logged = running.errors.read_text()
        assert "/api/getAccessToken.ashx" in logged, "calls are logged"
        for secret in ("Secret-9", token, PASSWORD, "companydata", "repairdata"):
            assert secret not in logged


def test_foshan_is_off_by_default(tmp_path):
    with door(tmp_path) as running:
        assert running.foshan == ""


def test_a_port_that_is_taken_is_said_so(tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        with State(tmp_path / "state", own=True):
            pass
        command = [sys.executable, HERE / "door_process.py", tmp_path / "state"]
        settings = json.dumps({"port": taken.getsockname()[1]})
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)])}
        found = subprocess.run(
            [*command, settings, "INFO"], capture_output=True, env=environment, timeout=PATIENCE, check=False
        )
        assert found.returncode != 0
        assert "无法监听" in found.stderr.decode()


def certificate(name, folder, issuer=None):
    """Files of a key and its certificate, signed by itself or by an issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now, signer = datetime.now(UTC), issuer[0] if issuer else key
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[1].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    (folder / f"{name}.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    return key, made


def test_systems_call_with_a_certificate(tmp_path):
    authority = certificate("authority", tmp_path)
    for name in ("localhost", "headquarters", "unknown"):
        certificate(name, tmp_path, authority)
    files = {name: str(tmp_path / name) for name in ("localhost.pem", "localhost.key", "authority.pem")}
    tls = {"certificate": files["localhost.pem"], "key": files["localhost.key"], "authorities": files["authority.pem"]}
    with door(tmp_path, tls={**tls, "systems": {"headquarters": "330106000000001"}}) as running:
        url = running.url.replace("127.0.0.1", "localhost")
        assert url.startswith("https:")

        def post(name):
            trusted = ssl.create_default_context(cafile=files["authority.pem"])
            if name:
                trusted.load_cert_chain(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
            with httpx.Client(verify=trusted, timeout=PATIENCE) as client:
                return client.post(url + "/v1/records", json={"plate": "浙AD12345", "mileage": 1}).status_code

        assert [post(name) for name in ("", "unknown", "headquarters")] == [401, 401, 422]


@pytest.mark.parametrize(
    ("host", "named"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("10.0.0.7", "10.0.0.7"), ("door.cn", "door.cn")],  # noqa: S104
)
def test_the_address_that_is_told_can_be_called(host, named):
    from pipelines.door.serving import _host
    from pipelines.door.settings import DoorSettings

    assert _host(DoorSettings(host=host)) == named


@pytest.mark.parametrize("made", [True, False])
def test_the_door_waits_for_the_state(tmp_path, made):
    from pipelines.door.serving import open_state
    from pipelines.errors import StateMissing

    path = tmp_path / "state"
    if not made:
        with pytest.raises(StateMissing):
            open_state(path, 0)
        return
    gateway = threading.Timer(0.2, lambda: State(path, own=True).close())
    gateway.start()
    open_state(path, PATIENCE).close()
    gateway.join()
